"""One person erased from the SQLite store of a directory (port: `ErasableStore`).

It waits for a worker's lock, and a worker waits a second for each of its short transactions.

Afterwards no byte is left in pages that were freed: SQLite overwrites them only where that costs
nothing (`secure_delete = FAST`).  So free pages are given back to the disk, and the write-ahead log
is copied and emptied.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Final, final

from bridge.store.directory_lock import lock_owner
from bridge.store.person_erasure import (
    ErasureReport,
    Key,
    NewChunk,
    Progress,
    erase_journal,
    erase_names,
    person_names,
)
from bridge.store.schema import FILE, transaction
from bridge.store.sqlite_connection import SqliteConnection
from bridge.store.sqlite_reader import open_database
from bridge.store.store_errors import trouble_of

LOCK_SECONDS: Final = 10.0
"""Seconds to wait for the worker's lock."""
_VACUUM: Final = 256
"""Pages that are given back to the disk at once: a megabyte."""
_TRIES: Final = 50
_PAUSE: Final = 0.1
"""Seconds between two tries to empty the log: somebody reads."""


def names_in_directory(data_dir: Path, person: str) -> tuple[str, ...]:
    """All identities and person keys of a person, who is given by one of them.

    Raises as `open_database` does.
    """
    with open_database(data_dir) as db:
        return person_names(SqliteConnection(db), person)


def erase_from_directory(data_dir: Path, names: Sequence[str], progress: Progress) -> ErasureReport:
    """Erase everything with these identities and person keys.

    Raises as `open_database` does.
    """
    path = data_dir / FILE
    with open_database(data_dir):
        pass  # It is ours, and of this version.
    try:
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as db:
            db.execute("PRAGMA secure_delete = ON")
            store = _SqliteErasure(db, data_dir)
            is_alone = not store.is_running()
            report = erase_names(store, names, progress)
            progress("giving free pages back to the disk")
            _clean(db, whole=is_alone)
    except sqlite3.Error as error:
        raise trouble_of(path, error) from error
    return report


def erase_from_journal(folder: Path, names: Sequence[str]) -> None:
    """Erase everything with these identities and person keys from a local journal, which nobody
    writes.  Raises `ArchiveTrouble`."""
    path = folder / FILE
    try:
        with closing(sqlite3.connect(path, timeout=LOCK_SECONDS, isolation_level=None)) as db:
            db.execute("PRAGMA secure_delete = ON")
            erase_journal(_SqliteErasure(db, folder), names)
            _clean(db, whole=True)
    except sqlite3.Error as error:
        raise trouble_of(path, error) from error


@final
class _SqliteErasure:
    """See `ErasableStore`."""

    def __init__(self, db: sqlite3.Connection, data_dir: Path) -> None:
        self.reading: Final = SqliteConnection(db)
        self._db = db
        self._data_dir = data_dir

    def transaction(self) -> AbstractContextManager[object]:
        return transaction(self._db)

    def is_running(self) -> bool:
        return lock_owner(self._data_dir) is not None

    def chunk_keys(self, session: int) -> list[tuple[int, Key]]:
        sql = "SELECT first FROM chunks WHERE session = ? ORDER BY first"
        return [(first, (session, first)) for (first,) in self._db.execute(sql, (session,))]

    def chunk(self, key: Key) -> bytes | None:
        sql = "SELECT lines FROM chunks WHERE session = ? AND first = ?"
        return next((lines for (lines,) in self._db.execute(sql, key)), None)

    def replace_chunk(self, session: int, key: Key, chunks: Sequence[NewChunk]) -> None:
        with self.transaction():
            before = self._db.execute(
                "DELETE FROM chunks WHERE session = ? AND first = ? RETURNING length(lines)", key
            ).fetchone()
            if before is None:  # It was too old, and was dropped meanwhile.
                return
            self._db.executemany(
                "INSERT INTO chunks VALUES (?, ?, ?, ?)", [(session, *one) for one in chunks]
            )
            self._db.execute(
                "UPDATE sessions SET bytes = max(0, bytes + ?) WHERE session = ?",
                (sum(len(lines) for *_, lines in chunks) - before[0], session),
            )

    def batch_keys(self) -> list[Key]:
        return self._db.execute("SELECT batch FROM journal ORDER BY batch").fetchall()

    def batch(self, key: Key) -> bytes | None:
        stored = self._db.execute("SELECT lines FROM journal WHERE batch = ?", key)
        return next((lines for (lines,) in stored), None)

    def replace_batch(self, key: Key, packed: bytes) -> None:
        self._db.execute("UPDATE journal SET lines = ? WHERE batch = ?", (packed, *key))


def _empty_log(db: sqlite3.Connection) -> None:
    """Copy the write-ahead log into the file and cut it to nothing, unless somebody reads all the
    time."""
    for _ in range(_TRIES):
        with suppress(sqlite3.OperationalError):
            if not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                return
        time.sleep(_PAUSE)


def _clean(db: sqlite3.Connection, *, whole: bool) -> None:
    if whole:
        # It also rewrites the pages that stay, and needs the space of the file once more.
        with suppress(sqlite3.OperationalError):
            db.execute("VACUUM")
    before = -1
    while (free := db.execute("PRAGMA freelist_count").fetchone()[0]) not in (0, before):
        before = free
        db.execute(f"PRAGMA incremental_vacuum({_VACUUM})").fetchall()
    _empty_log(db)
