"""The recorder on a simulated egress, in virtual time: exactly one recording, and never a hang."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import define, evolve, field

from actors.recording.recorder import Recorder
from actors.recording.recorder_messages import EndRecording, RecordingResult, RecordRoom
from actors.recording.session_access import SessionAccess
from actors.runtime import ChildSpec, Ref, open_system
from actors.session import (
    RecordingChanged,
    Roster,
    SessionBegan,
    SessionEnded,
    SessionState,
    Tick,
    Watching,
    fold,
)
from actors.session.events import RoomEvent
from actors.session.recording_reports import RecordingRequest
from actors.session.recordings import LOST_AFTER
from actors.simulation.simulated_egress import (
    LATE,
    EgressFault,
    SimulatedEgress,
    SimulatedRecording,
)
from actors.simulation.simulated_rooms import SimulatedRooms

REQUEST = RecordingRequest(layout="grid")


@define(eq=False)
class DurableSessions(SessionAccess):
    """Sessions as a worker has them; `kill` gives those that are on the disk."""

    states: dict[str, SessionState] = field(factory=dict[str, SessionState])
    durable: dict[str, SessionState] = field(factory=dict[str, SessionState])
    told: list[str] = field(factory=list[str])
    """The timeline's events."""
    disk_works: bool = True

    async def ready(self) -> None:
        await trio.lowlevel.checkpoint()

    def find(self, room_sid: str) -> SessionState | None:
        return self.states.get(room_sid)

    def all(self) -> Iterable[SessionState]:
        return list(self.states.values())

    async def report(self, room_sid: str, report: RoomEvent) -> SessionState | None:
        await trio.lowlevel.checkpoint()
        return self.fold(room_sid, report) if room_sid in self.states else None

    def fold(self, room_sid: str, record: object) -> SessionState:
        state, entries = fold(self.states[room_sid], record)  # pyright: ignore[reportArgumentType]
        self.states[room_sid] = state
        self.told += [entry.event for entry in entries]
        return state

    async def store(self, room_sid: str) -> None:
        await trio.sleep(0.05)
        if not self.disk_works:
            await trio.sleep_forever()
        self.durable = dict(self.states)

    def kill(self) -> None:
        self.states = dict(self.durable)


@define(eq=False)
class Stage:
    """Rooms, their sessions and LiveKit's egress; recorders come and go."""

    rooms: SimulatedRooms
    sessions: DurableSessions
    egress: SimulatedEgress
    fault: EgressFault | None = None
    limit: int = 10
    webhooks: bool = False

    def open_room(self, name: str = "atlas") -> str:
        room = self.rooms.room(name)
        room.join("alice")
        began = SessionBegan(now(), name, room.sid, (), "worker", "agent", now())
        state, _ = fold(None, began)
        state, _ = fold(state, Watching(now(), Roster(room.sid, "", (), now(), False)))
        self.sessions.states[room.sid] = self.sessions.durable[room.sid] = state
        return room.sid

    @asynccontextmanager
    async def recorder(self) -> AsyncGenerator[Ref[RecordRoom | EndRecording], None]:
        async with open_system() as system:
            yield system.supervisor.start_child(
                ChildSpec(
                    "recorder",
                    lambda: Recorder(self.egress, self.sessions, clock=now, limit=self.limit),
                )
            )

    async def start(
        self, recorder: Ref[RecordRoom | EndRecording], sid: str, intent: str = "i1"
    ) -> RecordingResult:
        room = self.sessions.states[sid].room
        return await recorder.ask(
            lambda reply: RecordRoom(room, sid, intent, "keep", REQUEST, reply), timeout=600.0
        )

    async def stop(self, recorder: Ref[RecordRoom | EndRecording], sid: str) -> RecordingResult:
        return await recorder.ask(lambda reply: EndRecording(sid, "keep", reply), timeout=600.0)

    @property
    def made(self) -> list[SimulatedRecording]:
        return list(self.egress.recordings.values())


def now() -> float:
    return 1_790_000_000.0 + trio.current_time()


@pytest.fixture
async def stage() -> AsyncGenerator[Stage, None]:
    async with trio.open_nursery() as nursery:
        rooms, sessions = SimulatedRooms(now), DurableSessions()

        def room_says(recording: SimulatedRecording) -> None:
            """The events that a watcher of the room receives."""
            recorded = bool(stage.egress.running(recording.room))
            if recording.room.sid in sessions.states:
                sessions.fold(recording.room.sid, RecordingChanged(now(), recorded))

        egress = SimulatedEgress(rooms, nursery, now, room_says)
        stage = Stage(rooms, sessions, egress)
        egress.fault = lambda: stage.fault
        yield stage
        nursery.cancel_scope.cancel()


