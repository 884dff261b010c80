"""The one connection that writes: it writes batches and loads what earlier runs left.

All calls run in a thread, one at a time.  After an error the writer is not used again: the next
one begins with what is in the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final, final

import structlog
from attrs import define, field

from actors.journal.archive import (
    RECENT,
    Batch,
    Checkpoint,
    RecoveredSessions,
    StoredSession,
)
from actors.session.codec import Unreadable, decode_state, encode_state
from actors.session.end_reasons import CONTINUABLE
from actors.session.view import everyone
from actors.session.view_types import SessionRow
from bridge.store.alert_rows import MARK, note_alerts
from bridge.store.journal_rows import (
    EMPTY_PACK,
    encode_journal_row,
    newest_rows,
    pack,
)
from bridge.store.list_rows import FORM, encode_row
from bridge.store.pending_rows import PendingRows, chunks_of
from bridge.store.schema import transaction
from bridge.store.sqlite_connection import SqliteConnection
from bridge.store.writer_replay import replay_or_log

log = structlog.get_logger()

MOST_ENDED: Final = 1_000
"""The most ended sessions that are loaded, the newest first: so many that ended without their
room, and so many that ended just now."""


@define
class WriterRun:
    """One run of a worker: from its start to its end."""

    name: str
    """Unique among all runs."""
    instance: str
    """The worker's id, the same after a restart."""
    pid: int
    started_at: float
    """Unix seconds."""
    written: set[int] | None = field(factory=set[int])
    """Sessions that this run wrote before those of earlier runs were loaded; None after that."""


_JOURNAL: Final = "INSERT INTO journal VALUES (?, ?, ?, ?)"
_CHUNK: Final = "INSERT OR REPLACE INTO chunks VALUES (?, ?, ?, ?)"
_SESSION: Final = """
    INSERT INTO sessions (
        session, room, room_sid, started_at, ended_at, end_reason, seq, lines_lost, has_lines,
        people_peak, people_unique, participant_seconds,
        quality_excellent, quality_good, quality_poor, quality_lost, place
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?,
        (SELECT coalesce(max(place), 0) + 1 FROM sessions))
    ON CONFLICT (session) DO UPDATE SET
        room = excluded.room, room_sid = excluded.room_sid, started_at = excluded.started_at,
        ended_at = excluded.ended_at, end_reason = excluded.end_reason,
        seq = excluded.seq, lines_lost = excluded.lines_lost, has_lines = 1,
        people_peak = excluded.people_peak, people_unique = excluded.people_unique,
        participant_seconds = excluded.participant_seconds,
        quality_excellent = excluded.quality_excellent, quality_good = excluded.quality_good,
        quality_poor = excluded.quality_poor, quality_lost = excluded.quality_lost
    """
_BYTES: Final = "UPDATE sessions SET bytes = bytes + ? WHERE session = ?"
_STATE: Final = "INSERT OR REPLACE INTO states (session, state, row, form) VALUES (?, ?, ?, ?)"
_PERSON: Final = """
    INSERT INTO people (session, identity, name, person) VALUES (?, ?, ?, ?)
    ON CONFLICT (session, identity) DO UPDATE SET name = excluded.name, person = excluded.person
        WHERE people.name != excluded.name OR people.person != excluded.person
    """
_RUN: Final = """
    INSERT INTO runs (run, instance, pid, started_at, alive_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (run) DO UPDATE SET alive_at = excluded.alive_at
    """
_CONTINUABLE_SESSIONS: Final = (
    f"SELECT session FROM sessions WHERE end_reason IN {tuple(sorted(CONTINUABLE))} "  # noqa: S608
    "ORDER BY place DESC LIMIT ?"
)
"""Written exactly as the condition of the index `sessions_continued`, so that SQLite uses it."""
_RECENT: Final = (
    "SELECT session FROM sessions WHERE ended_at > ? AND ended_at IS NOT NULL "
    "ORDER BY ended_at DESC LIMIT ?"
)


