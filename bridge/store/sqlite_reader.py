"""The sessions of a worker's SQLite file, opened for reading.

The readers read while a worker writes, and after the worker died.  They make no file and change
none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from stat import S_ISREG

from actors.journal.session_reader import NoStore, StoreRefused
from bridge.store.schema import FILE, VERSION, open_for_reading, require_ours, version_of
from bridge.store.sql_reader import SqlReader
from bridge.store.sqlite_connection import SqliteConnection
from bridge.store.store_errors import trouble_of


@contextmanager
def open_database(data_dir: Path) -> Generator[sqlite3.Connection, None, None]:
    """The file of this directory, for reading.

    Raises `NoStore`, `StoreRefused` where the file is not ours or of another version, and
    `ArchiveTrouble` where it cannot be read, the last one also from within the block.
    """
    path = data_dir / FILE
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise StoreRefused(f"{path} is not a plain file: remove it, or name another directory")
        if not status.st_size:
            raise NoStore(f"no sessions are kept in {data_dir}")
    except FileNotFoundError:
        raise NoStore(f"no sessions are kept in {data_dir}") from None
    except OSError as error:
        raise trouble_of(path, error) from error
    try:
        with closing(open_for_reading(path)) as db:
            require_ours(db, path)
            version = version_of(db)
            if not version:
                raise NoStore(f"no sessions are kept in {data_dir}")
            if version < VERSION:
                raise StoreRefused(
                    f"{path} was written by an older version of this program (its layout is "
                    f"{version}, this one reads {VERSION}): `start` brings it up to date"
                )
            yield db
    except sqlite3.Error as error:
        raise trouble_of(path, error) from error


@contextmanager
def open_reader(data_dir: Path) -> Generator[SqlReader, None, None]:
    """The sessions of this directory.  Raises as `open_database` does."""
    with open_database(data_dir) as db:
        yield SqlReader(SqliteConnection(db, data_dir))
