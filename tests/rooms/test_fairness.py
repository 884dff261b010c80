"""No room waits for another room's burst."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import trio
import trio.testing

from actors.runtime import BATCH
from actors.session.bounds import OTHER
from actors.simulation.simulated_rooms import SimulatedRoom
from tests.app.simulated import Logged, World, open_world

FLOOD = 20_000
"""Messages a second."""
TICK = 0.01


async def flood(room: SimulatedRoom, seconds: float) -> int:
    """Send messages, `FLOOD` a second or as fast as this machine can; the number of them."""
    sent, began = 0, trio.current_time()
    while (spent := trio.current_time() - began) < seconds:
        for _ in range(min(int(spent * FLOOD) - sent, FLOOD)):
            room.people["alice"].send_data(b"{}")
            sent += 1
        await trio.sleep(TICK)
    return sent


async def test_a_quiet_room_does_not_notice_a_flood_of_20_000_messages_a_second(
    tmp_path: Path,
) -> None:
    def take(event: Logged) -> None:
        if event["event"] == "data_message" and event["room"] == "quiet":
            folded_at.append(recorded(loud))

    def recorded(room: SimulatedRoom) -> int:
        return world.record_of(room).journal.seq

    sent_at: list[int] = []
    """At each message in the quiet room: how many events the loud one had recorded."""
    folded_at: list[int] = []
    async with open_world(tmp_path, take) as world:
        loud, quiet = await world.watch("loud", "quiet")

        async def talk() -> None:
            while True:
                sent_at.append(recorded(loud))
                quiet.people["alice"].send_data(b"{}")
                await trio.sleep(0.02)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk)
            sent = await flood(loud, 2.0)
            nursery.cancel_scope.cancel()
        await all_folded(world, loud)
        await all_folded(world, quiet)
        state = world.record_of(loud).journal.state
        assert state.messages.total == sent, "what was thinned is counted"
    assert len(folded_at) == len(sent_at)
    waited = [after - before for after, before in zip(folded_at, sent_at, strict=True)]
    assert max(waited) <= 3 * BATCH, "events of the other room that went first"


async def test_a_message_is_folded_within_a_batch_of_another_room_that_has_thousands_waiting(
    tmp_path: Path,
) -> None:
    folded_before: list[int] = []

    def take(event: Logged) -> None:
        if event["event"] == "data_message" and event["room"] == "quiet":
            folded_before.append(world.record_of(loud).journal.seq - begin)

    async with open_world(tmp_path, take) as world:
        loud, quiet = await world.watch("loud", "quiet")
        await trio.testing.wait_all_tasks_blocked(0.05)  # Neither is still at its own beginning.
        begin = world.record_of(loud).journal.seq
        for _ in range(100 * BATCH):  # In one go: nobody can read any of it meanwhile.
            loud.people["alice"].send_data(b"{}")
        quiet.people["alice"].send_data(b"{}")
        await all_folded(world, quiet)
        assert folded_before
        assert folded_before[0] <= BATCH
        await all_folded(world, loud)
        assert world.record_of(loud).journal.state.messages.total == 100 * BATCH


async def all_folded(world: World, room: SimulatedRoom) -> None:
    """Wait until a session has read all that was said to it."""
    room.set_metadata("the end")
    with trio.fail_after(60):
        while world.record_of(room).journal.state.metadata != "the end":  # noqa: ASYNC110
            await trio.sleep(TICK)


async def test_what_a_session_cannot_take_in_is_counted_in_it_and_joins_are_not_lost(
    tmp_path: Path,
) -> None:
    events: Counter[str] = Counter()
    async with open_world(tmp_path, lambda event: events.update([event["event"]])) as world:
        [room] = await world.watch("loud")
        for _ in range(30_000):  # In one go: nobody can read any of it meanwhile.
            room.people["alice"].send_data(b"{}")
        room.join("bob").publish("camera")
        await all_folded(world, room)
        state = world.record_of(room).journal.state
        assert state.messages.total == 30_000
        assert state.messages.by_topic == {"": 10_000, OTHER: 20_000}
        assert set(state.present) == {"alice", "bob"}
    assert events["messages_thinned"] == 1
    assert events["data_message"] <= 10_000
