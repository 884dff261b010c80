"""The room manager: turns jobs into rooms, and the ends of rooms into the ends of jobs.

One group of actors a room, under the supervisor of all rooms.  A second job for the
same life of a room joins the session that is there; a job for a room whose session
ended continues that session.  Each job's end is told exactly once: a success, or a
failure with its reason when the room's group could not be kept alive.
"""

from __future__ import annotations

from functools import partial
from typing import Final, TypeAlias, final

from actors.journal.archive import StoredSession
from actors.journal.journal import Journal
from actors.rooms.messages import (
    Assigned,
    Drain,
    GiveUp,
    JobAttached,
    JobReports,
    LeaveRoom,
    ListRooms,
    LiveRoom,
    ReannounceSession,
    Recovered,
    RoomEntered,
    RoomGroupEnded,
    RoomList,
    RoomsVanished,
    RosterWanted,
    SessionReady,
    Terminated,
    WebhookReceived,
)
from actors.rooms.room_group import RoomDependencies, room_group
from actors.rooms.room_port import RoomJob
from actors.rooms.room_table import UNWATCHED_LIMIT, RoomRecord, RoomTable
from actors.runtime import Actor, Exit, ExitKind, ReplyTo, Supervisor, receives
from actors.session import Disconnected, EndReason, SessionBegan, WebhookRoomFinished
from actors.session.ends import DISPATCH_DELETED, SENT_OUT

GRACE: Final = 1.0
"""Seconds between LiveKit's word that a job is to end and our leaving by ourselves.

A removed agent and a deleted room are announced the same way, with the room's own
`disconnected` 4 to 20 ms behind; only a deleted dispatch leaves us in the room (for 3 s).
"""

"""End reasons after which another job of ours for the room takes over."""

ManagerMessage: TypeAlias = (
    Assigned
    | Terminated
    | SessionReady
    | RoomEntered
    | RoomGroupEnded
    | Recovered
    | RoomsVanished
    | GiveUp
    | WebhookReceived
    | Drain
    | ListRooms
)


