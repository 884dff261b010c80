"""What the one writer does with its connection: keep a batch, load what was left.

Everything here runs in a thread, one call at a time.  A writer that failed is not used
again: the next one begins with what is in the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any, Final, final

import structlog
from attrs import define, field

from actors.journal.archive import (
    RECENT,
    Batch,
    Checkpoint,
    JournalRow,
    RecoveredSessions,
    StoredSession,
)
from actors.rooms.room_table import CONTINUED
from actors.session.codec import Unreadable, decode_state, encode_state
from actors.session.view import everyone
from bridge.store.journal_rows import NO_LINES, compress, newest_lines, pack, rows_of
from bridge.store.list_rows import FORM, encode_row
from bridge.store.replay import replay
from bridge.store.schema import transaction

log = structlog.get_logger()

MOST_ENDED: Final = 1_000
"""Sessions that ended and are loaded, the newest: of those that ended without their room,
and of those that ended just now, so many each."""


@define
class Run:
    """This worker, this time."""

    name: str
    """No other run has it."""
    instance: str
    """The same after a restart."""
    pid: int
    started_at: float
    written: set[int] | None = field(factory=set[int])
    """Sessions of this run, until those of earlier runs were loaded; then None."""


@define
class _Pending:
    """The lines of one session that are in no chunk."""

    batch: int
    """In which they begin."""
    lines: list[JournalRow] = field(factory=list[JournalRow])
    packed: list[bytes] = field(factory=list[bytes])


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
_ALIVE: Final = """
    INSERT INTO runs (run, instance, pid, started_at, alive_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (run) DO UPDATE SET alive_at = excluded.alive_at
    """
_CONTINUED: Final = (
    f"SELECT session FROM sessions WHERE end_reason IN {tuple(sorted(CONTINUED))} "  # noqa: S608
    "ORDER BY place DESC LIMIT ?"
)
"""As the index for it says it."""
_RECENT: Final = (
    "SELECT session FROM sessions WHERE ended_at > ? AND ended_at IS NOT NULL "
    "ORDER BY ended_at DESC LIMIT ?"
)


@final
class Writer:
    """One connection that writes.  Every method may raise sqlite3.Error."""

    def __init__(self, db: sqlite3.Connection, run: Run) -> None:
        self.db: Final = db
        self._run = run
        self._pending: dict[int, _Pending] = {}
        """By session, the one whose lines wait longest first."""
        self._seqs: dict[int, int] = {}
        """The newest line of each session that was written to."""
        self._batch = 0
        """The newest row of the journal."""
        try:
            with transaction(db):
                self._batch = _newest_batch(db)
                self._settle()
        except BaseException:
            db.close()
            raise

    # ------------------------------------------------------------ write

    def write(self, batch: Batch) -> None:
        """Keep all of the batch, durably, or nothing."""
        with transaction(self.db):
            packed = self._take_lines(batch)
            for checkpoint in batch.checkpoints:
                self._keep(checkpoint)
            self._write_journal(packed, batch.alive_at)
            run = self._run
            row = (run.name, run.instance, run.pid, run.started_at, batch.alive_at)
            self.db.execute(_ALIVE, row)
        if run.written is not None:
            run.written.update(checkpoint.session for checkpoint in batch.checkpoints)

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the file, as far as no reader is in the way."""
        self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _take_lines(self, batch: Batch) -> list[bytes]:
        """Those that are new, packed."""
        self._batch = max(self._batch + 1, int(batch.alive_at * 1e6))
        seqs, taken = self._seqs, list[bytes]()
        for line in batch.lines:
            session = line.session
            if session not in seqs:
                seqs[session] = self._kept_seq(session)
            if line.seq <= seqs[session]:
                continue  # of a batch that was kept before
            seqs[session] = line.seq
            if session not in self._pending:
                self._pending[session] = _Pending(self._batch)
            pending, packed = self._pending[session], pack(line)
            pending.lines.append(line)
            pending.packed.append(packed)
            taken.append(packed)
        return taken

    def _kept_seq(self, session: int) -> int:
        found = self.db.execute("SELECT seq FROM sessions WHERE session = ?", (session,))
        return (found.fetchone() or (-1,))[0]

    def _write_journal(self, packed: Sequence[bytes], at: float) -> None:
        rows = [row for _, row in rows_of(packed)]
        first = self._batch
        self._batch += max(0, len(rows) - 1)
        oldest = next(iter(self._pending.values()), None)
        floor = self._batch + 1 if oldest is None else oldest.batch
        self.db.executemany(
            _JOURNAL, [(first + index, floor, at, row) for index, row in enumerate(rows)]
        )

    def _keep(self, checkpoint: Checkpoint) -> None:
        db, session, state = self.db, checkpoint.session, checkpoint.state
        pending = self._pending.pop(session, None)
        chunks = [] if pending is None else list(_chunks(pending))
        db.executemany(_CHUNK, [(session, *chunk) for chunk in chunks])
        self._seqs[session] = checkpoint.seq
        if state.ended:
            del self._seqs[session]
        row, text = encode_row(state)
        db.execute(_SESSION, _columns(checkpoint, row))
        if chunks:
            db.execute(_BYTES, (sum(len(lines) for _, _, lines in chunks), session))
        db.execute(_STATE, (session, encode_state(state), text, FORM))
        db.executemany(
            _PERSON,
            [
                (session, *map(_text, (person.identity, person.name, person.key or "")))
                for person in everyone(state)
            ],
        )

    # ------------------------------------------------------------ what was left

    def load(self) -> RecoveredSessions:
        """What earlier runs left, the oldest session first."""
        db, run = self.db, self._run
        alive_at = self.alive_before()
        still_open = db.execute("SELECT session FROM sessions WHERE ended_at IS NULL")
        sessions = {session for (session,) in still_open}
        sessions |= {session for (session,) in db.execute(_CONTINUED, (MOST_ENDED,))}
        if alive_at is not None:
            since = alive_at - RECENT
            sessions |= {session for (session,) in db.execute(_RECENT, (since, MOST_ENDED))}
        found = [self._load(session) for session in sorted(sessions - (run.written or set()))]
        run.written = None
        return RecoveredSessions(tuple(one for one in found if one is not None), alive_at)

    def alive_before(self) -> float | None:
        """Unix seconds of the last sign of life of the run before this one; None without any."""
        found = self.db.execute(
            "SELECT alive_at FROM runs WHERE run != ? ORDER BY id DESC LIMIT 1", (self._run.name,)
        ).fetchone()
        return None if found is None else found[0]

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

    def _settle(self) -> None:
        """Fold what an earlier writer left in the journal: every session is kept whole then.

        What cannot be read ends here: the numbers of such lines are given again.
        """
        newest = newest_lines(self.db)
        for session, lines in newest.items():
            kept = self.db.execute(
                "SELECT room, seq, lines_lost FROM sessions WHERE session = ?", (session,)
            ).fetchone()
            if kept is None or lines[-1].seq <= kept[1]:
                continue
            room, _, lost = kept
            try:
                found = replay(self.db, session, lines)
            except Unreadable as error:
                log.exception("stored_session_unreadable", session=session, room=room, error=error)
                continue
            if found.broken is not None:
                dropped = lines[-1].seq - found.seq
                lost += dropped
                log.error(
                    "stored_lines_unreadable",
                    session=session,
                    room=room,
                    count=dropped,
                    error=found.broken,
                )
            folded = list(found.folded)
            self._pending[session] = _Pending(0, folded, list(map(pack, folded)))
            self._keep(Checkpoint(session, found.seq, found.state, lost))
        if newest:  # nobody comes back to these
            self._batch += 1
            row = (self._batch, self._batch + 1, self._run.started_at, NO_LINES)
            self.db.execute(_JOURNAL, row)


def _newest_batch(db: sqlite3.Connection) -> int:
    return db.execute("SELECT coalesce(max(batch), 0) FROM journal").fetchone()[0]


def _chunks(pending: _Pending) -> Iterator[tuple[int, float, bytes]]:
    """First number, last time and content of each."""
    begin = 0
    for count, row in rows_of(pending.packed):
        end = begin + count
        yield pending.lines[begin].seq, pending.lines[end - 1].at, compress(row)
        begin = end


def _columns(checkpoint: Checkpoint, row: dict[str, Any]) -> tuple[object, ...]:
    state, quality = checkpoint.state, row["quality"]
    return (
        checkpoint.session,
        _text(state.room),
        _text(state.room_sid),
        state.started_at,
        state.ended_at,
        state.end_reason,
        checkpoint.seq,
        checkpoint.lost,
        row["people"]["peak"],
        row["people"]["unique"],
        row["people_seconds"],
        *(quality[level] for level in ("excellent", "good", "poor", "lost")),
    )


def _text(text: str) -> str:
    return text.encode(errors="replace").decode()
