"""The room manager: turns jobs into rooms, and the ends of rooms into the ends of jobs.

Each room has one group of actors, under the supervisor of all rooms.  A second job for the
same room instance joins the session that exists; a job for a room whose session ended
continues that session.  The end of each job is reported exactly once: a success, or a
failure with its reason when the room's group could not be restarted any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeAlias, final

from attrs import evolve

from actors.journal.journal import Journal
from actors.rooms.idle_sessions import IdleSessions
from actors.rooms.messages import (
    AgentUploaded,
    Assigned,
    Drain,
    EndSession,
    GiveUp,
    HandOver,
    JobAttached,
    JobReports,
    LeaveRoom,
    ListedRooms,
    ListRooms,
    LiveRoom,
    ReannounceSession,
    Recovered,
    Reported,
    RoomEntered,
    RoomGroupEnded,
    RoomsVanished,
    SessionReady,
    Terminated,
    VerifyDispatch,
    WebhookReceived,
)
from actors.rooms.room_group import RoomContext, RoomDependencies, room_group
from actors.rooms.room_port import RoomJob
from actors.rooms.room_table import RoomRecord, RoomTable
from actors.runtime import Actor, Exit, ExitKind, ReplyTo, Supervisor, receives
from actors.session import Disconnected, SessionBegan
from actors.session.end_reasons import DISPATCH_DELETED, SENT_OUT

ManagerMessage: TypeAlias = (
    Assigned
    | Terminated
    | SessionReady
    | RoomEntered
    | RoomGroupEnded
    | Recovered
    | RoomsVanished
    | GiveUp
    | HandOver
    | WebhookReceived
    | AgentUploaded
    | Reported
    | Drain
    | ListRooms
)


@final
class RoomManager(Actor[ManagerMessage]):
    """One incarnation.  `table` is what earlier ones left; `rooms` supervises the groups.

    A job is put into the table (`RoomTable.assign`) before the manager gets the message, so that
    a crash with the message in hand does not lose the job.
    """

    def __init__(
        self,
        table: RoomTable,
        rooms: Supervisor,
        reports: JobReports,
        dependencies: RoomDependencies,
    ) -> None:
        self._table = table
        self._rooms = rooms
        self._reports = reports
        self._dependencies = dependencies
        self._idle = IdleSessions(table, dependencies)
        self._drain_replies: list[ReplyTo[None]] = []

    async def started(self) -> None:
        if self.context.generation > 1:
            self._catch_up()

    def _catch_up(self) -> None:
        """A crash lost the message in hand: derive its content from table and supervisor."""
        for record in tuple(self._table.records.values()):
            group = self._rooms.children.get(record.key)
            if group is None:
                # Sessions end their journal themselves, unless they could not.
                kind = ExitKind.NORMAL if record.journal.ended else ExitKind.CRASHED
                self.room_group_ended(RoomGroupEnded(record.key, Exit(kind)))
            elif isinstance(group.unit, Supervisor) and "session" in group.unit.children:
                group.unit.ref("session").tell(ReannounceSession())
        self.context.ref.tell(Recovered())
        for job in self._table.pending_jobs.values():
            self.context.ref.tell(Assigned(job))
        if self._table.draining:
            self.context.start_soon(self._leave_all)

    # ------------------------------------------------------------ jobs

    @receives(Assigned)
    def assigned(self, message: Assigned) -> None:
        job = message.job
        if job.job_id in self._table.pending_jobs:
            self._take(job)
            self._table.remove_pending(job.job_id)

    def _take(self, job: RoomJob) -> None:
        if self._table.draining:
            self._reports.job_ended(job.job_id, "the worker is stopping")
            return
        key = job.room_sid or job.room
        record = self._table.records.get(key) or self._table.find_room(key)
        if record is None:
            if self._table.is_over(key):
                # The dispatch came too late.  Entering the room would make it anew.
                self._reports.job_ended(job.job_id)
            else:
                self._open(key, {job.job_id: job})
            return
        self._table.put(evolve(record, jobs={**record.jobs, job.job_id: job}))
        if record.leaving is None:
            if record.session is not None:
                record.session.tell(JobAttached(job.job_id))
            if record.entered:
                self._reports.job_running(job.job_id)

    def _open(self, key: str, jobs: Mapping[str, RoomJob]) -> None:
        job = next(iter(jobs.values()))
        dependencies = self._dependencies
        journal = self._table.remove_idle(key)
        if journal is None:
            journal = self._idle.begin(job.room, job.room_sid, tuple(jobs), job.created_at)
        else:
            for job_id in jobs:
                journal.attach(dependencies.clock(), job_id, dependencies.worker)
        dependencies.announce(
            "room_started", room=job.room, room_sid=job.room_sid or None, job_id=job.job_id
        )
        record = self._table.put(RoomRecord(key, job, journal, jobs))
        self._table.stop_declining(key)
        next_instance = partial(self._next_instance, key)
        tell = self.context.ref.tell
        memory = record.connection_memory
        room = RoomContext(key, job, journal, dependencies, tell, next_instance, memory)
        self._rooms.start_group(room_group(room))
        self._reports.capacity(len(self._table.records))

    def _next_instance(self, key: str, began: SessionBegan) -> Journal | None:
        journal = self._table.next_instance(key, began, self._dependencies.backlog)
        return None if journal is None else self._idle.fence_if_reserved(journal)

    @receives(Terminated)
    def terminated(self, message: Terminated) -> None:
        record = self._table.find_job(message.job_id)
        if record is None:
            return
        if message.job_id == record.job.job_id:
            if not record.is_reconnecting(self._dependencies.clock()):
                self._table.put(evolve(record, terminated=True))
                if record.connection is not None:
                    record.connection.tell(VerifyDispatch())
        else:
            jobs = {key: job for key, job in record.jobs.items() if key != message.job_id}
            self._table.put(evolve(record, jobs=jobs))
            self._reports.job_ended(message.job_id)

    # ------------------------------------------------------------ a room's actors

    @receives(SessionReady)
    def session_ready(self, message: SessionReady) -> None:
        before = self._table.records.get(message.key)
        if before is None:
            return
        if before.journal is not message.journal:
            self._table.add_idle(before.journal)
        record = self._table.put(
            evolve(
                before,
                session=message.session,
                connection=message.connection,
                journal=message.journal,
            )
        )
        for job_id in record.jobs:
            message.session.tell(JobAttached(job_id))
        if record.leaving is not None:
            message.connection.tell(record.leaving)
        elif record.terminated:
            message.connection.tell(VerifyDispatch())

    @receives(RoomEntered)
    def room_entered(self, message: RoomEntered) -> None:
        record = self._table.records.get(message.key)
        if record is None:
            return
        self._table.put(evolve(record, entered=True))
        for job_id in record.jobs:
            self._reports.job_running(job_id)

    @receives(RoomGroupEnded)
    def room_group_ended(self, message: RoomGroupEnded) -> None:
        record = self._table.records.get(message.key)
        if record is None:
            return
        journal, leaving = record.journal, record.leaving
        released = (
            leaving is not None
            and leaving.session_stays_open
            and message.end.kind is ExitKind.NORMAL
            and not self._table.draining
        )
        to_another = leaving is not None and leaving.to_another
        if not released:
            # Has an effect only where the actors could not end it: they crashed too often,
            # or were cancelled.
            order = record.connection_memory.end
            if order is None:
                order = EndSession(self._dependencies.clock(), "worker_stopped")
            journal.end(order.at, order.reason)
        elif to_another:
            journal.record(Disconnected(self._dependencies.clock(), None, "worker_stopped"))
        elif journal.state.watching:
            journal.record(Disconnected(self._dependencies.clock(), None))
        self._idle.publish(journal)
        # Nothing below can raise.  A crash above is repaired by the next incarnation.
        self._table.remove(message.key)
        self._table.add_idle(journal)
        if to_another:
            self._idle.give_away(journal)
        self._end_jobs(record, message.end, sent_out=released and not to_another)
        self._reports.capacity(len(self._table.records))
        self._answer_drains()

    def _end_jobs(self, record: RoomRecord, end: Exit, *, sent_out: bool) -> None:
        state = record.journal.state
        error = end.reason if end.kind is ExitKind.CRASHED else None
        others: dict[str, RoomJob] = {}
        sent_out = sent_out or state.end_reason in SENT_OUT
        if error is None and sent_out and not self._table.draining:
            others = {key: job for key, job in record.jobs.items() if job is not record.job}
        for job_id in record.jobs.keys() - others.keys():
            self._reports.job_ended(job_id, error)
        if others:
            self._open(state.room_sid, others)
        elif state.end_reason == DISPATCH_DELETED:
            self._table.decline(state.room_sid)

    # ------------------------------------------------------------ leaving

    @receives(Drain)
    def drain(self, message: Drain) -> None:
        self._drain_replies.append(message.reply_to)
        self._table.start_draining()
        self.context.start_soon(self._leave_all)

    async def _leave_all(self) -> None:
        """Report success to LiveKit first: an agent that has left has no status."""
        for record in tuple(self._table.records.values()):
            for job_id in record.jobs:
                self._reports.job_ended(job_id)
            self._table.put(evolve(record, jobs={}))
        for journal in tuple(self._table.unwatched.values()):
            self._idle.end(journal, self._dependencies.clock(), "worker_stopped")
        await self._reports.flush()
        for record in tuple(self._table.records.values()):
            self._leave(record, LeaveRoom("worker_stopped"))
        self._answer_drains()

    @receives(GiveUp)
    def give_up(self, message: GiveUp) -> None:
        record = self._table.find_room(message.room_sid)
        if record is not None and record.key in self._table.vacant_keys:
            self._leave(record, LeaveRoom("worker_stopped", session_stays_open=True))

    @receives(HandOver)
    def hand_over(self, message: HandOver) -> None:
        for sid in sorted(message.room_sids):
            record = self._table.find_room(sid)
            if record is not None:
                self._leave(record, LeaveRoom("worker_stopped", True, to_another=True))
            elif (journal := self._table.find_idle(sid)) is not None:
                self._idle.give_away(journal)

    def _leave(self, record: RoomRecord, order: LeaveRoom) -> None:
        self._table.put(evolve(record, leaving=order))
        if record.connection is not None:
            record.connection.tell(order)

    def _answer_drains(self) -> None:
        if self._table.draining and not self._table.records:
            for reply_to in self._drain_replies:
                reply_to.send(None)
            self._drain_replies.clear()

    # ------------------------------------------------------------ sessions without actors

    @receives(Recovered)
    def recovered(self, _: Recovered) -> None:
        """Take over what earlier runs or other workers left: an open session goes on, or its room
        is over."""
        table = self._table
        while (stored := table.next_recovered) is not None:
            self._idle.take_over(stored)
            table.remove_recovered()
        if table.loaded:
            self._dependencies.backlog.ready.set()

    @receives(RoomsVanished)
    def rooms_vanished(self, message: RoomsVanished) -> None:
        for sid in sorted(message.room_sids):
            journal = self._table.unwatched.get(sid)
            if journal is not None:
                self._idle.end(journal, message.at, "found_ended")
            record = self._table.find_room(sid)
            if record is not None and record.leaving is None:
                self._leave(record, LeaveRoom("found_ended"))

    @receives(WebhookReceived)
    def webhook_received(self, message: WebhookReceived) -> None:
        """Hand a webhook's report to the session of that room instance."""
        record = self._table.find_room(message.room_sid)
        if record is None:
            self._idle.take_webhook(message)
        elif record.session is not None:
            record.session.tell(message)

    @receives(AgentUploaded)
    def agent_uploaded(self, message: AgentUploaded) -> None:
        """Hand an upload to the session of that room instance.  Without one, it makes one."""
        record = self._table.find_room(message.room_sid)
        if record is None:
            self._idle.take_upload(message)
        elif record.session is not None:
            record.session.tell(message)

    @receives(Reported)
    def reported(self, message: Reported) -> None:
        """Take a report to a session in which no actor of ours is, and answer it."""
        self._idle.take_report(message)

    @receives(ListRooms)
    def list_rooms(self, message: ListRooms) -> None:
        live = tuple(
            LiveRoom(record.job.room, record.journal.state.room_sid, record.session)
            for record in self._table.records.values()
            if record.session is not None
        )
        ended = tuple(journal.state for journal in self._table.ended)
        message.reply_to.send(ListedRooms(live, ended, self._table.ended_count))
