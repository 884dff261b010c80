"""The archive of a worker: the one place that chooses it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from actors.journal.archive import Archive
from actors.journal.room_leases import RoomLeases
from actors.journal.session_reader import StoreRefused
from bridge.config.store_address import StoreAddress
from bridge.store.directory_lock import DirectoryLock
from bridge.store.retention import Retention
from bridge.store.sqlite_archive import open_store


@asynccontextmanager
async def open_archive(
    store: StoreAddress, *, instance: str, retention: Retention
) -> AsyncGenerator[Archive, None]:
    """The store, for the length of the block, with the data directory locked.

    With a database the directory still has the worker's id and its bans.
    Raises `StoreRefused` where another worker has the directory, or the store is not ours to use.
    """
    if store.database_url is None:
        async with open_store(store.data_dir, instance=instance, retention=retention) as archive:
            yield archive
        return
    from bridge.postgres.postgres_archive import open_database_store
    from bridge.store.local_journal import LocalJournal

    with _locked(store.data_dir):
        async with open_database_store(
            store.database_url,
            instance=instance,
            retention=retention,
            local=LocalJournal(store.data_dir) if store.has_local_events else None,
        ) as archive:
            yield archive


@contextmanager
def _locked(data_dir: Path) -> Generator[None, None, None]:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = DirectoryLock(data_dir)
    except OSError as error:
        raise StoreRefused(f"{data_dir}: {error.strerror or error}") from None
    try:
        yield
    finally:
        lock.release()


def leases_of(store: StoreAddress, archive: Archive) -> RoomLeases | None:
    """The leases of rooms; None where the store has one worker only."""
    if store.database_url is None:
        return None
    from bridge.postgres.postgres_archive import PostgresArchive
    from bridge.postgres.postgres_leases import PostgresLeases

    assert isinstance(archive, PostgresArchive)
    return PostgresLeases(archive)
