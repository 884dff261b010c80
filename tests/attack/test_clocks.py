"""Faults of clocks as one table: of this machine's, of the server's, of both.

Whatever it was: a session's times never go back and are the server's once it told them; no kept
session goes for it; lists have the order in which sessions were kept.  Real processes with a
clock that is off are in `tests/app/test_time.py`.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from actors.session import session_view
from bridge.livekit.server_clock import DOUBTS
from bridge.store.retention import DAY, Retention
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from tests.livekit.test_server_clock import World
from tests.session.session_story import as_json
from tests.store.stored_history import T0, History, prune_all

YEAR: Final = 365 * DAY

HISTORIES: Final[dict[str, tuple[float, ...]]] = {
    "right all the time": (0.0, 0.0, 0.0),
    "a second ahead": (1.0, 1.0, 1.0),
    "an hour behind": (-3_600.0, -3_600.0, -3_600.0),
    "a leap of a second back": (0.0, -1.0, -1.0),
    "set right by NTP": (-300.0, -0.5, 0.0),
    "summer time by hand": (0.0, 3_600.0, 0.0),
    "an hour ahead for a minute": (0.0, 3_600.0, 0.0),
    "a year ahead for a minute": (0.0, YEAR, 0.0),
    "thirty years ahead at the start": (30 * YEAR, 0.0, 0.0),
    "1970 at the start, as without a battery": (-T0 + 5.0, 0.0, 0.0),
    "1970 in the middle": (0.0, -T0 + 5.0, 0.0),
    "back and forth": (60.0, -60.0, 60.0),
    "ever further ahead": (10.0, 1_000.0, 100_000.0),
}
"""Seconds by which this machine's clock is ahead, in three stretches of time."""


@pytest.mark.parametrize("case", HISTORIES)
def test_a_sessions_times_are_the_servers_and_never_go_back(case: str) -> None:
    world = World()
    clock = world.clock()
    times: list[float] = []
    for offset in HISTORIES[case]:
        world.offset = offset
        for _ in range(20):
            world.ask(clock)
            world.passes(0.5)
            times.append(clock.now())
            assert times[-1] == pytest.approx(world.true, abs=0.1)
            assert clock.offset == pytest.approx(offset, abs=0.1)
    assert all(after >= before for before, after in pairwise(times))


@pytest.mark.parametrize("case", HISTORIES)
def test_a_server_with_such_a_clock_makes_no_time_go_back(case: str) -> None:
    """Up to a minute a correction makes our time slow; beyond, it was never a time."""
    world = World()
    clock = world.clock()
    before, began = 0.0, world.true
    for offset in HISTORIES[case]:
        world.true = began + offset
        for _ in range(2 * DOUBTS + 4):
            world.ask(clock)
            world.passes(5.0)
            now = clock.now()
            assert now >= before or before - now > 60.0
            before = now
        began += 10.0 * DOUBTS + 20.0


DATED: Final = [case for case, offsets in HISTORIES.items() if offsets[0] > -YEAR]
"""Without what begins in 1970: sessions that LiveKit itself dates so are old by every clock, and
go by their age once the clock is right (docs/security.md)."""


@pytest.mark.parametrize("case", DATED)
async def test_no_kept_session_goes_and_all_are_in_order(case: str, tmp_path: Path) -> None:
    """A run of the worker for each stretch, whose own clock is all that it has."""
    keep = Retention(sessions=90 * DAY, events=14 * DAY, size=1e12)
    steady, names = [0.0], list[str]()
    for run, offset in enumerate(HISTORIES[case]):
        history = History(T0 + run * 600.0 + offset)

        def now(history: History = history) -> float:
            return history.now

        async with open_store(
            tmp_path, instance="w", retention=keep, clock=now, steady=lambda: steady[0]
        ) as archive:
            await archive.load()
            for number in range(3):
                journal = history.begin("atlas", f"RM_{run}_{number}")
                names.append(f"RM_{run}_{number}")
                history.talk(journal, 5)
                journal.end(history.now, "room_closed")
                history.now += 60.0
            await history.write_to(archive)
            steady[0] += 600.0
            await prune_all(archive, history.now)
    with open_reader(tmp_path) as reader:
        rows = reader.sessions(100).sessions
        assert [row.id for row in rows] == names[::-1]
        for row in rows:
            whole = reader.session(row.id)
            assert whole is not None
            assert whole.duration == 5.0
            assert 0.0 <= whole.coverage <= 1.0
            assert len(whole.timeline or ()) > 5


def test_a_session_that_goes_on_with_a_clock_that_was_set_back_has_no_negative_time() -> None:
    for offset in sorted({offset for offsets in HISTORIES.values() for offset in offsets}):
        history = History()
        journal = history.begin("atlas")
        history.talk(journal, 3)
        history.now += offset
        history.talk(journal, 3)
        for now in (history.now, T0, 0.0):
            view = as_json(session_view(journal.state, now))
            numbers = [view["duration"], view["people_seconds"], view["coverage"]]
            numbers += [one["seconds"] for one in view["participants"]]
            assert min(numbers) >= 0.0
