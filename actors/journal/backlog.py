"""The backlog: rows of all journals that are not in the archive yet, in order.

It outlives an incarnation of the store's actor, and it is bounded.  If the archive can take
nothing for long, rows beyond the bound are given up and counted, and their session is stored by
its checkpoint alone.  Its numbers stay right then; its timeline lacks those rows and shows how
many (`actors.journal.row_queue`).

Where several workers write to one archive, a session belongs to one of them
(`actors.journal.room_leases`).  The rows of a *fenced* session wait here until its lease is
acquired or the session is given up; the others go on.  Of a *foreign* session, one that another
worker writes, nothing is taken any more.  The mark is on its journal, so that it ends with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final, Protocol, final, get_args

import trio
from attrs import define, evolve

from actors.journal import journal_budget, row_queue
from actors.journal.archive import NOTHING, Batch, Checkpoint, JournalRow, Removal
from actors.journal.row_queue import RowQueue
from actors.runtime import Alarm
from actors.session import (
    Record,
    SessionBegan,
    SessionContinued,
    SessionEnded,
    SessionState,
    TimelineEntry,
)
from actors.session.agent_reports import AgentMessage
from actors.session.codec import encode_entries, encode_record

MOST_BYTES: Final = 64 << 20
"""Of rows that wait."""
MOST_ROWS: Final = 200_000
CHECKPOINT_ROWS: Final = 1_000
"""Rows of a session after which the next checkpoint is due."""
CHECKPOINT_BYTES: Final = 1 << 20
"""Bytes of its rows after which it is due too: writer and readers have them in memory."""
CHECKPOINT_AGE: Final = 20.0
"""Seconds after a change until the next checkpoint is due."""

_URGENT: Final = frozenset({SessionBegan, SessionContinued, SessionEnded})
"""Records after which a checkpoint is due at once."""
_UNHURRIED: Final = frozenset(get_args(AgentMessage))
"""Records that wait for the next batch, a heartbeat at most: each would be a transaction."""


class RowSource(Protocol):
    """A journal, as the backlog sees it: where rows and checkpoints come from."""

    foreign: bool
    """Another worker writes the session: the backlog takes nothing of it any more."""

    @property
    def number(self) -> int:
        """The session's key in the archive."""
        ...

    @property
    def seq(self) -> int:
        """The number of its newest record."""
        ...

    @property
    def state(self) -> SessionState:
        """The session after that record."""
        ...

    @property
    def lost(self) -> int:
        """Rows that were given up so far."""
        ...

    def lose(self, rows: int) -> None:
        """Count `rows` more that the archive will never have."""
        ...


@define(eq=False)
class ChangedSession:
    """A session that is not in the archive as it is now."""

    journal: RowSource
    since: float
    """Unix seconds of the first record after the newest checkpoint."""
    rows: int = 0
    bytes: int = 0
    urgent: bool = False
    """It began, ended or was continued, or a record has no row: a checkpoint is due at once."""

    def is_due(self, now: float) -> bool:
        return (
            self.urgent
            # In both directions, because a clock may be set back.
            or abs(now - self.since) >= CHECKPOINT_AGE
            or self.rows >= CHECKPOINT_ROWS
            or self.bytes >= CHECKPOINT_BYTES
        )


@define(eq=False)
class Health:
    """The health of the store."""

    trouble: str = ""
    """The newest error text; empty if all is well."""
    since: float | None = None
    """Unix seconds since when."""
    unreadable: str = ""
    """Why a reader could not read the store; empty after it was read through."""
    written: int = 0
    """Rows written by this run."""
    lost: int = 0
    """Rows given up by this run, with those of its sessions that a lost store had."""
    refused: int = 0
    """Rows of this run that were dropped because another worker writes their sessions."""
    over_size: Removal = NOTHING
    """Sessions and bytes that this run dropped because the file was too large."""
    written_at: float | None = None
    """Unix seconds of the newest batch."""


