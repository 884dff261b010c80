"""What is kept as others see it: while a worker writes, and after it is gone."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_filters import Filters
from actors.journal.session_reader import BadCursor, NoStore, SessionUnreadable, newest_worker
from actors.session import (
    ParticipantInfo,
    ParticipantJoined,
    QualityChanged,
    SessionRow,
    Tick,
    session_row,
    session_view,
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


async def many(data_dir: Path, count: int = 7) -> History:
    """A store of sessions that ended, `RM_0` the oldest, an hour apart."""
    history = History()
    async with open_store(data_dir, instance="w") as archive:
        for number in range(count):
            people = [f"person-{n}" for n in range(number + 1)]
            journal = history.begin(f"team-{number % 2}", f"RM_{number}", *people)
            history.talk(journal, 3, people[-1])
            journal.end(history.now, "room_closed")
            history.now += 3_600.0
        await history.write_to(archive)
    return history


# ---------------------------------------------------------------- lists


async def test_a_list_is_paged_from_the_newest_to_the_oldest(tmp_path: Path) -> None:
    await many(tmp_path)
    with open_reader(tmp_path) as reader:
        assert reader.count() == 7
        pages, cursor = [], None
        while True:
            page = reader.sessions(3, cursor)
            pages.append(ids(page.sessions))
            cursor = page.next
            if cursor is None:
                break
    assert pages == [["RM_6", "RM_5", "RM_4"], ["RM_3", "RM_2", "RM_1"], ["RM_0"]]


@pytest.mark.parametrize("cursor", ["", "x", "-1", "1.5", "9" * 30, "\u0661"])
async def test_a_cursor_that_no_page_gave_is_refused(cursor: str, tmp_path: Path) -> None:
    await many(tmp_path, 1)
    with open_reader(tmp_path) as reader, pytest.raises(BadCursor):
        reader.sessions(3, cursor)


async def test_a_list_has_what_the_filters_say(tmp_path: Path) -> None:
    await many(tmp_path)
    with open_reader(tmp_path) as reader:

        def found(**filters: object) -> list[str]:
            return ids(reader.sessions(filters=Filters(**filters)).sessions)  # pyright: ignore[reportArgumentType]

        assert found(room="team-1") == ["RM_5", "RM_3", "RM_1"]
        assert len(found(room="team-*")) == 7
        assert found(person="person-5") == ["RM_6", "RM_5"]
        assert found(status="active") == []
        assert len(found(status="ended")) == 7
        assert found(since=T0 + 6 * 3_600) == ["RM_6"]
        assert found(until=T0 + 3_600) == ["RM_0"]
        assert found(people=6) == ["RM_6", "RM_5"]
        assert found(quality="lost") == []
        assert len(found(quality="good")) == 7
        assert found(room="team-1", people=4, person="person-5") == ["RM_5"]


async def test_somebody_who_came_just_now_is_found_at_once_by_identity_and_by_name(
    tmp_path: Path,
) -> None:
    """A session is kept whole every 20 s; what lists filter by must not wait for that."""
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        journal = history.begin("atlas", "RM_1", "alice")
        await history.write_to(archive)
        info = ParticipantInfo("u-17", "PA_2", history.now, name="Dora [guest]")
        journal.record(ParticipantJoined(history.now, info))
        journal.record(QualityChanged(history.now, "u-17", "PA_2", "poor"))
        history.now += 1.0
        journal.record(Tick(history.now))
        batch = await history.write_to(archive)
        assert not batch.checkpoints
        with open_reader(tmp_path) as reader:

            def found(**filters: object) -> list[str]:
                return ids(reader.sessions(filters=Filters(**filters)).sessions)  # pyright: ignore[reportArgumentType]

            live = ["RM_1"]
            assert found(person="u-17") == found(person="Dora \\[guest]") == live
            assert found(person="Dora*") == found(person="u-?7") == live
            assert found(person="Dora") == found(person="dora*") == []
            assert found(people=2) == found(quality="poor") == live
            assert found(people=3) == found(quality="lost") == []
        journal.end(history.now, "room_closed")
        await history.write_to(archive)
    with open_reader(tmp_path) as reader:
        for person in ("u-17", "Dora \\[guest]", "Dora*", "Alice"):
            assert ids(reader.sessions(filters=Filters(person=person)).sessions) == ["RM_1"]


async def test_a_page_is_full_though_live_sessions_between_do_not_match(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        for number in range(9):
            who = "alice" if number % 3 == 0 else "bob"
            history.begin("atlas", f"RM_{number}", who)
            history.now += 1.0
        await history.write_to(archive)
    with open_reader(tmp_path) as reader:
        first = reader.sessions(2, None, Filters(person="alice"))
        assert ids(first.sessions) == ["RM_6", "RM_3"]
        rest = reader.sessions(2, first.next, Filters(person="alice"))
        assert (ids(rest.sessions), rest.next) == (["RM_0"], None)


@pytest.mark.parametrize("room", ["[team]", "a*b", "what?", "back\\slash", "[", "]", "a[^b]"])
async def test_every_room_is_found_by_its_escaped_name(room: str, tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        for name in (room, "t", "aXb", "whatX", "back", "a!"):
            history.begin(name, f"RM_{name}").end(history.now, "room_closed")
        await history.write_to(archive)
    escaped = "".join(f"\\{char}" if char in "*?[\\" else char for char in room)
    with open_reader(tmp_path) as reader:
        found = reader.sessions(filters=Filters(room=escaped)).sessions
        assert [row.room for row in found] == [room]


async def test_objects_are_those_of_the_session(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        journal = history.begin()
        history.talk(journal, 3)
        journal.end(history.now, "room_closed")
        entries = tuple(journal.unpublished)
        await history.write_to(archive)
    with open_reader(tmp_path) as reader:
        assert reader.sessions().sessions == [session_row(journal.state, history.now)]
        assert reader.session("RM_1") == session_view(journal.state, history.now, entries)


async def test_a_session_is_found_by_its_id_and_by_its_room(tmp_path: Path) -> None:
    await many(tmp_path)
    with open_reader(tmp_path) as reader:
        for name, expected in (
            ("RM_2", "RM_2"), ("team-1", "RM_5"), ("team-0", "RM_6"), (None, "RM_6"),
        ):  # fmt: skip
            session = reader.session(name)
            assert session is not None
            assert session.id == expected
        assert reader.session("team") is None


# ---------------------------------------------------------------- live ones


async def test_a_live_session_is_shown_as_of_now(tmp_path: Path) -> None:
    history = History(time.time() - 100.0)
    async with open_store(tmp_path, instance="w") as archive:
        journal = history.begin()
        await history.write_to(archive)
        for _ in range(4):
            history.talk(journal)
            assert not (await history.write_to(archive)).checkpoints
        entries = len(journal.unpublished)
        with open_reader(tmp_path) as reader:
            assert newest_worker(reader) is not None
            (room,) = reader.rooms()
            (row,) = reader.sessions().sessions
            session = reader.session("RM_1")
    assert session is not None
    for shown in (room, row, session):
        assert shown.data_messages is not None
        assert shown.data_messages.total == 4
        assert 100.0 <= shown.duration < 130.0
    assert len(session.timeline or ()) == entries


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
    kept = [tmp_path / name for name in (FILE, f"{FILE}-wal", "lock")]
    before = [path.read_bytes() for path in kept]
    assert all(before)
    with open_reader(tmp_path) as reader:
        session = reader.session()
    assert session is not None
    assert times(session, "data_message") == 7
    assert [path.read_bytes() for path in kept] == before


async def test_reading_a_closed_store_leaves_nothing_beside_it(tmp_path: Path) -> None:
    await many(tmp_path)
    before = names(tmp_path)
    with open_reader(tmp_path) as reader:
        reader.sessions()
    assert names(tmp_path) == before == ["lock", FILE]


# ---------------------------------------------------------------- what is not there


def test_where_nothing_was_ever_kept_there_is_no_store(tmp_path: Path) -> None:
    for data_dir in (tmp_path, tmp_path / "none"):
        with pytest.raises(NoStore, match="no sessions are kept"), open_reader(data_dir):
            pass
    (tmp_path / FILE).touch()
    with pytest.raises(NoStore), open_reader(tmp_path):
        pass
    assert names(tmp_path) == [FILE]


async def test_a_damaged_store_is_trouble_with_its_name(tmp_path: Path) -> None:
    await many(tmp_path)
    (tmp_path / FILE).write_bytes(b"?" * 5_000)
    with pytest.raises(ArchiveTrouble, match=FILE), open_reader(tmp_path):
        pass


# ---------------------------------------------------------------- what cannot be read


def damage_line(data_dir: Path, kind: bytes) -> None:
    """Make lines of this kind unreadable, as by a disk that nobody noticed."""
    with closing(sqlite3.connect(data_dir / FILE)) as db:
        for batch, lines in db.execute("SELECT batch, lines FROM journal").fetchall():
            damaged = lines.replace(kind, b"?" * len(kind))
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
    damage_line(tmp_path, b"track_published")
    with open_reader(tmp_path) as reader:
        session = reader.session("RM_1")
    assert session is not None
    assert session.data_messages is not None
    assert session.data_messages.total == 2
    with capture_logs() as logs:
        async with open_store(tmp_path, instance="w") as archive:
            (kept, whole) = (await archive.load()).sessions
    (event,) = logs
    assert (event["event"], event["room"], event["count"]) == (
        "stored_lines_unreadable",
        "atlas",
        7,
    )
    assert (kept.state.messages.total, kept.lost) == (2, 7)
    assert whole.state == other.state

    again = History(history.now)
    goes_on = type(journal).resume(kept, again.backlog)
    for _ in range(2):  # also where no checkpoint came since
        with capture_logs() as logs:
            async with open_store(tmp_path, instance="w") as archive:
                again.talk(goes_on)
                await again.write_to(archive)
        assert logs == []
    async with open_store(tmp_path, instance="w") as archive:
        kept = (await archive.load()).sessions[0]
    assert (kept.seq, kept.state) == (goes_on.seq, goes_on.state)


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
        assert ids(reader.rooms()) == ["RM_2", "RM_1"], "as it was kept last"
        with pytest.raises(SessionUnreadable):
            reader.session("RM_1")
    with capture_logs() as logs:
        async with open_store(tmp_path, instance="w") as archive:
            (kept,) = (await archive.load()).sessions
    assert kept.state.room_sid == "RM_2"
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
