"""The one connection by which a worker writes to PostgreSQL.

All calls run in a thread, one at a time.  After an error the writer is not used again: the next one
begins with what is in the database.

A batch is one transaction.  Its first statement is the fence: it renews the worker's lease, and it
changes no row where another process of this worker began meanwhile, or where the database lost
commits.  All statements go out together (a pipeline), so a batch costs two round trips.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, final

import psycopg
import structlog
from attrs import evolve

from actors.journal.archive import (
    RECENT,
    ArchiveLost,
    ArchiveTrouble,
    Batch,
    Checkpoint,
    JournalRow,
    RecoveredSessions,
    StoredSession,
)
from actors.session.codec import Unreadable, decode_entries, decode_state, encode_state
from actors.session.view import everyone
from bridge.postgres.database_url import shown_url
from bridge.postgres.postgres_connection import Database, PostgresConnection
from bridge.postgres.postgres_run import PostgresRun, run_replaced
from bridge.postgres.postgres_statements import (
    ALERT,
    BIRTH,
    CHUNK,
    CONTINUED,
    ENDED_LATELY,
    FENCE,
    FREE_KEY,
    JOURNAL,
    OURS,
    PERSON,
    RESOLVED,
    ROWS_ONLY,
    SESSION,
    STATE,
)
from bridge.store.alert_rows import MARK
from bridge.store.journal_rows import (
    EMPTY_PACK,
    PACK_BYTES,
    encode_journal_row,
    pack,
    rows_by_session,
)
from bridge.store.list_rows import FORM, encode_row
from bridge.store.pending_rows import PendingRows, chunks_of
from bridge.store.writer_replay import replay_or_log

log = structlog.get_logger()

LEASE: Final = 6.0
"""Seconds after its newest batch for which a worker counts as running."""
_ROW_BYTES: Final = 200
"""Most bytes of an encoded row beside its body and entries."""
MOST_ENDED: Final = 1_000
"""As in `bridge.store.writer`."""


@final
class PostgresWriter:
    """One connection that writes.  Every method may raise psycopg.Error and `ArchiveTrouble`."""

    def __init__(self, db: Database, run: PostgresRun) -> None:
        """Raises `ArchiveLost` too: then another writer over the same connection works."""
        self.db: Final = db
        self._run = run
        self._reading = PostgresConnection(db)
        self._cursor = db.cursor()
        self._pending: dict[int, PendingRows] = {}
        """By session; the one whose rows wait longest is the first."""
        self._seqs: dict[int, int] = {}
        """The newest row of each session that was written to."""
        self._batch = 0
        """The newest batch of the journal."""
        lost = self._begin_epoch()
        with db.transaction():
            self._batch = self._newest_batch()
            self._replay_journal()
        if lost is None and self._batch < run.batch:
            lost = ArchiveLost(
                f"{shown_url(run.url)} lost its last commits: what is in memory is written again",
                rows_are_kept=True,
            )
        run.batch = self._batch
        if lost is not None:
            raise lost

    def _begin_epoch(self) -> ArchiveLost | None:
        """Take an epoch, once for each process; see that this one was not replaced."""
        run = self._run
        row = self.db.execute("SELECT store FROM layout").fetchone()
        store = "" if row is None else row[0]
        row_of_worker = self.db.execute(
            "SELECT epoch FROM workers WHERE instance = %s", (run.instance,)
        ).fetchone()
        epoch = 0 if row_of_worker is None else row_of_worker[0]
        if run.epoch and epoch > run.epoch:
            raise run_replaced(run)
        lost = None
        if run.store and run.store != store:
            lost = ArchiveLost(
                f"{shown_url(run.url)} is another database than before: sessions go on in it"
            )
            run.batch = 0
            run.keys.clear()
        run.store = store
        if epoch != run.epoch or not run.epoch:
            is_first = not run.epoch
            born = self.db.execute(
                BIRTH,
                {
                    "instance": run.instance,
                    "least": run.epoch + 1,
                    "lease": LEASE,
                    "pid": run.pid,
                    "started_at": run.started_at,
                },
            ).fetchone()
            assert born is not None
            run.worker, run.epoch, alive_at = born
            if is_first:
                run.alive_before = alive_at
        return lost

    # ------------------------------------------------------------ write

    def write(self, batch: Batch) -> None:
        """Write all of the batch, durably, or nothing."""
        run, db = self._run, self.db
        if self._has_rows_only(batch):
            self._write_rows_only(batch)
            run.batch = self._batch
            return
        with db.pipeline() as pipeline, db.transaction():
            fence = db.execute(FENCE, (batch.alive_at, LEASE, run.worker, run.epoch))
            self._look_up(batch)
            encoded = self._add_rows(batch)
            written = [self._write_checkpoint(one) for one in batch.checkpoints]
            self._write_journal(encoded, batch.alive_at)
            pipeline.sync()
            self._require(fence, written)
        run.batch = self._batch
        if run.written is not None:
            run.written.update(run.key(checkpoint.session) for checkpoint in batch.checkpoints)

    def _has_rows_only(self, batch: Batch) -> bool:
        """True if the batch is one row of the journal, as most are."""
        if batch.checkpoints:
            return False
        keys, seqs, size = self._run.keys, self._seqs, 0
        for row in batch.rows:
            if keys.get(row.session, row.session) not in seqs or MARK in row.entries:
                return False
            size += len(row.body) + len(row.entries) + _ROW_BYTES
        return size < PACK_BYTES

    def _write_rows_only(self, batch: Batch) -> None:
        encoded, run = self._add_rows(batch), self._run
        fence = (batch.alive_at, LEASE, run.worker, run.epoch)
        if not encoded:
            self._require(self._cursor.execute(FENCE, fence), ())
            return
        ((_, packed),) = pack(encoded)
        floor = next(iter(self._pending.values())).batch
        row = (self._batch, floor, batch.alive_at, packed)
        self._require(self._cursor.execute(ROWS_ONLY, (*fence, *row)), ())

    def _require(
        self,
        fence: psycopg.Cursor[tuple[Any, ...]],
        written: Iterable[psycopg.Cursor[tuple[Any, ...]]],
    ) -> None:
        """Raise `ArchiveTrouble` where the worker or a session is not ours any more."""
        if fence.rowcount != 1:
            raise run_replaced(self._run)
        if any(cursor.rowcount != 1 for cursor in written):
            # Two workers gave a session the same number at once.  The next try sees it.
            raise ArchiveTrouble("another worker began a session with the same number just now")

    def _look_up(self, batch: Batch) -> None:
        """Read of each session that is new here what is stored of it."""
        run = self._run
        sessions = {row.session for row in batch.rows}
        sessions.update(checkpoint.session for checkpoint in batch.checkpoints)
        unknown = [session for session in sessions if run.key(session) not in self._seqs]
        if not unknown:
            return
        stored = {
            key: (owner, seq)
            for key, owner, seq in self.db.execute(
                "SELECT session, owner, seq FROM sessions WHERE session = ANY(%s)",
                ([run.key(session) for session in unknown],),
            )
        }
        for session in unknown:
            owner, seq = stored.get(run.key(session), (run.worker, -1))
            if owner != run.worker:
                run.keys[session], seq = self._free_key(run.key(session)), -1
            self._seqs[run.key(session)] = seq

    def _free_key(self, key: int) -> int:
        row = self.db.execute(FREE_KEY, (key, key)).fetchone()
        if row is None:
            raise ArchiveTrouble("no number is free for a new session: see this machine's clock")
        return row[0]

    def _add_rows(self, batch: Batch) -> list[bytes]:
        """Add the rows that are new to the pending ones.  Gives them encoded."""
        self._batch = max(self._batch + 1, int(batch.alive_at * 1e6))
        seqs, keys, added = self._seqs, self._run.keys, list[bytes]()
        for row in batch.rows:
            if row.session in keys:
                row = evolve(row, session=keys[row.session])
            session = row.session
            if row.seq <= seqs[session]:
                continue  # of a batch that was written before
            seqs[session] = row.seq
            if session not in self._pending:
                self._pending[session] = PendingRows(self._batch)
            if MARK in row.entries:
                self._note_alerts(row)
            pending, encoded = self._pending[session], encode_journal_row(row)
            pending.rows.append(row)
            pending.encoded.append(encoded)
            added.append(encoded)
        return added

    def _note_alerts(self, row: JournalRow) -> None:
        for entry in decode_entries(row.entries):
            data: Any = entry.data
            if entry.event == "alert_firing":
                values = (row.session, data["rule"], data["on"] or "", data["text"], entry.at)
                self.db.execute(ALERT, values)
            elif entry.event == "alert_resolved":
                self.db.execute(RESOLVED, (entry.at, row.session, data["rule"], data["on"] or ""))

    def _write_journal(self, encoded: Sequence[bytes], at: float) -> None:
        packs = [packed for _, packed in pack(encoded)]
        first = self._batch
        self._batch += max(0, len(packs) - 1)
        oldest = next(iter(self._pending.values()), None)
        floor = self._batch + 1 if oldest is None else oldest.batch
        for index, packed in enumerate(packs):
            self.db.execute(JOURNAL, (self._run.worker, first + index, floor, at, packed))

    def _write_checkpoint(self, checkpoint: Checkpoint) -> psycopg.Cursor[tuple[Any, ...]]:
        """Write the session, and move its pending rows into chunks."""
        db, state = self.db, checkpoint.state
        session = self._run.key(checkpoint.session)
        pending = self._pending.pop(session, None)
        size = 0
        for first, at, chunk in () if pending is None else chunks_of(pending):
            db.execute(CHUNK, (session, first, at, chunk))
            size += len(chunk)
        self._seqs[session] = checkpoint.seq
        if state.ended:
            del self._seqs[session]
        row, text = encode_row(state)
        encoded = encode_state(state)
        written = db.execute(
            SESSION,
            (
                session,
                self._run.worker,
                state.room,
                state.room_sid,
                state.started_at,
                state.ended_at,
                state.end_reason,
                checkpoint.seq,
                checkpoint.lost,
                row.people.peak,
                row.people.unique,
                row.people_seconds,
                *row.quality.seconds().values(),
                size,
                len(encoded) + len(text),
            ),
        )
        db.execute(STATE, (session, encoded, text, FORM))
        for person in everyone(state):
            db.execute(PERSON, (session, person.identity, person.name, person.key or ""))
        return written

    def end_lease(self) -> None:
        """This worker does not run any more."""
        self.db.execute(
            "UPDATE workers SET expires = now() WHERE worker = %s AND epoch = %s",
            (self._run.worker, self._run.epoch),
        )

    # ------------------------------------------------------------ earlier runs

    def load(self) -> RecoveredSessions:
        """The sessions of earlier runs of this worker, the oldest first."""
        db, run = self.db, self._run
        sessions = set[int]()
        queries: list[tuple[str, tuple[object, ...]]] = [
            (f"{OURS} AND ended_at IS NULL", (run.worker,)),
            (CONTINUED, (run.worker, MOST_ENDED)),
        ]
        if run.alive_before is not None:
            queries.append((ENDED_LATELY, (run.worker, run.alive_before - RECENT, MOST_ENDED)))
        for sql, values in queries:
            sessions.update(session for (session,) in db.execute(sql.encode(), values))
        rows = db.execute(
            "SELECT session, seq, lines_lost, state FROM sessions JOIN states USING (session) "
            "WHERE session = ANY(%s) ORDER BY session",
            (list(sessions - (run.written or set())),),
            binary=True,
        ).fetchall()
        run.written = None
        return RecoveredSessions(tuple(_loaded(rows)), run.alive_before)

    def _newest_batch(self) -> int:
        row = self.db.execute(
            "SELECT coalesce(max(batch), 0) FROM journal WHERE worker = %s", (self._run.worker,)
        ).fetchone()
        return 0 if row is None else row[0]

    def _replay_journal(self) -> None:
        """Fold the rows that an earlier writer of this worker left in the journal, and write a
        checkpoint of each session.

        As in SQLite, the first row of a session that cannot be read ends its replay.
        """
        worker = self._run.worker
        packs = self.db.execute(
            "SELECT lines FROM journal WHERE worker = %s AND batch >= (SELECT floor FROM journal "
            "WHERE worker = %s ORDER BY batch DESC LIMIT 1) ORDER BY batch",
            (worker, worker),
            binary=True,
        )
        newest = rows_by_session(packed for (packed,) in packs)
        written = list[psycopg.Cursor[tuple[Any, ...]]]()
        if newest:
            fence = self.db.execute(
                "SELECT 1 FROM workers WHERE worker = %s AND epoch = %s FOR UPDATE",
                (worker, self._run.epoch),
            )
            self._require(fence, ())
        stored = {
            session: rest
            for session, *rest in self.db.execute(
                "SELECT session, room, seq, lines_lost FROM sessions "
                "WHERE session = ANY(%s) AND owner = %s",
                (list(newest), worker),
            )
        }
        for session, rows in newest.items():
            if session not in stored or rows[-1].seq <= stored[session][1]:
                continue
            room, _, lost = stored[session]
            replayed = replay_or_log(self._reading, session, room, rows)
            if replayed is None:
                continue
            if replayed.error is not None:
                lost += rows[-1].seq - replayed.seq
            folded = list(replayed.rows)
            self._pending[session] = PendingRows(0, folded, list(map(encode_journal_row, folded)))
            written.append(
                self._write_checkpoint(Checkpoint(session, replayed.seq, replayed.state, lost))
            )
        if newest:  # an empty batch whose floor says that all rows are in chunks
            self._batch += 1
            row = (worker, self._batch, self._batch + 1, self._run.started_at, EMPTY_PACK)
            self.db.execute(JOURNAL, row)


def _loaded(rows: Iterable[tuple[Any, ...]]) -> Iterator[StoredSession]:
    for session, seq, lost, body in rows:
        try:
            yield StoredSession(session, seq, decode_state(body), lost)
        except Unreadable as error:
            log.exception("stored_session_unreadable", session=session, error=error)
