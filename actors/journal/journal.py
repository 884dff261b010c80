"""The journal of a session: its state and its unpublished entries, which outlive a crash.

The actor of a room's session owns the journal; nobody else writes it while that actor runs.  A
record is folded and handed to the backlog of the store before anything else is done with it, and
the state is immutable.  After any crash the next incarnation therefore goes on from a state that
has the whole record or nothing of it.  Everybody may read the newest state (`JournalView`).
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Final, Protocol, final, get_args

from attrs import evolve

from actors.journal.archive import StoredSession
from actors.journal.backlog import Backlog
from actors.journal.journal_budget import WINDOW, JournalBudget
from actors.session import (
    Disconnected,
    Record,
    RoomEvent,
    SessionBegan,
    SessionContinued,
    SessionEnded,
    SessionState,
    TimelineEntry,
    WebhookReport,
    fold,
    next_deadline,
)
from actors.session.agent_problems import LONGEST_WAIT, agent_deadline
from actors.session.bounds import CONFIRM_AFTER
from actors.session.codec import decode_record
from actors.session.recordings import LOST_AFTER, lost_deadline

_WEBHOOKS: Final = get_args(WebhookReport)


class JournalView(Protocol):
    """A session's journal as everybody but its writer sees it: read-only."""

    @property
    def number(self) -> int:
        """Its key in the archive."""
        ...

    @property
    def seq(self) -> int:
        """The number of its newest record, from 0 on."""
        ...

    @property
    def state(self) -> SessionState:
        """The session after that record.  An immutable value: a later one replaces it."""
        ...

    @property
    def lost(self) -> int:
        """Rows that the archive will never have."""
        ...

    @property
    def foreign(self) -> bool:
        """Another worker writes the session: nothing of it is stored any more."""
        ...

    @property
    def ended(self) -> bool:
        """The session is over, for now."""
        ...

    @property
    def of_this_run(self) -> bool:
        """This run watched it, or began it from a webhook."""
        ...


@final
class Journal:
    """One session: begun when made, ended by `end`, begun again by `attach`."""

    def __init__(
        self, number: int, state: SessionState, backlog: Backlog, *, seq: int, lost: int = 0
    ) -> None:
        """A session as it was after its record `seq`; `lost` of its rows were given up."""
        self.number = number
        """Its key in the archive."""
        self.state = state
        self.seq = seq
        self.lost = lost
        self.foreign = False
        """Another worker writes the session: nothing of it is stored any more."""
        self.of_this_run = seq < 0
        """This run watched it, or began it from a webhook."""
        self.unpublished: deque[TimelineEntry] = deque()
        """Entries that were recorded and not published yet.  They outlive a crash."""
        self._backlog = backlog
        self._budget = JournalBudget(backlog.most_a_minute)

    @classmethod
    def begin(cls, began: SessionBegan, backlog: Backlog, number: int | None = None) -> Journal:
        """The journal of a new session.  `number` is its key, where a lease gave one."""
        state, entries = fold(None, began)
        number = backlog.number(began.at) if number is None else number
        journal = cls(number, state, backlog, seq=-1)
        journal._append(began, state, entries)
        return journal

    @property
    def is_stored(self) -> bool:
        """The archive has the session as it is now."""
        return not self._backlog.has(self.number)

    def lose(self, rows: int) -> None:
        """Count `rows` more that the archive will never have."""
        self.lost += rows

    @property
    def ended(self) -> bool:
        """The session is over, for now."""
        return self.state.ended_at is not None

    def record(self, event: RoomEvent) -> None:
        """Fold `event`, or the part of it that the budget allows.

        Raises `RoomInstanceChanged` for a roster of another room SID.
        """
        for one in self._budget.admit(event):
            self._append(one, *fold(self.state, one))

    @property
    def deadlines(self) -> list[tuple[float, float]]:
        """Unix seconds at which a `Tick` is needed, each with the longest wait in seconds."""
        due, lost, budget = next_deadline(self.state), lost_deadline(self.state), self._budget.due
        agent = agent_deadline(self.state)
        if due is None and lost is None and budget is None and agent is None:
            return []  # As after nearly every event.
        wanted = (
            (due, CONFIRM_AFTER), (lost, LOST_AFTER), (budget, WINDOW), (agent, LONGEST_WAIT)
        )  # fmt: skip
        return [(due, most) for due, most in wanted if due is not None and due != inf]

    def end(self, at: float, reason: str) -> None:
        """End the session and close everything in it.  Harmless if it has ended already."""
        if not self.ended:
            for one in self._budget.rest(at):
                self._append(one, *fold(self.state, one))
            ended = SessionEnded(at, reason)
            self._append(ended, *fold(self.state, ended))

    def attach(self, at: float, job_id: str | None, worker: str | None = None) -> None:
        """Another job for the same room instance.  An ended session is active again."""
        self.of_this_run = True
        if self.ended or worker not in (None, self.state.worker) or job_id not in self._job_ids:
            attached = SessionContinued(at, job_id, worker)
            self._append(attached, *fold(self.state, attached))

    @property
    def _job_ids(self) -> tuple[str | None, ...]:
        return (None, *self.state.job_ids)

    @classmethod
    def resume(cls, stored: StoredSession, backlog: Backlog) -> Journal:
        """The journal of a session that an earlier run stored."""
        return cls(stored.session, stored.state, backlog, seq=stored.seq, lost=stored.lost)

    def renumber(self, number: int) -> None:
        """Take another key: a session of another worker has this one.

        Only while nothing of this session is in the archive.
        """
        rows = self._backlog.withdraw(self)
        self.number = number
        self._backlog.restore(self, rows)

    def adopt(self, stored: StoredSession, seen_until: float) -> None:
        """Go on from the session that an earlier run stored, which became known only now.

        The records since are recorded again, and not published again.  Only while nothing of
        this session is in the archive.

        Where another worker watched the room at the same time as this one, it has recorded what
        happened then.  So the records here are dropped, and a roster has to follow.  LiveKit's
        webhooks stay: each is given to one worker only.
        """
        records = [decode_record(row.kind, row.body) for row in self._backlog.withdraw(self)]
        if stored.seen_until is not None and records and records[0].at <= stored.seen_until:
            records = [
                evolve(one, at=seen_until) if isinstance(one, SessionBegan) else one
                for one in records
                if isinstance(one, (SessionBegan, *_WEBHOOKS))
            ]
        unpublished = tuple(self.unpublished)
        # `stored` has the rows of another worker too: the session is ours again.
        self.foreign = False
        self.number, self.state = stored.session, stored.state
        self.seq, self.lost = stored.seq + self.lost, stored.lost + self.lost
        if not self.ended:
            self.record(Disconnected(seen_until, None, "worker_failed"))
        for record in records:
            if isinstance(record, SessionBegan):
                for job_id in record.job_ids:
                    self.attach(record.at, job_id, record.worker)
            else:
                self._append(record, *fold(self.state, record))
        self.unpublished = deque(unpublished)
        self._backlog.rewrite((self,), seen_until, rows_are_kept=True)

    def _append(
        self, record: Record, state: SessionState, entries: tuple[TimelineEntry, ...]
    ) -> None:
        self.state = state
        self.seq += 1
        self.unpublished.extend(entries)
        self._budget.spend(self._backlog.add(self, record, entries))
