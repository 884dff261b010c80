"""`backup` and `restore`: a store in one file, and back, also beside a worker that writes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio

from actors.journal.conversation_texts import ConversationText, TextFilters, TextRetention
from actors.outlets.outbox_port import Parked
from actors.outlets.outlet_port import Delivery
from actors.session import SessionView
from actors.session.view import session_view
from bridge.app.backup import restore_backup, write_backup
from bridge.cli import main
from bridge.outlets.sqlite_outbox import FILE as OUTBOX
from bridge.outlets.sqlite_outbox import SqliteOutbox
from bridge.store.schema import FILE, open_for_writing
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from bridge.store.sqlite_texts import SqliteTexts
from bridge.store.text_file import open_texts
from tests.cli.conftest import RunCommand
from tests.store.store_directory import contents, fill_store, recovered_ids
from tests.store.stored_history import T0, History


def silent(_: str) -> None:
    """Progress is shown to nobody."""


def output_of(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    assert main([str(arg) for arg in args]) == 0
    return capsys.readouterr().out


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def error_of(capsys: pytest.CaptureFixture[str], *args: object) -> str:
    assert main([str(arg) for arg in args]) == 1
    *_progress, line = capsys.readouterr().err.splitlines()
    return line


def messages_of(view: SessionView | None) -> int:
    assert view is not None
    assert view.data_messages is not None
    assert view.data_messages.total is not None
    return view.data_messages.total


async def wait_in(outbox: SqliteOutbox, cursor: str, *ids: str) -> None:
    deliveries = [
        Parked(
            Delivery(one, number, "RM_1", "atlas", "RM_1", "track_muted", T0, {"sid": one}),
            1, T0, T0, error="500",
        )
        for number, one in enumerate(ids)
    ]  # fmt: skip
    await outbox.save("crm", cursor=cursor, parked=deliveries)


async def test_a_restored_store_shows_what_the_first_one_showed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, other, file = tmp_path / "data", tmp_path / "other", tmp_path / "a backup.db"
    await fill_store(data, sessions=3)
    outbox = SqliteOutbox(data)
    await wait_in(outbox, "7.1", "m1", "m2")
    await outbox.aclose()
    before = contents(data)

    def both() -> None:
        said = output_of(capsys, "backup", file, "--data-dir", data)
        assert said.startswith(f"{file}: 3 sessions, 2 webhooks that wait, ")
        said = output_of(capsys, "restore", file, "--data-dir", other)
        assert said == f"{other}: 3 sessions, 2 webhooks that wait\n"
        for command in (
            ("sessions", "--json"),
            ("report", "RM_0", "--json"),
            ("outbox", "--json"),
        ):
            first = json.loads(output_of(capsys, *command, "--data-dir", data))
            assert json.loads(output_of(capsys, *command, "--data-dir", other)) == first

    await trio.to_thread.run_sync(both)
    assert contents(data) == before
    for path in (file, other / FILE, other / OUTBOX):
        assert path.stat().st_mode & 0o777 == 0o600
    assert names_in(tmp_path) == ["a backup.db", "data", "other"]
    assert await recovered_ids(other) == await recovered_ids(data)
    with closing(sqlite3.connect(other / FILE)) as db:
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master")}
    assert not tables & {"outlets", "parked"}


async def test_a_backup_beside_a_writer_has_all_that_was_written_before_it(tmp_path: Path) -> None:
    """The write-ahead log is not in the file yet: a copy of `store.db` would have nothing."""
    data, file, other = tmp_path / "data", tmp_path / "backup.db", tmp_path / "other"
    history = History()
    journal = history.begin("atlas", "RM_1")
    stored: list[int] = []
    written = 0
    async with open_store(data, instance="w") as archive:
        await history.write_to(archive)
        for number in range(5):
            history.talk(journal, 20)
            await history.write_to(archive)
            written = messages_of(session_view(journal.state, history.now))
            async with trio.open_nursery() as nursery:
                done = trio.Event()

                async def write_on(done: trio.Event = done) -> None:
                    while not done.is_set():
                        history.talk(journal, 1)
                        await history.write_to(archive)

                nursery.start_soon(write_on)
                await trio.to_thread.run_sync(write_backup, data, file, silent)
                done.set()
            target = other / str(number)
            await trio.to_thread.run_sync(
                lambda: restore_backup(file, target, silent, replace=False)  # noqa: B023
            )
            with open_reader(target) as reader:
                messages = messages_of(reader.session("RM_1"))
            assert written <= messages <= messages_of(session_view(journal.state, history.now))
            stored.append(messages)
    assert stored == sorted(stored)


async def test_a_webhook_is_never_ahead_of_the_store_that_a_backup_has(tmp_path: Path) -> None:
    data, file, other = tmp_path / "data", tmp_path / "backup.db", tmp_path / "other"
    history = History()
    journal = history.begin("atlas", "RM_1")
    async with open_store(data, instance="w") as archive:
        await history.write_to(archive)
        outbox = SqliteOutbox(data)
        await wait_in(outbox, "1.1")

        def later(_: str) -> None:
            """Between the two copies the worker writes, and delivers what it wrote."""
            trio.from_thread.run(history.write_to, archive)
            trio.from_thread.run(wait_in, outbox, "2.1")

        history.talk(journal, 3)
        await trio.to_thread.run_sync(write_backup, data, file, later)
        await outbox.aclose()
    restore_backup(file, other, silent, replace=False)
    with closing(sqlite3.connect(other / OUTBOX)) as db:
        assert db.execute("SELECT cursor FROM outlets").fetchall() == [("1.1",)]


async def test_texts_of_conversations_come_along_and_can_be_searched_again(tmp_path: Path) -> None:
    data, file, other = tmp_path / "data", tmp_path / "backup.db", tmp_path / "other"
    await fill_store(data)
    texts = SqliteTexts(data, TextRetention(spoken=3_600.0))
    spoken = ConversationText(
        "shop", "RM_1", "AJ_1", "item_1", "speech", "person", "alice", 1.0, "a grand piano"
    )
    await texts.write([spoken])
    write_backup(data, file, silent)
    await texts.aclose()
    restore_backup(file, other, silent, replace=False)
    with open_texts(other) as reader:
        assert reader is not None
        assert list(reader.texts(filters=TextFilters(search="piano")).texts) == [spoken]
    assert b"grand" not in (other / FILE).read_bytes()


async def test_what_is_there_is_never_overwritten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, other, file = tmp_path / "data", tmp_path / "other", tmp_path / "backup.db"
    await fill_store(data, sessions=2)
    await fill_store(other, sessions=1)
    note = tmp_path / "note.txt"
    note.write_text("mine")

    def look() -> None:
        said = error_of(capsys, "backup", note, "--data-dir", data)
        assert said == f"room-actors: {note} is no backup of this program"
        said = error_of(capsys, "backup", tmp_path / "no" / "x.db", "--data-dir", data)
        assert said.endswith(f"x.db: there is no directory {tmp_path / 'no'}; make it first")
        assert note.read_text() == "mine"
        output_of(capsys, "backup", file, "--data-dir", other)
        output_of(capsys, "backup", file, "--data-dir", data)  # in place of an earlier one
        said = error_of(capsys, "restore", file, "--data-dir", other)
        assert said.startswith(f"room-actors: {other / FILE} is there already: --replace ")
        said = output_of(capsys, "restore", file, "--data-dir", other, "--replace")
        (aside,) = other.glob(f"{FILE}.replaced-*-1")
        assert said.splitlines()[0] == f"the file that was there is now {aside}"
        with closing(sqlite3.connect(aside)) as db:
            assert db.execute("SELECT count(*) FROM sessions").fetchone() == (1,)

    await trio.to_thread.run_sync(look)
    with open_reader(other) as reader:
        assert len(reader.sessions().sessions) == 2


async def test_a_worker_that_runs_keeps_its_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, file = tmp_path / "data", tmp_path / "backup.db"
    await fill_store(data)
    async with open_store(data, instance="w"):

        def look() -> None:
            output_of(capsys, "backup", file, "--data-dir", data)
            said = error_of(capsys, "restore", file, "--data-dir", data, "--replace")
            assert "keeps its sessions in" in said

        await trio.to_thread.run_sync(look)


@pytest.mark.parametrize("damage", ["cut", "zeros", "text", "empty", "missing", "folder", "newer"])
async def test_a_backup_that_is_none_is_refused_and_nothing_changes(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data, other, file = tmp_path / "data", tmp_path / "other", tmp_path / "backup.db"
    await fill_store(data, sessions=3)
    await fill_store(other, sessions=1)
    write_backup(data, file, silent)
    whole = file.read_bytes()
    match damage:
        case "cut":
            file.write_bytes(whole[: len(whole) // 2])
        case "zeros":
            file.write_bytes(whole[:8192] + bytes(len(whole) - 8192))
        case "text":
            file.write_text("no database")
        case "empty":
            file.write_bytes(b"")
        case "missing":
            file.unlink()
        case "folder":
            file.unlink()
            file.mkdir()
        case _:
            with closing(sqlite3.connect(file)) as db:
                db.execute("PRAGMA user_version = 99")
    before = contents(other)
    line = error_of(capsys, "restore", file, "--data-dir", other, "--replace")
    assert str(file) in line
    assert contents(other) == before


def test_nothing_to_back_up_is_said(tmp_path: Path, room_actors: RunCommand) -> None:
    done = room_actors("backup", "file.db")
    assert (done.returncode, done.stdout) == (1, "")
    assert "no sessions are kept in" in done.stderr
    done = room_actors("backup")
    assert done.returncode == 2
    assert done.stderr == (
        "room-actors: backup needs the name of a file: room-actors backup FILE\n"
    )


async def test_a_disk_that_is_full_leaves_the_earlier_backup(tmp_path: Path) -> None:
    data, file = tmp_path / "data", tmp_path / "backup.db"
    await fill_store(data)
    write_backup(data, file, silent)
    earlier = file.read_bytes()
    with closing(open_for_writing(data / FILE)) as db:
        db.execute("CREATE TABLE large AS SELECT randomblob(3000000) AS content")
    done = await trio.to_thread.run_sync(
        lambda: subprocess.run(
            ["sh", "-c", 'ulimit -f 1000; exec "$@"', "sh", sys.executable, "-m", "bridge.cli",
             "backup", str(file), "--data-dir", str(data)],
            capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2],
        )
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()[-1:]
    assert line.startswith(f"room-actors: {file}.part-")
    assert file.read_bytes() == earlier
    assert names_in(tmp_path) == ["backup.db", "data"]
