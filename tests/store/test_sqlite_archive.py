"""Trouble with the file and the disk, and its results."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
import trio
from attrs import evolve
from structlog.testing import capture_logs

from actors.journal.archive import ArchiveLost, ArchiveTrouble
from bridge.store import schema
from bridge.store.retention import Retention
from bridge.store.schema import FILE
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from tests.store.store_directory import fill_store, quarantined, recovered_ids
from tests.store.stored_history import T0, History, prune_all, times

ROOT = Path(__file__).parents[2]

# ---------------------------------------------------------------- damage


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(20_000))


def truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def scribbled(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096 * 2)
        file.write(os.urandom(path.stat().st_size - 4096 * 2))


@pytest.mark.parametrize("damage", [garbage, truncated, scribbled])
async def test_a_damaged_file_is_set_aside_whole_and_a_new_one_begins(
    damage: Callable[[Path], None], tmp_path: Path
) -> None:
    await fill_store(tmp_path, 50)
    damage(tmp_path / FILE)
    content = (tmp_path / FILE).read_bytes()
    with capture_logs() as logs:
        assert await recovered_ids(tmp_path) == []
    (aside,) = quarantined(tmp_path)
    assert aside.read_bytes() == content
    (event,) = [event for event in logs if event["event"] == "store_set_aside"]
    assert event["log_level"] == "error"
    assert (event["path"], event["kept_as"]) == (str(tmp_path / FILE), str(aside))
    await fill_store(tmp_path)
    assert await recovered_ids(tmp_path) == ["RM_0"]


async def test_a_file_that_is_damaged_while_we_run_is_set_aside_too(tmp_path: Path) -> None:
    history = await fill_store(tmp_path, 50)
    async with open_store(
        tmp_path, instance="w", retention=Retention(events=-1e6, an_hour=1.0)
    ) as archive:
        await archive.load()
        scribbled(tmp_path / FILE)
        with capture_logs() as logs, pytest.raises(ArchiveLost, match="a new one begins"):
            await prune_all(archive, history.now)
        assert [event["event"] for event in logs] == ["store_set_aside"]
        history.begin("borealis", "RM_new")
        await history.write_to(archive)
    assert quarantined(tmp_path)
    assert await recovered_ids(tmp_path) == ["RM_new"]


async def test_a_file_that_was_taken_away_is_noticed(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        history.begin()
        batch = await history.write_to(archive)
        (tmp_path / FILE).rename(tmp_path / "elsewhere")
        with pytest.raises(ArchiveLost, match="taken away"):
            await archive.write(batch)
        await archive.write(batch)
    assert await recovered_ids(tmp_path) == ["RM_1"]


async def test_what_is_no_file_is_trouble_and_nobody_waits_for_it(tmp_path: Path) -> None:
    async with open_store(tmp_path, instance="w") as archive:
        archive.path.rename(tmp_path / "away")
        os.mkfifo(archive.path)
        with trio.fail_after(60), pytest.raises(ArchiveTrouble, match="is no file"):
            await archive.verify()
        archive.path.unlink()
        (tmp_path / "away").rename(archive.path)
        await archive.verify()


async def test_a_log_that_was_taken_away_is_noticed_and_nothing_is_lost(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w", steady=lambda: 0.0) as archive:
        one = history.begin()
        await history.write_to(archive)
        await archive.write(evolve(history.batch(), alive_at=T0))
        history.talk(one, 50)
        await history.write_to(archive)
        (tmp_path / f"{FILE}-wal").unlink()
        history.talk(one, 50)
        batch = history.batch()
        with pytest.raises(ArchiveLost, match="-wal was taken away"):
            await archive.write(batch)
        # All that was in the log is in the file, as a kill would leave it.
        shutil.copy(tmp_path / FILE, tmp_path / "copy")
        with closing(sqlite3.connect(tmp_path / "copy")) as db:
            assert db.execute("SELECT count(*) FROM journal").fetchone()[0] >= 2
        await archive.write(batch)
    assert not quarantined(tmp_path)
    with open_reader(tmp_path) as reader:
        session = reader.session("atlas")
        assert session is not None
        assert times(session, "data_message") == 100


async def test_what_was_written_ahead_is_in_the_file_after_some_seconds(tmp_path: Path) -> None:
    history, now = History(), 0.0
    async with open_store(tmp_path, instance="w", steady=lambda: now) as archive:
        journal = history.begin()
        await history.write_to(archive)
        now += schema.CHECKPOINT_EVERY
        history.talk(journal, 10)
        await history.write_to(archive)
        shutil.copy(tmp_path / FILE, tmp_path / "copy.db")
    data_dir = tmp_path / "copied"
    data_dir.mkdir()
    (tmp_path / "copy.db").rename(data_dir / FILE)
    with open_reader(data_dir) as reader:
        session = reader.session("atlas")
    assert session is not None
    assert times(session, "data_message") == 10


def read_all(data_dir: Path) -> None:
    with open_reader(data_dir) as reader:
        for row in reader.sessions(100).sessions:
            reader.session(row.id)


async def test_damage_that_a_reader_found_sets_the_file_aside(tmp_path: Path) -> None:
    history = await fill_store(tmp_path, 50)
    async with open_store(tmp_path, instance="w") as archive:
        await archive.load()
        journal = history.begin("borealis", "RM_new")
        await history.write_to(archive)
        await archive.verify()
        assert not quarantined(tmp_path), "nothing is wrong"
        scribbled(tmp_path / FILE)
        with pytest.raises(ArchiveTrouble):
            read_all(tmp_path)
        with pytest.raises(ArchiveLost, match="a new one begins"):
            await archive.verify()
        history.backlog.rewrite((journal,), history.now, rows_are_kept=False)
        await history.write_to(archive)
        with open_reader(tmp_path) as reader:
            assert [row.id for row in reader.sessions().sessions] == ["RM_new"]
    assert len(quarantined(tmp_path)) == 1


# ---------------------------------------------------------------- trouble that passes


async def test_trouble_at_the_start_stops_nobody_and_may_be_mended(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.write_text("a file where the directory should be")
    async with open_store(data_dir, instance="w") as archive:
        with pytest.raises(ArchiveTrouble, match=f"{data_dir}"):
            await archive.load()
        data_dir.unlink()
        history = History()
        history.begin()
        await history.write_to(archive)
    assert await recovered_ids(data_dir) == ["RM_1"]


async def test_a_locked_file_is_trouble_until_it_is_let_go(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        history.begin()
        batch = await history.write_to(archive)
        with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(ArchiveTrouble, match="locked by another program"):
                await archive.write(batch)
        history.begin("borealis", "RM_2")
        await history.write_to(archive)
    assert await recovered_ids(tmp_path) == ["RM_1", "RM_2"]


def mounts_allowed() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


SMALL_DISK = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=2m none "$0" && exec "$@"')

CONDITIONS = {
    "FileLimit": "the disk fails to read or write",
    "ReadOnly": "Permission denied",
    **({"FullDisk": "the disk is full: make room"} if mounts_allowed() else {}),
}


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A directory that another user can get to: root may write wherever it wants."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name) / "data"


@pytest.mark.parametrize("condition", CONDITIONS)
def test_trouble_of_the_disk_is_said_and_nothing_is_lost_when_it_is_mended(
    condition: str, reachable: Path
) -> None:
    reachable.mkdir()
    wrapper = (*SMALL_DISK, str(reachable)) if condition == "FullDisk" else ()
    done = subprocess.run(
        [
            *wrapper, sys.executable, "-m", "tests.store.failing_disk_worker", str(reachable),
            condition,
        ],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trouble, result = done.stdout.splitlines()
    assert str(reachable) in trouble
    assert CONDITIONS[condition] in trouble
    assert result == "all stored"
