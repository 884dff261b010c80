"""The actors of rooms, run as in production but in simulated rooms and virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve

from actors.rooms.messages import Assigned, Drain, RosterWanted, Terminated, WebhookReceived
from actors.rooms.recovery import INSIDE_INTERVAL, MISSING_TIMEOUT
from actors.rooms.reporter import ListSessions, Sessions
from actors.rooms.subscriber import SubscriberFanOut
from actors.runtime import Crashed, Ref, Restarting
from actors.session import SessionState, Tick, TimelineEntry, WebhookRoomStarted, totals
from actors.simulation.plan import Plan
from actors.simulation.simulated_rooms import SimulatedRoom
from actors.simulation.world import T0, World
from actors.testing.sabotage import Injected


class Rooms:
    """A stage without a plan: the test does what happens."""

    def __init__(self, stage: World) -> None:
        self.stage = stage
        self.announcements: list[tuple[str, dict[str, Any]]] = []

    def make(self, name: str = "atlas") -> SimulatedRoom:
        """A room with alice and her microphone, and a job for it."""
        room = self.stage.rooms.room(name)
        room.join("alice").publish("microphone")
        self.stage.assign(room)
        return room

    async def settled(self, seconds: float = 1.0) -> None:
        await trio.sleep(seconds)

    def state(self, room_sid: str) -> SessionState:
        record = self.stage.program.table.find_room(room_sid)
        if record is not None:
            return record.journal.state
        (journal,) = [
            one for one in self.stage.program.table.ended if one.state.room_sid == room_sid
        ]
        return journal.state

    def numbers(self, room_sid: str) -> tuple[int, int, int, int]:
        """People and tracks there now, and ever."""
        one = totals(self.state(room_sid), self.stage.our_time())
        return (one.participants, one.tracks, one.participants_total, one.tracks_total)

    def session(self, room_sid: str) -> str:
        return f"/rooms/{room_sid}/session"

    def connection(self, room_sid: str) -> Ref[Any]:
        record = self.stage.program.table.records[room_sid]
        assert record.connection is not None
        return record.connection

    def crashes(self) -> list[str]:
        return [
            signal.actor for signal in self.stage.program.signals if isinstance(signal, Crashed)
        ]

    def announced(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.announcements if name == event]

    async def sessions(self) -> Sessions:
        return await self.stage.program.reporter.ask(ListSessions, timeout=5.0)


@pytest.fixture
async def rooms(virtual_time: int) -> AsyncIterator[Rooms]:
    stage = World(Plan(0, (), rooms=0))
    rooms = Rooms(stage)
    announce = stage.announce

    def keep(event: str, /, **fields: Any) -> None:
        rooms.announcements.append((event, fields))
        announce(event, **fields)

    stage.announce = keep
    async with stage.running():
        yield rooms


async def test_who_was_there_before_us_is_counted(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    assert rooms.numbers(room.sid) == (1, 1, 1, 1)
    assert rooms.stage.program.jobs.running == {"AJ_0": 1}


async def test_a_session_that_crashes_before_it_publishes_keeps_its_numbers(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.record_faults = 1
    room.join("bob").publish("camera")
    await rooms.settled()
    assert rooms.numbers(room.sid) == (2, 2, 2, 2)
    assert rooms.crashes() == [rooms.session(room.sid)]


async def test_a_session_that_crashes_with_an_event_in_hand_finds_out_what_it_told(
    rooms: Rooms,
) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.program.saboteur.raise_at(rooms.session(room.sid), 1)
    room.join("bob").publish("camera")
    await rooms.settled()
    assert rooms.numbers(room.sid) == (2, 2, 2, 2)
    assert rooms.crashes() == [rooms.session(room.sid)]


async def test_a_job_that_comes_after_the_end_of_its_room_opens_nothing(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    room.close("room_deleted")
    await rooms.settled()
    assert rooms.stage.program.table.records == {}
    rooms.stage.assign(room)
    await rooms.settled()
    assert rooms.stage.program.table.records == {}
    assert rooms.state(room.sid).end_reason == "room_deleted"
    assert rooms.stage.program.jobs.ends == {"AJ_0": [None], "AJ_1": [None]}


async def test_no_other_room_notices_a_crash(rooms: Rooms) -> None:
    room, other = rooms.make("atlas"), rooms.make("borealis")
    await rooms.settled()
    rooms.stage.program.saboteur.raise_at(rooms.session(room.sid), 1)
    room.set_metadata("changed")
    other.join("carol")
    await rooms.settled()
    assert rooms.numbers(other.sid) == (2, 1, 2, 1)
    restarted = {s.actor for s in rooms.stage.program.signals if isinstance(s, Restarting)}
    assert restarted == {rooms.session(room.sid)}


async def test_a_connection_that_crashes_restarts_the_session_too_and_it_continues(
    rooms: Rooms,
) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.program.saboteur.raise_at(rooms.connection(room.sid).path, 1)
    rooms.connection(room.sid).tell(RosterWanted())
    await rooms.settled(2.0)
    room.join("bob")
    await rooms.settled()
    generations = {
        node.path.rsplit("/", 1)[1]: node.generation
        for part in rooms.stage.program.system.tree().children
        if part.path == "/rooms"
        for group in part.children
        for node in group.children
    }
    assert generations == {"connection": 2, "session": 2}
    assert rooms.numbers(room.sid) == (2, 1, 2, 1)
    assert len(room.watchers) == 1


@pytest.mark.seeds(8)
async def test_a_connection_that_crashes_on_its_way_out_does_not_go_in_again(
    rooms: Rooms,
) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.program.saboteur.raise_at(rooms.connection(room.sid).path, 1)
    rooms.stage.program.saboteur.slow_at(rooms.session(room.sid), 1, 0.5)
    room.set_metadata("slow")
    room.drop("participant_removed")
    rooms.connection(room.sid).tell(RosterWanted())
    await rooms.settled(5.0)
    assert room.watchers == []
    assert rooms.state(room.sid).end_reason == "removed"
    assert rooms.stage.program.table.records == {}


async def test_a_session_whose_connection_is_gone_already_restarts_without_it(
    rooms: Rooms,
) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.program.saboteur.raise_at(rooms.session(room.sid), 1)
    room.close()
    await rooms.settled()
    assert len(rooms.crashes()) == 1
    assert rooms.state(room.sid).ended
    assert rooms.stage.program.jobs.ends == {"AJ_0": [None]}


async def test_a_mailbox_that_overflows_makes_the_session_compare_with_the_room(
    rooms: Rooms,
) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.program.saboteur.slow_at(rooms.session(room.sid), 1, 1.0)
    for n in range(300):
        room.set_metadata(str(n))
    room.join("bob").publish("camera")
    await rooms.settled(3.0)
    assert rooms.numbers(room.sid) == (2, 2, 2, 2)
    assert rooms.state(room.sid).metadata == "299"
    assert rooms.crashes() == []


async def test_a_second_job_for_a_room_joins_its_session(rooms: Rooms) -> None:
    """It must not overwrite the session of that room name, and count from 0."""
    room = rooms.make()
    await rooms.settled()
    rooms.stage.assign(room)
    await rooms.settled()
    assert rooms.state(room.sid).job_ids == ("AJ_0", "AJ_1")
    assert rooms.stage.program.jobs.running == {"AJ_0": 1, "AJ_1": 1}
    assert len(room.watchers) == 1
    assert len((await rooms.sessions()).active) == 1


async def test_a_job_told_twice_is_taken_once(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    job = rooms.stage.program.table.records[room.sid].job
    rooms.stage.program.manager.tell(Assigned(job))
    await rooms.settled()
    assert rooms.stage.program.jobs.running == {"AJ_0": 1}


async def test_one_who_is_removed_with_a_second_job_goes_on_with_that(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.assign(room)
    await rooms.settled()
    room.drop("participant_removed")
    await rooms.settled()
    assert rooms.stage.program.jobs.ends == {"AJ_0": [None]}
    assert not rooms.state(room.sid).ended
    assert len(room.watchers) == 1


async def test_one_who_is_removed_without_another_job_ends(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    room.drop("participant_removed")
    await rooms.settled()
    assert rooms.state(room.sid).end_reason == "removed"
    assert rooms.stage.program.jobs.ends == {"AJ_0": [None]}


async def test_a_room_whose_dispatch_was_deleted_is_left_and_not_wanted_again(
    rooms: Rooms,
) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.program.manager.tell(Terminated("AJ_0"))
    await rooms.settled(3.0)
    assert rooms.state(room.sid).end_reason == "dispatch_deleted"
    assert room.sid in rooms.stage.program.table.declined
    assert room.watchers == []


async def test_the_end_of_a_job_in_a_room_that_is_gone_is_the_end_of_the_room(
    rooms: Rooms,
) -> None:
    """LiveKit closed the room while it let us in: we hear of nothing but the job."""
    room = rooms.make()
    await rooms.settled()
    room._rooms.forget(room)
    rooms.stage.program.manager.tell(Terminated("AJ_0"))
    await rooms.settled(3.0)
    assert rooms.state(room.sid).end_reason == "found_ended"
    assert room.sid not in rooms.stage.program.table.declined


async def test_a_room_that_ends_while_its_entry_hangs_is_given_up(rooms: Rooms) -> None:
    """LiveKit's SDK waits 15 s for it, and other rooms may wait for that entry."""
    rooms.stage.rooms.delay = lambda _: 15.0
    room = rooms.make()
    await rooms.settled()
    room._rooms.forget(room)
    await rooms.settled(2.0)
    assert rooms.state(room.sid).end_reason == "found_ended"
    assert rooms.stage.program.jobs.ends == {"AJ_0": [None]}


