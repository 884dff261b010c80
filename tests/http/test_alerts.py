"""Alerts as programs, pages and Prometheus see them."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families as families

from actors.journal.journal import Journal
from actors.runtime import open_system
from actors.session import Disconnected
from actors.session.rule_records import RuleFired, RulePending, RuleResolved
from bridge.http.api.event_stream import EventSource
from bridge.http.metrics import Metrics
from bridge.http.server.routes import app
from bridge.store.sqlite_feed import SqliteFeed
from tests.http.page_stage import Stage, open_stage
from tests.http.site import open_site
from tests.http.stored_sessions import HOSTILE, RULES, StoredSessions, open_stored, sources_of
from tests.store.stored_history import T0, History


@pytest.fixture
async def api(tmp_path: Path) -> AsyncGenerator[StoredSessions]:
    async with open_stored(tmp_path) as stored:
        yield stored


async def write(api: StoredSessions, *journals: Journal) -> None:
    await api.write()
    api.open_states[:] = [one.state for one in journals]


async def alerts(api: StoredSessions, **query: str | int) -> list[dict[str, Any]]:
    return (await api.get("/api/v1/alerts", **query))["alerts"]


async def test_an_alert_from_pending_to_resolved(api: StoredSessions) -> None:
    journal = api.history.begin("atlas", "RM_1")
    assert await alerts_after(api, journal) == []
    journal.record(RulePending(T0 + 1.0, "alone"))
    journal.record(RulePending(T0 + 1.0, "of no alert"))
    (pending,) = await alerts_after(api, journal)
    assert pending == {
        "rule": "alone", "room": "atlas", "session": "RM_1", "on": None, "state": "pending",
        "no_data": False, "text": None, "since": "2026-09-21T14:13:21.000Z", "until": None,
        "seconds": None,
    }  # fmt: skip
    journal.record(RuleFired(T0 + 5.0, "alone", alert=True, text=HOSTILE))
    (firing,) = await alerts_after(api, journal)
    assert (firing["state"], firing["text"]) == ("firing", HOSTILE)
    assert (firing["since"], firing["until"]) == ("2026-09-21T14:13:25.000Z", None)
    journal.record(RuleResolved(T0 + 9.5, "alone"))
    (over,) = await alerts_after(api, journal)
    assert (over["state"], over["seconds"]) == ("resolved", 4.5)


async def alerts_after(api: StoredSessions, journal: Journal) -> list[dict[str, Any]]:
    await write(api, journal)
    return await alerts(api)


async def test_in_a_gap_an_alert_stays_as_it_was_and_has_no_data(api: StoredSessions) -> None:
    journal = api.history.begin("atlas", "RM_1")
    journal.record(RulePending(T0 + 1.0, "poor", "alice"))
    journal.record(RuleFired(T0 + 1.0, "alone", alert=True))
    journal.record(Disconnected(T0 + 2.0, "server_lost"))
    assert [
        (one["rule"], one["state"], one["no_data"]) for one in await alerts_after(api, journal)
    ] == [("poor", "pending", True), ("alone", "firing", True)]
    api.open_states.clear()  # No worker has the session.
    assert [(one["state"], one["no_data"]) for one in await alerts(api)] == [("firing", True)]


async def test_filters_and_pages(api: StoredSessions) -> None:
    one, other = api.history.begin("atlas", "RM_1"), api.history.begin("team-2", "RM_2")
    for number in range(3):
        one.record(RuleFired(T0 + number, "poor", f"p{number}", alert=True))
    one.record(RuleResolved(T0 + 5.0, "poor", "p0"))
    other.record(RuleFired(T0 + 6.0, "alone", alert=True))
    other.record(RulePending(T0 + 7.0, "poor", "p9"))
    await write(api, one, other)

    async def found(**query: str | int) -> list[tuple[str, str | None]]:
        return [(one["state"], one["on"]) for one in await alerts(api, **query)]

    everything = [
        ("pending", "p9"), ("firing", None), ("firing", "p2"), ("firing", "p1"), ("resolved", "p0")
    ]  # fmt: skip
    assert await found() == everything
    assert await found(status="pending") == everything[:1]
    assert await found(status="firing") == everything[1:4]
    assert await found(status="resolved") == everything[4:]
    assert await found(room="team-*") == everything[:2]
    assert await found(person="p?", status="firing") == everything[2:4]
    assert await found(until="2026-09-21T14:13:22Z") == [("firing", "p1"), ("resolved", "p0")]
    pages, cursor = list[tuple[str, str | None]](), dict[str, str]()
    for _ in range(5):
        page = await api.get("/api/v1/alerts", limit=1, **cursor)
        pages += [(one["state"], one["on"]) for one in page["alerts"]]
        cursor = {"cursor": page["next"]}
    assert (pages, cursor) == (everything, {"cursor": None})


@pytest.mark.parametrize("query", ["cursor=x", "status=over", "limit=0", "since=then", "rule=x"])
async def test_wrong_queries(api: StoredSessions, query: str) -> None:
    await api.fill(1)
    answer = await api.site.http.get(f"/api/v1/alerts?{query}")
    assert answer.status_code == 400


# ---------------------------------------------------------------- the page


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncGenerator[Stage]:
    async with open_stage(tmp_path) as opened:
        yield opened


async def test_the_page_says_what_fires_and_what_is_over(stage: Stage) -> None:
    journal = stage.history.begin("atlas", "RM_1", "alice")
    stage.journals.append(journal)
    await stage.keep()
    text = await stage.get("/alerts")
    assert "Nothing fires." in text
    assert "No alert of a rule is over." in text
    journal.record(RuleFired(time.time() - 9, "alone", "alice", alert=True, text="Only one here"))
    journal.record(RulePending(time.time() - 5, "waits"))
    journal.record(RuleFired(time.time() - 7, "was", alert=True))
    journal.record(RuleResolved(time.time() - 2, "was"))
    await stage.keep()
    text = await stage.get("/alerts")
    now, over = text.split("Over</h2>")
    assert all(one in now for one in ("alone", "Only one here", "firing", "waits", "pending"))
    assert "was" in over
    assert "Only one here" not in over
    session = await stage.get("/sessions/RM_1")
    assert "alert_firing" in session.replace("alert firing", "alert_firing")
    assert "Only one here" in session


async def test_names_of_rules_and_their_texts_are_text(stage: Stage) -> None:
    journal = stage.history.begin(HOSTILE, "RM_1", HOSTILE)
    stage.journals.append(journal)
    for at, rule in ((3.0, HOSTILE), (2.0, "over")):
        journal.record(RuleFired(time.time() - at, rule, HOSTILE, alert=True, text=HOSTILE))
    journal.record(RuleResolved(time.time() - 1.0, "over", HOSTILE))
    await stage.keep()
    text = await stage.get("/alerts")
    assert "<script>" not in text.replace('<script src="/static/page.js" defer></script>', "")
    assert "\x1b" not in text
    assert "\u202e" not in text


# ---------------------------------------------------------------- metrics


async def test_metrics_have_each_rule_from_the_start(tmp_path: Path) -> None:
    history, journals = History(), list[Journal]()
    async with open_system() as system:
        feed = EventSource(SqliteFeed(tmp_path, lambda: history.backlog.batch_written))
        sources = evolve(
            sources_of(history, system, feed, journals),
            open_sessions=lambda: (one.state for one in journals),
            alert_rules=RULES,
        )
        async with open_site(app(Metrics(sources).rows, loopback=True)) as site:

            async def read() -> dict[tuple[str, str], float]:
                text = (await site.http.get("/metrics")).text
                return {
                    (sample.name.removeprefix("room_actors_alert"), sample.labels["rule"]): (
                        sample.value
                    )
                    for family in families(text)
                    for sample in family.samples
                    if family.name.startswith("room_actors_alert")
                }

            names = ("s_firing", "s_pending", "_episodes_total")
            assert await read() == {(name, rule): 0.0 for name in names for rule in RULES}
            journal = history.begin("atlas", "RM_1")
            journals.append(journal)
            journal.record(RuleFired(T0, "alone", alert=True))
            journal.record(RuleFired(T0, "poor", "alice", alert=True))
            journal.record(RuleFired(T0, "poor", "bob", alert=True))
            journal.record(RuleResolved(T0, "alone"))
            journal.record(RulePending(T0, "poor", "carol"))
            while journal.unpublished:
                sources.run.offer(journal.state, journal.unpublished.popleft())
            found = await read()
    assert found[("s_firing", "alone")] == 0.0
    assert found[("s_firing", "poor")] == 2.0
    assert found[("s_pending", "poor")] == 1.0
    assert found[("_episodes_total", "alone")] == 1.0
    assert found[("_episodes_total", "poor")] == 2.0
