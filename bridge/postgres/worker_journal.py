"""The journal of a worker with a database: rows that are in no checkpoint yet.

It is a table of the database, or a file on this machine (`--events local`).  In the file it costs
the database nothing but a renewal of the lease each second.  The database has the rows of a session
with its next checkpoint then, which is at most `CHECKPOINT_AGE` old while the worker writes.  So
where only the database can say until when such a worker saw a session, that is a little before its
last sign of life.

All methods run in the thread of the writer, and may raise psycopg.Error and `ArchiveTrouble`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Protocol, TypeAlias, final

import psycopg

from actors.journal.room_leases import RENEW_EVERY
from bridge.postgres.postgres_connection import Database
from bridge.postgres.postgres_run import PostgresRun
from bridge.postgres.postgres_statements import FENCE, JOURNAL, NOT_STORED, ROWS_ONLY
from bridge.store.local_journal import LocalJournal

JournalBatch: TypeAlias = tuple[int, int, float, bytes]
"""Number, floor, time and pack."""
SessionName: TypeAlias = tuple[int, str, str]
"""Key, room and room SID of a session."""
Require: TypeAlias = Callable[[psycopg.Cursor[tuple[Any, ...]]], object]
"""Raises where a fence changed no row."""


class WorkerJournal(Protocol):
    """One of the two."""

    def newest_batch(self) -> int:
        """0 in an empty journal."""
        ...

    def packs(self) -> Iterable[bytes]:
        """The journal in order, as far as it may have rows that are in no chunk."""
        ...

    def add(self, batch: JournalBatch) -> None:
        """Add a batch, within the transaction of its checkpoints."""
        ...

    def commit(self, names: Iterable[SessionName] = (), at: float | None = None) -> None:
        """The transaction was committed.  `at`: its fence, in Unix seconds of the worker."""
        ...

    def write(self, at: float, batch: JournalBatch | None, require: Require) -> None:
        """Write a batch that has nothing but rows, or only renew the lease."""
        ...

    def forget(self, sessions: Collection[int]) -> None:
        """Another worker wrote these sessions meanwhile: rows of before are of no use."""
        ...

    def lost_commits(self) -> bool:
        """True if the database is behind what this process wrote to it."""
        ...


def worker_journal(db: Database, run: PostgresRun) -> WorkerJournal:
    """The journal of this worker, after its epoch began."""
    _note_place(db, run)
    return SharedRows(db, run) if run.local is None else LocalRows(db, run, run.local)


def packs_of(db: Database, worker: int) -> Iterable[bytes]:
    """See `WorkerJournal.packs`; of any worker that has its journal in the database."""
    packs = db.execute(
        "SELECT lines FROM journal WHERE worker = %s AND batch >= (SELECT floor FROM journal "
        "WHERE worker = %s ORDER BY batch DESC LIMIT 1) ORDER BY batch",
        (worker, worker),
        binary=True,
    )
    return (packed for (packed,) in packs)


@final
class SharedRows:
    """See `WorkerJournal`: in the database, where others read them at once."""

    def __init__(self, db: Database, run: PostgresRun) -> None:
        self._db = db
        self._run = run
        self._cursor = db.cursor()

    def newest_batch(self) -> int:
        # The journal of a worker that was away for long is dropped.  Its numbers do not come again.
        row = self._db.execute(
            "SELECT greatest(0, dropped, (SELECT max(batch) FROM journal WHERE journal.worker = "
            "workers.worker)) FROM workers WHERE worker = %s",
            (self._run.worker,),
        ).fetchone()
        return 0 if row is None else row[0]

    def packs(self) -> Iterable[bytes]:
        return packs_of(self._db, self._run.worker)

    def add(self, batch: JournalBatch) -> None:
        self._db.execute(JOURNAL, (self._run.worker, *batch))

    def commit(self, names: Iterable[SessionName] = (), at: float | None = None) -> None:
        pass

    def write(self, at: float, batch: JournalBatch | None, require: Require) -> None:
        fence = (at, self._run.lease, self._run.worker, self._run.epoch)
        if batch is None:
            require(self._cursor.execute(FENCE, fence))
        else:
            require(self._cursor.execute(ROWS_ONLY, (*fence, *batch)))

    def forget(self, sessions: Collection[int]) -> None:
        pass

    def lost_commits(self) -> bool:
        return self.newest_batch() < self._run.batch


@final
class LocalRows:
    """See `WorkerJournal`: on this machine."""

    def __init__(self, db: Database, run: PostgresRun, journal: LocalJournal) -> None:
        self._db = db
        self._run = run
        self._journal = journal
        self._cursor = db.cursor()
        self._added: list[JournalBatch] = []
        """Of the transaction."""
        self._fenced_at: float | None = None

    def newest_batch(self) -> int:
        return self._journal.newest_batch()

    def packs(self) -> Iterable[bytes]:
        return self._journal.packs()

    def add(self, batch: JournalBatch) -> None:
        self._added.append(batch)

    def commit(self, names: Iterable[SessionName] = (), at: float | None = None) -> None:
        added, self._added = self._added, []
        self._journal.add(added, names)
        if at is not None:
            self._fenced_at = self._run.fenced_at = at

    def write(self, at: float, batch: JournalBatch | None, require: Require) -> None:
        self._added = []
        before = self._fenced_at
        if batch is None or before is None or abs(at - before) >= RENEW_EVERY:
            fence = (at, self._run.lease, self._run.worker, self._run.epoch)
            require(self._cursor.execute(FENCE, fence))
            self._fenced_at = self._run.fenced_at = at
        if batch is not None:
            self._journal.add([batch])

    def forget(self, sessions: Collection[int]) -> None:
        keys = list(sessions)
        self._journal.forget(keys)
        names = self._db.execute(
            "SELECT session, room, room_sid FROM sessions WHERE session = ANY(%s)", (keys,)
        ).fetchall()
        self._journal.add((), [(key, room, sid) for key, room, sid in names])

    def lost_commits(self) -> bool:
        if self._run.fenced_at is None:
            return False
        row = self._db.execute(
            "SELECT alive_at FROM workers WHERE worker = %s", (self._run.worker,)
        ).fetchone()
        return row is None or row[0] is None or row[0] < self._run.fenced_at


def _note_place(db: Database, run: PostgresRun) -> None:
    """Note where this worker has its journal, once for each process.

    A process without the journal of the one before (another machine, another disk) knows less of
    the past.
    """
    if run.has_noted_place:
        return
    is_local = run.local is not None
    row = db.execute("SELECT local_events FROM workers WHERE worker = %s", (run.worker,)).fetchone()
    was_local = row is not None and row[0]
    has_rows = run.local is not None and run.local.newest_batch() > 0
    if was_local and run.alive_before is not None and not has_rows:
        run.alive_before -= NOT_STORED
    db.execute("UPDATE workers SET local_events = %s WHERE worker = %s", (is_local, run.worker))
    run.has_noted_place = True