async def test_an_entry_that_takes_long_into_a_room_that_lives_goes_on(rooms: Rooms) -> None:
    rooms.stage.rooms.delay = lambda _: 10.0
    room = rooms.make()
    await rooms.settled(11.0)
    assert rooms.numbers(room.sid) == (1, 1, 1, 1)
    assert rooms.stage.program.jobs.running == {"AJ_0": 1}


async def test_the_end_of_a_job_because_we_connected_anew_is_not_the_end_of_our_stay(
    rooms: Rooms,
) -> None:
    """LiveKit takes who comes back for another participant, and ends the job of the first."""
    room = rooms.make()
    await rooms.settled()
    room.reconnecting()
    rooms.stage.program.manager.tell(Terminated("AJ_0"))
    await rooms.settled(1.0)
    room.reconnected()
    await rooms.settled(1.0)
    rooms.stage.program.manager.tell(Terminated("AJ_0"))
    await rooms.settled(5.0)
    assert rooms.state(room.sid).watching
    assert len(room.watchers) == 1
    assert room.sid not in rooms.stage.program.table.declined


async def test_a_job_ended_beside_the_one_that_watches_ends_alone(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.assign(room)
    rooms.stage.program.manager.tell(Terminated("AJ_1"))
    await rooms.settled(3.0)
    assert rooms.stage.program.jobs.ends == {"AJ_1": [None]}
    assert len(room.watchers) == 1


async def test_a_drain_tells_of_the_success_before_it_leaves_and_once(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    watching = list[int]()
    ended = rooms.stage.program.jobs.job_ended

    def job_ended(job_id: str, error: str | None = None) -> None:
        watching.append(len(room.watchers))
        ended(job_id, error)

    rooms.stage.program.jobs.job_ended = job_ended
    await rooms.stage.program.manager.ask(Drain, timeout=30.0)
    assert watching == [1]
    assert room.watchers == []
    assert rooms.stage.program.jobs.ends == {"AJ_0": [None]}
    assert rooms.state(room.sid).end_reason == "worker_stopped"


async def test_a_lost_connection_comes_back_to_the_same_life_with_a_gap(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.entry_delays[room.name] = 5.0
    room.drop(None)
    await rooms.settled(2.0)
    room.join("bob")
    await rooms.settled(10.0)
    state = rooms.state(room.sid)
    assert not state.ended
    assert rooms.numbers(room.sid) == (2, 1, 2, 1)
    watched = state.watched.total(rooms.stage.our_time())
    assert watched == pytest.approx(rooms.stage.our_time() - state.started_at - 5.0, abs=0.3)


async def test_a_lost_connection_to_a_room_that_is_gone_ends_with_server_lost(
    rooms: Rooms,
) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.rooms.forget(room)
    room.drop(None)
    await rooms.settled()
    assert rooms.state(room.sid).end_reason == "server_lost"
    assert rooms.stage.program.jobs.ends == {"AJ_0": [None]}


async def test_a_server_that_is_away_is_asked_until_it_is_back(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.server_down_until = trio.current_time() + 60.0
    room.drop(None)
    await rooms.settled(80.0)
    assert len(room.watchers) == 1
    assert not rooms.state(room.sid).ended


async def test_a_token_that_is_refused_fails_the_job_exactly_once(rooms: Rooms) -> None:
    rooms.stage.refusals["atlas"] = 1_000
    room = rooms.make()
    await rooms.settled(300.0)
    ((error,),) = rooms.stage.program.jobs.ends.values()
    assert error is not None
    assert "could not be entered: 401" in error
    assert rooms.stage.program.jobs.running == {}
    assert rooms.state(room.sid).ended


async def test_another_life_of_a_room_under_one_connection_is_another_session(
    rooms: Rooms,
) -> None:
    room = rooms.make()
    await rooms.settled()
    first = room.sid
    room.restart()
    room.join("bob")
    await rooms.settled()
    assert room.sid != first
    assert rooms.state(first).end_reason == "server_lost"
    assert rooms.numbers(first)[2:] == (1, 1)
    assert rooms.numbers(room.sid) == (1, 0, 1, 0)
    assert rooms.stage.program.table.summary(rooms.stage.our_time()).rooms == 2


async def test_a_message_while_reconnecting_is_of_the_life_that_is_found_then(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    first = room.sid
    room.reconnecting()
    room.send_data(b"of the new life, whose sender is not announced yet")
    room.restart()
    await rooms.settled()
    assert rooms.state(first).messages.total == 0
    assert rooms.state(room.sid).messages.total == 1


async def test_a_room_of_the_same_name_later_is_another_session(rooms: Rooms) -> None:
    first = rooms.make()
    await rooms.settled()
    first.close()
    await rooms.settled()
    second = rooms.make()
    await rooms.settled()
    assert rooms.state(first.sid).end_reason == "room_closed"
    assert rooms.numbers(second.sid) == (1, 1, 1, 1)


async def test_the_same_life_later_continues_its_session(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    room.drop("participant_removed")
    await rooms.settled(10.0)
    assert rooms.state(room.sid).ended
    rooms.stage.assign(room)
    await rooms.settled()
    assert not rooms.state(room.sid).ended
    assert rooms.state(room.sid).job_ids == ("AJ_0", "AJ_1")
    assert rooms.stage.program.table.summary(rooms.stage.our_time()).rooms == 1


async def test_a_room_that_was_being_deleted_when_we_came_in_is_left_once_livekit_has_none(
    rooms: Rooms,
) -> None:
    """Its server never says anything again to whoever is in it."""
    room, other = rooms.make("atlas"), rooms.make("borealis")
    await rooms.settled()
    rooms.stage.rooms.forget(room)
    await rooms.settled(2 * INSIDE_INTERVAL + MISSING_TIMEOUT)
    assert rooms.state(room.sid).end_reason == "found_ended"
    assert room.watchers == []
    assert rooms.stage.program.jobs.ends == {"AJ_0": [None]}
    assert not rooms.state(other.sid).ended


async def test_a_room_that_livekits_list_lacks_once_is_not_left(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.rooms.forget(room)
    await rooms.settled(INSIDE_INTERVAL + 5.0)
    rooms.stage.rooms._rooms[room.name] = room
    await rooms.settled(3 * INSIDE_INTERVAL)
    assert not rooms.state(room.sid).ended
    assert len(room.watchers) == 1


async def test_the_reporter_passes_over_a_session_that_is_stuck(rooms: Rooms) -> None:
    stuck, other = rooms.make("atlas"), rooms.make("borealis")
    await rooms.settled(28.0)
    rooms.stage.program.saboteur.slow_at(rooms.session(stuck.sid), 1, 20.0)
    stuck.set_metadata("stuck")
    await rooms.settled(5.0)
    assert [fields["room"] for fields in rooms.announced("room_status")] == [other.name]
    assert [fields["room"] for fields in rooms.announced("room_silent")] == [stuck.name]


async def test_status_and_report_say_what_is_there_now(rooms: Rooms) -> None:
    ended, live = rooms.make("atlas"), rooms.make("borealis")
    await rooms.settled()
    live.join("bob").send_data(b"{}")
    live.people["alice"].leave()
    ended.close()
    await rooms.settled(61.0)
    (status, *_) = rooms.announced("room_status")
    assert (status["room"], status["participants"], status["tracks"]) == ("borealis", 1, 0)
    assert status["messages"] == 1
    assert status["duration"] == pytest.approx(30.0, abs=1.0)
    report = {fields["room"]: fields for fields in rooms.announced("report_room")}
    assert report["atlas"]["status"] == "ended"
    assert report["borealis"]["status"] == "active"


async def test_the_summary_counts_everyone_and_everything_ever(rooms: Rooms) -> None:
    """It is not a count of who is there at the end, and no leaver's track stays open."""
    room = rooms.make()
    await rooms.settled()
    bob = room.join("bob")
    bob.publish("camera")
    bob.send_data(b"text")
    await rooms.settled()
    bob.leave()
    room.people["alice"].leave()
    await rooms.settled()
    assert rooms.numbers(room.sid) == (0, 0, 2, 2)
    room.close()
    await rooms.settled()
    summary = rooms.stage.program.table.summary(rooms.stage.our_time())
    assert (summary.rooms, summary.participants, summary.tracks, summary.messages) == (1, 2, 2, 1)


# ---------------------------------------------------------------- a manager that crashes


async def test_a_job_in_hand_when_the_manager_crashes_is_not_lost(rooms: Rooms) -> None:
    rooms.stage.program.saboteur.raise_at("/manager", 1)
    room = rooms.make()
    await rooms.settled()
    assert rooms.crashes() == ["/manager"]
    assert len(room.watchers) == 1
    assert rooms.stage.program.jobs.running == {"AJ_0": 1}


async def test_the_end_of_a_room_is_found_out_by_the_next_manager(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.program.saboteur.raise_at("/manager", 1)
    room.close()
    await rooms.settled()
    assert rooms.crashes() == ["/manager"]
    assert rooms.stage.program.table.records == {}
    assert rooms.stage.program.jobs.ends == {"AJ_0": [None]}


async def test_a_session_lost_track_of_is_found_again_by_the_next_manager(rooms: Rooms) -> None:
    rooms.stage.program.saboteur.raise_at("/manager", 2)  # Assigned, Opened
    rooms.make()
    await rooms.settled()
    assert rooms.crashes() == ["/manager"]
    assert len((await rooms.sessions()).active) == 1


async def test_a_manager_that_crashes_at_the_end_of_a_room_costs_no_job_its_end(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.program.saboteur.slow_at(rooms.session(room.sid), 1, 20.0)
    room.set_metadata("slow")  # so slow that the manager has to end the session
    await rooms.settled()
    crash_once_while_publishing(monkeypatch)
    room.close()
    await rooms.settled(10.0)
    assert rooms.crashes() == ["/manager"]
    assert rooms.stage.program.table.records == {}
    assert len(rooms.stage.program.jobs.ends["AJ_0"]) == 1


def crash_once_while_publishing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fan-out itself raises, which no subscriber can make it do."""
    offer, failures = SubscriberFanOut.offer, [Injected("fan-out")]

    def crash(fan_out: SubscriberFanOut, state: SessionState, entry: TimelineEntry) -> None:
        if failures:
            raise failures.pop()
        offer(fan_out, state, entry)

    monkeypatch.setattr(SubscriberFanOut, "offer", crash)


# ---------------------------------------------------------------- bad input


async def test_an_event_that_the_fold_cannot_take_costs_only_itself(rooms: Rooms) -> None:
    room = rooms.make()
    await rooms.settled()
    rooms.stage.tell_session(room, Tick(None))  # type: ignore[arg-type]
    room.join("bob")
    await rooms.settled()
    assert rooms.crashes() == [rooms.session(room.sid)]
    assert rooms.numbers(room.sid) == (2, 1, 2, 1)


async def test_a_job_whose_room_sid_is_not_known_takes_it_from_the_room(rooms: Rooms) -> None:
    room = rooms.stage.rooms.room("atlas")
    room.join("alice")
    rooms.stage.assign(room)
    job = evolve(rooms.stage.program.table.pending_jobs["AJ_0"], room_sid="")
    await rooms.settled()
    job = evolve(job, job_id="AJ_9", room="borealis")
    rooms.stage.program.table.assign(job)
    rooms.stage.rooms.room("borealis").join("bob")
    rooms.stage.program.manager.tell(Assigned(job))
    await rooms.settled()
    assert rooms.state(rooms.stage.rooms.room("borealis").sid).room == "borealis"


async def test_a_room_made_anew_goes_on_in_the_session_that_a_webhook_began(rooms: Rooms) -> None:
    """LiveKit tells of the new life before our own connection is back."""
    room = rooms.make()
    await rooms.settled()
    restart_sid = room.next_id("RM")
    room.reconnecting()
    webhook = WebhookReceived(
        room.name, restart_sid, WebhookRoomStarted(T0 + 1.0, T0 + 1.0, T0 + 1.0, "")
    )
    rooms.stage.program.manager.tell(webhook)
    await trio.sleep(0.1)
    room.sid = restart_sid
    room.reconnected()
    await trio.sleep(0.1)
    journals = rooms.stage.program.table.journals
    assert sorted(one.state.room_sid for one in journals).count(restart_sid) == 1
    record = rooms.stage.program.table.find_room(restart_sid)
    assert record is not None
    assert not record.journal.ended
    assert record.journal.state.watched_from is not None


async def test_a_job_for_a_room_made_anew_that_comes_first_makes_no_second_session(
    rooms: Rooms,
) -> None:
    """The reconciler sees the new life before our own connection is back."""
    room = rooms.make()
    await rooms.settled()
    room.reconnecting()
    room.sid = room.next_id("RM")
    rooms.stage.assign(room)
    await trio.sleep(0.1)
    room.reconnected()
    await trio.sleep(1.0)
    journals = rooms.stage.program.table.journals
    assert [one.state.room_sid for one in journals].count(room.sid) == 1
    assert [
        record.journal.state.room_sid for record in rooms.stage.program.table.records.values()
    ] == [room.sid]
    assert len(room.watchers) == 1
