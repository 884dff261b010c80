"""A real room with real people, watched by the real program, seen in a real browser."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from bridge.cli.program import Program, open_program
from bridge.cli.settings import load
from bridge.people import People
from bridge.server import PrivateServer
from bridge.server.ports import LOOPBACK, free_port
from tests.browser.driver import Driver, Tab
from tests.http.pages_stage import HOSTILE

ROOM = "seen-in-a-browser"
SOON = 15.0
"""Seconds until the page shows what happened.  It is less than one, but for who publishes
nothing (LiveKit announces them each 3 s) and on a busy machine."""


@pytest.fixture
async def program(livekit_server: PrivateServer, tmp_path: Path) -> AsyncGenerator[Program, None]:
    settings = load(
        {
            "url": livekit_server.url,
            "api-key": livekit_server.api_key,
            "api-secret": livekit_server.api_secret,
            "agent-name": "seen-in-a-browser",
            "watch": ROOM,
            "http": f"{LOOPBACK}:{free_port()}",
            "data-dir": str(tmp_path / "data"),
        },
        {},
    )
    with capture_logs():
        async with open_program(settings) as program:
            await program.worker.wait_registered()
            await listening(program)
            yield program
            await program.drain()


async def test_the_page_shows_each_thing_as_it_happens(
    driver: Driver, program: Program, people: People
):
    async def soon(do: Callable[[], Awaitable[object]], *selectors: str) -> None:
        """Each is on the page soon after it was done."""
        await do()
        for selector in selectors:
            await tab.shows("", selector, within=SOON)

    alice = await people.join(ROOM, "alice")
    async with driver.open() as tab:
        await tab.go(f"http://{program.http}/")
        await tab.shows("", f"#rooms th:has-text('{ROOM}')")
        await tab.shows("", face("alice"))
        await tab.shows("live", "#link")

        await soon(lambda: people.join(ROOM, "bob"), face("bob"))
        [_, bob] = people.present
        microphone = ""

        async def publish() -> None:
            nonlocal microphone
            microphone = await bob.publish("microphone")

        await soon(publish, f"{face('bob')} use[href='#i-microphone']")
        await soon(lambda: bob.mute(microphone), f"{face('bob')} .icon.off")
        await soon(lambda: bob.unmute(microphone), f"{face('bob')} .icon:not(.off)")
        await soon(lambda: bob.speak(True), f"{face('bob')}.talking")
        await soon(lambda: bob.speak(False), f"{face('bob')}:not(.talking)")

        session = await tab.evaluate("document.querySelector('#rooms th a').href")
        async with driver.open() as other:
            await other.go(session)
            await other.shows("live", "#link")
            await alice.leave()
            await gone(tab, "alice")
            await other.shows("client initiated", "#live-people", within=SOON)
            assert await other.faults() == []
            assert await other.errors() == []

        await people.join(ROOM, HOSTILE[:200], name=HOSTILE, metadata=HOSTILE * 500)
        await tab.shows(r"<script>alert(1)</script>", "#rooms tbody", within=SOON)
        await bob.leave()
        await gone(tab, "bob")
        assert await tab.errors() == []


async def listening(program: Program) -> None:
    """Until its HTTP server does."""
    with trio.fail_after(30):
        while program.http is None:  # noqa: ASYNC110 (there is no event for it)
            await trio.sleep(0.01)


def face(identity: str) -> str:
    return f".face[title='{identity}']"


async def gone(tab: Tab, identity: str) -> None:
    await tab.lacks("", face(identity), within=SOON)
