"""The room table: which rooms are watched, and which sessions are in memory.

It outlives an incarnation of the manager.  The manager is the one that writes it; others read
it through `RoomTableView`.  Five methods are for others, because a crash of the manager must
not lose what they bring, or because they cannot wait for it:

* `assign`, for the part that takes LiveKit's jobs: the manager gets the message afterwards;
* `load`, for the recovery: the manager gets the message afterwards;
* `add_recovered`, for the keeper of leases: the manager gets the message afterwards;
* `next_instance`, for the actor of a room's session, which needs the journal at once;
* `end_all`, for the program's hurried end, when no actor runs any more.

Each is one synchronous step on the trio thread and leaves the table whole.  Records are
immutable: the manager replaces them, so nobody sees one that is half changed.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, final

from attrs import evolve, field, frozen

from actors.journal.archive import RecoveredSessions, StoredSession
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.rooms.connection_actor import ConnectionMemory
from actors.rooms.final_summary import RunningSummary, Summary
from actors.rooms.messages import ConnectionMessage, LeaveRoom
from actors.rooms.room_port import RoomJob
from actors.runtime import Ref
from actors.session import SessionBegan
from actors.session.end_reasons import CONTINUABLE, SEEN_ENDS, UNWANTED

FINISHED_LIMIT: Final = 300
"""Sessions in memory whose room is over; older ones are only added up.
LiveKit's webhooks may still correct these, and the report names the newest."""
CONTINUABLE_LIMIT: Final = 1_000
"""Ended sessions in memory whose room may live on: they may be continued."""
UNWATCHED_LIMIT: Final = 5_000
"""Sessions that are known from webhooks only, or from an earlier run."""
DECLINED_LIMIT: Final = 10_000
"""Rooms that we remember because their dispatch was deleted while we were in them."""


@frozen
class RoomRecord:
    """One room that we are in, or on the way into or out of."""

    key: str
    """The room's SID as its first job named it; the name of the supervisor group."""
    job: RoomJob
    """The job whose participant we are."""
    journal: Journal
    """Only the session's actor records into it; the manager does while none runs."""
    jobs: Mapping[str, RoomJob] = field(factory=dict[str, RoomJob])
    """Every job of ours for this room that has not ended, `job` among them."""
    session: Ref[Any] | None = None
    connection: Ref[ConnectionMessage] | None = None
    entered: bool = False
    terminated: bool = False
    """LiveKit has ended `job`, and perhaps because its dispatch was deleted."""
    leaving: LeaveRoom | None = None
    """The order to go, once there is one."""
    connection_memory: ConnectionMemory = field(factory=ConnectionMemory)
    """Memory of the room's connection actor.  It outlives the incarnations of that actor."""

    def is_reconnecting(self, now: float) -> bool:
        """True if our connection to the room is down and may come back, or did a moment ago.

        After a reconnect LiveKit takes us for another participant and ends the job of the
        first one.  We stay then.  If the dispatch was really deleted, LiveKit removes us.
        """
        state = self.journal.state
        return state.reconnecting or (state.watching and now < state.roster_complete_at)


