"""The sessions in a database, opened for reading.

The readers read while workers write, and after they ended.  They make and change nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import psycopg

from bridge.postgres.postgres_connection import (
    READER_LIMITS,
    PostgresConnection,
    connect,
    trouble_of_database,
)
from bridge.postgres.postgres_schema import require_store
from bridge.store.journal_reader import JournalReader
from bridge.store.sql_reader import SqlReader


@contextmanager
def open_database_for_reading(url: str) -> Generator[PostgresConnection, None, None]:
    """A connection to the store in this database.

    Raises `NoStore`, `StoreRefused` where the tables are of another version, and `ArchiveTrouble`
    where it cannot be read, the last one also from within the block.
    """
    try:
        with connect(url, READER_LIMITS) as db:
            require_store(db, url)
            yield PostgresConnection(db)
    except psycopg.Error as error:
        raise trouble_of_database(url, error) from None


@contextmanager
def open_database_reader(url: str) -> Generator[SqlReader, None, None]:
    """The sessions in this database.  Raises as `open_database_for_reading` does."""
    with open_database_for_reading(url) as db:
        yield SqlReader(db)


@contextmanager
def open_database_journals(url: str) -> Generator[JournalReader, None, None]:
    """The journals in this database.  Raises as `open_database_for_reading` does."""
    with open_database_for_reading(url) as db:
        yield JournalReader(db)