@final
class Writer:
    """One connection that writes.  Every method may raise sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection, run: WriterRun) -> None:
        self.db: Final = db
        self._run = run
        self._pending: dict[int, PendingRows] = {}
        """By session; the one whose rows wait longest is the first."""
        self._seqs: dict[int, int] = {}
        """The newest row of each session that was written to."""
        self._batch = 0
        """The newest batch of the journal."""
        try:
            with transaction(db):
                self._batch = _newest_batch(db)
                self._replay_journal()
        except BaseException:
            db.close()
            raise

    # ------------------------------------------------------------ write

    def write(self, batch: Batch) -> None:
        """Write all of the batch, durably, or nothing."""
        with transaction(self.db):
            encoded = self._add_rows(batch)
            for checkpoint in batch.checkpoints:
                self._write_checkpoint(checkpoint)
            self._write_journal(encoded, batch.alive_at)
            run = self._run
            row = (run.name, run.instance, run.pid, run.started_at, batch.alive_at)
            self.db.execute(_RUN, row)
        if run.written is not None:
            run.written.update(checkpoint.session for checkpoint in batch.checkpoints)

    def copy_log(self) -> None:
        """Copy the write-ahead log into the file, as far as no reader is in the way."""
        self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _add_rows(self, batch: Batch) -> list[bytes]:
        """Add the rows that are new to the pending ones.  Gives them encoded."""
        self._batch = max(self._batch + 1, int(batch.alive_at * 1e6))
        seqs, added = self._seqs, list[bytes]()
        for row in batch.rows:
            session = row.session
            if session not in seqs:
                seqs[session] = self._stored_seq(session)
            if row.seq <= seqs[session]:
                continue  # of a batch that was written before
            seqs[session] = row.seq
            if session not in self._pending:
                self._pending[session] = PendingRows(self._batch)
            if MARK in row.entries:
                note_alerts(self.db, row)
            pending, encoded = self._pending[session], encode_journal_row(row)
            pending.rows.append(row)
            pending.encoded.append(encoded)
            added.append(encoded)
        return added

    def _stored_seq(self, session: int) -> int:
        row = self.db.execute("SELECT seq FROM sessions WHERE session = ?", (session,))
        return (row.fetchone() or (-1,))[0]

    def _write_journal(self, encoded: Sequence[bytes], at: float) -> None:
        packs = [packed for _, packed in pack(encoded)]
        first = self._batch
        self._batch += max(0, len(packs) - 1)
        oldest = next(iter(self._pending.values()), None)
        floor = self._batch + 1 if oldest is None else oldest.batch
        self.db.executemany(
            _JOURNAL, [(first + index, floor, at, packed) for index, packed in enumerate(packs)]
        )

    def _write_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Write the session, and move its pending rows into chunks."""
        db, session, state = self.db, checkpoint.session, checkpoint.state
        pending = self._pending.pop(session, None)
        chunks = [] if pending is None else list(chunks_of(pending))
        db.executemany(_CHUNK, [(session, *chunk) for chunk in chunks])
        self._seqs[session] = checkpoint.seq
        if state.ended:
            del self._seqs[session]
        row, text = encode_row(state)
        db.execute(_SESSION, _columns(checkpoint, row))
        if chunks:
            db.execute(_BYTES, (sum(len(chunk) for _, _, chunk in chunks), session))
        db.execute(_STATE, (session, encode_state(state), text, FORM))
        db.executemany(
            _PERSON,
            [
                (session, *map(_storable, (person.identity, person.name, person.key or "")))
                for person in everyone(state)
            ],
        )

    # ------------------------------------------------------------ earlier runs

    def load(self) -> RecoveredSessions:
        """The sessions of earlier runs, the oldest first."""
        db, run = self.db, self._run
        alive_at = self.alive_before()
        still_open = db.execute("SELECT session FROM sessions WHERE ended_at IS NULL")
        sessions = {session for (session,) in still_open}
        sessions |= {session for (session,) in db.execute(_CONTINUABLE_SESSIONS, (MOST_ENDED,))}
        if alive_at is not None:
            since = alive_at - RECENT
            sessions |= {session for (session,) in db.execute(_RECENT, (since, MOST_ENDED))}
        loaded = [self._load(session) for session in sorted(sessions - (run.written or set()))]
        run.written = None
        return RecoveredSessions(tuple(one for one in loaded if one is not None), alive_at)

    def alive_before(self) -> float | None:
        """Unix seconds of the last sign of life of the run before this one; None without any."""
        row = self.db.execute(
            "SELECT alive_at FROM runs WHERE run != ? ORDER BY id DESC LIMIT 1", (self._run.name,)
        ).fetchone()
        return None if row is None else row[0]

    def _load(self, session: int) -> StoredSession | None:
        seq, lost, body = self.db.execute(
            "SELECT seq, lines_lost, state FROM sessions JOIN states USING (session) "
            "WHERE session = ?",
            (session,),
        ).fetchone()
        try:
            return StoredSession(session, seq, decode_state(body), lost)
        except Unreadable as error:
            log.exception("stored_session_unreadable", session=session, error=error)
            return None

    def _replay_journal(self) -> None:
        """Fold the rows that an earlier writer left in the journal, and write a checkpoint of each
        session.

        The first row of a session that cannot be read ends its replay.  The numbers of that row
        and those after it are used again.
        """
        reading = SqliteConnection(self.db)
        newest = newest_rows(reading)
        for session, rows in newest.items():
            stored = self.db.execute(
                "SELECT room, seq, lines_lost FROM sessions WHERE session = ?", (session,)
            ).fetchone()
            if stored is None or rows[-1].seq <= stored[1]:
                continue
            room, _, lost = stored
            replayed = replay_or_log(reading, session, room, rows)
            if replayed is None:
                continue
            if replayed.error is not None:
                lost += rows[-1].seq - replayed.seq
            folded = list(replayed.rows)
            self._pending[session] = PendingRows(0, folded, list(map(encode_journal_row, folded)))
            self._write_checkpoint(Checkpoint(session, replayed.seq, replayed.state, lost))
        if newest:  # an empty batch whose floor says that all rows are in chunks
            self._batch += 1
            row = (self._batch, self._batch + 1, self._run.started_at, EMPTY_PACK)
            self.db.execute(_JOURNAL, row)


def _newest_batch(db: sqlite3.Connection) -> int:
    return db.execute("SELECT coalesce(max(batch), 0) FROM journal").fetchone()[0]


def _columns(checkpoint: Checkpoint, row: SessionRow) -> tuple[object, ...]:
    state, quality = checkpoint.state, row.quality
    return (
        checkpoint.session,
        _storable(state.room),
        _storable(state.room_sid),
        state.started_at,
        state.ended_at,
        state.end_reason,
        checkpoint.seq,
        checkpoint.lost,
        row.people.peak,
        row.people.unique,
        row.people_seconds,
        *quality.seconds().values(),
    )


def _storable(text: str) -> str:
    """Lone surrogates become "?": SQLite takes UTF-8 only."""
    return text.encode(errors="replace").decode()
