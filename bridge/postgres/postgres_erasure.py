"""One person erased from a database (port: `bridge.store.person_erasure.ErasableStore`).

A row that was rewritten leaves its old version in the table's file until VACUUM.  So all tables are
vacuumed at the end: where no worker runs, they are rewritten (VACUUM FULL), and no old version is
left in them.  Beside a worker the space is only marked as free, and PostgreSQL overwrites it later.
The write-ahead log, archives of it and standbys have their own copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Final, final

import psycopg

from bridge.postgres.postgres_connection import (
    WRITER_LIMITS,
    Database,
    PostgresConnection,
    connect,
    trouble_of_database,
)
from bridge.postgres.postgres_reader import open_database_for_reading
from bridge.store.person_erasure import (
    ErasureReport,
    Key,
    NewChunk,
    Progress,
    erase_names,
    person_names,
)

_LIMITS: Final = {**WRITER_LIMITS, "statement_timeout": "0", "lock_timeout": "10s"}
_REWRITTEN: Final = (
    "states",
    "chunks",
    "journal",
    "people",
    "alerts",
    "sessions",
    "parked",
    "bans",
)


def names_in_database(url: str, person: str) -> tuple[str, ...]:
    """All identities and person keys of a person, who is given by one of them.

    Raises as `open_database_for_reading` does.
    """
    with open_database_for_reading(url) as db:
        return person_names(db, person)


def erase_from_database(url: str, names: Sequence[str], progress: Progress) -> ErasureReport:
    """Erase everything with these identities and person keys.

    Raises as `open_database_for_reading` does.
    """
    with open_database_for_reading(url):
        pass  # It is ours, and of this version.
    try:
        with connect(url, _LIMITS) as db:
            store = _PostgresErasure(db)
            is_alone = not store.is_running()
            report = erase_names(store, names, progress)
            progress("vacuuming the tables")
            _vacuum(db, whole=is_alone)
    except psycopg.Error as error:
        raise trouble_of_database(url, error) from None
    return report


@final
class _PostgresErasure:
    """See `ErasableStore`."""

    def __init__(self, db: Database) -> None:
        self.reading: Final = PostgresConnection(db)
        self._db = db

    def transaction(self) -> AbstractContextManager[object]:
        return self._db.transaction()

    def is_running(self) -> bool:
        return self._one("SELECT EXISTS (SELECT 1 FROM workers WHERE expires > now())")

    def chunk_keys(self, session: int) -> list[tuple[int, Key]]:
        rows = self._db.execute(
            "SELECT first, day FROM chunks WHERE session = %s ORDER BY first", (session,)
        )
        return [(first, (session, first, day)) for first, day in rows]

    def chunk(self, key: Key) -> bytes | None:
        return self._one(
            "SELECT lines FROM chunks WHERE session = %s AND first = %s AND day = %s", *key
        )

    def replace_chunk(self, session: int, key: Key, chunks: Sequence[NewChunk]) -> None:
        with self.transaction():
            before = self._one(
                "DELETE FROM chunks WHERE session = %s AND first = %s AND day = %s "
                "RETURNING length(lines)",
                *key,
            )
            if before is None:  # It was too old, and was dropped meanwhile.
                return
            for first, at, lines in chunks:
                self._db.execute(
                    "INSERT INTO chunks (session, first, day, at, lines) "
                    "VALUES (%s, %s, %s, %s, %s)",
                    (session, first, key[2], at, lines),
                )
            self._db.execute(
                "UPDATE sessions SET bytes = greatest(0, bytes + %s) WHERE session = %s",
                (sum(len(lines) for *_, lines in chunks) - before, session),
            )

    def batch_keys(self) -> list[Key]:
        return list(self._db.execute("SELECT worker, batch FROM journal ORDER BY worker, batch"))

    def batch(self, key: Key) -> bytes | None:
        return self._one("SELECT lines FROM journal WHERE worker = %s AND batch = %s", *key)

    def replace_batch(self, key: Key, packed: bytes) -> None:
        self._db.execute(
            "UPDATE journal SET lines = %s WHERE worker = %s AND batch = %s", (packed, *key)
        )

    def _one(self, sql: str, *values: object) -> Any:
        row = self._db.execute(sql.encode(), values, binary=True).fetchone()
        return None if row is None else row[0]


def _vacuum(db: Database, *, whole: bool) -> None:
    for table in _REWRITTEN:
        # Somebody reads, or the user does not own the table: PostgreSQL does it by itself later.
        with suppress(psycopg.errors.LockNotAvailable, psycopg.errors.InsufficientPrivilege):
            db.execute(f"VACUUM {'(FULL)' if whole else ''} {table}".encode())