@final
class Backlog:
    """See the module.  The journals add, the store's actor takes."""

    def __init__(
        self,
        *,
        most_bytes: int = MOST_BYTES,
        most_rows: int = MOST_ROWS,
        most_a_minute: int = journal_budget.MOST_BYTES,
    ) -> None:
        """`most_a_minute`: bytes of one session's rows (`actors.journal.journal_budget`)."""
        self.health = Health()
        self.in_flight: Batch | None = None
        """The batch that is being written, or has to be written again."""
        self.has_work = Alarm()
        """Set if something waits."""
        self.ready = trio.Event()
        """Set when the sessions of earlier runs are taken over.  Nothing is written before: a
        session that began in the meantime may be one of theirs."""
        self.batch_written = trio.Event()
        """Set when the next batch is in the archive; then another event."""
        self.most_a_minute = most_a_minute
        self.verify_wanted = trio.Event()
        """Set when a reader could not read the store; then another event."""
        self._queue = RowQueue(most_bytes, most_rows)
        self._changed: dict[int, ChangedSession] = {}
        self._taken: dict[int, ChangedSession] = {}
        """Sessions with a checkpoint in flight."""
        self._last_number = -1
        self._releases: dict[int, RowSource] = {}
        """Sessions whose lease ends with the next batch."""
        self._fenced: set[int] = set()

    def number(self, at: float) -> int:
        """A key for a new session that no earlier run gave: microseconds, made unique.

        It is odd.  A database that workers share gives even ones (`RoomLease.session`), so a
        session in memory never has the number that the database gives to another one.
        """
        self._last_number = max(self._last_number + 2, int(at * 1e6) | 1)
        return self._last_number

    @property
    def waiting(self) -> int:
        """Rows that are not in the archive."""
        return len(self._queue) + (len(self.in_flight.rows) if self.in_flight else 0)

    @property
    def empty(self) -> bool:
        """Everything is in the archive, except checkpoints that can wait."""
        due = any(one.urgent for one in self._changed.values())
        return self.in_flight is None and not self._queue and not due

    def has(self, session: int) -> bool:
        """True if the archive does not have this session as it is now."""
        return session in self._changed or session in self._taken

    def has_stored(self, session: int, seq: int) -> bool:
        """True if none of this session's records up to `seq` wait.  It must not be foreign."""
        first, batch = self._queue.first_seq(session), self.in_flight
        if first is not None and first <= seq:
            return False
        rows = () if batch is None else batch.rows
        return not any(row.session == session and row.seq <= seq for row in rows)

    def add(self, journal: RowSource, record: Record, entries: tuple[TimelineEntry, ...]) -> int:
        """Add the newest record of `journal`.  Gives its bytes.  Never raises, never waits."""
        number, at = journal.number, record.at
        if journal.foreign:
            return 0
        changed = self._changed.get(number)
        if changed is None:
            changed = self._changed[number] = ChangedSession(journal, at)
        if record.__class__ in _URGENT:
            changed.urgent = True
        kind, body = encode_record(record)
        encoded = encode_entries(entries) if entries else b""
        row = JournalRow(number, journal.seq, at, kind, body, encoded)
        cost = row_queue.cost_of(row)
        if self._queue.is_full(cost) and not self._make_room(number, cost):
            self._lost(changed, 1)
        else:
            changed.rows += 1
            changed.bytes += cost
            self._queue.append(row, cost)
        if number not in self._fenced and record.__class__ not in _UNHURRIED:
            self.has_work.set()
        return len(body) + len(encoded)

    def _make_room(self, number: int, cost: int) -> bool:
        """Give up rows of another session that has half of all.  True if there is room then."""
        session, rows = self._queue.make_room(number, cost)
        if rows:
            self._lost(self._changed[session], rows)
        return not self._queue.is_full(cost)

    def _lost(self, changed: ChangedSession, rows: int) -> None:
        changed.journal.lose(rows)
        self.health.lost += rows
        changed.urgent = True

    def rewrite(self, journals: Iterable[RowSource], now: float, *, rows_are_kept: bool) -> None:
        """Write a checkpoint of all `journals`, because the archive lost them or has another
        state of them.

        Unless `rows_are_kept`, the archive has lost their rows, except those that wait here.
        """
        batch = () if self.in_flight is None else self.in_flight.rows
        taken = Counter(row.session for row in batch)
        for journal in journals:
            if journal.foreign:
                continue
            self._changed.setdefault(journal.number, ChangedSession(journal, now)).urgent = True
            if not rows_are_kept:
                waiting = taken[journal.number] + self._queue.count(journal.number)
                missing = max(0, journal.seq + 1 - journal.lost - waiting)
                journal.lose(missing)
                self.health.lost += missing
        self.has_work.set()

    def report_unreadable(self, why: str) -> None:
        """A reader could not read the archive: have it read through.  On the trio thread."""
        self.health.unreadable = why
        self.verify_wanted.set()

    def withdraw(self, journal: RowSource) -> list[JournalRow]:
        """Take out the rows of a session of which nothing was written yet."""
        self._changed.pop(journal.number, None)
        return self._queue.withdraw(journal.number)

    # ------------------------------------------------------------ sessions of other workers

    def release(self, journal: RowSource, now: float) -> None:
        """Give the session away: the next batch has all of it, and ends this worker's lease.

        Nothing of the session is taken after that batch.
        """
        if journal.foreign:
            return
        self._changed.setdefault(journal.number, ChangedSession(journal, now)).urgent = True
        self._releases[journal.number] = journal
        self.has_work.set()

    def fence(self, sessions: Collection[int]) -> None:
        """Write nothing of these sessions, whose rows wait, until `unfence` or `discard`."""
        batch, self._fenced = self.in_flight, self._fenced.union(sessions)
        if batch is None:
            return
        self.in_flight = _without(batch, sessions)
        rows = [row for row in batch.rows if row.session in sessions]
        self._queue.replace((*rows, *self._queue.rows))
        for number in self._taken.keys() & sessions:
            self._changed[number] = self._taken.pop(number)
            self._changed[number].urgent = True

    def unfence(self, session: int) -> None:
        """The lease of this session was acquired: write it."""
        self._fenced.discard(session)
        self.has_work.set()

    def discard(self, journals: Iterable[RowSource]) -> int:
        """Another worker writes these sessions: drop what waits, and take nothing more.

        Gives the number of rows that were dropped.
        """
        numbers = set[int]()
        for journal in journals:
            journal.foreign = True
            numbers.add(journal.number)
        return self.drop(numbers)

    def drop(self, sessions: Collection[int]) -> int:
        """Drop what waits of these sessions; the number of rows.

        For sessions of which no journal is in memory, so that no more can come.
        """
        waiting, batch = self.waiting, self.in_flight
        self._fenced.difference_update(sessions)
        if batch is not None:
            self.in_flight = _without(batch, sessions)
        self._queue.replace(row for row in self._queue.rows if row.session not in sessions)
        for session in sessions:
            self._changed.pop(session, None)
            self._taken.pop(session, None)
            self._releases.pop(session, None)
        dropped = waiting - self.waiting
        self.health.refused += dropped
        return dropped

    # ------------------------------------------------------------ for the store's actor

    def restore(self, journal: RowSource, rows: Iterable[JournalRow]) -> None:
        """Add rows that were withdrawn, under the number that their session has now."""
        rows = [evolve(row, session=journal.number) for row in rows]
        for row in rows:
            self._queue.append(row, row_queue.cost_of(row))
        self._changed[journal.number] = ChangedSession(journal, rows[0].at if rows else 0.0)
        self._changed[journal.number].urgent = True
        self.has_work.set()

    def take(self, now: float) -> Batch:
        """Take everything that waits.  A batch that failed before is given again, alone.

        `done` must follow once it is written.
        """
        if self.in_flight is None:
            fenced, rows = self._fenced, self._queue.rows
            waiting: tuple[JournalRow, ...] = ()
            due = [one for one in self._changed.values() if one.is_due(now)]
            if fenced:
                due = [one for one in due if one.journal.number not in fenced]
                waiting = tuple(row for row in rows if row.session in fenced)
                rows = tuple(row for row in rows if row.session not in fenced)
            checkpoints = tuple(
                Checkpoint(j.number, j.seq, j.state, j.lost) for j in (one.journal for one in due)
            )
            released = tuple(one for one in self._releases if one not in fenced)
            self.in_flight = Batch(rows, checkpoints, now, released)
            self._queue.replace(waiting)
            self._taken = {one.journal.number: one for one in due}
            for number in self._taken:
                del self._changed[number]
            for session in released:
                self._releases.pop(session).foreign = True
        self.has_work.clear()
        return self.in_flight

    def done(self) -> None:
        """The batch in flight is in the archive."""
        assert self.in_flight is not None
        self.health.written += len(self.in_flight.rows)
        self.health.written_at = self.in_flight.alive_at
        self.in_flight, self._taken = None, {}
        written, self.batch_written = self.batch_written, trio.Event()
        written.set()
        if self._queue.has_others(self._fenced):
            self.has_work.set()


def _without(batch: Batch, sessions: Collection[int]) -> Batch:
    """The batch without these sessions."""
    return evolve(
        batch,
        rows=tuple(row for row in batch.rows if row.session not in sessions),
        checkpoints=tuple(one for one in batch.checkpoints if one.session not in sessions),
        released=tuple(one for one in batch.released if one not in sessions),
    )
