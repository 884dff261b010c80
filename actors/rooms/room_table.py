"""The manager's book: which rooms are held, and which sessions ended in this run.

It outlives an incarnation of the manager.  While actors run, only the manager touches
it; when none runs any more (also after a hurried end) it still has every session.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Any, Final, final

from attrs import define, field

from actors.journal.archive import StoredSession
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.rooms.final_summary import RunningSummary, Summary
from actors.rooms.messages import LeaveRoom, RosterWanted
from actors.rooms.room_port import RoomJob
from actors.runtime import Ref
from actors.session import SessionBegan
from actors.session.ends import CONTINUABLE, SEEN_ENDS, UNWANTED

FINISHED_LIMIT: Final = 300
"""Sessions whose room is gone and that are kept in memory; older ones are only added up.
LiveKit's webhooks may still correct these, and the report names the newest."""
CONTINUABLE_LIMIT: Final = 1_000
"""Sessions whose room may live on and that are kept in memory, to be continued."""
UNWATCHED_LIMIT: Final = 5_000
"""Sessions that are known from webhooks only, or from an earlier run."""
DECLINED_LIMIT: Final = 10_000
"""Rooms out of which we were sent by a deleted dispatch and which we remember."""


@define(eq=False)
class RoomRecord:
    """One room that we are in, or on the way into or out of."""

    key: str
    """The room's SID as its first job named it; the name of the supervisor group."""
    job: RoomJob
    """The job whose participant we are."""
    journal: Journal
    jobs: dict[str, RoomJob] = field(factory=dict[str, RoomJob])
    """Every job of ours for this room that has not ended, `job` among them."""
    session: Ref[Any] | None = None
    connection: Ref[LeaveRoom | RosterWanted] | None = None
    entered: bool = False
    leaving: LeaveRoom | None = None
    """The order to go, once there is one."""


