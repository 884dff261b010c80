"""What outlives a crash of a session's actor: its state so far, and what it had to tell.

The actor of a room's session owns its journal; nobody else writes it while that actor
lives.  A record is folded and goes to the backlog of the store before anything is done
about it, and the state is immutable, so whatever crashes afterwards, the next
incarnation goes on from a state in which the record is either wholly in or wholly not.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Protocol, final

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
    fold,
    next_deadline,
)
from actors.session.bounds import CONFIRM_AFTER
from actors.session.codec import decode_record


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
    def ended(self) -> bool:
        """The session is over, for now."""
        ...

    @property
    def of_this_run(self) -> bool:
        """This run watched it, or heard of it first."""
        ...


@final
class Journal:
    """One session: begun when made, ended by `end`, begun again by `attach`."""

    def __init__(
        self, number: int, state: SessionState, backlog: Backlog, *, seq: int, lost: int = 0
    ) -> None:
        """A session as it was after its record `seq`; `lost` of its lines were given up."""
        self.number = number
        """Its key in the archive."""
        self.state = state
        self.seq = seq
        self.lost = lost
        self.of_this_run = seq < 0
        """This run watched it, or heard of it first."""
        self.unpublished: deque[TimelineEntry] = deque()
        """Entries that were recorded and not published yet: a crash in between keeps them."""
        self._backlog = backlog
        self._budget = JournalBudget(backlog.most_a_minute)

    @classmethod
    def begin(cls, began: SessionBegan, backlog: Backlog) -> Journal:
        """The journal of a new session."""
        state, entries = fold(None, began)
        journal = cls(backlog.number(began.at), state, backlog, seq=-1)
        journal._append(began, state, entries)
        return journal

    def lose(self, rows: int) -> None:
        """Count `rows` more that the archive will never have."""
        self.lost += rows

    @property
    def ended(self) -> bool:
        """The session is over, for now."""
        return self.state.ended_at is not None

    def record(self, event: RoomEvent) -> None:
        """Fold `event`, or what the budget leaves of it.

        Raises `RoomInstanceChanged` for a roster of another room SID.
        """
        for one in self._budget.admit(event):
            self._append(one, *fold(self.state, one))

    @property
    def deadlines(self) -> list[tuple[float, float]]:
        """Unix seconds when a `Tick` is wanted, each with the seconds it may be away at most."""
        wanted = ((next_deadline(self.state), CONFIRM_AFTER), (self._budget.due, WINDOW))
        return [(due, most) for due, most in wanted if due is not None and due != inf]

    def end(self, at: float, reason: str) -> None:
        """Close everything; harmless where it is closed already."""
        if not self.ended:
            for one in self._budget.rest(at):
                self._append(one, *fold(self.state, one))
            ended = SessionEnded(at, reason)
            self._append(ended, *fold(self.state, ended))

    def attach(self, at: float, job_id: str | None, worker: str | None = None) -> None:
        """Another job for the same life of the room; an ended session is active again."""
        self.of_this_run = True
        if self.ended or worker not in (None, self.state.worker) or job_id not in self._job_ids:
            attached = SessionContinued(at, job_id, worker)
            self._append(attached, *fold(self.state, attached))

    @property
    def _job_ids(self) -> tuple[str | None, ...]:
        return (None, *self.state.job_ids)

    @classmethod
    def resume(cls, kept: StoredSession, backlog: Backlog) -> Journal:
        """The journal of a session that an earlier run left."""
        return cls(kept.session, kept.state, backlog, seq=kept.seq, lost=kept.lost)

    def adopt(self, kept: StoredSession, seen_until: float) -> None:
        """It turns out that an earlier run had this session: go on from there.

        What was recorded since is recorded again, without being told again.  Only while
        nothing of this session is in the archive.
        """
        records = [decode_record(line.kind, line.body) for line in self._backlog.withdraw(self)]
        told = tuple(self.unpublished)
        self.number, self.state = kept.session, kept.state
        self.seq, self.lost = kept.seq + self.lost, kept.lost + self.lost
        if not self.ended:
            self.record(Disconnected(seen_until, None, "worker_failed"))
        for record in records:
            if isinstance(record, SessionBegan):
                for job_id in record.job_ids:
                    self.attach(record.at, job_id, record.worker)
            else:
                self._append(record, *fold(self.state, record))
        self.unpublished = deque(told)
        self._backlog.rewrite((self,), seen_until, lines_are_kept=True)

    def _append(
        self, record: Record, state: SessionState, entries: tuple[TimelineEntry, ...]
    ) -> None:
        self.state = state
        self.seq += 1
        self.unpublished.extend(entries)
        self._budget.spend(self._backlog.add(self, record, entries))
