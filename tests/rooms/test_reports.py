"""Numbers of sessions: polled, logged and summed up.  In virtual time."""

from __future__ import annotations

import pytest

from actors.rooms.reporter import POLL_DEADLINE
from actors.simulation.simulated_program import REPORT_EVERY, STATUS_EVERY
from tests.rooms.rooms_scene import RoomsScene


async def test_people_who_were_there_before_us_are_counted(scene: RoomsScene) -> None:
    room = scene.make()
    await scene.settle()
    assert scene.numbers(room.sid) == (1, 1, 1, 1)
    assert scene.program.jobs.running == {"AJ_0": 1}


async def test_the_reporter_passes_over_a_session_that_is_stuck(scene: RoomsScene) -> None:
    stuck, other = scene.make("atlas"), scene.make("borealis")
    await scene.settle(STATUS_EVERY - 2.0)
    scene.program.saboteur.slow_at(scene.session(stuck.sid), 1, 20.0)
    stuck.set_metadata("stuck")
    await scene.settle(5.0)
    assert [fields["room"] for fields in scene.announced("room_status")] == [other.name]
    assert [fields["room"] for fields in scene.announced("room_silent")] == [stuck.name]


async def test_status_and_report_say_what_is_there_now(scene: RoomsScene) -> None:
    ended, live = scene.make("atlas"), scene.make("borealis")
    await scene.settle()
    live.join("bob").send_data(b"{}")
    live.people["alice"].leave()
    ended.close()
    await scene.settle(REPORT_EVERY + 1.0)
    (status, *_) = scene.announced("room_status")
    assert (status["room"], status["participants"], status["tracks"]) == ("borealis", 1, 0)
    assert status["messages"] == 1
    assert status["duration"] == pytest.approx(STATUS_EVERY, abs=1.0)
    report = {fields["room"]: fields for fields in scene.announced("report_room")}
    assert report["atlas"]["status"] == "ended"
    assert report["borealis"]["status"] == "active"


async def test_the_summary_counts_everyone_and_everything_ever(scene: RoomsScene) -> None:
    """It counts more than those present at the end, and no leaver's track stays open."""
    room = scene.make()
    await scene.settle()
    bob = room.join("bob")
    bob.publish("camera")
    bob.send_data(b"text")
    await scene.settle()
    bob.leave()
    room.people["alice"].leave()
    await scene.settle()
    assert scene.numbers(room.sid) == (0, 0, 2, 2)
    room.close()
    await scene.settle()
    summary = scene.program.table.summary(scene.world.our_time())
    assert (summary.rooms, summary.participants, summary.tracks, summary.messages) == (1, 2, 2, 1)


async def test_500_sessions_are_polled_under_one_deadline(scene: RoomsScene) -> None:
    """Each is slow for most of the deadline: one after the other they would need 400 s."""
    rooms = [scene.make(f"room-{number}") for number in range(500)]
    await scene.settle()
    for room in rooms:
        scene.program.saboteur.slow_at(scene.session(room.sid), 1, 0.8 * POLL_DEADLINE)
        room.set_metadata("slow")
    sessions = await scene.sessions()
    assert (len(sessions.active), sessions.silent) == (500, ())
    for room, state in zip(rooms, sessions.active, strict=True):
        assert state is scene.state(room.sid), "not copied"
