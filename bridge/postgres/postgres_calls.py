"""Calls to a database from the event loop: one connection, one call at a time, in a thread.

For the small tables beside the sessions.  After any trouble the connection is closed, and the next
call makes another one.  A server that does not answer counts as trouble after a time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar, final

import psycopg
import trio

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import NoStore, StoreRefused
from bridge.postgres.database_url import shown_url
from bridge.postgres.postgres_connection import (
    WRITER_LIMITS,
    Database,
    PostgresConnection,
    connect,
    hang_up,
    trouble_of_database,
)
from bridge.postgres.postgres_schema import require_store

T = TypeVar("T")

ANSWER_SECONDS: Final = 15.0
"""The longest time for the answer to a call."""


@final
class PostgresCalls:
    """See the module."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._db: Database | None = None
        self._one_at_a_time = trio.CapacityLimiter(1)

    async def call(self, work: Callable[[PostgresConnection], T]) -> T:
        """Run this as one transaction.

        Raises `ArchiveTrouble`, and what `work` raises.  It may be cancelled: then it is not known
        whether it was done.
        """

        def run() -> T:
            try:
                if self._db is None or self._db.closed:
                    self._db = connect(self._url, WRITER_LIMITS)
                    require_store(self._db, self._url)
                with self._db.transaction():
                    return work(PostgresConnection(self._db))
            except psycopg.Error as error:
                self._disconnect()
                raise trouble_of_database(self._url, error) from None
            except (NoStore, StoreRefused) as error:
                self._disconnect()
                raise ArchiveTrouble(str(error)) from None

        with trio.move_on_after(ANSWER_SECONDS):
            return await trio.to_thread.run_sync(
                run, limiter=self._one_at_a_time, abandon_on_cancel=True
            )
        hang_up(self._db)
        raise ArchiveTrouble(
            f"{shown_url(self._url)} did not answer for {ANSWER_SECONDS:g} s: see the server"
        )

    async def aclose(self) -> None:
        """Close the connection."""
        hang_up(self._db)
        await trio.to_thread.run_sync(
            self._disconnect, limiter=self._one_at_a_time, abandon_on_cancel=True
        )

    def _disconnect(self) -> None:
        if self._db is not None:
            with suppress(psycopg.Error, OSError):
                self._db.close()
            self._db = None


@contextmanager
def open_database_for_changes(url: str) -> Generator[PostgresConnection, None, None]:
    """For a command: a connection in a transaction, which the end of the block commits.

    Raises `NoStore`, `StoreRefused` and `ArchiveTrouble`, the last one also from within the block.
    """
    try:
        with connect(url, WRITER_LIMITS) as db:
            require_store(db, url)
            with db.transaction():
                yield PostgresConnection(db)
    except psycopg.Error as error:
        raise trouble_of_database(url, error) from None
