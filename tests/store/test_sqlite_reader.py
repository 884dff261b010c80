"""The reader over SQLite: beside a worker that writes, after its death, and on damaged files."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import NoStore, SessionUnreadable, newest_worker
from actors.session import (
    SessionRow,
)
from bridge.store.schema import FILE
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from tests.store.stored_history import T0, History, times

ROOT = Path(__file__).parents[2]


def ids(rows: Iterable[SessionRow]) -> list[str]:
    return [row.id for row in rows]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def write_ended(data_dir: Path, count: int = 7) -> None:
    """A store of sessions that ended."""
    history = History()
    async with open_store(data_dir, instance="w") as archive:
        history.add_ended(count)
        await history.write_to(archive)


# ---------------------------------------------------------------- beside a worker and after it


async def test_of_a_dead_worker_it_is_as_of_its_last_sign_of_life(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        journal = history.begin()
        history.talk(journal, 60)
        await history.write_to(archive)
    with open_reader(tmp_path) as reader:
        worker = newest_worker(reader)
        (room,) = reader.rooms()
    assert worker is not None
    assert (worker.instance, worker.alive_at, worker.running) == ("w", T0 + 60.0, False)
    assert (room.status, room.duration) == ("active", 60.0)


async def test_a_reader_sees_one_moment_and_never_holds_up_the_writer(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        journal = history.begin()
        await history.write_to(archive)
        with open_reader(tmp_path) as reader:
            reader._db.execute("BEGIN")  # a reader that takes its time
            assert len(reader._db.execute("SELECT * FROM journal").fetchall()) == 1
            for _ in range(50):
                history.talk(journal, 20)
                await history.write_to(archive)
            assert len(reader._db.execute("SELECT * FROM journal").fetchall()) == 1
            reader._db.execute("COMMIT")
            (room,) = reader.rooms()
    assert room.data_messages is not None
    assert room.data_messages.total == 1_000


LEAVE_A_LOG = """
import os, signal, sys, trio
from pathlib import Path
from bridge.store.sqlite_archive import open_store
from tests.store.stored_history import History
async def main():
    history = History()
    async with open_store(Path(sys.argv[1]), instance="w") as archive:
        journal = history.begin()
        await history.write_to(archive)
        history.talk(journal, 7)
        await history.write_to(archive)
        os.kill(os.getpid(), signal.SIGKILL)
trio.run(main)
"""


def test_a_killed_worker_s_store_is_read_with_its_log_and_left_as_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LEAVE_A_LOG, str(tmp_path)]
    assert subprocess.run(command, check=False, cwd=ROOT).returncode == -signal.SIGKILL
    files = [tmp_path / name for name in (FILE, f"{FILE}-wal", "lock")]
    before = [path.read_bytes() for path in files]
    assert all(before)
    with open_reader(tmp_path) as reader:
        session = reader.session()
    assert session is not None
    assert times(session, "data_message") == 7
    assert [path.read_bytes() for path in files] == before


async def test_reading_a_closed_store_leaves_nothing_beside_it(tmp_path: Path) -> None:
    await write_ended(tmp_path)
    before = names(tmp_path)
    with open_reader(tmp_path) as reader:
        reader.sessions()
    assert names(tmp_path) == before == ["lock", FILE]


# ---------------------------------------------------------------- no store


def test_where_nothing_was_ever_kept_there_is_no_store(tmp_path: Path) -> None:
    for data_dir in (tmp_path, tmp_path / "none"):
        with pytest.raises(NoStore, match="no sessions are kept"), open_reader(data_dir):
            pass
    (tmp_path / FILE).touch()
    with pytest.raises(NoStore), open_reader(tmp_path):
        pass
    assert names(tmp_path) == [FILE]


async def test_a_damaged_store_is_trouble_with_its_name(tmp_path: Path) -> None:
    await write_ended(tmp_path)
    (tmp_path / FILE).write_bytes(b"?" * 5_000)
    with pytest.raises(ArchiveTrouble, match=FILE), open_reader(tmp_path):
        pass


# ---------------------------------------------------------------- damage


def damage_rows(data_dir: Path, kind: bytes) -> None:
    """Make journal rows of this kind unreadable, as a failing disk may."""
    with closing(sqlite3.connect(data_dir / FILE)) as db:
        for batch, packed in db.execute("SELECT batch, lines FROM journal").fetchall():
            damaged = packed.replace(kind, b"?" * len(kind))
            db.execute("UPDATE journal SET lines = ? WHERE batch = ?", (damaged, batch))
        db.commit()


async def test_a_line_that_cannot_be_read_ends_what_is_known_and_its_number_is_given_again(
    tmp_path: Path,
) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        journal, other = history.begin(), history.begin("borealis", "RM_2")
        await history.write_to(archive)
        history.talk(journal, 2)
        history.talk(other, 2)
        await history.write_to(archive)
        history.publish(journal, "TR_1")
        history.talk(journal, 2)
        await history.write_to(archive)
    damage_rows(tmp_path, b"track_published")
    with open_reader(tmp_path) as reader:
        session = reader.session("RM_1")
    assert session is not None
    assert session.data_messages is not None
    assert session.data_messages.total == 2
    with capture_logs() as logs:
        async with open_store(tmp_path, instance="w") as archive:
            (stored, whole) = (await archive.load()).sessions
    (event,) = logs
    assert (event["event"], event["room"], event["count"]) == (
        "stored_lines_unreadable",
        "atlas",
        7,
    )
    assert (stored.state.messages.total, stored.lost) == (2, 7)
    assert whole.state == other.state

    again = History(history.now)
    resumed = type(journal).resume(stored, again.backlog)
    for _ in range(2):  # also where no checkpoint came since
        with capture_logs() as logs:
            async with open_store(tmp_path, instance="w") as archive:
                again.talk(resumed)
                await again.write_to(archive)
        assert logs == []
    async with open_store(tmp_path, instance="w") as archive:
        stored = (await archive.load()).sessions[0]
    assert (stored.seq, stored.state) == (resumed.seq, resumed.state)


async def test_a_state_that_cannot_be_read_harms_no_other_session(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        history.begin()
        history.begin("borealis", "RM_2")
        await history.write_to(archive)
    with closing(sqlite3.connect(tmp_path / FILE)) as db:
        db.execute(
            "UPDATE states SET state = x'00' WHERE session = (SELECT min(session) FROM states)"
        )
        db.commit()
    with open_reader(tmp_path) as reader:
        assert ids(reader.rooms()) == ["RM_2", "RM_1"], "as of the checkpoint"
        with pytest.raises(SessionUnreadable):
            reader.session("RM_1")
    with capture_logs() as logs:
        async with open_store(tmp_path, instance="w") as archive:
            (stored,) = (await archive.load()).sessions
    assert stored.state.room_sid == "RM_2"
    assert [event["event"] for event in logs] == ["stored_session_unreadable"]


async def test_a_call_that_was_cancelled_is_done_before_the_next(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        journal = history.begin()
        history.talk(journal, 500)
        batch = history.batch()
        with trio.CancelScope() as scope:
            scope.cancel()
            await archive.write(batch)
        await archive.write(batch)
    with open_reader(tmp_path) as reader:
        session = reader.session("RM_1")
    assert session is not None
    assert times(session, "data_message") == 500
