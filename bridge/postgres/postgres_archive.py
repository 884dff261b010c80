"""The archive in PostgreSQL (port: `actors.journal.archive`).

All calls run in a thread, one at a time, so a slow database delays only the store.  After any
trouble the connection is closed, and the next call makes another one.  A server that neither
answers nor fails (a machine that is gone, a stopped process) counts as trouble after a time: the
socket is shut down, and the call in the thread fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from math import inf
from typing import Final, TypeVar, final

import psycopg
import trio

from actors.journal.archive import ArchiveTrouble, Batch, PruneStep, RecoveredSessions
from actors.journal.session_reader import StoreRefused
from bridge.postgres.database_url import shown_url
from bridge.postgres.postgres_connection import (
    WRITER_LIMITS,
    Database,
    connect,
    hang_up,
    trouble_of_database,
)
from bridge.postgres.postgres_retention import SessionQuota, prune_database
from bridge.postgres.postgres_run import PostgresRun
from bridge.postgres.postgres_schema import make_partitions, migrate
from bridge.postgres.postgres_writer import PostgresWriter
from bridge.store.retention import DEFAULT, Retention

T = TypeVar("T")

ANSWER_SECONDS: Final = 15.0
"""The longest time for the answer to a batch."""
START_SECONDS: Final = 120.0
"""The longest time for a call that may read much: the first one of a run."""
CLOSE_SECONDS: Final = 2.0
"""The longest time by which a database that does not answer may delay the end of the program."""


@final
class PostgresArchive:
    """See `Archive`.  `open_database_store` makes it.  Calls wait for each other."""

    def __init__(
        self,
        run: PostgresRun,
        retention: Retention,
        steady: Callable[[], float],
        answer_seconds: float,
    ) -> None:
        self._run = run
        self._retention = retention
        self._quota = SessionQuota(steady)
        self._answer_seconds = answer_seconds
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._db: Database | None = None
        self._writer: PostgresWriter | None = None

    async def open(self) -> None:
        """Connect.  Raises `ArchiveTrouble`, and `StoreRefused` where waiting is useless."""
        await self._in_thread(self._ready, START_SECONDS)

    async def load(self) -> RecoveredSessions:
        """See `Archive`."""
        return await self._call(PostgresWriter.load, START_SECONDS)

    async def write(self, batch: Batch) -> None:
        """See `Archive`."""
        await self._call(lambda writer: writer.write(batch), self._answer_seconds)

    async def verify(self, most: float = inf) -> None:  # noqa: ARG002 (the port's)
        """See `Archive`.  PostgreSQL watches its own files: only whether it answers is asked."""
        await self._call(lambda writer: writer.db.execute("SELECT 1"), self._answer_seconds)

    async def prune(self, now: float | None) -> PruneStep:
        """See `Archive`.

        Of several workers one at a time drops what all wrote.  What is old is decided by the
        database's clock and by `now`: both must say it.
        """
        run = self._run
        return await self._call(
            lambda writer: prune_database(writer.db, self._retention, now, run.worker, self._quota),
            self._answer_seconds,
        )

    async def aclose(self) -> None:
        """Close the connection.  The worker counts as ended from then on."""
        with trio.CancelScope(shield=True), suppress(ArchiveTrouble):
            await self._in_thread(self._end, CLOSE_SECONDS)

    # ------------------------------------------------------------ in the thread

    async def _in_thread(self, function: Callable[[], T], seconds: float) -> T:
        # A cancelled call goes on in its thread, and the next one waits for it.
        with trio.move_on_after(seconds):
            return await trio.to_thread.run_sync(
                function, limiter=self._one_at_a_time, abandon_on_cancel=True
            )
        hang_up(self._db)
        raise ArchiveTrouble(
            f"{shown_url(self._run.url)} did not answer for {seconds:g} s: see the server"
        )

    async def _call(self, function: Callable[[PostgresWriter], T], seconds: float) -> T:
        def call() -> T:
            writer = self._ready()
            try:
                return function(writer)
            except psycopg.Error as error:
                self._disconnect()
                raise trouble_of_database(self._run.url, error) from None
            except BaseException:
                self._disconnect()
                raise

        try:
            return await self._in_thread(call, seconds)
        except StoreRefused as refused:
            raise ArchiveTrouble(str(refused)) from None

    def _ready(self) -> PostgresWriter:
        if self._writer is not None and self._db is not None and not self._db.closed:
            return self._writer
        self._disconnect()
        try:
            self._db = connect(self._run.url, WRITER_LIMITS)
            migrate(self._db, self._run.url)
            make_partitions(self._db)
            self._writer = PostgresWriter(self._db, self._run)
        except psycopg.Error as error:
            self._disconnect()
            raise trouble_of_database(self._run.url, error) from None
        except BaseException:
            self._disconnect()
            raise
        return self._writer

    def _disconnect(self) -> None:
        self._writer = None
        if self._db is not None:
            with suppress(psycopg.Error, OSError):
                self._db.close()
            self._db = None

    def _end(self) -> None:
        if self._writer is not None:
            with suppress(psycopg.Error):
                self._writer.end_lease()
        self._disconnect()


@asynccontextmanager
async def open_database_store(
    url: str,
    *,
    instance: str,
    retention: Retention = DEFAULT,
    clock: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
    answer_seconds: float = ANSWER_SECONDS,
) -> AsyncGenerator[PostgresArchive, None]:
    """The store in this database, for the length of the block.

    `instance` names this worker, the same after a restart.  `clock` gives Unix seconds, `steady`
    the seconds of a clock that is never set.

    Raises `StoreRefused` where the database is not ours to use.  It raises no other trouble, which
    may be over soon: `load` and `write` raise it.
    """
    run = PostgresRun(url, instance, os.getpid(), clock())
    archive = PostgresArchive(run, retention, steady, answer_seconds)
    try:
        with suppress(ArchiveTrouble):
            await archive.open()
        yield archive
    finally:
        await archive.aclose()
