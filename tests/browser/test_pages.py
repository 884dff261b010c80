"""The pages in a real browser: nothing is broken in them, and everybody can use them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from urllib.parse import quote

import pytest
from structlog.testing import capture_logs

from actors.session import MetadataChanged, ParticipantJoined
from actors.session.room_info import ParticipantInfo
from actors.session.rule_records import RuleFired, RuleResolved
from tests.browser.driver import HANG, Driver, Scheme
from tests.http.page_stage import HOSTILE, Stage, open_stage, tell_a_story

LIVE = ("/", "/sessions/RM_atlas", "/sessions/RM_hostile", "/alerts", "/system")
PEOPLE = ("/people/alice", f"/people/{quote(HOSTILE, safe='')}", "/attendance")
STILL = (
    "/agents",
    "/history",
    "/history?room=nobody",
    "/history?people=-1",
    "/sessions/RM_nobody",
    *PEOPLE,
)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage, None]:
    with capture_logs():
        async with open_stage(tmp_path / "data") as stage:
            yield stage


@pytest.fixture
async def story(stage: Stage) -> Stage:
    """One room in which much happened, one with a hostile participant."""
    atlas = stage.history.begin("atlas", "RM_atlas", "alice", "bob")
    tell_a_story(stage.history, atlas)
    hostile = stage.history.begin(HOSTILE, "RM_hostile", HOSTILE)
    stage.history.talk(hostile, 3, HOSTILE)
    at = stage.history.now
    info = ParticipantInfo("h", "PA_2", at, metadata=HOSTILE * 400, attributes={"a": HOSTILE})
    hostile.record(ParticipantJoined(at, info))
    for rule in ("over", "fires"):
        hostile.record(RuleFired(at, rule, HOSTILE, alert=True, text=HOSTILE * 20))
    hostile.record(RuleResolved(at, "over", HOSTILE))
    stage.journals.extend((atlas, hostile))
    await stage.keep()
    return stage


@pytest.mark.parametrize(
    "scheme, width, tag",
    [
        ("light", 1280, None),
        ("dark", 1280, "cat.color"),  # A scheme changes colours and nothing else.
        ("dark", 360, None),
    ],
)
async def test_nothing_is_wrong_with_any_page(
    driver: Driver, story: Stage, scheme: Scheme, width: int, tag: str | None
):
    url = f"http://{story.site.address}"
    async with driver.open(scheme=scheme, width=width) as tab:
        for path in (*LIVE, *STILL):
            await tab.go(url + path)
            if path in LIVE:
                await tab.shows("live", "#link")
            assert await tab.faults(tag) == [], path
            wide = await tab.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, path
        assert all(one.startswith(url) for one in await tab.order("asked"))
        # No events here, and a page that is missing: a browser says so of what it loads.
        assert [one for one in await tab.errors() if "Failed to load resource" not in one] == []


@pytest.mark.parametrize(
    "path", ["/", "/history", "/sessions/RM_hostile", "/alerts", "/system", *PEOPLE[1:]]
)
async def test_a_hostile_participant_is_text(driver: Driver, story: Stage, path: str):
    async with driver.open() as tab:
        await tab.go(f"http://{story.site.address}{path}")
        if path != "/system":
            assert r"<script>alert(1)</script>" in await tab.text("main")
            assert r"\u202egnp.exe\x1b[31m\n" in await tab.text("main")
        assert await tab.evaluate("document.querySelectorAll('main script, [onload]').length") == 0
        assert not any("dialog" in one for one in await tab.errors())


async def test_a_page_says_when_the_worker_does_not_answer(driver: Driver, stage: Stage):
    stage.journals.append(stage.history.begin("atlas", "RM_a"))
    await stage.keep()
    async with driver.open() as tab:
        await tab.go(f"http://{stage.site.address}/")
        await tab.shows("live", "#link")
        stage.site.stop()
        await tab.shows("Not connected to the worker since", "#lost")
        assert await tab.text("#link") == "not connected"
        assert "Alice" in await tab.text("#rooms")
        assert await tab.faults() == []


@pytest.mark.parametrize("path", ["/", "/sessions/RM_a", "/system"])
async def test_a_page_goes_on_as_soon_as_the_worker_answers_again(
    driver: Driver, tmp_path: Path, path: str
):
    with capture_logs():
        async with driver.open() as tab:
            async with open_stage(tmp_path / "data") as stage:
                address = stage.site.address
                stage.journals.append(stage.history.begin("atlas", "RM_a"))
                await stage.keep()
                await tab.go(f"http://{address}{path}")
                await tab.shows("live", "#link")
            await tab.shows("Not connected to the worker since", "#lost")
            async with open_stage(tmp_path / "data", port=address.port) as stage:
                stage.journals.append(stage.history.begin("borealis", "RM_b"))
                await stage.keep()
                await tab.shows("live", "#link")
                assert await tab.evaluate("document.getElementById('lost').hidden")
                if path == "/":
                    await tab.shows("borealis", "#rooms tbody")


async def test_the_keyboard_gets_everywhere(driver: Driver, story: Stage):
    async with driver.open() as tab:
        await tab.go(f"http://{story.site.address}/")
        await tab.order("press", "Tab")
        assert await tab.evaluate("document.activeElement.textContent") == "Skip to content"
        await tab.order("press", "Enter")
        assert await tab.evaluate("location.hash") == "#main"
        await tab.order("press", "Tab")
        assert await tab.evaluate("document.activeElement.id") == "find"
        await tab.order("type", "atl")
        rows = "[...document.querySelectorAll('#rooms tbody tr')].filter(r => !r.hidden).length"
        assert await tab.evaluate(rows) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_somebody_signs_in_and_out(driver: Driver, tmp_path: Path, scheme: Scheme):
    with capture_logs():
        async with (
            open_stage(tmp_path / "data", token="the token") as stage,
            driver.open(scheme=scheme) as tab,
        ):
            await stage.keep()
            await tab.go(f"http://{stage.site.address}/history")

            async def show(token: str) -> None:
                await tab.order("fill", "#token", token)
                await tab.order("click", ".signin button")

            assert await tab.faults() == []
            await show("a guess")
            await tab.shows("This is not the token.")
            assert await tab.faults() == []
            await show("the token")
            await tab.shows("No session is stored yet.")
            assert await tab.evaluate("location.pathname") == "/history"
            await tab.order("click", ".out button")
            await tab.shows("Sign in", "h1")
            await tab.go(f"http://{stage.site.address}/")
            await tab.shows("Sign in", "h1")


async def test_rooms_come_change_and_go_without_a_reload(driver: Driver, stage: Stage):
    async with driver.open() as tab:
        await tab.go(f"http://{stage.site.address}/")
        await tab.shows("No room is live.", "#empty")
        journal = stage.history.begin("atlas", "RM_a")
        stage.journals.append(journal)
        await tab.shows("atlas", "#rooms tbody")
        at = stage.history.now
        journal.record(ParticipantJoined(at, ParticipantInfo("carol", "PA_c", at)))
        await tab.shows("carol", "#rooms tbody")
        stage.history.talk(journal)
        journal.end(at + 2, "room_closed")
        await tab.lacks("atlas", "#rooms tbody")
        await tab.shows("No room is live.", "#empty")


async def test_a_session_fills_up_while_one_looks_at_it_and_reads_in_it(
    driver: Driver, stage: Stage
):
    history = stage.history
    journal = history.begin("atlas", "RM_a", "alice")
    journal.record(MetadataChanged(history.now, "alice", "a card"))
    await stage.keep()
    async with driver.open() as tab:
        await tab.go(f"http://{stage.site.address}/sessions/RM_a")
        await tab.shows("No message was sent.", "#live-data")
        await tab.order("click", "#live-people summary")  # focus stays there
        await tab.evaluate("document.querySelector('#live-timeline .scroll').focus()")
        history.publish(journal, "TR_camera")
        history.talk(journal, 2)
        at = history.now
        journal.record(ParticipantJoined(at, ParticipantInfo("carol", "PA_c", at)))
        await stage.keep()
        await tab.shows("camera", "#live-tracks")
        await tab.shows("chat", "#live-data")
        await tab.shows("carol", "#live-people")
        await tab.shows("carol", "#live-timeline")
        assert await tab.text("#live-people .count") == "2"
        assert await tab.evaluate("document.querySelector('#live-people details').open")
        assert await tab.evaluate("document.activeElement.matches('#live-timeline .scroll')")


async def test_a_session_that_ends_says_so_and_is_not_asked_for_again(driver: Driver, stage: Stage):
    journal = stage.history.begin("atlas", "RM_a")
    await stage.keep()
    async with driver.open() as tab:
        await tab.go(f"http://{stage.site.address}/sessions/RM_a")
        await tab.shows("live", "#link")
        journal.end(stage.history.now + 1, "room_closed")
        await stage.keep()
        await tab.shows("room closed", "#live-head")
        await tab.order("wait", "#link:empty", "", "attached", HANG)
