"""Whole journals of stored sessions, record by record: for a trial of rules over the past.

A journal may be larger than memory; one chunk of it is in memory at a time.  Each session is read
in transactions of its own, so a long run over many sessions does not keep the write-ahead log from
being copied.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Final, final

from attrs import frozen

from actors.journal.archive import RECENT, JournalRow
from actors.journal.session_filters import Filters
from actors.session.codec import Unreadable, decode_record
from actors.session.record import Record
from bridge.store.journal_rows import newest_rows, unpack_chunk
from bridge.store.read_connection import ReadConnection
from bridge.store.session_queries import stable_conditions
from bridge.store.sqlite_connection import SqliteConnection
from bridge.store.sqlite_reader import open_database

AT_ONCE: Final = 8
"""Chunks that one query reads."""


class JournalIncomplete(Exception):
    """The rest of a journal cannot be read.  The text says why."""


@frozen
class StoredJournal:
    """One stored session, before its journal is read."""

    session: int
    """Its key in the store."""
    room: str
    room_sid: str
    started_at: float
    """Unix seconds."""
    ended: bool
    rows: int
    """About so many; a live session may have more."""


@final
class JournalReader:
    """Reads journals.  `open_journal_reader` makes it; one thread at a time may use it."""

    def __init__(self, db: ReadConnection) -> None:
        self._db = db

    def journals(self, filters: Filters) -> list[StoredJournal]:
        """The sessions that match, the oldest first.

        Only the filters on the room, the time and the status count.
        """
        stable = stable_conditions(self._db, filters)
        rows = self._db.execute(
            "SELECT session, room, room_sid, started_at, ended_at IS NOT NULL, seq + 1 "  # noqa: S608
            f"FROM sessions WHERE {stable} ORDER BY place",
            stable.values,
        )
        return [
            StoredJournal(session, room, sid, started_at or 0.0, bool(ended), count)
            for session, room, sid, started_at, ended, count in rows
        ]

    def records(self, journal: StoredJournal) -> Iterator[Record]:
        """All records of a session, from the first one on.

        Raises `JournalIncomplete` where one is not stored (any more) or cannot be read.
        """
        seq = -1
        try:
            for rows in self._pieces(journal.session):
                for row in rows:
                    if row.seq <= seq:
                        continue
                    if row.seq != seq + 1:
                        raise JournalIncomplete(_missing(seq + 1))
                    seq = row.seq
                    yield decode_record(row.kind, row.body)
        except Unreadable as error:
            raise JournalIncomplete(f"row {seq + 1} cannot be read: {error}") from error
        if seq + 1 < journal.rows:
            raise JournalIncomplete(_missing(seq + 1))

    def _pieces(self, session: int) -> Iterator[Sequence[JournalRow]]:
        """The chunks in their order, then the rows that are in no chunk yet."""
        after = -1
        while True:
            with self._db.snapshot():
                chunks = self._db.execute(
                    "SELECT first, lines FROM chunks WHERE session = ? AND first > ? "
                    "ORDER BY first LIMIT ?",
                    (session, after, AT_ONCE),
                ).fetchall()
                # A checkpoint moves rows into chunks, so both are read in one transaction.
                newest = [] if chunks else self._rows_in_no_chunk(session)
            if not chunks:
                yield newest
                return
            for _, chunk in chunks:
                yield unpack_chunk(chunk)
            after = chunks[-1][0]

    def _rows_in_no_chunk(self, session: int) -> Sequence[JournalRow]:
        alive_at = self._db.alive_at()
        (over,) = self._db.execute(
            "SELECT count(*) FROM sessions WHERE session = ? AND ended_at < ?",
            (session, -inf if alive_at is None else alive_at - RECENT),
        ).fetchone()
        # Nothing is recorded any more so long after an end, and all rows are in chunks.
        return () if over else newest_rows(self._db, (session,)).get(session, ())

    def alive_at(self) -> float | None:
        """Unix seconds until which all that happened is stored; None in an empty store."""
        return self._db.alive_at()


def _missing(seq: int) -> str:
    if not seq:
        return "its events are not stored any more"
    return f"event {seq} is missing"


@contextmanager
def open_journal_reader(data_dir: Path) -> Generator[JournalReader, None, None]:
    """The journals of this directory.  Raises as `open_database` does."""
    with open_database(data_dir) as db:
        yield JournalReader(SqliteConnection(db, data_dir))
