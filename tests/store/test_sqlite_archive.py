"""The file and its directory: whose they are, what is wrong with them, what comes of it."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import trio
from attrs import evolve
from structlog.testing import capture_logs

from actors.journal.archive import ArchiveLost, ArchiveTrouble
from actors.journal.session_reader import StoreRefused
from bridge.output.csv_columns import SESSION_COLUMNS, as_csv
from bridge.store import list_rows as rows_of_store
from bridge.store import retention, schema, writer
from bridge.store.directory_lock import lock_owner
from bridge.store.retention import Retention
from bridge.store.schema import FILE, STEPS, VERSION
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from tests.session.session_story import as_json
from tests.store.stored_history import T0, History, prune_all, times

ROOT = Path(__file__).parents[2]


async def filled(data_dir: Path, sessions: int = 1) -> History:
    """A store of a run that is over."""
    history = History()
    async with open_store(data_dir, instance="earlier") as archive:
        for number in range(sessions):
            journal = history.begin(f"room-{number}", f"RM_{number}")
            history.talk(journal, 5)
            await history.write_to(archive)
    return history


async def found_in(data_dir: Path) -> list[str]:
    async with open_store(data_dir, instance="later") as archive:
        return [kept.state.room_sid for kept in (await archive.load()).sessions]


def contents(data_dir: Path) -> dict[str, bytes]:
    """Of all files but what SQLite keeps in memory that is shared, and the lock."""
    passing = ("-shm", "lock")
    return {p.name: p.read_bytes() for p in data_dir.iterdir() if not p.name.endswith(passing)}


def set_aside(data_dir: Path) -> list[Path]:
    return list(data_dir.glob(f"{FILE}.corrupt-*"))


def sql(data_dir: Path, *statements: str) -> None:
    with closing(sqlite3.connect(data_dir / FILE, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


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
from tests.session.session_story import as_json
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
    await filled(tmp_path)
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
    await filled(tmp_path)
    sql(tmp_path, f"PRAGMA user_version = {VERSION + 1}")
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
    sql(tmp_path, "PRAGMA journal_mode = WAL", f"PRAGMA application_id = {application}",
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


# ---------------------------------------------------------------- versions

V1 = Path(__file__).with_name("v1.db.gz")
"""A store as the first version left it: one session over, one with lines after its
checkpoint.  Never made anew."""


def put_v1(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / FILE).write_bytes(gzip.decompress(V1.read_bytes()))


async def test_a_file_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    put_v1(data_dir)
    async with open_store(data_dir, instance="w") as archive:
        (kept,) = [one for one in (await archive.load()).sessions if not one.state.ended]
    with open_reader(data_dir) as reader:
        assert reader.count() == 2
        session = reader.session("atlas")
    with closing(sqlite3.connect(data_dir / FILE)) as db:
        assert schema.version_of(db) == VERSION
    assert (kept.state.room, kept.state.messages.total) == ("atlas", 8)
    assert session is not None
    assert [person.identity for person in session.participants] == ["alice", "bob"]
    assert times(session, "data_message") == 8


async def test_rows_of_the_first_version_have_all_keys_of_today_s(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    put_v1(data_dir)
    async with open_store(data_dir, instance="w"):
        pass
    with open_reader(data_dir) as reader:
        rows = reader.sessions().sessions
        assert len(rows) == 2
        for row in rows:
            json = as_json(row)
            assert json.keys() == rows_of_store._EMPTY.keys()
            assert json["people"].keys() == {"current", "peak", "unique", "joins", "aborted"}
            whole = reader.session(row.id)
            assert whole is not None
            assert {key: as_json(whole)[key] for key in json} == json
        lines = as_csv(SESSION_COLUMNS, rows).splitlines()
        assert len(lines) == 3


async def test_a_row_of_another_form_without_a_state_lacks_nothing(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    put_v1(data_dir)
    async with open_store(data_dir, instance="w"):
        pass
    with closing(sqlite3.connect(data_dir / FILE)) as db:
        db.execute("UPDATE states SET state = x'00', form = 'other'")
        db.commit()
    with open_reader(data_dir) as reader:
        rows = reader.sessions().sessions
    assert as_csv(SESSION_COLUMNS, rows).count("\n") == 3
    assert all(as_json(row).keys() == rows_of_store._EMPTY.keys() for row in rows)


def test_each_step_is_taken_once_and_whole(tmp_path: Path) -> None:
    path = tmp_path / FILE
    schema.open_for_writing(path).close()
    more = (*STEPS, "ALTER TABLE runs ADD COLUMN host TEXT;\nCREATE TABLE fresh (x)")
    for _ in range(2):
        with closing(schema.open_for_writing(path, more)) as db:
            assert schema.version_of(db) == VERSION + 1
    torn = (*more, "CREATE TABLE half (x);\nCREATE TABLE fresh (x)")
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        schema.open_for_writing(path, torn)
    with closing(schema.open_for_writing(path, more)) as db:
        assert not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'half'").fetchone()


def test_what_every_start_and_every_step_of_pruning_asks_has_an_index(tmp_path: Path) -> None:
    asked = {
        writer._CONTINUED: ("sessions_continued",),
        "SELECT session FROM sessions WHERE ended_at IS NULL": ("sessions_active",),
        retention._GREEDIEST: ("sessions_by_bytes",),
        retention._FIRST_ENDED: ("sessions_in_order",),
        retention._OLDEST_CHUNK: ("sessions_with_lines", "PRIMARY KEY"),
    }
    with closing(schema.open_for_writing(tmp_path / FILE)) as db:
        for query, indexes in asked.items():
            values: dict[str, int] | tuple[int, ...] = (1,) * query.count("?")
            if ":before" in query:
                values = {"number": 1, "before": 1}
            plan = str(db.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall())
            assert "SCAN sessions'" not in plan
            for index in indexes:
                assert index in plan


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
    await filled(tmp_path, 50)
    damage(tmp_path / FILE)
    content = (tmp_path / FILE).read_bytes()
    with capture_logs() as logs:
        assert await found_in(tmp_path) == []
    (aside,) = set_aside(tmp_path)
    assert aside.read_bytes() == content
    (event,) = [event for event in logs if event["event"] == "store_set_aside"]
    assert event["log_level"] == "error"
    assert (event["path"], event["kept_as"]) == (str(tmp_path / FILE), str(aside))
    await filled(tmp_path)
    assert await found_in(tmp_path) == ["RM_0"]


async def test_a_file_that_is_damaged_while_we_run_is_set_aside_too(tmp_path: Path) -> None:
    history = await filled(tmp_path, 50)
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
    assert set_aside(tmp_path)
    assert await found_in(tmp_path) == ["RM_new"]


async def test_a_file_that_was_taken_away_is_noticed(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        history.begin()
        batch = await history.write_to(archive)
        (tmp_path / FILE).rename(tmp_path / "elsewhere")
        with pytest.raises(ArchiveLost, match="taken away"):
            await archive.write(batch)
        await archive.write(batch)
    assert await found_in(tmp_path) == ["RM_1"]


async def test_what_is_no_file_is_trouble_and_nobody_waits_for_it(tmp_path: Path) -> None:
    async with open_store(tmp_path, instance="w") as archive:
        archive.path.rename(tmp_path / "away")
        os.mkfifo(archive.path)
        with trio.fail_after(10), pytest.raises(ArchiveTrouble, match="is no file"):
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
    assert not set_aside(tmp_path)
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
    history = await filled(tmp_path, 50)
    async with open_store(tmp_path, instance="w") as archive:
        await archive.load()
        journal = history.begin("borealis", "RM_new")
        await history.write_to(archive)
        await archive.verify()
        assert not set_aside(tmp_path), "nothing is wrong"
        scribbled(tmp_path / FILE)
        with pytest.raises(ArchiveTrouble):
            read_all(tmp_path)
        with pytest.raises(ArchiveLost, match="a new one begins"):
            await archive.verify()
        history.backlog.rewrite((journal,), history.now, lines_are_kept=False)
        await history.write_to(archive)
        with open_reader(tmp_path) as reader:
            assert [row.id for row in reader.sessions().sessions] == ["RM_new"]
    assert len(set_aside(tmp_path)) == 1


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
    assert await found_in(data_dir) == ["RM_1"]


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
    assert await found_in(tmp_path) == ["RM_1", "RM_2"]


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
    said, kept = done.stdout.splitlines()
    assert str(reachable) in said
    assert CONDITIONS[condition] in said
    assert kept == "all kept"
