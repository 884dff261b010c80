"""Simulated rooms keep the contract, and can be made to do what LiveKit does wrong."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from actors.session.events import (
    Disconnected,
    ParticipantJoined,
    ParticipantLeft,
    Reconnected,
    Reconnecting,
    RoomEvent,
)
from actors.simulation.simulated_person import SimulatedError
from actors.simulation.simulated_rooms import SimulatedRooms, Watcher
from tests.livekit.rooms.room_contract import Contract
from tests.livekit.rooms.room_stage import Recorder, SimulatedStage


@pytest.fixture
def stage(simulated: SimulatedStage) -> SimulatedStage:
    return simulated


class TestSimulatedRooms(Contract):
    """The contract."""


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def test_a_storm_may_begin_with_the_leaves(
    simulated: SimulatedStage, recorder: Recorder
) -> None:
    room = simulated.rooms.room(simulated.room)
    alice = room.join("alice")
    microphone = alice.publish("microphone")
    for early, order in (
        (False, (Reconnecting, ParticipantLeft)),
        (True, (ParticipantLeft, Reconnecting)),
    ):
        recorder.events.clear()
        async with simulated.open(recorder):
            room.storm(early=early)
            kinds = [type(event) for event in recorder.events]
            first, second = order
            assert kinds.index(first) < kinds.index(second)
            (back,) = recorder.all(Reconnected)
            assert [track.sid for track in back.roster.participants[0].tracks] == [microphone]
            assert [e.reason for e in recorder.all(ParticipantLeft)] == [None]
            assert [e.participant.sid for e in recorder.all(ParticipantJoined)] == [alice.sid]


async def test_a_restart_is_another_life_of_the_room(
    simulated: SimulatedStage, recorder: Recorder
) -> None:
    room = simulated.rooms.room(simulated.room, metadata="plans")
    alice = room.join("alice")
    async with simulated.open(recorder) as opened:
        room.restart()
        (back,) = recorder.all(Reconnected)
        assert back.roster.room_sid == room.sid != recorder.watching.roster.room_sid
        assert (back.roster.participants, back.roster.metadata) == ((), "")
        assert not alice.present
        again = room.join("alice")
        assert opened.roster().participants[0].sid == again.sid


async def test_watchers_can_lose_the_room_while_people_stay(
    simulated: SimulatedStage, recorder: Recorder
) -> None:
    room = simulated.rooms.room(simulated.room)
    room.join("alice")
    async with simulated.open(recorder) as opened:
        room.drop()
        assert await opened.closed() is None
    assert recorder.events[-1] == Disconnected(recorder.events[-1].at, None)
    assert list(room.people) == ["alice"]
    recorder.check_frame()


async def test_a_closed_room_frees_its_name_for_another_life(simulated: SimulatedStage) -> None:
    room = simulated.rooms.room(simulated.room)
    alice = room.join("alice")
    room.close()
    assert alice.left_reason == "room_closed"
    assert simulated.rooms.live == ()
    assert simulated.rooms.room(simulated.room).sid != room.sid


async def test_an_entry_takes_the_time_it_is_told_to_and_can_be_cancelled(
    simulated: SimulatedStage, recorder: Recorder, autojump_clock: trio.testing.MockClock
) -> None:
    simulated.rooms.delay = lambda job: 5.0
    before = trio.current_time()
    async with simulated.open(recorder):
        assert trio.current_time() - before == pytest.approx(5.0)
    with trio.move_on_after(1) as waiting:
        async with simulated.open(Recorder()):
            raise AssertionError("not reached")
    assert waiting.cancelled_caught
    assert simulated.rooms.room(simulated.room).watchers == []


async def test_anything_can_be_told_whether_it_is_true_or_not(
    simulated: SimulatedStage, recorder: Recorder
) -> None:
    room = simulated.rooms.room(simulated.room)
    async with simulated.open(recorder):
        lie = ParticipantLeft(1.0, "nobody", "PA_x", None)
        room.tell(lie)
        assert recorder.all(ParticipantLeft) == [lie]


def test_whoever_left_can_do_nothing_more(simulated: SimulatedStage) -> None:
    alice = simulated.rooms.room(simulated.room).join("alice")
    camera = alice.publish("camera")
    alice.leave()
    alice.leave()
    for act in (
        lambda: alice.publish("microphone"),
        lambda: alice.mute(camera),
        lambda: alice.send_text("hello"),
        lambda: alice.set_name("a"),
    ):
        with pytest.raises(SimulatedError, match="not in the room"):
            act()


def test_the_same_story_has_the_same_ids_and_times() -> None:
    def story() -> list[RoomEvent]:
        clock = iter(range(1000))
        rooms = SimulatedRooms(lambda: float(next(clock)))
        room = rooms.room("standup")
        events: list[RoomEvent] = []
        Watcher(room, events.append)
        alice = room.join("alice")
        alice.publish("microphone")
        alice.quality("poor")
        room.storm()
        alice.leave()
        return events

    first = story()
    assert first == story()
    assert len(first) > 8
