"""Full garbage collections wait for a quiet moment, and not for ever."""

from __future__ import annotations

import gc

import pytest
import trio
import trio.testing
from attrs import define

from bridge.app.full_collections import (
    GROWTH,
    LEAST_WORK,
    LONGEST_WAIT,
    LOOK_INTERVAL,
    FullCollections,
    resident_bytes,
)


@define
class Process:
    """A process whose figures are set."""

    now: float = 100.0
    worked: float = 1.0
    middle: int = 0
    resident: int = 80 << 20
    full: int = 0

    def count(self) -> None:
        self.full += 1

    def collections(self) -> FullCollections:
        return FullCollections(
            self.count,
            lambda: self.now,
            lambda: self.worked,
            lambda: self.middle,
            lambda: self.resident,
        )

    def passes(self, seconds: float, share: float, middle: int = LEAST_WORK) -> None:
        self.now += seconds
        self.worked += seconds * share
        self.middle += middle


def test_it_waits_for_a_quiet_moment() -> None:
    process = Process()
    collections = process.collections()
    for _ in range(100):
        process.passes(LOOK_INTERVAL, 0.4)
        collections.look()
    assert process.full == 0
    process.passes(LOOK_INTERVAL, 0.02, middle=0)
    collections.look()
    assert process.full == 1
    process.passes(LOOK_INTERVAL, 0.02, middle=LEAST_WORK - 1)
    collections.look()
    assert process.full == 1, "there is little to find"


@pytest.mark.parametrize("why", ["growth", "time"])
def test_without_a_quiet_moment_it_comes_all_the_same(why: str) -> None:
    process = Process()
    collections = process.collections()
    process.passes(LOOK_INTERVAL, 0.9)
    collections.look()
    assert process.full == 0
    if why == "growth":
        process.resident += GROWTH + 1
    else:
        process.passes(LONGEST_WAIT, 0.9)
    for _ in range(3):
        process.passes(LOOK_INTERVAL, 0.9)
        collections.look()
    assert process.full == 1


async def test_python_itself_makes_none_meanwhile(autojump_clock: trio.testing.MockClock) -> None:
    before = gc.get_threshold()
    full = [gc.get_stats()[2]["collections"]]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(FullCollections(collect=lambda: None).run)
        await trio.sleep(2 * LOOK_INTERVAL)
        full[0] = gc.get_stats()[2]["collections"]
        old = [[[number]] for number in range(400_000)]  # Many times what begins one else.
        assert gc.get_stats()[2]["collections"] == full[0]
        del old
        nursery.cancel_scope.cancel()
    assert gc.get_threshold() == before


def test_the_memory_of_this_process_is_read() -> None:
    assert 10 << 20 < resident_bytes() < 100 << 30
