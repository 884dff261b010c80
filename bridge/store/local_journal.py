"""The journal of a worker whose sessions are in a database: a file on its own disk.

With `--events local` a row goes here first, and into the database with the next checkpoint of its
session (`bridge.postgres.postgres_writer`).  So this file has what the database does not have yet,
and the newest batches for the followers of the feed.  Its tables are those of a store
(`bridge.store.schema`), of which only `journal` and the names in `sessions` are used, so the feed
over SQLite reads it as it is.

A worker may get back a session that another one wrote in the meantime.  The rows of before are of
no use then.  A *tombstone* says up to which batch: to rewrite the batches would take as long as the
journal is, once for each session.

All methods run in the thread of the writer.  They raise `ArchiveTrouble`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar, final

import structlog

from actors.journal.archive import ArchiveTrouble
from actors.session.codec import Unreadable
from bridge.store.journal_rows import encode_journal_row, pack_whole, unpack
from bridge.store.quarantine import quarantine
from bridge.store.retention import REPLAY
from bridge.store.schema import FILE, open_for_writing, transaction
from bridge.store.store_errors import is_damage, trouble_of

log = structlog.get_logger()

T = TypeVar("T")

FOLDER: Final = "journal"
"""In the data directory, which may also have a store of sessions from before."""
_PRUNE_EVERY: Final = 600
"""Batches: a minute of a busy worker."""
_NAME: Final = """
    INSERT INTO sessions (session, room, room_sid, seq, lines_lost, has_lines, place)
    VALUES (?, ?, ?, 0, 0, 0, (SELECT coalesce(max(place), 0) + 1 FROM sessions))
    ON CONFLICT (session) DO UPDATE SET room = excluded.room, room_sid = excluded.room_sid
    """
_TOMBSTONES: Final = (
    "CREATE TABLE IF NOT EXISTS tombstones (session INTEGER PRIMARY KEY, batch INTEGER NOT NULL)"
)


def journal_folder(data_dir: Path) -> Path:
    """Where the journal of this data directory is."""
    return data_dir / FOLDER


@final
class LocalJournal:
    """See the module.  The file is made with the first call."""

    def __init__(self, data_dir: Path) -> None:
        self.path: Final = journal_folder(data_dir) / FILE
        self._db: sqlite3.Connection | None = None
        self._added = 0

    def newest_batch(self) -> int:
        """The number of the newest batch; 0 in an empty journal."""
        sql = "SELECT coalesce(max(batch), 0) FROM journal"
        return self._call(lambda db: db.execute(sql).fetchone()[0])

    def packs(self) -> list[bytes]:
        """The packs with rows that are in no checkpoint, and some others, in order."""
        sql = (
            "SELECT batch, lines FROM journal WHERE batch >= "
            "(SELECT floor FROM journal ORDER BY batch DESC LIMIT 1) ORDER BY batch"
        )

        def read(db: sqlite3.Connection) -> list[bytes]:
            tombstones: dict[int, int] = dict(db.execute("SELECT session, batch FROM tombstones"))
            return [
                _without(packed, [one for one, until in tombstones.items() if batch <= until])
                for batch, packed in db.execute(sql)
            ]

        return self._call(read)

    def add(
        self,
        batches: Sequence[tuple[int, int, float, bytes]],
        names: Iterable[tuple[int, str, str]] = (),
    ) -> None:
        """Store batches durably: number, floor, time and pack of each.

        `names`: key, room and room SID of sessions.
        """

        def add(db: sqlite3.Connection) -> None:
            with transaction(db):
                db.executemany("INSERT OR REPLACE INTO journal VALUES (?, ?, ?, ?)", batches)
                db.executemany(_NAME, names)
                self._added += len(batches)
                if self._added >= _PRUNE_EVERY:
                    self._added = 0
                    self._prune(db)

        self._call(add)

    def forget(self, sessions: Collection[int]) -> None:
        """Give the rows of these sessions no more: another worker wrote them meanwhile."""

        def forget(db: sqlite3.Connection) -> None:
            marks = ", ".join("?" * len(sessions))
            db.execute(
                "INSERT OR REPLACE INTO tombstones "  # noqa: S608
                "SELECT session, (SELECT coalesce(max(batch), 0) FROM journal) FROM sessions "
                f"WHERE session IN ({marks})",
                tuple(sessions),
            )

        if sessions:
            self._call(forget)

    def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            with suppress(sqlite3.Error):
                self._db.close()
            self._db = None

    def _prune(self, db: sqlite3.Connection) -> None:
        db.execute(
            "DELETE FROM journal WHERE batch < (SELECT min(batch, floor) FROM journal "
            "ORDER BY batch DESC LIMIT 1) AND abs(at - (SELECT at FROM journal "
            "ORDER BY batch DESC LIMIT 1)) > ?",
            (REPLAY,),
        )
        db.execute("DELETE FROM tombstones WHERE batch < (SELECT min(batch) FROM journal)")
        db.execute("DELETE FROM sessions WHERE place < (SELECT max(place) - 10000 FROM sessions)")

    def _call(self, function: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._db is None:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._db = open_for_writing(self.path, again=True)
                self._db.execute(_TOMBSTONES)
            return function(self._db)
        except OSError as error:
            self.close()
            raise trouble_of(self.path, error) from error
        except sqlite3.Error as error:
            self.close()
            raise self._trouble(error) from error

    def _trouble(self, error: sqlite3.Error) -> ArchiveTrouble:
        if is_damage(error):
            with suppress(OSError):
                target = quarantine(self.path)
                log.error("store_set_aside", path=str(self.path), kept_as=str(target), error=error)
        return trouble_of(self.path, error)


def _without(packed: bytes, sessions: Collection[int]) -> bytes:
    """The pack without the rows of these sessions."""
    if not sessions:
        return packed
    try:
        rows = unpack(packed)
    except Unreadable:
        return packed
    others = [row for row in rows if row.session not in sessions]
    return pack_whole(list(map(encode_journal_row, others))) if len(others) < len(rows) else packed
