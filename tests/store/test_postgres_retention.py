"""Retention in PostgreSQL: whole days, one worker at a time, and clocks that may be wrong."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from attrs import evolve

from actors.journal.archive import PruneStep
from actors.journal.conversation_texts import ConversationText, TextRetention
from actors.journal.feed import FeedPage, Position
from bridge.postgres.postgres_archive import PostgresArchive, open_database_store
from bridge.postgres.postgres_connection import WRITER_LIMITS, connect
from bridge.postgres.postgres_feed import PostgresFeed
from bridge.postgres.postgres_reader import open_database_reader
from bridge.postgres.postgres_texts import PostgresTexts
from bridge.store.retention import DAY, HOUR, Retention
from tests.store.stored_history import History, prune_all

LONG_AGO = 20
"""Days: longer than timelines are kept."""
OLD = (datetime.now(UTC) - timedelta(LONG_AGO)).strftime("chunks_%Y%m%d")
"""The partition of that day."""


@asynccontextmanager
async def worker(
    url: str, retention: Retention, steady: float = 0.0
) -> AsyncGenerator[PostgresArchive, None]:
    async with open_database_store(
        url, instance="w", retention=retention, steady=lambda: steady
    ) as archive:
        yield archive


def execute(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Gives the rows of the last one."""
    with connect(url, WRITER_LIMITS) as db:
        cursors = [db.execute(statement.encode()) for statement in statements]
        return cursors[-1].fetchall() if cursors[-1].description else []


def stored(url: str) -> dict[str, bool]:
    """By session: whether its timeline is stored."""
    with open_database_reader(url) as reader:
        views = {row.id: reader.session(row.id) for row in reader.sessions().sessions}
    return {one: view is not None and view.timeline is not None for one, view in views.items()}


async def write_two(archive: PostgresArchive, url: str) -> None:
    """Two ended sessions, the first one with a timeline of long ago."""
    history = History(time.time() - 2 * HOUR)
    history.add_ended(1)
    await history.write_to(archive)
    execute(
        url,
        f"DROP TABLE IF EXISTS {OLD}",
        f"CREATE TABLE {OLD} PARTITION OF chunks "
        f"FOR VALUES FROM (current_date - {LONG_AGO}) "
        f"TO (current_date - {LONG_AGO} + 1)",
        f"UPDATE chunks SET day = current_date - {LONG_AGO}",
    )
    journal = history.begin("atlas", "RM_new")
    history.talk(journal, 300)
    journal.end(history.now, "room_closed")
    await history.write_to(archive)


def partitions(url: str) -> set[object]:
    rows = execute(
        url, "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'chunks'::regclass"
    )
    return {name for (name,) in rows}


async def test_timelines_are_dropped_by_whole_days_and_sessions_stay(database_url: str) -> None:
    async with worker(database_url, Retention()) as archive:
        await write_two(archive, database_url)
        days = partitions(database_url)
        await prune_all(archive, None)
        await prune_all(archive, time.time() - 10 * DAY)  # one clock alone drops nothing
        assert partitions(database_url) == days
        step = await archive.prune(time.time())
        assert step.by_age.bytes > 0
        await prune_all(archive, time.time())
    assert partitions(database_url) == days - {OLD}
    assert stored(database_url) == {"RM_0": False, "RM_new": True}
    assert execute(database_url, "SELECT min(bytes), max(has_lines::int) FROM sessions") == [(0, 1)]


async def test_a_long_read_delays_the_dropping_of_a_day_and_nothing_else(
    database_url: str,
) -> None:
    async with worker(database_url, Retention()) as archive:
        await write_two(archive, database_url)
        days = partitions(database_url)
        with open_database_reader(database_url) as reader, reader.open_session("RM_0") as opened:
            assert opened is not None
            assert opened.timeline is not None
            assert len(opened.timeline) > 0
            assert not (await archive.prune(time.time())).by_age
            assert partitions(database_url) == days
            history = History(time.time())
            history.begin("more", "RM_more").end(history.now, "room_closed")
            await history.write_to(archive)
        await prune_all(archive, time.time())
    assert partitions(database_url) == days - {OLD}


async def test_rows_outside_of_all_days_are_dropped_by_their_time(database_url: str) -> None:
    async with worker(database_url, Retention()) as archive:
        history = History(time.time() - LONG_AGO * DAY)
        history.add_ended(1)
        await history.write_to(archive)
        execute(database_url, f"UPDATE chunks SET day = current_date - {LONG_AGO}")
        assert execute(database_url, "SELECT count(*) FROM chunks_other") == [(1,)]
        await prune_all(archive, time.time())
    assert stored(database_url) == {"RM_0": False}


async def test_old_sessions_go_at_most_a_share_of_them_in_an_hour(database_url: str) -> None:
    async with worker(database_url, Retention(sessions=HOUR, an_hour=0.5)) as archive:
        history = History(time.time() - 10 * HOUR)
        history.add_ended(4)
        await history.write_to(archive)
        await prune_all(archive, time.time())
        assert sorted(stored(database_url)) == ["RM_2", "RM_3"]
    for table in ("states", "people", "chunks"):
        count = f"SELECT count(*) FROM {table} WHERE session NOT IN (SELECT session FROM sessions)"
        assert execute(database_url, count) == [(0,)]


