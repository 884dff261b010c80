"""Thousands of rooms come and go, and the program is as it was."""

from __future__ import annotations

import gc
from collections import Counter
from pathlib import Path

import pytest
import trio
import trio.testing

from actors.rooms.room_table import FINISHED_LIMIT
from actors.runtime import DeadLetter
from tests.app.simulated import World, open_world

AT_ONCE = 100


@pytest.mark.parametrize(
    # Settled: all that is kept for a while (the newest ended sessions) is full.
    "settled,rooms",
    [(400, 800), pytest.param(1_000, 2_000, marks=pytest.mark.chaos)],
)
async def test_rooms_that_came_and_went_leave_nothing_behind(
    tmp_path: Path, settled: int, rooms: int
) -> None:
    assert settled > FINISHED_LIMIT
    async with open_world(tmp_path) as world:
        await live(world, 0, settled)
        before = await object_counts(world)
        await live(world, settled, rooms)
        most = (rooms - settled) // 20
        grown = await grown_counts(world, before, most)
        # Timers that were stopped stay until their time comes.
        with trio.move_on_after(30):
            while grown:
                await trio.sleep(0.5)
                grown = await grown_counts(world, before, most)
        assert world.ended == {None: rooms}
        assert world.actors.table.records == {}
        assert len(world.actors.table.ended) == FINISHED_LIMIT
        assert world.actors.table.summary(0.0).rooms == rooms
    assert grown == {}


async def grown_counts(world: World, before: Counter[str], most: int) -> dict[str, tuple[int, int]]:
    """Classes with over `most` objects more than before: their counts then and now."""
    after = await object_counts(world)
    return {
        name: (before[name], count) for name, count in after.items() if count - before[name] > most
    }


async def live(world: World, first: int, end: int) -> None:
    """Rooms in which something happens, from the first of their numbers to the last."""
    for number in range(first, end, AT_ONCE):
        rooms = await world.watch(*(f"room-{number + n}" for n in range(AT_ONCE)))
        for room in rooms:
            bob = room.join("bob")
            bob.send_data(b"{}")
            bob.leave()
            room.storm()
            room.close()
        await world.until(lambda: not world.running)


async def object_counts(world: World) -> Counter[str]:
    """The number of objects of each of our classes, and of trio's tasks."""
    for _ in range(3):
        await world.actors.flush()  # The newest batches are in somebody's hand.
    await trio.testing.wait_all_tasks_blocked(0.05)
    gc.collect()
    found = Counter(type(one) for one in gc.get_objects())
    # The newest ones are remembered, for an operator.  How many there are depends on the schedule:
    # a message to a session that has just ended is one.
    found[DeadLetter] -= len(world.system.recent_dead_letters)
    ours = {
        f"{kind.__module__}.{kind.__qualname__}": count
        for kind, count in found.items()
        if str(kind.__module__).startswith(("actors.", "bridge."))
    }
    return Counter({**ours, "tasks": trio.lowlevel.current_statistics().tasks_living})
