"""The actor of one monitor: gets the entries of its room's session, and does what is due.

Its record outlives it, so a crash loses nothing: the next incarnation compares the record with
the session's newest state.  Messages to people go out one after another in a task of their own,
because a server that does not answer must not hold up the monitor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any, Final, final

import trio
from attrs import define, field, frozen

from actors.journal.process_ports import Announce, Clock
from actors.monitoring import participant_monitor
from actors.monitoring.monitor_notes import LogNote, MonitorEnd, Note, PersonMessage
from actors.monitoring.monitor_state import Monitor
from actors.monitoring.participant_monitor import Observation
from actors.monitoring.video_watch import with_frames
from actors.rooms.messages import JobReports
from actors.rooms.room_control import RoomControl, RoomControlError
from actors.rooms.room_port import RoomJob
from actors.rooms.subscriber import SubscriberActor
from actors.runtime import Context, Timer, receives
from actors.session import SessionState, TimelineEntry

MOST_UNSENT: Final = 20
"""Messages of one monitor that wait for the server.  Those beyond are dropped and counted."""
TOPIC: Final = "participant-monitor"
"""The topic of our messages to people."""


@frozen
class CheckDue:
    """Time for the health check."""


@frozen
class VideoMeasured:
    """Frames of the room's videos, by SID of the track."""

    at: float
    """Unix seconds."""
    frames: Mapping[str, int]


@frozen
class TimeDue:
    """Something of the monitor is due."""


@frozen
class JobDeleted:
    """LiveKit ended the job."""


@frozen
class StateChanged:
    """A job was added, or the room is watched now: look at the session's newest state."""


@define(eq=False)
class MonitorRecord:
    """One monitor and its jobs.  It outlives the incarnations of its actor."""

    job: RoomJob
    """The first job."""
    agent_name: str
    """Name of the agent that was dispatched.  Messages contain it, because they have no sender."""
    reports: JobReports
    """Takes reports about this kind of job."""
    monitor: Monitor
    jobs: dict[str, bool] = field(factory=dict[str, bool])
    """Jobs of LiveKit for this monitor, and whether each was reported as running.  There are
    several where the person left and came back."""
    listed: bool = False
    """True if the last entry that was passed on had the person among the speakers."""
    dropped_messages: int = 0


@frozen
class MonitorDependencies:
    """The parts that all monitors share."""

    clock: Clock
    announce: Announce
    state_of: Callable[[str], SessionState | None]
    """The newest state of a room's session, by room SID; None if there is none in memory."""
    control: RoomControl
    finish: Callable[[MonitorRecord, MonitorEnd], object]
    """Takes a monitor that is over."""


@final
class MonitorActor(SubscriberActor):
    """One incarnation of one monitor."""

    def __init__(self, record: MonitorRecord, dependencies: MonitorDependencies) -> None:
        self._record = record
        self._dependencies = dependencies
        self._timer: Timer | None = None
        self._due = inf
        self._messages: trio.MemorySendChannel[PersonMessage] | None = None

    async def started(self) -> None:
        self.look(StateChanged())

    @receives(StateChanged)
    def look(self, _: StateChanged) -> None:
        """Compare the monitor with the session's newest state."""
        state = self._dependencies.state_of(self._record.job.room_sid)
        if state is None:
            self._take((self._record.monitor, ()))
        else:
            self._observe(state, self._dependencies.clock())

    async def on_entry(self, state: SessionState, entry: TimelineEntry) -> None:
        """Look at the newest state: that of the entry may be older than what was seen before."""
        newest = self._dependencies.state_of(self._record.job.room_sid)
        at = max(entry.at, self._record.monitor.began_at)
        self._observe(state if newest is None else newest, at)

    @receives(TimeDue)
    def time_due(self, _: TimeDue) -> None:
        self._timer, self._due = None, inf
        self._take(participant_monitor.pass_time(self._record.monitor, self._dependencies.clock()))

    @receives(VideoMeasured)
    def video_measured(self, message: VideoMeasured) -> None:
        self._take(with_frames(self._record.monitor, message.frames, message.at))

    @receives(CheckDue)
    def check_due(self, _: CheckDue) -> None:
        self._take(participant_monitor.check(self._record.monitor, self._dependencies.clock()))

    @receives(JobDeleted)
    def job_deleted(self, _: JobDeleted) -> None:
        self._take(participant_monitor.terminate(self._record.monitor, self._dependencies.clock()))

    def _observe(self, state: SessionState, at: float) -> None:
        self._take(participant_monitor.observe(self._record.monitor, state, at))

    def _take(self, observation: Observation) -> None:
        record = self._record
        record.monitor, notes = observation
        if record.monitor.watched:
            self._report_running()
        for note in notes:
            self._act(note)
        if record.monitor.over:
            self.context.stop()
        else:
            self._set_timer()

    def _report_running(self) -> None:
        for job_id, reported in self._record.jobs.items():
            if not reported:
                self._record.jobs[job_id] = True
                self._record.reports.job_running(job_id)

    def _act(self, note: Note) -> None:
        record = self._record
        if isinstance(note, LogNote):
            self._announce(note.event, **note.fields)
        elif isinstance(note, PersonMessage):
            self._send(note)
        else:
            self._dependencies.finish(record, note)

    def _announce(self, event: str, /, **fields: Any) -> None:
        monitor, job = self._record.monitor, self._record.job
        self._dependencies.announce(
            event, room=job.room, identity=monitor.identity, job_id=job.job_id, **fields
        )

    def _set_timer(self) -> None:
        due = participant_monitor.next_deadline(self._record.monitor)
        if due == self._due:
            return
        self._due = due
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due != inf:
            delay = max(0.0, due - self._dependencies.clock())
            context: Context[Any] = self.context
            self._timer = context.after(delay, TimeDue())

    # ---------------------------------------------------------------- messages to people

    def _send(self, message: PersonMessage) -> None:
        if self._messages is None:
            self._messages, receive = trio.open_memory_channel[PersonMessage](MOST_UNSENT)
            self.context.start_soon(self._send_all, receive)
        try:
            self._messages.send_nowait(message)
        except trio.WouldBlock:
            self._record.dropped_messages += 1

    async def _send_all(self, messages: trio.MemoryReceiveChannel[PersonMessage]) -> None:
        job, refused = self._record.job, 0
        async for message in messages:
            identities = self._identities(message)
            if not identities:
                continue
            payload = {**message.payload, "agent": self._record.agent_name}
            try:
                await self._dependencies.control.send(
                    job.room, json.dumps(payload).encode(), topic=TOPIC, identities=identities
                )
            except RoomControlError as error:
                refused += 1
                if refused & (refused - 1) == 0:
                    self._announce("monitor_message_failed", error=str(error), failures=refused)

    def _identities(self, message: PersonMessage) -> Sequence[str]:
        """The identities that get it.  With an empty list LiveKit would send it to everybody, so
        the caller does not send it then."""
        own = self._record.monitor.identity
        if message.to == "person":
            return (own,)
        state = self._dependencies.state_of(self._record.job.room_sid)
        if state is None:
            return ()
        there = state.present.items()
        return tuple(one for one, person in there if one != own and person.takes_part)
