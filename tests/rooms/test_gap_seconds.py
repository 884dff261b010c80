"""Seconds watched and in gaps, as alerts count them: over scrapes, restarts and short calls."""

from __future__ import annotations

import pytest

from actors.journal.journal import Journal
from actors.rooms.run_counters import RunCounters
from actors.session import Disconnected, Roster, Suspended, Watching
from tests.store.stored_history import History


def offer(journal: Journal, counters: RunCounters) -> None:
    while journal.unpublished:
        counters.offer(journal.state, journal.unpublished.popleft())


def rounded(counters: RunCounters) -> tuple[float, float]:
    return round(counters.watched, 3), round(counters.gaps, 3)


def return_to(history: History, journal: Journal) -> None:
    journal.record(Watching(history.now, Roster("RM_1", "", (), history.now)))


@pytest.mark.parametrize("scrapes", [0, 3])
def test_a_gap_counts_while_it_is_open_and_once(scrapes: int) -> None:
    history, counters = History(), RunCounters()
    journal = history.begin("atlas", "RM_1")
    history.now += 60.0
    journal.record(Disconnected(history.now, None))
    offer(journal, counters)
    for _ in range(scrapes):
        history.now += 4.0
        counters.advance(journal.state, history.now)
    if scrapes:
        assert rounded(counters) == (60.0, 12.0)
    history.now += 20.0 - 4.0 * scrapes
    return_to(history, journal)
    offer(journal, counters)
    assert rounded(counters) == (60.0, 20.0)
    history.now += 10.0
    journal.record(Suspended(history.now, history.now - 2.0))
    offer(journal, counters)
    journal.end(history.now, "room_closed")
    offer(journal, counters)
    assert rounded(counters) == (68.0, 22.0)


def test_a_short_call_that_was_entered_late_has_no_gap() -> None:
    history, counters = History(), RunCounters()
    for number in range(10):
        journal = history.begin("atlas", f"RM_{number}")
        history.now += 20.0
        journal.end(history.now, "room_closed")
        offer(journal, counters)
    assert rounded(counters) == (200.0, 0.0)
    assert counters.entry.counts[:3] == [0, 10, 0], "half a second, told apart"


@pytest.mark.parametrize("scraped", [False, True])
def test_the_time_between_two_runs_counts_in_the_second(scraped: bool) -> None:
    history = History()
    journal = history.begin("atlas", "RM_1")
    history.now += 60.0
    journal.record(Disconnected(history.now, None))
    journal.unpublished.clear()
    counters = RunCounters()
    history.now += 30.0
    if scraped:
        counters.advance(journal.state, history.now)
    return_to(history, journal)
    offer(journal, counters)
    history.now += 5.0
    counters.advance(journal.state, history.now)
    assert rounded(counters) == (5.0, 30.0)