async def test_too_much_is_charged_to_the_longest_timeline(database_url: str) -> None:
    async with worker(database_url, Retention(size=1)) as archive:
        await write_two(archive, database_url)
        (step, *_) = [await archive.prune(None)]
        assert step.by_size.bytes > 0
        assert stored(database_url) == {"RM_0": True, "RM_new": False}
        await prune_all(archive, None)
        assert stored(database_url) == {}
    execute(database_url, f"DROP TABLE {OLD}")


def let_expire(url: str, instance: str, days: int) -> None:
    execute(
        url,
        f"UPDATE workers SET expires = now() - interval '{days} days', ended = epoch "
        f"WHERE instance = '{instance}'",
    )


async def test_a_worker_that_is_over_for_long_leaves_the_feed_and_then_the_database(
    database_url: str,
) -> None:
    """An id of the feed would have a place for every worker that ever was."""
    feed = PostgresFeed(database_url)
    async with worker(database_url, Retention()) as archive:
        history = History(time.time())
        async with open_database_store(database_url, instance="old") as old:
            history.begin("room", "RM_old").end(history.now, "room_closed")
            await history.write_to(old)
        history.begin("room", "RM_new")
        await history.write_to(archive)
        page = await feed.after(Position({}), 1_000)
        had_all = Position({})
        for entry in page.entries:
            had_all |= entry.position
        assert len(had_all.places) == 2
        let_expire(database_url, "old", 2)
        await prune_all(archive, None)
        assert len((await feed.newest()).places) == 1
        assert await feed.after(had_all, 1_000) == FeedPage((), gap=False)
        assert (await feed.after(Position({}), 1_000)).gap
        # It is back: its numbers go on, although its journal is dropped.
        ((number, dropped),) = execute(
            database_url, "SELECT worker, dropped FROM workers WHERE instance = 'old'"
        )
        async with open_database_store(database_url, instance="old") as old:
            history.now -= HOUR
            history.begin("room", "RM_back").end(history.now, "room_closed")
            await history.write_to(old)
        (entry, *_) = (await feed.after(had_all, 1_000)).entries
        assert next(iter(entry.position.places.items()))[1][0] > int(str(dropped))
        let_expire(database_url, "old", 8)
        await prune_all(archive, None)
        named = "SELECT worker FROM workers WHERE instance = 'old'"
        assert execute(database_url, named) == [(number,)]  # It owns stored sessions.
        execute(database_url, f"DELETE FROM sessions WHERE owner = {number}")
        await prune_all(archive, None)
        assert execute(database_url, named) == []
        async with open_database_store(database_url, instance="old") as old:
            history.begin("room", "RM_again").end(history.now, "room_closed")
            await history.write_to(old)
        ((again,),) = execute(database_url, named)
        assert int(str(again)) > int(str(number))
        assert not (await feed.after(had_all, 1_000)).gap


async def test_a_process_whose_row_was_deleted_goes_on_under_another_number(
    database_url: str,
) -> None:
    """It stood still for long."""
    async with (
        worker(database_url, Retention()) as archive,
        open_database_store(database_url, instance="old") as old,
    ):
        await archive.prune(None)
        history = History(time.time())
        history.begin("room", "RM_1").end(history.now, "room_closed")
        await history.write_to(old)
        execute(database_url, "DELETE FROM sessions", "DELETE FROM room_leases")
        let_expire(database_url, "old", 8)
        await prune_all(archive, None)
        await prune_all(archive, None)
        assert execute(database_url, "SELECT instance FROM workers") == [("w",)]
        journal = history.begin("room", "RM_2")
        await history.write_to(old)
        assert stored(database_url) == {"RM_2": True}
        history.talk(journal)
        await history.write_to(old)
        assert journal.lost == 0


async def test_one_worker_at_a_time_drops_what_all_wrote(database_url: str) -> None:
    async with worker(database_url, Retention(size=1)) as archive:
        history = History(time.time())
        history.add_ended(1)
        await history.write_to(archive)
        with connect(database_url, WRITER_LIMITS) as other, other.transaction():
            other.execute("SELECT pg_advisory_xact_lock(%s)", (0x526D4164,))
            assert await archive.prune(time.time()) == PruneStep()
        await prune_all(archive, time.time())
    assert stored(database_url) == {}


async def test_texts_are_dropped_at_their_time_also_where_none_are_kept_any_more(
    database_url: str,
) -> None:
    now = time.time()
    texts = PostgresTexts(database_url, TextRetention(spoken=HOUR))
    spoken = ConversationText(
        "shop", "RM_1", "AJ_1", "item_1", "speech", "person", "alice", now - 2 * HOUR, "old"
    )
    await texts.write([spoken, evolve(spoken, item="item_2", at=now, text="new")])
    await texts.aclose()
    async with worker(database_url, Retention()) as archive:
        await archive.prune(now)
    assert execute(database_url, "SELECT text FROM texts") == [("new",)]