async def test_a_recording_is_started_followed_and_stopped(
    autojump_clock: object, stage: Stage
) -> None:
    sid = stage.open_room()
    async with stage.recorder() as recorder:
        began = trio.current_time()
        result = await stage.start(recorder, sid)
        assert result.outcome == "started"
        assert trio.current_time() - began < 5
        (made,) = stage.made
        assert (made.state.intent, made.state.status) == ("i1", "active")
        assert stage.sessions.states[sid].recordings[result.egress_id].rule == "keep"
        assert (await stage.stop(recorder, sid)).outcome == "stopped"
        assert stage.sessions.states[sid].recordings[result.egress_id].file == "atlas.mp4"
        assert (await stage.stop(recorder, sid)).outcome == "not_running"
    assert [one for one in stage.sessions.told if one != "room_recording"] == [
        "recording_requested",
        "recording_started",
        "recording_ended",
    ]


async def test_livekit_is_asked_only_when_the_intent_is_on_the_disk(
    autojump_clock: object, stage: Stage
) -> None:
    sid = stage.open_room()
    on_disk: list[bool] = []

    def at_the_start() -> None:
        on_disk.append("i1" in stage.sessions.durable[sid].recording_intents)

    stage.egress.fault = at_the_start
    async with stage.recorder() as recorder:
        assert (await stage.start(recorder, sid)).outcome == "started"
    assert on_disk == [True]


async def test_a_disk_that_takes_nothing_is_an_error_and_no_recording(
    autojump_clock: object, stage: Stage
) -> None:
    sid = stage.open_room()
    stage.sessions.disk_works = False
    async with stage.recorder() as recorder:
        result = await stage.start(recorder, sid)
    assert (result.outcome, result.retry) == ("failed", True)
    assert "store" in result.error
    assert not stage.made
    assert stage.sessions.told == ["recording_requested", "recording_failed"]


@pytest.mark.parametrize(
    "fault, part, retry",
    [
        ("no_redis", "Redis", False),
        ("refused", "refuses", False),
        ("no_worker", "no response", True),
        ("hangs", "no answer", True),
    ],
)
async def test_a_start_that_fails_says_why_and_holds_up_nobody(
    autojump_clock: object, stage: Stage, fault: EgressFault, part: str, retry: bool
) -> None:
    sid, other = stage.open_room(), stage.open_room("borealis")
    results: dict[str, tuple[RecordingResult, float]] = {}
    stage.egress.fault = lambda: fault if not stage.made and "i1" in asked else None
    asked, began = {"i1"}, trio.current_time()

    async def record(room_sid: str, intent: str) -> None:
        result = await stage.start(recorder, room_sid, intent)
        results[intent] = (result, trio.current_time() - began)

    async with stage.recorder() as recorder, trio.open_nursery() as nursery:
        nursery.start_soon(record, sid, "i1")
        await trio.sleep(0.1)
        asked.clear()
        nursery.start_soon(record, other, "i2")
    result, at = results["i1"]
    assert (result.outcome, result.retry) == ("failed", retry)
    assert part in result.error
    assert at < 70
    assert results["i2"][0].outcome == "started"
    assert results["i2"][1] < 5
    assert not stage.sessions.states[sid].recording_intents
    assert stage.sessions.told.count("recording_failed") == 1


async def test_a_second_wish_while_ours_runs_does_nothing_and_says_so(
    autojump_clock: object, stage: Stage
) -> None:
    sid = stage.open_room()
    results: list[RecordingResult] = []

    async def record(intent: str) -> None:
        results.append(await stage.start(recorder, sid, intent))

    async with stage.recorder() as recorder:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(record, "i1")
            nursery.start_soon(record, "i2")
        assert sorted(one.outcome for one in results) == ["running", "started"]
        again = await stage.start(recorder, sid, "i3")
        assert (again.outcome, again.egress_id) == ("running", stage.made[0].state.egress_id)
        first = next(one for one in stage.made).state.intent
        assert (await stage.start(recorder, sid, first)).outcome == "started"
    assert len(stage.made) == 1


async def test_no_more_recordings_than_the_limit(autojump_clock: object, stage: Stage) -> None:
    stage.limit = 2
    sids = [stage.open_room(name) for name in ("a", "b", "c")]
    async with stage.recorder() as recorder:
        outcomes = [await stage.start(recorder, sid, sid) for sid in sids]
        assert [one.outcome for one in outcomes] == ["started", "started", "failed"]
        assert "limit is 2" in outcomes[2].error
        await stage.stop(recorder, sids[0])
        assert (await stage.start(recorder, sids[2], "again")).outcome == "started"