@final
class RoomTable:
    """See the module."""

    def __init__(self) -> None:
        self.draining = False
        """No job is taken any more, and every room is being left."""
        self.pending_jobs: dict[str, RoomJob] = {}
        """Jobs by id that LiveKit gave us and the manager has not looked at yet."""
        self.records: dict[str, RoomRecord] = {}
        """By key."""
        self.declined: OrderedDict[str, None] = OrderedDict()
        """SIDs of rooms whose dispatch was deleted: watching them again is not wanted."""
        self.recovered: deque[StoredSession] = deque()
        """What the archive had, and the manager has not looked at yet."""
        self.loaded = False
        """It is known what the archive had."""
        self.alive_at: float | None = None
        """Unix seconds until when the run before this one watched."""
        self.unwatched: dict[str, Journal] = {}
        """Open sessions that no actor of ours is in, by room SID."""
        self._finished: OrderedDict[str, Journal] = OrderedDict()
        self._continuable: OrderedDict[str, Journal] = OrderedDict()
        self._older = RunningSummary()

    @property
    def names(self) -> frozenset[str]:
        """Names of the rooms that are held."""
        return frozenset(held.job.room for held in self.records.values())

    @property
    def watched_names(self) -> frozenset[str]:
        """Names of the rooms that are held and are not being left."""
        return frozenset(
            held.job.room
            for held in self.records.values()
            if held.leaving is None and not held.journal.ended
        )

    @property
    def connected_sids(self) -> frozenset[str]:
        """SIDs of the rooms that we are in, with a connection that is up."""
        return frozenset(
            held.journal.state.room_sid
            for held in self.records.values()
            if held.entered and held.leaving is None and not held.journal.state.reconnecting
        )

    @property
    def sessions(self) -> tuple[Ref[Any], ...]:
        """The actors of the sessions that we are in, or on the way into or out of."""
        return tuple(held.session for held in self.records.values() if held.session is not None)

    @property
    def vacant_keys(self) -> tuple[str, ...]:
        """Keys of the rooms that we are in, for watching only, and that nobody is in: the
        newest first."""
        those = [
            held
            for held in self.records.values()
            if held.entered
            and held.leaving is None
            and held.journal.state.watching
            and not held.journal.state.present
            and not any(job.explicit for job in held.jobs.values())
        ]
        those.sort(key=lambda held: held.journal.state.started_at, reverse=True)
        return tuple(held.key for held in those)

    @property
    def vacant_rooms(self) -> tuple[tuple[str, str], ...]:
        """SID and name of these rooms."""
        those = [self.records[key] for key in self.vacant_keys]
        return tuple((held.journal.state.room_sid, held.job.room) for held in those)

    @property
    def interrupted_sids(self) -> frozenset[str]:
        """SIDs of the rooms that we were in and did not want to leave."""
        unwatched = (sid for sid, journal in self.unwatched.items() if journal.state.job_ids)
        left = (sid for sid, j in self._continuable.items() if j.state.end_reason in UNWANTED)
        return frozenset((*unwatched, *left))

    @property
    def ended(self) -> tuple[Journal, ...]:
        """The journals of sessions that ended in this run, in the order of their ends."""
        ours = [
            one
            for one in (*self._finished.values(), *self._continuable.values())
            if one.of_this_run
        ]
        return tuple(sorted(ours, key=lambda journal: journal.state.ended_at or 0.0))

    @property
    def ended_count(self) -> int:
        """How many sessions ended in this run, those that are not in memory any more too."""
        return self._older.rooms + len(self.ended)

    @property
    def journals(self) -> tuple[Journal, ...]:
        """Every session that is in memory."""
        idle = (self.unwatched, self._continuable, self._finished)
        held = (held.journal for held in self.records.values())
        return (*held, *(journal for kept in idle for journal in kept.values()))

    def find_job(self, job_id: str) -> RoomRecord | None:
        """The room that a job of ours is for."""
        return next((held for held in self.records.values() if job_id in held.jobs), None)

    def find_room(self, room_sid: str) -> RoomRecord | None:
        """The room with this SID, which can differ from its key after another life."""
        return next(
            (held for held in self.records.values() if held.journal.state.room_sid == room_sid),
            None,
        )

    def knows(self, room_sid: str) -> bool:
        """Whether there is a session of this life of a room."""
        return self.find_idle(room_sid) is not None or self.find_room(room_sid) is not None

    def find_idle(self, room_sid: str) -> Journal | None:
        """A session that no actor of ours is in, open or ended."""
        for kept in (self.unwatched, self._continuable, self._finished):
            if room_sid in kept:
                return kept[room_sid]
        return None

    def next_instance(self, key: str, began: SessionBegan, backlog: Backlog) -> Journal | None:
        """The room of `key` was made anew under its connection: the session that goes on.

        A webhook may have told of that life already.  None where a job for it came first, and
        others of ours are in it.
        """
        if self.find_room(began.room_sid) is not None:
            return None
        journal = self.remove_idle(began.room_sid)
        if journal is None:
            journal = Journal.begin(began, backlog)
        else:
            for job_id in began.job_ids:
                journal.attach(began.at, job_id, began.worker)
        held = self.records.get(key)
        if held is not None:
            self.add_idle(held.journal)
            held.journal = journal
        return journal

    def is_over(self, room_sid: str) -> bool:
        """Whether we saw this life of a room end: its SID never comes back."""
        journal = self._finished.get(room_sid)
        return journal is not None and journal.state.end_reason in SEEN_ENDS

    def decline(self, room_sid: str) -> None:
        """Remember that we were sent out of this life of a room."""
        self.declined[room_sid] = None
        if len(self.declined) > DECLINED_LIMIT:
            self.declined.popitem(last=False)

    def add_idle(self, journal: Journal) -> None:
        """Keep a session that no actor of ours is in (any more)."""
        state = journal.state
        if not journal.ended:
            self.unwatched[state.room_sid] = journal
        elif state.end_reason in CONTINUABLE:
            self._put(self._continuable, journal, CONTINUABLE_LIMIT)
        else:
            self._put(self._finished, journal, FINISHED_LIMIT)

    def _put(self, kept: OrderedDict[str, Journal], journal: Journal, most: int) -> None:
        kept[journal.state.room_sid] = journal
        if len(kept) > most:
            _, oldest = kept.popitem(last=False)
            if oldest.of_this_run:
                self._older.add(oldest.state, 0.0)

    def remove_idle(self, room_sid: str) -> Journal | None:
        """Take a session that no actor of ours is in out of the book, to be continued."""
        for kept in (self.unwatched, self._continuable, self._finished):
            if room_sid in kept:
                return kept.pop(room_sid)
        return None

    def summary(self, now: float) -> Summary:
        """All sessions of this run, those that have not ended too."""
        journals = (
            *self.ended,
            *(held.journal for held in self.records.values()),
            *(one for one in self.unwatched.values() if one.of_this_run),
        )
        return self._older.with_sessions((journal.state for journal in journals), now)
