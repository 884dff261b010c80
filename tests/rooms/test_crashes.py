"""Crashes of a session, a connection or the manager, and their cost.  In virtual time."""

from __future__ import annotations

import pytest

from actors.rooms.messages import RosterWanted
from actors.rooms.subscriber import SubscriberFanOut
from actors.runtime import Restarting
from actors.session import SessionState, Tick, TimelineEntry
from actors.testing.sabotage import Injected
from tests.rooms.rooms_scene import RoomsScene


async def test_a_session_that_crashes_before_it_publishes_keeps_its_numbers(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    scene.world.record_faults = 1
    room.join("bob").publish("camera")
    await scene.settle()
    assert scene.numbers(room.sid) == (2, 2, 2, 2)
    assert scene.crashes() == [scene.session(room.sid)]


async def test_a_session_that_crashes_with_an_event_in_hand_recovers_its_numbers(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    scene.program.saboteur.raise_at(scene.session(room.sid), 1)
    room.join("bob").publish("camera")
    await scene.settle()
    assert scene.numbers(room.sid) == (2, 2, 2, 2)
    assert scene.crashes() == [scene.session(room.sid)]


async def test_no_other_room_notices_a_crash(scene: RoomsScene) -> None:
    room, other = scene.make("atlas"), scene.make("borealis")
    await scene.settle()
    scene.program.saboteur.raise_at(scene.session(room.sid), 1)
    room.set_metadata("changed")
    other.join("carol")
    await scene.settle()
    assert scene.numbers(other.sid) == (2, 1, 2, 1)
    restarted = {s.actor for s in scene.program.signals if isinstance(s, Restarting)}
    assert restarted == {scene.session(room.sid)}


async def test_a_connection_that_crashes_restarts_the_session_too_and_it_continues(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    scene.program.saboteur.raise_at(scene.connection(room.sid).path, 1)
    scene.connection(room.sid).tell(RosterWanted())
    await scene.settle(2.0)
    room.join("bob")
    await scene.settle()
    generations = {
        node.path.rsplit("/", 1)[1]: node.generation
        for part in scene.program.system.tree().children
        if part.path == "/rooms"
        for group in part.children
        for node in group.children
    }
    assert generations == {"connection": 2, "session": 2}
    assert scene.numbers(room.sid) == (2, 1, 2, 1)
    assert len(room.watchers) == 1


@pytest.mark.seeds(8)
async def test_a_connection_that_crashes_on_its_way_out_does_not_go_in_again(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    scene.program.saboteur.raise_at(scene.connection(room.sid).path, 1)
    scene.program.saboteur.slow_at(scene.session(room.sid), 1, 0.5)
    room.set_metadata("slow")
    room.drop("participant_removed")
    scene.connection(room.sid).tell(RosterWanted())
    await scene.settle(5.0)
    assert room.watchers == []
    assert scene.state(room.sid).end_reason == "removed"
    assert scene.program.table.records == {}


async def test_a_session_whose_connection_has_ended_restarts_without_it(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    scene.program.saboteur.raise_at(scene.session(room.sid), 1)
    room.close()
    await scene.settle()
    assert len(scene.crashes()) == 1
    assert scene.state(room.sid).ended
    assert scene.program.jobs.ends == {"AJ_0": [None]}


async def test_a_mailbox_that_overflows_makes_the_session_compare_with_the_room(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    scene.program.saboteur.slow_at(scene.session(room.sid), 1, 1.0)
    for n in range(300):
        room.set_metadata(str(n))
    room.join("bob").publish("camera")
    await scene.settle(3.0)
    assert scene.numbers(room.sid) == (2, 2, 2, 2)
    assert scene.state(room.sid).metadata == "299"
    assert scene.crashes() == []


async def test_a_job_in_hand_when_the_manager_crashes_is_not_lost(scene: RoomsScene) -> None:
    scene.program.saboteur.raise_at("/manager", 1)
    room = scene.make()
    await scene.settle()
    assert scene.crashes() == ["/manager"]
    assert len(room.watchers) == 1
    assert scene.program.jobs.running == {"AJ_0": 1}


async def test_the_end_of_a_room_is_found_out_by_the_next_manager(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    scene.program.saboteur.raise_at("/manager", 1)
    room.close()
    await scene.settle()
    assert scene.crashes() == ["/manager"]
    assert scene.program.table.records == {}
    assert scene.program.jobs.ends == {"AJ_0": [None]}


async def test_a_session_lost_track_of_is_found_again_by_the_next_manager(
    scene: RoomsScene,
) -> None:
    scene.program.saboteur.raise_at("/manager", 2)  # Assigned, Opened
    scene.make()
    await scene.settle()
    assert scene.crashes() == ["/manager"]
    assert len((await scene.sessions()).active) == 1


async def test_a_manager_that_crashes_at_the_end_of_a_room_costs_no_job_its_end(
    scene: RoomsScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = scene.make()
    await scene.settle()
    scene.program.saboteur.slow_at(scene.session(room.sid), 1, 20.0)
    room.set_metadata("slow")  # So slow that the manager has to end the session
    await scene.settle()
    crash_once_while_publishing(monkeypatch)
    room.close()
    await scene.settle(10.0)
    assert scene.crashes() == ["/manager"]
    assert scene.program.table.records == {}
    assert len(scene.program.jobs.ends["AJ_0"]) == 1


def crash_once_while_publishing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fan-out itself raises, which no subscriber can make it do."""
    offer, failures = SubscriberFanOut.offer, [Injected("fan-out")]

    def crash(fan_out: SubscriberFanOut, state: SessionState, entry: TimelineEntry) -> None:
        if failures:
            raise failures.pop()
        offer(fan_out, state, entry)

    monkeypatch.setattr(SubscriberFanOut, "offer", crash)


async def test_an_event_that_the_fold_cannot_take_costs_only_itself(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    scene.world.tell_session(room, Tick(None))  # type: ignore[arg-type]
    room.join("bob")
    await scene.settle()
    assert scene.crashes() == [scene.session(room.sid)]
    assert scene.numbers(room.sid) == (2, 1, 2, 1)


@pytest.mark.parametrize("crashes", [True, False])
async def test_a_session_that_cannot_end_itself_ends_for_the_reason_that_its_connection_had(
    scene: RoomsScene, crashes: bool
) -> None:
    room = scene.make()
    await scene.settle()
    if crashes:
        scene.program.saboteur.raise_at(scene.session(room.sid), 1)
    else:  # Longer than a stop may take.
        scene.program.saboteur.slow_at(scene.session(room.sid), 1, 8.0)
    scene.delete_dispatch("AJ_0")
    await scene.settle(8.0)
    assert scene.state(room.sid).end_reason == "dispatch_deleted"
    assert room.sid in scene.program.table.declined