async def test_one_that_stays_in_starting_is_stopped_and_tried_again_a_few_times(
    autojump_clock: object,
    stage: Stage,
) -> None:
    sid = stage.open_room()
    stage.fault = "stays_starting"
    async with stage.recorder() as recorder:
        result = await stage.start(recorder, sid)
    assert (result.outcome, result.retry) == ("failed", True)
    assert [one.state.intent for one in stage.made] == ["i1", "i1.2", "i1.3"]
    assert all(one.state.is_over for one in stage.made)


@pytest.mark.parametrize("fault", [None, "late", "no_worker", "hangs"])
@pytest.mark.parametrize(
    "killed_after", [0.0, 0.03, 0.06, 0.065, 0.075, 0.5, 5.0, LATE + 0.1, 25.0]
)
async def test_a_kill_at_any_moment_leaves_one_recording_of_an_intent(
    autojump_clock: object, stage: Stage, fault: EgressFault | None, killed_after: float
) -> None:
    sid = stage.open_room()
    stage.fault = fault
    with trio.move_on_after(killed_after):
        async with stage.recorder() as recorder:
            await stage.start(recorder, sid)
    stage.sessions.kill()
    stage.fault = None
    known = sid in stage.sessions.states and (
        stage.sessions.states[sid].recording_intents or stage.sessions.states[sid].recordings
    )
    async with stage.recorder() as recorder:
        # A rule that was about to record does so again, with the same key.
        result = await stage.start(recorder, sid)
        await trio.sleep(100)
    assert result.outcome in ("started", "running"), (result, known)
    assert [one.state.intent for one in stage.made] == ["i1"]
    one = stage.sessions.states[sid].recordings[stage.made[0].state.egress_id]
    assert (one.intent, one.rule, one.status) == ("i1", "keep", "active")


async def test_an_egress_that_carries_no_key_is_known_by_what_it_records(
    autojump_clock: object, stage: Stage
) -> None:
    sid = stage.open_room()
    stage.fault = "late"
    with trio.move_on_after(0.5):
        async with stage.recorder() as recorder:
            await stage.start(recorder, sid)
    stage.sessions.kill()
    await trio.sleep(LATE)
    (made,) = stage.made
    made.state = evolve(made.state, intent="")
    async with stage.recorder():
        await trio.sleep(5)
    assert len(stage.made) == 1
    assert stage.sessions.states[sid].recordings[made.state.egress_id].intent == "i1"


async def test_a_dead_worker_is_noticed_and_does_not_block_the_next_recording(
    autojump_clock: object,
    stage: Stage,
) -> None:
    sid = stage.open_room()
    async with stage.recorder() as recorder:
        first = await stage.start(recorder, sid)
        stage.egress.kill_worker(stage.made[0])
        stage.sessions.fold(sid, RecordingChanged(now(), False))
        await trio.sleep(LOST_AFTER)
        stage.sessions.fold(sid, Tick(now()))
        assert stage.sessions.told[-1] == "recording_lost"
        failed = await stage.stop(recorder, sid)
        assert (failed.outcome, "does not answer" in failed.error) == ("failed", True)
        second = await stage.start(recorder, sid, "i2")
        assert second.outcome == "started"
        assert second.egress_id != first.egress_id


async def test_a_dead_worker_is_noticed_at_the_end_of_its_room_too(
    autojump_clock: object, stage: Stage
) -> None:
    sid = stage.open_room()
    async with stage.recorder() as recorder:
        await stage.start(recorder, sid)
        stage.egress.kill_worker(stage.made[0])
        stage.sessions.fold(sid, SessionEnded(now(), "room_closed"))
        await trio.sleep(100)
    assert stage.sessions.told[-1] == "recording_lost"


async def test_a_stop_that_was_wanted_before_a_kill_is_carried_out_after_it(
    autojump_clock: object, stage: Stage
) -> None:
    sid = stage.open_room()
    with trio.move_on_after(60):
        async with stage.recorder() as recorder:
            await stage.start(recorder, sid)
            stage.egress.reachable = lambda: False
            stopped = await stage.stop(recorder, sid)
            assert (stopped.outcome, stopped.retry) == ("failed", True)
            await stage.sessions.store(sid)
            await trio.sleep_forever()
    stage.sessions.kill()
    stage.egress.reachable = lambda: True
    async with stage.recorder():
        await trio.sleep(5)
    assert stage.made[0].state.status == "complete"
    assert stage.sessions.told[-1] == "recording_ended"


async def test_livekit_that_forgot_a_recording_ends_it(
    autojump_clock: object, stage: Stage
) -> None:
    sid = stage.open_room()
    async with stage.recorder() as recorder:
        result = await stage.start(recorder, sid)
        stage.egress.recordings.clear()
        await trio.sleep(15)
    one = stage.sessions.states[sid].recordings[result.egress_id]
    assert one.status == "aborted"
    assert "not know" in (one.error or "")
