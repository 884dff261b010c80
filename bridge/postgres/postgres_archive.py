"""The archive in PostgreSQL (port: `actors.journal.archive`).

All calls run in a thread (`database_thread`), so a slow database delays only the store.  Batches
and leases use one connection, because both are of the worker's epoch.  Retention has another one:
it may take longer than a lease.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from math import inf
from typing import Final, TypeVar, final

import psycopg
import trio

from actors.journal.archive import ArchiveTrouble, Batch, Fenced, PruneStep, RecoveredSessions
from actors.journal.room_leases import LEASE
from actors.journal.session_reader import StoreRefused
from bridge.postgres.database_thread import DatabaseThread
from bridge.postgres.postgres_connection import WRITER_LIMITS, Database, batch_limits
from bridge.postgres.postgres_epochs import EpochOver
from bridge.postgres.postgres_retention import SessionQuota, prune_database
from bridge.postgres.postgres_run import PostgresRun
from bridge.postgres.postgres_schema import make_partitions, migrate
from bridge.postgres.postgres_writer import PostgresWriter
from bridge.store.local_journal import LocalJournal
from bridge.store.retention import DEFAULT, Retention

T = TypeVar("T")

ANSWER_SECONDS: Final = 15.0
"""The longest time for the answer to a batch."""
START_SECONDS: Final = 120.0
"""The longest time for a call that may read much: the first one of a run."""
PRUNE_SECONDS: Final = 40.0
"""The longest time for a step of retention."""
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
        self._thread = DatabaseThread(run.url, batch_limits(run.lease))
        self._pruner = DatabaseThread(run.url, WRITER_LIMITS)
        self._writer: PostgresWriter | None = None

    async def open(self) -> None:
        """Connect.  Raises `ArchiveTrouble`, and `StoreRefused` where waiting is useless."""
        await self._thread.run(self._ready, START_SECONDS)

    async def load(self) -> RecoveredSessions:
        """See `Archive`."""
        return await self._call(PostgresWriter.load, START_SECONDS)

    async def write(self, batch: Batch) -> None:
        """See `Archive`."""
        await self._call(lambda writer: writer.write(batch), self._answer_seconds)

    async def call_leases(self, function: Callable[[PostgresWriter, PostgresRun], T]) -> T:
        """Call a function of leases in the writer's thread.  Raises `ArchiveTrouble`."""
        run = self._run
        return await self._call(lambda writer: function(writer, run), self._answer_seconds)

    async def verify(self, most: float = inf) -> None:  # noqa: ARG002 (the port's)
        """See `Archive`.  PostgreSQL watches its own files: only whether it answers is asked."""
        await self._call(lambda writer: writer.db.execute("SELECT 1"), self._answer_seconds)

    async def prune(self, now: float | None) -> PruneStep:
        """See `Archive`.

        Of several workers one at a time drops what all wrote.  What is old is decided by the
        database's clock and by `now`: both must say it.
        """

        def prune() -> PruneStep:
            db = self._pruner.open or self._pruner.connect()
            return prune_database(db, self._retention, now, self._run.worker, self._quota)

        await self.verify()  # It connects, and then the worker has its number.
        return await self._refused_as_trouble(self._pruner, prune, PRUNE_SECONDS)

    async def aclose(self) -> None:
        """Close the connections.  The worker counts as ended from then on."""
        with trio.CancelScope(shield=True):
            with suppress(ArchiveTrouble):
                await self._thread.run(self._end, CLOSE_SECONDS)
            with suppress(ArchiveTrouble):
                await self._pruner.run(self._pruner.disconnect, CLOSE_SECONDS)

    # ------------------------------------------------------------ in the thread

    async def _call(self, function: Callable[[PostgresWriter], T], seconds: float) -> T:
        def call() -> T:
            try:
                return function(self._ready())
            except EpochOver:
                # Another epoch begins, unless another process of this worker has begun one.
                self._thread.disconnect()
                return function(self._ready())

        return await self._refused_as_trouble(self._thread, call, seconds)

    async def _refused_as_trouble(
        self, thread: DatabaseThread, function: Callable[[], T], seconds: float
    ) -> T:
        def call() -> T:
            try:
                return function()
            except psycopg.Error as error:
                raise thread.trouble(error) from None
            except Fenced:
                raise  # Nothing was changed, and the connection is as before.
            except BaseException:
                thread.disconnect()
                raise

        try:
            return await thread.run(call, seconds)
        except StoreRefused as refused:
            raise ArchiveTrouble(str(refused)) from None

    def _ready(self) -> PostgresWriter:
        if self._writer is not None and self._writer.db is self._thread.open:
            return self._writer
        self._writer = None
        try:
            db = self._thread.connect()
            migrate(db, self._run.url)
            make_partitions(db)
            with _more_time(db):
                self._writer = PostgresWriter(db, self._run)
        except psycopg.Error as error:
            raise self._thread.trouble(error) from None
        except BaseException:
            self._thread.disconnect()
            raise
        return self._writer

    def _end(self) -> None:
        if self._writer is not None and self._writer.db is self._thread.open:
            with suppress(psycopg.Error):
                self._writer.end_lease()
        self._thread.disconnect()
        if self._run.local is not None:
            self._run.local.close()


@contextmanager
def _more_time(db: Database) -> Generator[None, None, None]:
    """Statements may take longer: what an earlier process left may be much."""
    db.execute(f"SET statement_timeout = '{START_SECONDS:g}s'".encode())
    yield
    db.execute("RESET statement_timeout")


@asynccontextmanager
async def open_database_store(
    url: str,
    *,
    instance: str,
    retention: Retention = DEFAULT,
    clock: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
    answer_seconds: float = ANSWER_SECONDS,
    lease: float = LEASE,
    before_commit: Callable[[], object] = lambda: None,
    local: LocalJournal | None = None,
) -> AsyncGenerator[PostgresArchive, None]:
    """The store in this database, for the length of the block.

    `instance` names this worker, the same after a restart.  `clock` gives Unix seconds, `steady`
    the seconds of a clock that is never set.  `lease`: seconds, the same for all workers.
    `before_commit`: see `PostgresRun`.  `local`: the journal, where it is on this machine.

    Raises `StoreRefused` where the database is not ours to use.  It raises no other trouble, which
    may be over soon: `load` and `write` raise it.
    """
    run = PostgresRun(url, instance, os.getpid(), clock(), lease, before_commit, local)
    archive = PostgresArchive(run, retention, steady, answer_seconds)
    try:
        with suppress(ArchiveTrouble):
            await archive.open()
        yield archive
    finally:
        await archive.aclose()
