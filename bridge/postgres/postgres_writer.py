"""The one connection by which a worker writes to PostgreSQL.

All calls run in a thread, one at a time.  After an error the writer is not used again: the next one
begins with what is in the database.

A batch is one transaction.  Its first statement is the fence: it renews the worker's lease, and it
changes no row where the worker's epoch is over (`postgres_epochs`), or where the database lost
commits.  The sessions that are new to the writer are looked up then (`postgres_ownership`).  All
other statements go out together (a pipeline), so a batch costs two round trips.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, final

import psycopg
from attrs import evolve

from actors.journal.archive import (
    ArchiveLost,
    ArchiveTrouble,
    Batch,
    Checkpoint,
    JournalRow,
    RecoveredSessions,
    StoredSession,
)
from actors.session.codec import decode_entries, encode_state
from actors.session.view import everyone
from bridge.postgres.database_url import shown_url
from bridge.postgres.postgres_connection import Database, PostgresConnection
from bridge.postgres.postgres_epochs import begin_epoch, epoch_over, fence
from bridge.postgres.postgres_ownership import admit
from bridge.postgres.postgres_recovery import load_sessions, stored_sessions
from bridge.postgres.postgres_run import PostgresRun
from bridge.postgres.postgres_statements import (
    ALERT,
    CHUNK,
    END_LEASES,
    FENCE,
    OWN,
    PERSON,
    RELEASE,
    RESOLVED,
    SESSION,
    STATE,
)
from bridge.postgres.worker_journal import packs_of, worker_journal
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

_ROW_BYTES: Final = 200
"""Most bytes of an encoded row beside its body and entries."""


@final
class PostgresWriter:
    """One connection that writes.  Every method may raise psycopg.Error and `ArchiveTrouble`."""

    def __init__(self, db: Database, run: PostgresRun) -> None:
        """Raises `ArchiveLost` too: then another writer over the same connection works."""
        self.db: Final = db
        self._run = run
        self._reading = PostgresConnection(db)
        self._pending: dict[int, PendingRows] = {}
        """By session; the one whose rows wait longest is the first."""
        self._seqs: dict[int, int] = {}
        """The newest row of each session that was written to."""
        self._known: set[int] = set()
        """Sessions that this worker may write, because it owns their rooms."""
        self._batch = 0
        """The newest batch of the journal."""
        lost = begin_epoch(db, run)
        self._journal = worker_journal(db, run)
        has_lost_commits = self._journal.lost_commits()
        with db.transaction():
            self._batch = self._journal.newest_batch()
            self._replay_journal()
        self._journal.commit()
        if lost is None and has_lost_commits:
            lost = ArchiveLost(
                f"{shown_url(run.url)} lost its last commits: what is in memory is written again",
                rows_are_kept=True,
            )
        run.batch = self._batch
        if lost is not None:
            raise lost

    # ------------------------------------------------------------ write

    def write(self, batch: Batch) -> None:
        """Write all of the batch, durably, or nothing."""
        run, db = self._run, self.db
        if self._has_rows_only(batch):
            self._write_rows_only(batch)
            run.batch = self._batch
            return
        with db.pipeline() as pipeline, db.transaction():
            fenced = db.execute(FENCE, (batch.alive_at, run.lease, run.worker, run.epoch))
            self._look_up(batch, fenced)
            encoded = self._add_rows(batch)
            written = [self._write_checkpoint(one) for one in batch.checkpoints]
            self._write_journal(encoded, batch.alive_at)
            self._give_away(batch)
            pipeline.sync()
            run.before_commit()
            self._require(fenced, written)
        states = ((run.key(one.session), one.state) for one in batch.checkpoints)
        names = ((key, state.room, state.room_sid) for key, state in states)
        self._journal.commit(names, batch.alive_at)
        run.batch = self._batch
        if run.written is not None:
            run.written.update(run.key(checkpoint.session) for checkpoint in batch.checkpoints)

    def _has_rows_only(self, batch: Batch) -> bool:
        """True if the batch is one row of the journal, as most are."""
        if batch.checkpoints or batch.released:
            return False
        keys, known, size = self._run.keys, self._known, 0
        for row in batch.rows:
            if keys.get(row.session, row.session) not in known or MARK in row.entries:
                return False
            size += len(row.body) + len(row.entries) + _ROW_BYTES
        return size < PACK_BYTES

    def _write_rows_only(self, batch: Batch) -> None:
        encoded = self._add_rows(batch)
        if not encoded:
            self._journal.write(batch.alive_at, None, self._require_epoch)
            return
        ((_, packed),) = pack(encoded)
        floor = next(iter(self._pending.values())).batch
        row = (self._batch, floor, batch.alive_at, packed)
        self._journal.write(batch.alive_at, row, self._require_epoch)

    def _require_epoch(self, fenced: psycopg.Cursor[tuple[Any, ...]]) -> None:
        if fenced.rowcount != 1:
            raise epoch_over(self._run)

    def _require(
        self,
        fenced: psycopg.Cursor[tuple[Any, ...]],
        written: Iterable[psycopg.Cursor[tuple[Any, ...]]],
    ) -> None:
        """Raise `ArchiveTrouble` where the worker or a session is not ours any more."""
        self._require_epoch(fenced)
        if any(cursor.rowcount != 1 for cursor in written):
            # Two workers gave a session the same number at once.  The next try sees it.
            raise ArchiveTrouble("another worker began a session with the same number just now")

    def _look_up(self, batch: Batch, fenced: psycopg.Cursor[tuple[Any, ...]]) -> None:
        """Look up the sessions that are new here, and acquire their rooms."""
        rooms: dict[int, tuple[str, str] | None] = {row.session: None for row in batch.rows}
        for one in batch.checkpoints:
            rooms[one.session] = (one.state.room, one.state.room_sid)
        key, known = self._run.key, self._known
        new = {session: room for session, room in rooms.items() if key(session) not in known}
        if new:
            require_epoch = partial(self._require, fenced, ())
            admission = admit(self.db, self._run, new, require_epoch)
            for session, seq in admission.seqs.items():
                self._seqs[session] = max(seq, self._seqs.get(session, -1))
            known |= admission.known

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
            self._journal.add((first + index, floor, at, packed))

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

    def _give_away(self, batch: Batch) -> None:
        """End the leases of sessions that ended or are released."""
        key = self._run.key
        ended = [key(one.session) for one in batch.checkpoints if one.state.ended]
        released = [key(session) for session in batch.released]
        if ended:
            self.db.execute(END_LEASES, (ended, self._run.worker))
        if released:
            self.db.execute(RELEASE, (batch.alive_at, released, self._run.worker))
        self.forget((*ended, *released))

    def forget(self, sessions: Iterable[int]) -> None:
        """Look these sessions up again before more of them is written."""
        for session in sessions:
            self._seqs.pop(session, None)
            self._known.discard(session)

    def end_lease(self) -> None:
        """This worker does not run any more, and it ended in order."""
        self.db.execute(
            "UPDATE workers SET expires = now(), draining = true WHERE worker = %s AND epoch = %s",
            (self._run.worker, self._run.epoch),
        )

    # ------------------------------------------------------------ sessions that others began

    def resume(self, sessions: Mapping[int, int | None]) -> dict[int, StoredSession]:
        """Go on with these stored sessions, each given with the worker that has rows of it in its
        journal, if any.

        Within a transaction that has acquired their rooms.  It gives no session that cannot be
        read.  What another worker has in its journal becomes part of their checkpoints.
        """
        run, rows = self._run, dict[int, Sequence[JournalRow]]()
        for worker in set(sessions.values()) - {run.worker}:
            if worker is not None:
                theirs = [key for key, writer in sessions.items() if writer == worker]
                rows |= rows_by_session(packs_of(self.db, worker), frozenset(theirs))
        self._journal.forget([key for key, worker in sessions.items() if worker != run.worker])
        self.db.execute(OWN, (run.worker, list(sessions)))
        if run.written is not None:
            run.written.update(sessions)
        resumed = dict[int, StoredSession]()
        for key, worker in sessions.items():
            ours = worker == run.worker
            newest = rows.get(key, ())
            if ours and key in self._pending:
                newest = self._pending[key].rows
            session = self._replay(key, newest, is_written=not ours)
            if session is not None:
                resumed[key] = session
                self._seqs[key] = session.seq
                self._known.add(key)
        return resumed

    def _replay(
        self, key: int, newest: Sequence[JournalRow], *, is_written: bool
    ) -> StoredSession | None:
        """The session as of these rows.  With `is_written` they become a checkpoint."""
        row = self.db.execute(
            "SELECT room, seq, lines_lost, state FROM sessions JOIN states USING (session) "
            "WHERE session = %s",
            (key,),
            binary=True,
        ).fetchone()
        if row is None:
            return None
        room, seq, lost, body = row
        if not newest or newest[-1].seq <= seq:
            return next(stored_sessions([(key, seq, lost, body)]), None)
        replayed = replay_or_log(self._reading, key, room, newest)
        if replayed is None:
            return None
        if is_written:
            if replayed.error is not None:
                lost += newest[-1].seq - replayed.seq
            folded = list(replayed.rows)
            self._pending[key] = PendingRows(0, folded, list(map(encode_journal_row, folded)))
            written = self._write_checkpoint(Checkpoint(key, replayed.seq, replayed.state, lost))
            if written.rowcount != 1:
                raise ArchiveTrouble("another worker acquired the room of a session just now")
        return StoredSession(key, replayed.seq, replayed.state, lost)

    def settle(self, sessions: Iterable[int]) -> None:
        """Write checkpoints of own sessions that have newer rows in the journal."""
        for key in sessions:
            pending = self._pending.get(key)
            if pending is not None:
                self._replay(key, pending.rows, is_written=True)

    # ------------------------------------------------------------ earlier runs

    def load(self) -> RecoveredSessions:
        """The sessions of earlier runs of this worker, the oldest first."""
        return load_sessions(self.db, self._run)

    def _replay_journal(self) -> None:
        """Fold the rows that an earlier writer of this worker left in the journal, and write a
        checkpoint of each session.

        As in SQLite, the first row of a session that cannot be read ends its replay.
        """
        newest = rows_by_session(self._journal.packs())
        if not newest:
            return
        fence(self.db, self._run)
        stored = self.db.execute(
            "SELECT session, seq FROM sessions WHERE session = ANY(%s) AND owner = %s",
            (list(newest), self._run.worker),
        ).fetchall()
        for session, seq in stored:
            if newest[session][-1].seq > seq:
                self._replay(session, newest[session], is_written=True)
        self.forget([session for session, _ in stored])
        # An empty batch, whose floor says that all rows are in chunks.
        self._batch += 1
        self._journal.add((self._batch, self._batch + 1, self._run.started_at, EMPTY_PACK))