@final
class RoomManager(Actor[ManagerMessage]):
    """One incarnation; `table` is what earlier ones left.  `rooms` supervises the groups.

    A job is put into the table (`Book.given`) before it is told, so that a crash with it in
    hand does not lose it.
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
        self._drained: list[ReplyTo[None]] = []

    async def started(self) -> None:
        if self.context.generation > 1:
            self._find_out()

    def _find_out(self) -> None:
        """What the message that was lost in a crash had told is found out from what is there."""
        for held in tuple(self._table.records.values()):
            group = self._rooms.children.get(held.key)
            if group is None:
                # Sessions end their journal themselves, unless they could not.
                kind = ExitKind.NORMAL if held.journal.ended else ExitKind.CRASHED
                self.gone(RoomGroupEnded(held.key, Exit(kind)))
            elif isinstance(group.unit, Supervisor) and "session" in group.unit.children:
                group.unit.ref("session").tell(ReannounceSession())
        self.context.ref.tell(Recovered())
        for job in self._table.pending_jobs.values():
            self.context.ref.tell(Assigned(job))
        if self._table.draining:
            self.context.start_soon(self._leave_all)

    @receives(Assigned)
    def assigned(self, message: Assigned) -> None:
        job = message.job
        if job.job_id in self._table.pending_jobs:
            self._take(job)
            del self._table.pending_jobs[job.job_id]

    def _take(self, job: RoomJob) -> None:
        if self._table.draining:
            self._reports.job_ended(job.job_id, "the worker is stopping")
            return
        key = job.room_sid or job.room
        held = self._table.records.get(key) or self._table.find_room(key)
        if held is None:
            if self._table.is_over(key):
                # A dispatch that came too late.  To go there would make the room anew.
                self._reports.job_ended(job.job_id)
            else:
                self._open(key, {job.job_id: job})
            return
        held.jobs[job.job_id] = job
        if held.leaving is None:
            if held.session is not None:
                held.session.tell(JobAttached(job.job_id))
            if held.entered:
                self._reports.job_running(job.job_id)

    def _open(self, key: str, jobs: dict[str, RoomJob]) -> None:
        job = next(iter(jobs.values()))
        dependencies = self._dependencies
        journal = self._table.remove_idle(key)
        if journal is None:
            journal = self._begin(job.room, job.room_sid, tuple(jobs), job.created_at)
        else:
            for job_id in jobs:
                journal.attach(dependencies.clock(), job_id, dependencies.worker)
        dependencies.announce(
            "room_started", room=job.room, room_sid=job.room_sid or None, job_id=job.job_id
        )
        self._table.records[key] = RoomRecord(key, job, journal, jobs)
        self._table.declined.pop(key, None)
        next_instance = partial(self._table.next_instance, key, backlog=dependencies.backlog)
        self._rooms.start_group(
            room_group(key, job, journal, dependencies, self.context.ref.tell, next_instance)
        )
        self._reports.capacity(len(self._table.records))

    @receives(SessionReady)
    def opened(self, message: SessionReady) -> None:
        held = self._table.records.get(message.key)
        if held is None:
            return
        held.session, held.connection = message.session, message.connection
        if held.journal is not message.journal:
            self._table.add_idle(held.journal)
            held.journal = message.journal
        for job_id in held.jobs:
            held.session.tell(JobAttached(job_id))
        if held.leaving is not None:
            held.connection.tell(held.leaving)

    @receives(RoomEntered)
    def entered(self, message: RoomEntered) -> None:
        held = self._table.records.get(message.key)
        if held is None:
            return
        held.entered = True
        for job_id in held.jobs:
            self._reports.job_running(job_id)

    @receives(Terminated)
    def terminated(self, message: Terminated) -> None:
        held = self._table.find_job(message.job_id)
        if held is None:
            return
        if message.job_id == held.job.job_id:
            if not self._comes_back(held):
                self._leave(held, LeaveRoom("dispatch_deleted", GRACE))
        else:
            del held.jobs[message.job_id]
            self._reports.job_ended(message.job_id)

    def _comes_back(self, held: RoomRecord) -> bool:
        """Whether our own connection is, or was just, down.

        Whoever connects anew is another participant for LiveKit, and it ends the job of the
        one before; we stay.  Where the dispatch was deleted all the same, it removes us.
        """
        state = held.journal.state
        blind = state.watched_from is not None and not state.watching
        return blind or self._dependencies.clock() < state.roster_complete_at

    @receives(Drain)
    def drain(self, message: Drain) -> None:
        self._drained.append(message.reply_to)
        self._table.draining = True
        self.context.start_soon(self._leave_all)

    async def _leave_all(self) -> None:
        """LiveKit hears of the success first: an agent that is gone has no status."""
        for held in self._table.records.values():
            for job_id in held.jobs:
                self._reports.job_ended(job_id)
            held.jobs.clear()
        for journal in tuple(self._table.unwatched.values()):
            self._end_unwatched(journal, self._dependencies.clock(), "worker_stopped")
        await self._reports.flush()
        for held in self._table.records.values():
            self._leave(held, LeaveRoom("worker_stopped"))
        self._answer_drained()

    @receives(GiveUp)
    def give_up(self, message: GiveUp) -> None:
        held = self._table.find_room(message.room_sid)
        if held is not None and held.key in self._table.vacant_keys:
            self._leave(held, LeaveRoom("worker_stopped", session_stays_open=True))

    def _leave(self, held: RoomRecord, order: LeaveRoom) -> None:
        held.leaving = order
        if held.connection is not None:
            held.connection.tell(order)

    @receives(RoomGroupEnded)
    def gone(self, message: RoomGroupEnded) -> None:
        held = self._table.records.get(message.key)
        if held is None:
            return
        journal = held.journal
        given_up = (
            held.leaving is not None
            and held.leaving.session_stays_open
            and message.end.kind is ExitKind.NORMAL
            and not self._table.draining
        )
        if not given_up:
            # Only where its actors could not: they crashed too often, or were cancelled.
            journal.end(self._dependencies.clock(), "worker_stopped")
        elif journal.state.watching:
            journal.record(Disconnected(self._dependencies.clock(), None))
        self._tell(journal)
        # From here on nothing can raise: until here the next incarnation would do it again.
        del self._table.records[message.key]
        self._table.add_idle(journal)
        self._end_jobs(held, message.end, sent_out=given_up)
        self._reports.capacity(len(self._table.records))
        self._answer_drained()

    def _end_jobs(self, held: RoomRecord, end: Exit, *, sent_out: bool) -> None:
        state = held.journal.state
        error = end.reason if end.kind is ExitKind.CRASHED else None
        others: dict[str, RoomJob] = {}
        sent_out = sent_out or state.end_reason in SENT_OUT
        if error is None and sent_out and not self._table.draining:
            others = {key: job for key, job in held.jobs.items() if job is not held.job}
        for job_id in held.jobs.keys() - others.keys():
            self._reports.job_ended(job_id, error)
        if others:
            self._open(state.room_sid, others)
        elif state.end_reason == DISPATCH_DELETED:
            self._table.decline(state.room_sid)

    def _answer_drained(self) -> None:
        if self._table.draining and not self._table.records:
            for reply_to in self._drained:
                reply_to.send(None)
            self._drained.clear()

    # -- sessions that no actor of ours is in

    @receives(Recovered)
    def recovered(self, _: Recovered) -> None:
        """Take over what earlier runs left: what was open goes on, or is found to be over."""
        table = self._table
        while table.recovered:
            self._take_over(table.recovered[0])
            table.recovered.popleft()
        if table.loaded:
            self._dependencies.backlog.ready.set()

    def _take_over(self, kept: StoredSession) -> None:
        table, state = self._table, kept.state
        seen_until = max(state.last_at, table.alive_at or 0.0)
        held = table.find_room(state.room_sid)
        known = table.find_idle(state.room_sid) if held is None else held.journal
        if known is not None:
            # The archive could not be read for a while, and this session was begun anew.
            if known.number != kept.session:
                known.adopt(kept, seen_until)
            if held is None:
                table.remove_idle(state.room_sid)
                table.add_idle(known)
            elif held.connection is not None:
                held.connection.tell(RosterWanted())
            return
        journal = Journal.resume(kept, self._dependencies.backlog)
        if not state.ended:
            journal.record(Disconnected(seen_until, None, "worker_failed"))
        elif state.end_reason == DISPATCH_DELETED:
            table.decline(state.room_sid)
        self._tell(journal)
        table.add_idle(journal)

    @receives(RoomsVanished)
    def found_over(self, message: RoomsVanished) -> None:
        for sid in sorted(message.room_sids):
            journal = self._table.unwatched.get(sid)
            if journal is not None:
                self._end_unwatched(journal, message.at, "found_ended")
            held = self._table.find_room(sid)
            if held is not None and held.leaving is None:
                self._leave(held, LeaveRoom("found_ended"))

    @receives(WebhookReceived)
    def said(self, message: WebhookReceived) -> None:
        """What a webhook told goes to the session of that life of the room."""
        event, sid = message.event, message.room_sid
        held = self._table.find_room(sid)
        if held is not None:
            if held.session is not None:
                held.session.tell(event)
            return
        journal = self._table.find_idle(sid)
        if journal is None:
            if self._table.draining or len(self._table.unwatched) >= UNWATCHED_LIMIT:
                return
            journal = self._begin(message.room, sid, (), None)
            self._table.add_idle(journal)
        journal.record(event)
        self._tell(journal)
        if isinstance(event, WebhookRoomFinished) and not journal.ended:
            self._end_unwatched(journal, event.at, "found_ended")

    def _end_unwatched(self, journal: Journal, at: float, reason: EndReason) -> None:
        journal.end(at, reason)
        self._tell(journal)
        self._table.add_idle(journal)
        del self._table.unwatched[journal.state.room_sid]

    def _begin(
        self, room: str, room_sid: str, job_ids: tuple[str, ...], created_at: float | None
    ) -> Journal:
        dependencies = self._dependencies
        began = SessionBegan(
            dependencies.clock(),
            room=room,
            room_sid=room_sid,
            job_ids=job_ids,
            worker=dependencies.worker,
            agent_name=dependencies.agent_name,
            created_at=created_at,
            person_key=dependencies.person_key,
        )
        return Journal.begin(began, dependencies.backlog)

    def _tell(self, journal: Journal) -> None:
        while journal.unpublished:
            self._dependencies.publish(journal.state, journal.unpublished.popleft())

    # -- what others ask

    @receives(ListRooms)
    def list_rooms(self, message: ListRooms) -> None:
        live = tuple(
            LiveRoom(held.job.room, held.journal.state.room_sid, held.session)
            for held in self._table.records.values()
            if held.session is not None
        )
        ended = tuple(journal.state for journal in self._table.ended)
        message.reply_to.send(RoomList(live, ended, self._table.ended_count))
