"""All monitors of a worker: jobs in, actors started, entries passed on, jobs ended.

One monitor is for one person and one dispatch.  LiveKit makes a new job where somebody leaves and
comes back, and does not end the one before.  So a job for a person whose monitor waits for the
return is added to that monitor.

It is a `Subscriber` of all sessions.  An entry of a room without monitors costs one look into a
dict; others go to the monitors that they concern, and to no others.

The end of a job is reported at once, and only once.  `JobKind.reports_success` says which ends
LiveKit gets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, final

import trio
from attrs import frozen

from actors.journal.process_ports import Announce, Clock
from actors.monitoring.monitor_actor import (
    CheckDue,
    JobDeleted,
    MonitorActor,
    MonitorDependencies,
    MonitorRecord,
    StateChanged,
    VideoMeasured,
)
from actors.monitoring.monitor_notes import MonitorEnd
from actors.monitoring.monitor_state import Monitor, MonitorSettings
from actors.monitoring.monitoring_request import BadRequest, MonitoringRequest, parse_request
from actors.rooms.messages import JobReports, MeasureVideo
from actors.rooms.room_control import RoomControl
from actors.rooms.room_port import RoomJob
from actors.rooms.room_table_view import RoomTableView
from actors.rooms.subscriber import Published, Subscriber
from actors.runtime import (
    ActorError,
    ChildSpec,
    Down,
    ExitKind,
    Intensity,
    MailboxSpec,
    Overflow,
    Policy,
    Ref,
    Restart,
    Supervisor,
    sleep,
)
from actors.session import SessionState, TimelineEntry

MAILBOX: Final = MailboxSpec(
    capacity=200, policies={Published: Policy(Overflow.DROP_OLDEST, limit=50)}
)
"""A monitor looks at states, not at entries, so a dropped entry only delays it."""
RESTARTS: Final = Intensity(restarts=5, within=60.0)
"""Restarts of one monitor.  When these are spent its own jobs fail, and nothing else does."""
MEASURE_TIMEOUT: Final = 8.0
"""Seconds for a connection to count the frames of its room."""
SUMMARIES: Final = 1_000
"""Monitors that are over and are in the summary one by one: the newest."""

_OF_THE_ROOM: Final = frozenset(
    ("session_started", "session_ended", "reconnecting", "reconnected", "suspended")
)


@frozen
class MonitorSummary:
    """One line of the summary at the end."""

    identity: str
    room: str
    duration: float
    """Seconds of presence."""
    speaking: float
    """Seconds of speech."""
    tracks: int
    quality: str | None
    """The last one."""


@final
class ParticipantMonitors(Subscriber):
    """See the module."""

    def __init__(
        self,
        supervisor: Supervisor,
        table: RoomTableView,
        *,
        settings: MonitorSettings,
        control: RoomControl,
        clock: Clock,
        announce: Announce,
        watch_room: Callable[[RoomJob], object],
    ) -> None:
        """`watch_room` has the room of a job watched that is not yet.  It may fail silently."""
        self._supervisor = supervisor
        self._table = table
        self._settings = settings
        self._clock = clock
        self._announce = announce
        self._watch_room = watch_room
        self._dependencies = MonitorDependencies(
            clock, announce, self._state_of, control, self._finish
        )
        self._by_room: dict[str, dict[str, list[MonitorRecord]]] = {}
        """Room SID, identity: the monitors that run."""
        self._by_job: dict[str, MonitorRecord] = {}
        self._refs: dict[str, Ref[Any]] = {}
        """By the id of each monitor's first job."""
        self._finished: deque[MonitorSummary] = deque(maxlen=SUMMARIES)
        self._measured_rooms: set[str] = set()
        """SIDs of the rooms whose connections were asked to measure videos."""
        self.count = 0
        """Monitors of this run."""

    # ---------------------------------------------------------------- jobs

    def assign(self, job: RoomJob, agent_name: str, reports: JobReports) -> None:
        """LiveKit gave us this job about a participant.  Called between two awaits."""
        try:
            request = parse_request(job.metadata)
        except BadRequest as error:
            self._announce(
                "monitor_refused",
                room=job.room,
                identity=job.participant_identity,
                job_id=job.job_id,
                error=str(error),
            )
            reports.job_ended(job.job_id, str(error))
            return
        record = self._waiting(job, agent_name)
        if record is None:
            record = self._open(job, request, agent_name, reports)
        record.jobs[job.job_id] = False
        self._by_job[job.job_id] = record
        if self._table.find_room(job.room_sid) is None:
            self._watch_room(job)
        self._refs[record.job.job_id].tell(StateChanged())

    def terminate(self, job_id: str) -> None:
        """LiveKit wants this job ended."""
        record = self._by_job.get(job_id)
        if record is None:
            return
        if len(record.jobs) > 1:
            del record.jobs[job_id], self._by_job[job_id]
            record.reports.job_ended(job_id)
        else:
            self._refs[record.job.job_id].tell(JobDeleted())

    def end_all(self, reason: str) -> None:
        """End every monitor.  Only when the worker stops."""
        for record in self.records():
            self._finish(record, MonitorEnd(reason))

    def _waiting(self, job: RoomJob, agent_name: str) -> MonitorRecord | None:
        """The monitor of the same person and dispatch, which goes on over the leaves."""
        for record in self._by_room.get(job.room_sid, {}).get(job.participant_identity, ()):
            same = record.agent_name == agent_name and record.job.dispatch_id == job.dispatch_id
            if same and not record.monitor.request.end_on_disconnect:
                return record
        return None

    def _open(
        self, job: RoomJob, request: MonitoringRequest, agent_name: str, reports: JobReports
    ) -> MonitorRecord:
        identity = job.participant_identity
        monitor = Monitor(
            job.room, identity, job.participant_sid, request, self._settings, self._clock()
        )
        record = MonitorRecord(job, agent_name, reports, monitor)
        self._by_room.setdefault(job.room_sid, {}).setdefault(identity, []).append(record)
        self.count += 1
        about = {"room": job.room, "identity": identity, "job_id": job.job_id}
        self._announce("monitor_started", **about)
        self._announce("monitor_created", **about)
        ref: Ref[Any] = self._supervisor.start_child(
            ChildSpec(
                job.job_id,
                lambda: MonitorActor(record, self._dependencies),
                restart=Restart.TRANSIENT,
                intensity=RESTARTS,
                mailbox=MAILBOX,
            )
        )
        self._refs[job.job_id] = ref
        ref.watch(lambda down: self._on_down(record, down))
        return record

    def _on_down(self, record: MonitorRecord, down: Down) -> None:
        """Its actor is over for good.  Has an effect only where the monitor itself is not."""
        error = down.reason if down.kind is ExitKind.CRASHED else None
        self._finish(record, MonitorEnd("its actor ended", error))

    def _finish(self, record: MonitorRecord, end: MonitorEnd) -> None:
        job = record.job
        if self._refs.pop(job.job_id, None) is None:
            return
        in_room = self._by_room[job.room_sid]
        in_room[job.participant_identity].remove(record)
        if not in_room[job.participant_identity]:
            del in_room[job.participant_identity]
        if not in_room:
            del self._by_room[job.room_sid]
        for job_id in record.jobs:
            del self._by_job[job_id]
            record.reports.job_ended(job_id, end.error)
        self._finished.append(self._summary_of(record))
        self._announce(
            "monitor_ended",
            room=job.room,
            identity=job.participant_identity,
            job_id=job.job_id,
            reason=end.reason,
            error=end.error,
        )

    # ---------------------------------------------------------------- entries of sessions

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        in_room = self._by_room.get(state.room_sid)
        if in_room is None:
            return
        if entry.event == "speakers_changed":
            for identity, records in in_room.items():
                listed = identity in state.speaking
                for record in records:
                    if record.listed != listed:
                        record.listed = listed
                        self._publish(record, state, entry)
        elif entry.event in _OF_THE_ROOM:
            for records in tuple(in_room.values()):
                for record in tuple(records):
                    self._publish(record, state, entry)
        else:
            for record in in_room.get(entry.data.get("identity", ""), ()):
                self._publish(record, state, entry)

    def _publish(self, record: MonitorRecord, state: SessionState, entry: TimelineEntry) -> None:
        self._refs[record.job.job_id].tell(Published(state, entry))

    def _state_of(self, room_sid: str) -> SessionState | None:
        record = self._table.records.get(room_sid)  # Its key, but after another instance began.
        if record is None or record.journal.state.room_sid != room_sid:
            record = self._table.find_room(room_sid)
        journal = self._table.find_idle(room_sid) if record is None else record.journal
        return None if journal is None else journal.state

    # ---------------------------------------------------------------- reports

    async def measure_videos_every(self, seconds: float) -> None:
        """Count the frames of the videos that monitors watch, for ever."""
        while True:
            await sleep(seconds)
            await self.measure_videos()

    async def measure_videos(self) -> None:
        """One question a room: the frames of all its videos that are watched."""
        rooms = {sid: self._videos_of(sid) for sid in self._by_room}
        wanted = {sid for sid, videos in rooms.items() if videos}
        asked = wanted | self._measured_rooms
        self._measured_rooms = wanted
        async with trio.open_nursery() as nursery:
            for sid in asked:
                nursery.start_soon(self._measure_room, sid, rooms.get(sid, frozenset()))

    def _videos_of(self, room_sid: str) -> frozenset[str]:
        in_room = self._by_room[room_sid].values()
        return frozenset(
            sid for records in in_room for record in records for sid in record.monitor.videos
        )

    async def _measure_room(self, room_sid: str, videos: frozenset[str]) -> None:
        room = self._table.find_room(room_sid)
        if room is None or room.connection is None:
            return
        try:
            frames = await room.connection.ask(
                partial(MeasureVideo, videos), timeout=MEASURE_TIMEOUT
            )
        except ActorError:
            return  # The room is being left, or its connection restarts.
        at = self._clock()
        for records in tuple(self._by_room.get(room_sid, {}).values()):
            for record in records:
                if record.monitor.videos:
                    self._refs[record.job.job_id].tell(VideoMeasured(at, frames))

    async def report_every(self, seconds: float) -> None:
        """The health check and the monitoring line, for ever."""
        while True:
            await sleep(seconds)
            self.report()

    def report(self) -> None:
        """Have every monitor do its health check, and announce the monitoring line."""
        for ref in self._refs.values():
            ref.tell(CheckDue())
        present = [record.monitor for record in self.records() if record.monitor.present]
        if present:
            self._announce(
                "monitoring_report",
                active=len(present),
                speaking=sum(monitor.speaking for monitor in present),
                poor=sum(monitor.warned for monitor in present),
            )

    @property
    def running(self) -> int:
        """Monitors that run."""
        return len(self._refs)

    def summaries(self) -> Sequence[MonitorSummary]:
        """Every monitor of this run, those that run last; of very many the newest."""
        return (*self._finished, *map(self._summary_of, self.records()))

    def _summary_of(self, record: MonitorRecord) -> MonitorSummary:
        monitor, now = record.monitor, self._clock()
        return MonitorSummary(
            monitor.identity,
            monitor.room,
            monitor.duration(now),
            monitor.speaking_total(now),
            monitor.tracks_total,
            monitor.quality,
        )

    def records(self) -> list[MonitorRecord]:
        """Every monitor that runs."""
        by_identity = self._by_room.values()
        return [one for people in by_identity for records in people.values() for one in records]
