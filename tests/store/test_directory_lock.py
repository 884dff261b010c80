"""One worker a directory, and only files that are ours."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from actors.journal.archive import ArchiveLost, ArchiveTrouble
from actors.journal.session_reader import StoreRefused
from bridge.store.directory_lock import lock_owner
from bridge.store.schema import FILE, VERSION
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from tests.store.store_directory import contents, execute, fill_store
from tests.store.stored_history import History

ROOT = Path(__file__).parents[2]

# ---------------------------------------------------------------- whose it is


async def test_directory_and_file_are_for_their_owner_alone(tmp_path: Path) -> None:
    data_dir = tmp_path / "new" / "data"
    old = os.umask(0)
    try:
        async with open_store(data_dir, instance="w") as archive:
            await History().write_to(archive)
            modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in data_dir.iterdir()}
    finally:
        os.umask(old)
    assert modes == dict.fromkeys((FILE, f"{FILE}-wal", f"{FILE}-shm", "lock"), 0o600)
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


HOLD = """
import sys, trio
from pathlib import Path
from bridge.store.sqlite_archive import open_store
async def main():
    async with open_store(Path(sys.argv[1]), instance="first"):
        print("holds", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
trio.run(main)
"""


@contextmanager
def another_worker(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(data_dir)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        try:
            yield process
        finally:
            process.kill()


async def test_a_second_worker_on_the_directory_is_refused_with_the_firsts_pid(
    tmp_path: Path,
) -> None:
    with another_worker(tmp_path) as first:
        assert lock_owner(tmp_path) == str(first.pid)
        with pytest.raises(StoreRefused, match=f"process {first.pid}"):
            async with open_store(tmp_path, instance="second"):
                pass
        first.kill()
        first.wait()
        # What it left is no obstacle.
        assert (tmp_path / "lock").read_text() == f"{first.pid}\n"
        assert lock_owner(tmp_path) is None
        async with open_store(tmp_path, instance="second"):
            assert lock_owner(tmp_path) == str(os.getpid())


async def test_who_only_looks_does_not_keep_a_worker_out(tmp_path: Path) -> None:
    await fill_store(tmp_path)
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.002):
            lock_owner(tmp_path)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, look)
        try:
            for _ in range(20):
                async with open_store(tmp_path, instance="w"):
                    pass
        finally:
            stop.set()


async def test_a_newer_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    await fill_store(tmp_path)
    execute(tmp_path, f"PRAGMA user_version = {VERSION + 1}")
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(StoreRefused, match="newer version of this program"):
        async with open_store(tmp_path, instance="w"):
            pass
    with pytest.raises(StoreRefused, match="newer version"), open_reader(tmp_path):
        pass
    assert (tmp_path / FILE).read_bytes() == before


@pytest.mark.parametrize("application", [0, 42])
async def test_another_programs_database_is_refused_and_never_touched(
    application: int, tmp_path: Path
) -> None:
    execute(tmp_path, "PRAGMA journal_mode = WAL", f"PRAGMA application_id = {application}",
        "CREATE TABLE theirs (x)", "INSERT INTO theirs VALUES (1)")  # fmt: skip
    # With something that is in its log only, as where that program was killed.
    theirs = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    theirs.execute("INSERT INTO theirs VALUES (2)")
    before = contents(tmp_path)
    with pytest.raises(StoreRefused, match="another program's database"):
        async with open_store(tmp_path, instance="w"):
            pass
    with pytest.raises(StoreRefused, match="another program's"), open_reader(tmp_path):
        pass
    assert contents(tmp_path) == before
    theirs.close()


# ---------------------------------------------------------------- the lock


async def test_a_directory_that_is_moved_away_does_not_take_the_lock_along(tmp_path: Path) -> None:
    """Another worker at the old path must not write where the first goes on."""
    data_dir, moved = tmp_path / "data", tmp_path / "moved"
    async with open_store(data_dir, instance="w") as archive:
        history = History()
        history.begin()
        await history.write_to(archive)
        data_dir.rename(moved)
        with pytest.raises(ArchiveLost, match="taken away"):
            await history.write_to(archive)
        assert lock_owner(data_dir) == str(os.getpid())
        assert lock_owner(moved) is None
        with pytest.raises(StoreRefused, match=f"process {os.getpid()}"):
            async with open_store(data_dir, instance="second"):
                pass
        # What was moved is whole, and free for somebody else.
        async with open_store(moved, instance="second"):
            pass


async def test_who_lost_its_directory_to_another_worker_stops_writing(tmp_path: Path) -> None:
    data_dir, moved = tmp_path / "data", tmp_path / "moved"
    async with open_store(data_dir, instance="w") as archive:
        history = History()
        history.begin()
        await history.write_to(archive)
        data_dir.rename(moved)
        with another_worker(data_dir) as second:
            with pytest.raises(ArchiveTrouble, match=f"another worker .process {second.pid}"):
                await history.write_to(archive)
            with pytest.raises(ArchiveTrouble, match="another worker"):
                await archive.prune(0.0)


async def test_a_lock_file_that_was_removed_is_made_and_locked_again(tmp_path: Path) -> None:
    async with open_store(tmp_path, instance="w") as archive:
        history = History()
        history.begin()
        await history.write_to(archive)
        (tmp_path / "lock").unlink()
        await history.write_to(archive)
        assert lock_owner(tmp_path) == str(os.getpid())


@pytest.mark.parametrize(
    "kind", ["symbolic link", "dangling link", "hard link", "directory", "pipe"]
)
async def test_a_lock_that_leads_elsewhere_is_refused_and_nothing_is_touched(
    kind: str, tmp_path: Path
) -> None:
    data_dir, lock, theirs = tmp_path / "data", tmp_path / "data" / "lock", tmp_path / "theirs"
    data_dir.mkdir()
    theirs.write_text("precious")
    match kind:
        case "symbolic link":
            lock.symlink_to(theirs)
        case "dangling link":
            lock.symlink_to(tmp_path / "new")
        case "hard link":
            lock.hardlink_to(theirs)
        case "directory":
            lock.mkdir()
        case _:
            os.mkfifo(lock)
    with pytest.raises(StoreRefused, match=r"data/lock is not a plain file of its own: remove it"):
        async with open_store(data_dir, instance="w"):
            pass
    assert theirs.read_text() == "precious"
    assert not (tmp_path / "new").exists()
    assert lock_owner(data_dir) is None
    assert list(data_dir.iterdir()) == [lock]
