"""Jobs: which of them watches a room, and how each of them ends.  In virtual time."""

from __future__ import annotations

import pytest
import trio
from attrs import evolve

from actors.rooms.messages import Assigned, Drain, RosterWanted, Terminated
from tests.rooms.rooms_scene import RoomsScene


async def test_a_job_that_comes_after_the_end_of_its_room_opens_nothing(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    room.close("room_deleted")
    await scene.settle()
    assert scene.program.table.records == {}
    scene.world.assign(room)
    await scene.settle()
    assert scene.program.table.records == {}
    assert scene.state(room.sid).end_reason == "room_deleted"
    assert scene.program.jobs.ends == {"AJ_0": [None], "AJ_1": [None]}


async def test_a_second_job_for_a_room_joins_its_session(scene: RoomsScene) -> None:
    """It must not overwrite the session of that room name, and count from 0."""
    room = scene.make()
    await scene.settle()
    scene.world.assign(room)
    await scene.settle()
    assert scene.state(room.sid).job_ids == ("AJ_0", "AJ_1")
    assert scene.program.jobs.running == {"AJ_0": 1, "AJ_1": 1}
    assert len(room.watchers) == 1
    assert len((await scene.sessions()).active) == 1


async def test_a_job_that_is_assigned_twice_is_taken_once(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    job = scene.program.table.records[room.sid].job
    scene.program.manager.tell(Assigned(job))
    await scene.settle()
    assert scene.program.jobs.running == {"AJ_0": 1}


async def test_a_connection_that_is_removed_goes_on_with_a_second_job(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    scene.world.assign(room)
    await scene.settle()
    room.drop("participant_removed")
    await scene.settle()
    assert scene.program.jobs.ends == {"AJ_0": [None]}
    assert not scene.state(room.sid).ended
    assert len(room.watchers) == 1


async def test_a_session_that_is_removed_without_another_job_ends(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    room.drop("participant_removed")
    await scene.settle()
    assert scene.state(room.sid).end_reason == "removed"
    assert scene.program.jobs.ends == {"AJ_0": [None]}


async def test_a_room_whose_dispatch_was_deleted_is_left_and_not_wanted_again(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    scene.delete_dispatch("AJ_0")
    await scene.settle(3.0)
    assert scene.state(room.sid).end_reason == "dispatch_deleted"
    assert room.sid in scene.program.table.declined
    assert room.watchers == []


async def test_the_end_of_a_job_in_a_room_that_has_ended_is_the_end_of_the_room(
    scene: RoomsScene,
) -> None:
    """LiveKit closed the room while we entered: only the end of the job is reported."""
    room = scene.make()
    await scene.settle()
    room._rooms.forget(room)
    scene.program.manager.tell(Terminated("AJ_0"))
    await scene.settle(3.0)
    assert scene.state(room.sid).end_reason == "found_ended"
    assert room.sid not in scene.program.table.declined


async def test_the_end_of_a_job_whose_entry_failed_is_not_the_end_of_the_room(
    scene: RoomsScene,
) -> None:
    """LiveKit ends a job when its participant leaves, and an entry that fails is such a leave."""
    scene.world.entries.unreachable["atlas"] = 1
    scene.world.rooms.delay = lambda _: 2.0
    room = scene.make()
    await scene.settle(2.1)
    scene.program.manager.tell(Terminated("AJ_0"))
    await scene.settle(5.0)
    assert scene.numbers(room.sid) == (1, 1, 1, 1)
    assert len(room.watchers) == 1
    assert room.sid not in scene.program.table.declined
    assert scene.program.jobs.ends == {}


async def test_the_end_of_a_job_before_our_connection_is_known_to_be_lost_is_not_the_end(
    scene: RoomsScene,
) -> None:
    """The server knows before the SDK that our participant is gone."""
    room = scene.make()
    await scene.settle(20.0)
    scene.program.manager.tell(Terminated("AJ_0"))
    await scene.settle(0.5)
    room.reconnecting()
    await scene.settle(5.0)
    room.reconnected()
    await scene.settle()
    assert scene.state(room.sid).watching
    assert room.sid not in scene.program.table.declined


@pytest.mark.parametrize("unreachable", [False, True], ids=["at once", "after an outage"])
async def test_a_dispatch_that_is_deleted_while_its_room_is_entered_is_honoured(
    scene: RoomsScene, unreachable: bool
) -> None:
    scene.world.rooms.delay = lambda _: 10.0
    room = scene.make()
    await scene.settle(0.5)
    if unreachable:
        scene.world.server_down_until = trio.current_time() + 4.0
    scene.delete_dispatch("AJ_0")
    await scene.settle(8.0)
    assert scene.state(room.sid).end_reason == "dispatch_deleted"
    assert room.sid in scene.program.table.declined
    assert scene.program.jobs.running == {}
    assert scene.program.jobs.ends == {"AJ_0": [None]}
    assert room.watchers == []


async def test_a_deleted_dispatch_is_honoured_also_if_the_connection_crashes_meanwhile(
    scene: RoomsScene,
) -> None:
    room = scene.make()
    await scene.settle()
    scene.delete_dispatch("AJ_0")
    await scene.settle(0.5)
    scene.program.saboteur.raise_at(scene.connection(room.sid).path, 1, "connection_crash")
    scene.connection(room.sid).tell(RosterWanted())
    await scene.settle(8.0)
    assert scene.crashes() == [f"/rooms/{room.sid}/connection"]
    assert scene.state(room.sid).end_reason == "dispatch_deleted"
    assert room.watchers == []


async def test_a_room_that_ends_while_its_entry_hangs_is_given_up(scene: RoomsScene) -> None:
    """LiveKit's SDK waits 15 s for it, and other rooms may wait for that entry."""
    scene.world.rooms.delay = lambda _: 15.0
    room = scene.make()
    await scene.settle()
    room._rooms.forget(room)
    await scene.settle(2.0)
    assert scene.state(room.sid).end_reason == "found_ended"
    assert scene.program.jobs.ends == {"AJ_0": [None]}


async def test_an_entry_that_takes_long_into_a_room_that_lives_goes_on(scene: RoomsScene) -> None:
    scene.world.rooms.delay = lambda _: 10.0
    room = scene.make()
    await scene.settle(11.0)
    assert scene.numbers(room.sid) == (1, 1, 1, 1)
    assert scene.program.jobs.running == {"AJ_0": 1}


async def test_the_end_of_a_job_because_we_connected_anew_is_not_the_end_of_our_stay(
    scene: RoomsScene,
) -> None:
    """LiveKit treats our return as another participant and ends the job of the first."""
    room = scene.make()
    await scene.settle()
    room.reconnecting()
    scene.program.manager.tell(Terminated("AJ_0"))
    await scene.settle(1.0)
    room.reconnected()
    await scene.settle(1.0)
    scene.program.manager.tell(Terminated("AJ_0"))
    await scene.settle(5.0)
    assert scene.state(room.sid).watching
    assert len(room.watchers) == 1
    assert room.sid not in scene.program.table.declined


async def test_a_job_ended_beside_the_one_that_watches_ends_alone(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    scene.world.assign(room)
    scene.program.manager.tell(Terminated("AJ_1"))
    await scene.settle(3.0)
    assert scene.program.jobs.ends == {"AJ_1": [None]}
    assert len(room.watchers) == 1


async def test_a_drain_reports_the_success_before_it_leaves_and_once(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    watching = list[int]()
    ended = scene.program.jobs.job_ended

    def job_ended(job_id: str, error: str | None = None) -> None:
        watching.append(len(room.watchers))
        ended(job_id, error)

    scene.program.jobs.job_ended = job_ended
    await scene.program.manager.ask(Drain, timeout=30.0)
    assert watching == [1]
    assert room.watchers == []
    assert scene.program.jobs.ends == {"AJ_0": [None]}
    assert scene.state(room.sid).end_reason == "worker_stopped"


async def test_a_token_that_is_refused_fails_the_job_exactly_once(scene: RoomsScene) -> None:
    scene.world.entries.refused["atlas"] = 1_000
    room = scene.make()
    await scene.settle(300.0)
    ((error,),) = scene.program.jobs.ends.values()
    assert error is not None
    assert "could not be entered: 401" in error
    assert scene.program.jobs.running == {}
    assert scene.state(room.sid).ended


async def test_a_job_whose_room_sid_is_not_known_takes_it_from_the_room(scene: RoomsScene) -> None:
    room = scene.world.rooms.room("atlas")
    room.join("alice")
    scene.world.assign(room)
    job = evolve(scene.program.table.pending_jobs["AJ_0"], room_sid="")
    await scene.settle()
    job = evolve(job, job_id="AJ_9", room="borealis")
    scene.program.table.assign(job)
    scene.world.rooms.room("borealis").join("bob")
    scene.program.manager.tell(Assigned(job))
    await scene.settle()
    assert scene.state(scene.world.rooms.room("borealis").sid).room == "borealis"
