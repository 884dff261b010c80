"""The archive in SQLite (port: `actors.journal.archive`).

All calls that touch the disk run in a thread, one at a time, so a slow disk delays only the
store.  After any trouble the connection is closed, and the next call opens the file anew: the
cause (no room, no right, another program's lock) may be gone by then.  A damaged file is
quarantined and a new one begins.  Where the file was removed, a new one begins too.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing, suppress
from math import inf
from pathlib import Path
from typing import Final, TypeVar, final

import structlog
import trio

from actors.journal.archive import ArchiveLost, ArchiveTrouble, Batch, PruneStep, RecoveredSessions
from actors.journal.session_reader import StoreRefused
from bridge.store.directory_lock import DirectoryLock
from bridge.store.quarantine import quarantine
from bridge.store.retention import DEFAULT, PruneQuota, Retention, prune
from bridge.store.schema import (
    CHECKPOINT_EVERY,
    FILE,
    open_for_reading,
    open_for_writing,
    require_ours,
    require_whole,
)
from bridge.store.store_errors import is_damage, trouble_of
from bridge.store.writer import Writer, WriterRun

log = structlog.get_logger()

T = TypeVar("T")

CLOSE_SECONDS: Final = 5.0
"""The longest time by which a disk that does not answer may delay the end of the program."""


@final
class SqliteArchive:
    """See `Archive`.  `open_store` makes it.  Calls wait for each other."""

    def __init__(
        self, data_dir: Path, run: WriterRun, retention: Retention, steady: Callable[[], float]
    ) -> None:
        self.path: Final = data_dir / FILE
        self._run = run
        self._retention = retention
        self._steady = steady
        self._steady_since = steady()
        self._quota = PruneQuota(steady)
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._lock: DirectoryLock | None = None
        self._writer: Writer | None = None
        self._inode: tuple[int, int] | None = None
        """Device and inode of the file that was opened last."""
        self._log_inode: tuple[int, int] | None = None
        """The same of the write-ahead log beside it."""
        self._checkpoint_at = -inf
        """Steady seconds of the last time when the log was copied into the file."""

    async def open(self) -> None:
        """Open the file.  Raises `ArchiveTrouble`, and `StoreRefused` where waiting is useless."""
        await self._in_thread(self._ready)

    async def load(self) -> RecoveredSessions:
        """See `Archive`."""
        return await self._call(Writer.load)

    async def write(self, batch: Batch) -> None:
        """See `Archive`."""

        def write(writer: Writer) -> None:
            writer.write(batch)
            if self._steady() - self._checkpoint_at >= CHECKPOINT_EVERY:
                self._checkpoint_at = self._steady()
                writer.copy_log()

        await self._call(write)

    async def verify(self, most: float = inf) -> None:
        """See `Archive`.  It has a connection of its own, so writing goes on meanwhile."""

        def look() -> None:
            try:
                status = self.path.stat()
                if not stat.S_ISREG(status.st_mode):
                    # Opening a FIFO for reading would wait for a process that writes to it.
                    raise ArchiveTrouble(f"{self.path} is no file")
                if status.st_size > most:
                    return
                with closing(open_for_reading(self.path)) as db:
                    require_ours(db, self.path)
                    require_whole(db)
            except StoreRefused as refused:
                raise ArchiveTrouble(str(refused)) from None
            except OSError as error:
                raise trouble_of(self.path, error) from error

        def look_again() -> None:
            self._ready()
            try:
                look()
            except sqlite3.Error as error:
                raise self._failed(error) from error

        try:
            await trio.to_thread.run_sync(look, abandon_on_cancel=True)
        except sqlite3.Error:
            # Once more while nothing is written: only that is certain.
            await self._in_thread(look_again)

    async def prune(self, now: float | None) -> PruneStep:
        """See `Archive`.

        The present is taken to be no later than the last sign of life of the run before, plus the
        time since this run began.  Without an earlier run, it is the start of this run instead.
        """

        def step(writer: Writer) -> PruneStep:
            alive_at = writer.alive_before()
            since = self._run.started_at if alive_at is None else alive_at
            latest = since + self._steady() - self._steady_since
            return prune(
                writer.db,
                self._retention,
                None if now is None else min(now, latest),
                self._quota,
            )

        return await self._call(step)

    async def aclose(self) -> None:
        """Close the file and release the directory."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_SECONDS):
            await self._in_thread(self._close)

    # ------------------------------------------------------------ in the thread

    async def _in_thread(self, function: Callable[[], T]) -> T:
        # A cancelled call goes on in its thread, and the next one waits for it.
        return await trio.to_thread.run_sync(
            function, limiter=self._one_at_a_time, abandon_on_cancel=True
        )

    async def _call(self, function: Callable[[Writer], T]) -> T:
        def call() -> T:
            writer = self._ready()
            try:
                return function(writer)
            except sqlite3.Error as error:
                raise self._failed(error) from error
            except BaseException:
                self._disconnect()
                raise

        try:
            return await self._in_thread(call)
        except StoreRefused as refused:
            raise ArchiveTrouble(str(refused)) from None

    def _ready(self) -> Writer:
        locked = self._lock is not None and self._lock.in_place()
        if self._writer is not None and locked and self._is_there():
            if self._has_its_log():
                return self._writer
            raise self._rescue(self._writer)
        self._disconnect()
        try:
            if self._lock is not None and not locked:
                # The directory was moved away with our lock: another process may own this one.
                self._lock.release()
                self._lock = None
            if self._lock is None:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._lock = DirectoryLock(self.path.parent)
            db = open_for_writing(self.path, again=self._is_there())
            self._writer = Writer(db, self._run)
            before, self._inode = self._inode, _identity(self.path)
            self._log_inode = _identity(self._log_path)
        except OSError as error:
            raise trouble_of(self.path, error) from error
        except sqlite3.Error as error:
            raise self._failed(error) from error
        if before not in (None, self._inode):
            raise ArchiveLost(f"{self.path} was taken away: sessions go on in a new file")
        return self._writer

    def _is_there(self) -> bool:
        try:
            return _identity(self.path) == self._inode
        except OSError:
            return False

    @property
    def _log_path(self) -> Path:
        return Path(f"{self.path}-wal")

    def _has_its_log(self) -> bool:
        try:
            return _identity(self._log_path) == self._log_inode
        except OSError:
            return False

    def _rescue(self, writer: Writer) -> ArchiveTrouble:
        """The log was removed.  This connection still has it open, and copies it into the file."""
        try:
            writer.copy_log()
        except sqlite3.Error as error:
            return self._failed(error)
        self._disconnect()
        return ArchiveLost(
            f"{self._log_path} was taken away: its content was copied into {self.path.name}, "
            "and what is in memory is written again",
            rows_are_kept=True,
        )

    def _failed(self, error: sqlite3.Error) -> ArchiveTrouble:
        self._disconnect()
        if not is_damage(error):
            return trouble_of(self.path, error)
        try:
            target = quarantine(self.path)
        except OSError as failure:
            return trouble_of(self.path, failure)
        self._inode = None
        log.error("store_set_aside", path=str(self.path), kept_as=str(target), error=error)
        return ArchiveLost(
            f"{self.path} is damaged ({error}): it is kept as {target.name}, and a new one begins"
        )

    def _disconnect(self) -> None:
        if self._writer is not None:
            with suppress(sqlite3.Error):
                self._writer.db.close()
            self._writer = None

    def _close(self) -> None:
        self._disconnect()
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


@asynccontextmanager
async def open_store(
    data_dir: Path,
    *,
    instance: str,
    retention: Retention = DEFAULT,
    clock: Callable[[], float] = time.time,
    steady: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[SqliteArchive, None]:
    """The store of this directory, locked for the length of the block.

    `instance` names this worker, the same after a restart.  `clock` gives Unix seconds, `steady`
    the seconds of a clock that is never set.

    Raises `StoreRefused` where another worker has the directory, or the file in it is not ours
    to use.  It raises no other trouble, which may be over soon: `load` and `write` raise it.
    """
    pid, now = os.getpid(), clock()
    run = WriterRun(f"{now:.6f}-{pid}", instance, pid, now)
    archive = SqliteArchive(data_dir, run, retention, steady)
    try:
        with suppress(ArchiveTrouble):
            await archive.open()
        yield archive
    finally:
        await archive.aclose()
