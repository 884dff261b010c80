"""The time for which sessions and timelines are stored, and the order of dropping."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import trio
from attrs import evolve

from actors.journal.archive import NOTHING
from actors.journal.journal import Journal
from actors.session import MetadataChanged, SessionView
from actors.session.rule_records import RuleFired
from bridge.store.retention import DAY, HOUR, REPLAY, Retention
from bridge.store.schema import FILE
from bridge.store.sqlite_archive import SqliteArchive, open_store
from bridge.store.sqlite_feed import SqliteFeed
from bridge.store.sqlite_reader import open_reader
from tests.store.stored_history import T0, History, prune_all, times

KEEP = Retention(sessions=90 * DAY, events=14 * DAY, size=1e12)


def session_in(data_dir: Path, name: str) -> SessionView | None:
    with open_reader(data_dir) as reader:
        return reader.session(name)


def open_with(
    data_dir: Path, retention: Retention, steady: Callable[[], float] = time.monotonic
) -> AbstractAsyncContextManager[SqliteArchive]:
    """A store whose run begins when all is over, and drops as fast as it can."""
    return open_store(
        data_dir,
        instance="w",
        retention=evolve(retention, an_hour=1.0),
        clock=lambda: T0 + 2_000 * DAY,
        steady=steady,
    )


async def test_old_lines_go_and_the_session_stays(tmp_path: Path) -> None:
    history = History()
    async with open_with(tmp_path, KEEP) as archive:
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
        assert not (await archive.prune(T0 + 15 * DAY)).more
    whole = session_in(tmp_path, "RM_old")
    assert whole is not None
    assert whole.timeline is None
    assert whole.data_messages is not None
    assert whole.data_messages.total == 100
    assert [one.identity for one in whole.participants] == ["alice", "bob"]
    whole = session_in(tmp_path, "RM_young")
    assert whole is not None
    assert times(whole, "data_message") == 100


async def test_sessions_go_so_long_after_their_end_with_all_they_had(tmp_path: Path) -> None:
    history = History()
    async with open_with(tmp_path, KEEP) as archive:
        for number in range(5):
            journal = history.begin("old", f"RM_{number}", f"person-{number}")
            history.talk(journal, 3, f"person-{number}")
            journal.record(RuleFired(history.now, "loud", alert=True))
            journal.end(history.now, "room_closed")
            history.now += 30 * DAY
        await history.write_to(archive)
        await prune_all(archive, T0 + 100 * DAY)
        with open_reader(tmp_path) as reader:
            assert [row.id for row in reader.sessions().sessions] == [
                "RM_4",
                "RM_3",
                "RM_2",
                "RM_1",
            ]
        await prune_all(archive, T0 + 1_000 * DAY)
        tables = ("sessions", "states", "chunks", "people", "alerts", "journal")
        writer = archive._writer
        assert writer is not None
        left = {
            table: writer.db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in tables
        }
    assert left == {**dict.fromkeys(tables, 0), "journal": 1}


async def test_what_a_live_session_is_made_of_stays_however_old_it_is(tmp_path: Path) -> None:
    history = History()
    shortest = Retention(sessions=1.0, events=1.0, size=0)
    async with open_with(tmp_path, shortest) as archive:
        journal = history.begin()
        await history.write_to(archive)
        for _ in range(30):
            history.talk(journal)
            await history.write_to(archive)
        await prune_all(archive, T0 + 1_000 * DAY)
        history.talk(journal)
        await history.write_to(archive)
    async with open_store(tmp_path, instance="w") as archive:
        (stored,) = (await archive.load()).sessions
    assert (stored.seq, stored.state) == (journal.seq, journal.state)


async def test_over_its_size_lines_go_before_sessions(tmp_path: Path) -> None:
    history = History()
    small = Retention(size=600_000)
    async with open_with(tmp_path, small) as archive:
        for number in range(100):
            journal = history.begin("atlas", f"RM_{number}")
            history.talk(journal, 100)
            journal.end(history.now, "room_closed")
            await history.write_to(archive)
        await prune_all(archive, history.now + REPLAY)
        size = (tmp_path / FILE).stat().st_size
    with open_reader(tmp_path) as reader:
        rows = reader.sessions(100).sessions
        assert len(rows) == 100, "it was enough to drop lines"
        timelines = [reader.session(row.id) for row in reversed(rows)]
    has_lines = [whole is not None and bool(whole.timeline) for whole in timelines]
    assert any(has_lines)
    assert not all(has_lines)
    assert size > 0


async def test_room_that_is_free_goes_back_to_the_disk(tmp_path: Path) -> None:
    history = History()
    async with open_with(tmp_path, KEEP) as archive:
        for number in range(200):
            journal = history.begin("atlas", f"RM_{number}", *(f"p{n}" for n in range(50)))
            journal.end(history.now, "room_closed")
        await history.write_to(archive)
        history.now += 1_000 * DAY
        await history.write_to(archive)
    full = (tmp_path / FILE).stat().st_size
    async with open_with(tmp_path, KEEP) as archive:
        await prune_all(archive, history.now)
    assert (tmp_path / FILE).stat().st_size < full / 2


async def test_the_journal_is_kept_for_those_who_follow_it(tmp_path: Path) -> None:
    history = History()
    async with open_with(tmp_path, KEEP) as archive:
        journal = history.begin()
        await history.write_to(archive)
        feed = SqliteFeed(tmp_path, trio.Event)
        start = await feed.newest()
        before = len(journal.unpublished)
        history.talk(journal, 5)
        journal.end(history.now, "room_closed")
        await history.write_to(archive)
        history.now += REPLAY - 10
        await history.write_to(archive)
        await prune_all(archive, None)
        page = await feed.after(start, 1_000)
        assert len(page.entries) == len(journal.unpublished) - before
        history.now += 20
        history.begin("borealis", "RM_2")
        await history.write_to(archive)
        await prune_all(archive, None)
        page = await feed.after(start, 1_000)
        assert {one.room for one in page.entries} == {"borealis"}


# ---------------------------------------------------------------- size


def fill(history: History, room: str, messages: int) -> Journal:
    """A session that is over, with lines that do not shrink."""
    journal = history.begin(room, f"RM_{room}")
    for _ in range(messages):
        journal.record(MetadataChanged(history.now, "alice", os.urandom(100).hex()))
    journal.end(history.now, "room_closed")
    return journal


async def test_over_its_size_the_greediest_session_loses_its_lines_and_no_other(
    tmp_path: Path,
) -> None:
    history = History()
    async with open_with(tmp_path, Retention(size=1.5e6)) as archive:
        for number in range(20):
            fill(history, f"before-{number}", 50)
        await history.write_to(archive)
        for part in range(5):
            fill(history, f"greedy-{part}", 3_000)
            await history.write_to(archive)
        for number in range(20):
            fill(history, f"after-{number}", 50)
        await history.write_to(archive)
        steps = [await archive.prune(None)]
        while steps[-1].more:
            steps.append(await archive.prune(None))
        removed = sum((step.by_size for step in steps), NOTHING)
        assert not sum((step.by_age for step in steps), NOTHING)
    with open_reader(tmp_path) as reader:
        rows = reader.sessions(100).sessions
        assert len(rows) == 45
        lines = {row.room: reader.session(row.id) for row in rows}
    events = {room: times(one, "participant_metadata") for room, one in lines.items() if one}
    assert {room for room, count in events.items() if count < 50} <= {"greedy-0", "greedy-1"}
    assert sum(count for room, count in events.items() if room.startswith("greedy")) < 14_000
    assert removed.sessions == 0
    assert removed.bytes > 500_000


async def test_no_session_goes_for_the_sake_of_the_journal(tmp_path: Path) -> None:
    history = History()
    async with open_with(tmp_path, Retention(size=400_000)) as archive:
        fill(history, "old", 10)
        await history.write_to(archive)
        live = history.begin("live", "RM_live")
        await history.write_to(archive)
        for _ in range(10):  # stays in the journal: nothing of it is in a chunk
            for _ in range(90):
                live.record(MetadataChanged(history.now, "alice", os.urandom(250).hex()))
            await archive.write(evolve(history.batch(), checkpoints=()))
        assert (tmp_path / f"{FILE}-wal").stat().st_size > 400_000
        await prune_all(archive, None)
    assert session_in(tmp_path, "RM_old") is not None


# ---------------------------------------------------------------- clocks


async def five_days(archive: SqliteArchive, history: History) -> None:
    """Sessions of five days, so many days ago that a clock ahead makes all of them too old."""
    for number in range(100):
        fill(history, f"room-{number}", 3)
        history.now += DAY / 20
    await history.write_to(archive)


async def test_no_clock_ahead_makes_a_session_older_than_it_can_be(tmp_path: Path) -> None:
    history, ahead = History(), 3_650 * DAY
    steady = [0.0]
    async with open_store(tmp_path, instance="w", clock=lambda: history.now) as archive:
        await five_days(archive, history)
    alive_at = history.now
    # The next run begins with the clock ahead, and LiveKit's, on the same machine, agrees.
    async with open_store(
        tmp_path,
        instance="w",
        retention=KEEP,
        clock=lambda: alive_at + ahead,
        steady=lambda: steady[0],
    ) as archive:
        history.now += ahead
        await history.write_to(archive)
        assert await prune_all(archive, alive_at + ahead) == 0
        with open_reader(tmp_path) as reader:
            assert reader.count() == 100
        # It runs for a long time; the journal alone loses anything meanwhile.
        steady[0] = 80 * DAY
        await prune_all(archive, alive_at + ahead)
        with open_reader(tmp_path) as reader:
            assert reader.count() == 100
        steady[0] = 91 * DAY
        assert await prune_all(archive, alive_at + 91 * DAY)
        with open_reader(tmp_path) as reader:
            assert 50 <= reader.count() < 100


async def test_at_most_a_share_goes_in_an_hour(tmp_path: Path) -> None:
    history, steady = History(), [0.0]
    async with open_store(
        tmp_path,
        instance="w",
        retention=KEEP,
        clock=lambda: T0 + 2_000 * DAY,
        steady=lambda: steady[0],
    ) as archive:
        await five_days(archive, history)
        counts: list[int] = []
        for hour in range(3):
            steady[0] = hour * HOUR
            await prune_all(archive, T0 + 1_000 * DAY)
            with open_reader(tmp_path) as reader:
                counts.append(reader.count())
    assert counts == [95, 90, 85]


async def test_where_no_clock_is_trusted_nothing_goes_for_its_age(tmp_path: Path) -> None:
    history = History()
    async with open_with(tmp_path, Retention(sessions=1.0, events=1.0)) as archive:
        await five_days(archive, history)
        await prune_all(archive, None)
        with open_reader(tmp_path) as reader:
            assert reader.count() == 100


async def test_sessions_of_a_clock_that_was_ahead_are_not_the_newest(tmp_path: Path) -> None:
    history = History(T0 + 3_650 * DAY)
    async with open_store(tmp_path, instance="w") as archive:
        fill(history, "atlas", 1)
        await history.write_to(archive)
    history = History(T0)
    async with open_store(tmp_path, instance="w") as archive:
        journal = history.begin("atlas", "RM_live")
        await history.write_to(archive)
        history.begin("borealis", "RM_borealis").end(T0, "room_closed")
        await history.write_to(archive)
        with open_reader(tmp_path) as reader:
            first = reader.sessions(2)
            rest = reader.sessions(2, first.next)
            named, newest = reader.session("atlas"), reader.session()
        rows = [row.id for row in (*first.sessions, *rest.sessions)]
        assert rows == ["RM_borealis", "RM_live", "RM_atlas"]
        assert named is not None
        assert newest is not None
        assert (named.id, newest.id) == ("RM_live", "RM_live"), "the live one"
        journal.end(T0, "worker_stopped")
        await history.write_to(archive)
    async with open_store(tmp_path, instance="w") as archive:
        assert (await archive.load()).sessions[0].state.room_sid == "RM_live"