@final
class RoomTable:
    """See the module.  Implements `RoomTableView`."""

    def __init__(self) -> None:
        self._draining = False
        self._pending_jobs: dict[str, RoomJob] = {}
        self._records: dict[str, RoomRecord] = {}
        self._declined: OrderedDict[str, None] = OrderedDict()
        self._recovered: deque[StoredSession] = deque()
        self._loaded = False
        self._alive_at: float | None = None
        self._unwatched: dict[str, Journal] = {}
        self._finished: OrderedDict[str, Journal] = OrderedDict()
        """Sessions whose room is over, by room SID, in the order of their ends."""
        self._continuable: OrderedDict[str, Journal] = OrderedDict()
        """Ended sessions whose room may live on, by room SID, in the order of their ends."""
        self._older = RunningSummary()

    # ------------------------------------------------- for others than the manager

    def assign(self, job: RoomJob) -> None:
        """LiveKit gave us this job.  It is pending until the manager has dealt with it."""
        self._pending_jobs[job.job_id] = job

    def load(self, earlier: RecoveredSessions) -> None:
        """Add the archive's sessions of earlier runs.  The manager takes them over one by one."""
        self._loaded = True
        self._recovered.extend(earlier.sessions)
        self._alive_at = earlier.alive_at

    def add_recovered(self, stored: StoredSession) -> None:
        """Add the session of a room that another worker watched.  The manager takes it over."""
        self._recovered.append(stored)

    def next_instance(self, key: str, began: SessionBegan, backlog: Backlog) -> Journal | None:
        """The journal of the next instance of the room of `key`, which its connection is in.

        For the actor of that room's session, whose journal has ended.  A webhook may have
        begun a session of the next instance already: then that one goes on.  None where the
        manager has a record of it, because a job for it came first.
        """
        if self.find_room(began.room_sid) is not None:
            return None
        journal = self.remove_idle(began.room_sid)
        if journal is None:
            journal = Journal.begin(began, backlog)
        else:
            for job_id in began.job_ids:
                journal.attach(began.at, job_id, began.worker)
        record = self._records.get(key)
        if record is not None:
            self.add_idle(record.journal)
            self._records[key] = evolve(record, journal=journal)
        return journal

    def end_all(self, at: float, reason: str, publish: Callable[[Journal], object]) -> None:
        """End every open session and have each published.  Only when no actor runs any more."""
        watched = (record.journal for record in self._records.values())
        for journal in (*watched, *self._unwatched.values()):
            journal.end(at, reason)
            publish(journal)

    # ------------------------------------------------- for the manager

    def start_draining(self) -> None:
        """From here on no job is taken, and every room is left."""
        self._draining = True

    def remove_pending(self, job_id: str) -> None:
        """The manager has dealt with this job."""
        del self._pending_jobs[job_id]

    def remove_recovered(self) -> None:
        """The manager has taken over the first of the recovered sessions."""
        self._recovered.popleft()

    def put(self, record: RoomRecord) -> RoomRecord:
        """Add a record, or replace the one of its key."""
        self._records[record.key] = record
        return record

    def remove(self, key: str) -> None:
        """Nothing of ours is in that room any more."""
        del self._records[key]

    def decline(self, room_sid: str) -> None:
        """Remember that this room's dispatch was deleted while we were in it."""
        self._declined[room_sid] = None
        if len(self._declined) > DECLINED_LIMIT:
            self._declined.popitem(last=False)

    def stop_declining(self, room_sid: str) -> None:
        """A new job came for this room."""
        self._declined.pop(room_sid, None)

    def add_idle(self, journal: Journal) -> None:
        """Keep a session in which no actor of ours is: unwatched, continuable or finished.

        Above the limits the oldest ended ones go, as soon as the archive has them: a database that
        was away may refuse one, and then its journal is wanted.
        """
        sid = journal.state.room_sid
        if not journal.ended:
            self._unwatched[sid] = journal
            return
        self._unwatched.pop(sid, None)
        if journal.state.end_reason in CONTINUABLE:
            self._keep(self._continuable, journal, CONTINUABLE_LIMIT)
        else:
            self._keep(self._finished, journal, FINISHED_LIMIT)

    def _keep(self, ended: OrderedDict[str, Journal], journal: Journal, limit: int) -> None:
        ended[journal.state.room_sid] = journal
        while len(ended) > limit and next(iter(ended.values())).is_stored:
            _, oldest = ended.popitem(last=False)
            if oldest.of_this_run:
                self._older.add(oldest.state, 0.0)

    def forget(self, journal: Journal) -> None:
        """Another worker goes on with this session.  Its numbers of this run are only added up."""
        self.remove_idle(journal.state.room_sid)
        if journal.of_this_run:
            self._older.add(journal.state, journal.state.last_at)

    def remove_idle(self, room_sid: str) -> Journal | None:
        """Take out a session in which no actor of ours is, so that it can be continued."""
        for idle in (self._unwatched, self._continuable, self._finished):
            if room_sid in idle:
                return idle.pop(room_sid)
        return None

    # ------------------------------------------------- for everybody

    @property
    def draining(self) -> bool:
        """No job is taken any more, and every room is being left."""
        return self._draining

    @property
    def pending_jobs(self) -> Mapping[str, RoomJob]:
        """Jobs by id that LiveKit gave us and the manager has not dealt with yet."""
        return MappingProxyType(self._pending_jobs)

    @property
    def records(self) -> Mapping[str, RoomRecord]:
        """Every room that we are in, or on the way into or out of, by key."""
        return MappingProxyType(self._records)

    @property
    def unwatched(self) -> Mapping[str, Journal]:
        """Open sessions in which no actor of ours is, by room SID."""
        return MappingProxyType(self._unwatched)

    @property
    def declined(self) -> Collection[str]:
        """SIDs of rooms whose dispatch was deleted: they are not to be watched again."""
        return self._declined.keys()

    @property
    def loaded(self) -> bool:
        """The archive was read."""
        return self._loaded

    @property
    def next_recovered(self) -> StoredSession | None:
        """The first session of an earlier run that the manager has not taken over yet."""
        return self._recovered[0] if self._recovered else None

    @property
    def alive_at(self) -> float | None:
        """Unix seconds until when the run before this one watched."""
        return self._alive_at

    @property
    def names(self) -> frozenset[str]:
        """Names of the rooms in `records`."""
        return frozenset(record.job.room for record in self._records.values())

    @property
    def watched_names(self) -> frozenset[str]:
        """Names of the rooms in `records` that are not being left."""
        return frozenset(
            record.job.room
            for record in self._records.values()
            if record.leaving is None and not record.journal.ended
        )

    @property
    def connected_sids(self) -> frozenset[str]:
        """SIDs of the rooms that we are in, with a connection that is up."""
        return frozenset(
            record.journal.state.room_sid
            for record in self._records.values()
            if record.entered and record.leaving is None and not record.journal.state.reconnecting
        )

    @property
    def disconnected_sids(self) -> frozenset[str]:
        """SIDs of the rooms that we were in, and whose connection is down."""
        return frozenset(
            record.journal.state.room_sid
            for record in self._records.values()
            if record.entered and record.leaving is None and record.journal.state.reconnecting
        )

    @property
    def sessions(self) -> tuple[Ref[Any], ...]:
        """The actors of the sessions in `records`."""
        sessions = (record.session for record in self._records.values())
        return tuple(session for session in sessions if session is not None)

    @property
    def vacant_keys(self) -> tuple[str, ...]:
        """Keys of the rooms that we only watch and that are empty, newest first."""
        vacant = [
            record
            for record in self._records.values()
            if record.entered
            and record.leaving is None
            and record.journal.state.watching
            and not record.journal.state.present
            and not any(job.explicit for job in record.jobs.values())
        ]
        vacant.sort(key=lambda record: record.journal.state.started_at, reverse=True)
        return tuple(record.key for record in vacant)

    @property
    def vacant_rooms(self) -> tuple[tuple[str, str], ...]:
        """SID and name of the rooms that we only watch and that are empty, newest first."""
        records = (self._records[key] for key in self.vacant_keys)
        return tuple((record.journal.state.room_sid, record.job.room) for record in records)

    @property
    def interrupted_sids(self) -> frozenset[str]:
        """SIDs of the rooms that we were in and did not want to leave."""
        unwatched = (sid for sid, journal in self._unwatched.items() if journal.state.job_ids)
        ended = (sid for sid, j in self._continuable.items() if j.state.end_reason in UNWANTED)
        return frozenset((*unwatched, *ended))

    @property
    def ended(self) -> tuple[Journal, ...]:
        """The journals of sessions that ended in this run, in the order of their ends."""
        ended = (*self._finished.values(), *self._continuable.values())
        ours = (journal for journal in ended if journal.of_this_run)
        return tuple(sorted(ours, key=lambda journal: journal.state.ended_at or 0.0))

    @property
    def ended_count(self) -> int:
        """The number of sessions that ended in this run, with those no longer in memory."""
        return self._older.rooms + len(self.ended)

    @property
    def journals(self) -> tuple[Journal, ...]:
        """Every session that is in memory."""
        idle = (self._unwatched, self._continuable, self._finished)
        watched = (record.journal for record in self._records.values())
        return (*watched, *(journal for journals in idle for journal in journals.values()))

    def find_job(self, job_id: str) -> RoomRecord | None:
        """The room that a job of ours is for."""
        records = self._records.values()
        return next((record for record in records if job_id in record.jobs), None)

    def find_room(self, room_sid: str) -> RoomRecord | None:
        """The room with this SID, which differs from its key after another instance began."""
        first = self._records.get(room_sid)
        if first is not None and first.journal.state.room_sid == room_sid:
            return first  # As nearly always: the key is the SID of the first instance.
        for record in self._records.values():
            if record.journal.state.room_sid == room_sid:
                return record
        return None

    def find_idle(self, room_sid: str) -> Journal | None:
        """A session in which no actor of ours is, open or ended."""
        for idle in (self._unwatched, self._continuable, self._finished):
            if room_sid in idle:
                return idle[room_sid]
        return None

    def knows(self, room_sid: str) -> bool:
        """True if there is a session of this room instance."""
        return self.find_idle(room_sid) is not None or self.find_room(room_sid) is not None

    def is_over(self, room_sid: str) -> bool:
        """True if we saw this room instance end: its SID never comes back."""
        journal = self._finished.get(room_sid)
        return journal is not None and journal.state.end_reason in SEEN_ENDS

    def summary(self, now: float) -> Summary:
        """The numbers of all sessions of this run, at `now` (Unix seconds)."""
        journals = (
            *self.ended,
            *(record.journal for record in self._records.values()),
            *(one for one in self._unwatched.values() if one.of_this_run),
        )
        return self._older.with_sessions((journal.state for journal in journals), now)
