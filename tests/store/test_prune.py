"""What is kept for how long, and in which order the rest goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bridge.store.prune import DAY, REPLAY, Retention
from bridge.store.reader import open_reader
from bridge.store.schema import FILE
from bridge.store.sqlite import open_store
from tests.store.history import T0, History, prune_all, times

KEEP = Retention(sessions=90 * DAY, events=14 * DAY, size=1e12)


def session_in(data_dir: Path, name: str) -> dict[str, Any] | None:
    with open_reader(data_dir) as reader:
        return reader.session(name)


async def test_old_lines_go_and_the_session_stays(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w", retention=KEEP) as archive:
        old = history.begin("old", "RM_old")
        history.talk(old, 100)
        old.end(history.now, "room_closed")
        await history.write_to(archive)
        history.now = T0 + 13 * DAY
        young = history.begin("young", "RM_young")
        history.talk(young, 100)
        young.end(history.now, "room_closed")
        await history.write_to(archive)
        assert await prune_all(archive, T0 + 15 * DAY)
        assert not await archive.prune(T0 + 15 * DAY)
    whole = session_in(tmp_path, "RM_old")
    assert whole is not None
    assert whole["timeline"] is None
    assert whole["data_messages"]["total"] == 100
    assert [person["identity"] for person in whole["people"]] == ["alice", "bob"]
    whole = session_in(tmp_path, "RM_young")
    assert whole is not None
    assert times(whole, "data_message") == 100


async def test_sessions_go_so_long_after_their_end_with_all_they_had(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w", retention=KEEP) as archive:
        for number in range(5):
            journal = history.begin("old", f"RM_{number}", f"person-{number}")
            history.talk(journal, 3, f"person-{number}")
            journal.end(history.now, "room_closed")
            history.now += 30 * DAY
        await history.write_to(archive)
        await prune_all(archive, T0 + 100 * DAY)
        with open_reader(tmp_path) as reader:
            assert [row["id"] for row in reader.sessions().sessions] == [
                "RM_4",
                "RM_3",
                "RM_2",
                "RM_1",
            ]
        await prune_all(archive, T0 + 1_000 * DAY)
        tables = ("sessions", "states", "chunks", "people", "journal")
        writer = archive._writer
        assert writer is not None
        left = {
            table: writer.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in tables
        }
    assert left == {"sessions": 0, "states": 0, "chunks": 0, "people": 0, "journal": 1}


async def test_what_a_live_session_is_made_of_stays_however_old_it_is(tmp_path: Path) -> None:
    history = History()
    shortest = Retention(sessions=1.0, events=1.0, size=0)
    async with open_store(tmp_path, instance="w", retention=shortest) as archive:
        journal = history.begin()
        await history.write_to(archive)
        for _ in range(30):
            history.talk(journal)
            await history.write_to(archive)
        await prune_all(archive, T0 + 1_000 * DAY)
        history.talk(journal)
        await history.write_to(archive)
    async with open_store(tmp_path, instance="w") as archive:
        (kept,) = (await archive.load()).sessions
    assert (kept.seq, kept.state) == (journal.seq, journal.state)


async def test_over_its_size_the_oldest_goes_lines_before_sessions(tmp_path: Path) -> None:
    history = History()
    small = Retention(size=600_000)
    async with open_store(tmp_path, instance="w", retention=small) as archive:
        for number in range(100):
            journal = history.begin("atlas", f"RM_{number}")
            history.talk(journal, 100)
            journal.end(history.now, "room_closed")
            await history.write_to(archive)
        await prune_all(archive, history.now + REPLAY)
        kept = (tmp_path / FILE).stat().st_size
    with open_reader(tmp_path) as reader:
        rows = reader.sessions(100).sessions
        assert len(rows) == 100, "it was enough to drop lines"
        timelines = [reader.session(row["id"]) for row in reversed(rows)]
    has_lines = [whole is not None and bool(whole["timeline"]) for whole in timelines]
    assert has_lines == sorted(has_lines)
    assert not has_lines[0]
    assert has_lines[-1]
    assert kept > 0


async def test_room_that_is_free_goes_back_to_the_disk(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w", retention=KEEP) as archive:
        for number in range(200):
            journal = history.begin("atlas", f"RM_{number}", *(f"p{n}" for n in range(50)))
            journal.end(history.now, "room_closed")
        await history.write_to(archive)
    full = (tmp_path / FILE).stat().st_size
    async with open_store(tmp_path, instance="w", retention=KEEP) as archive:
        await prune_all(archive, history.now + 1_000 * DAY)
    assert (tmp_path / FILE).stat().st_size < full / 2


async def test_the_journal_is_kept_for_those_who_follow_it(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w", retention=KEEP) as archive:
        journal = history.begin()
        await history.write_to(archive)
        with open_reader(tmp_path) as reader:
            start = reader.newest_position()
        before = len(journal.untold)
        history.talk(journal, 5)
        journal.end(history.now, "room_closed")
        await history.write_to(archive)
        await prune_all(archive, history.now + REPLAY - 10)
        with open_reader(tmp_path) as reader:
            assert len(reader.told_after(start)) == len(journal.untold) - before
