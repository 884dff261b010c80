"""The archive in PostgreSQL: what is its own, beyond the contract of `test_archive`."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trio
from attrs import evolve
from hypothesis import example, given
from hypothesis import strategies as st

from actors.journal.archive import Archive, ArchiveLost, ArchiveTrouble, Batch
from actors.journal.feed import Position
from actors.journal.session_filters import Filters, regex_of
from actors.journal.session_reader import SessionReader, StoreRefused
from bridge.postgres import postgres_schema
from bridge.postgres.postgres_archive import PostgresArchive, open_database_store
from bridge.postgres.postgres_connection import (
    READER_LIMITS,
    WRITER_LIMITS,
    connect,
    regex_in_postgres,
)
from bridge.postgres.postgres_feed import PostgresFeed
from bridge.postgres.postgres_reader import open_database_reader
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_feed import SqliteFeed
from bridge.store.sqlite_reader import open_reader
from tests.store.stored_history import History
from tests.store.test_session_queries import ALPHABET

HOSTILE = "\0nul\ufdd0\ufdd00" + "long" * 3_000


@contextmanager
def behind_its_back(url: str) -> Generator[psycopg.Connection[Any], None, None]:
    """A connection that is not the program's."""
    with connect(url, WRITER_LIMITS) as db:
        yield db


@asynccontextmanager
async def worker(url: str, name: str = "w") -> AsyncGenerator[PostgresArchive, None]:
    async with open_database_store(url, instance=name) as archive:
        yield archive


async def recovered(archive: Archive) -> list[str]:
    return [one.state.room_sid for one in (await archive.load()).sessions]


def rows_stored(url: str) -> int:
    with open_database_reader(url) as reader:
        return sum(one.seq + 1 for one in reader.live())


# ---------------------------------------------------------------- text


def hostile_batch() -> Batch:
    history = History()
    history.person_key = f"attributes.{HOSTILE}"
    history.begin(HOSTILE, "RM_1", HOSTILE, "alice", f"{HOSTILE}2").end(history.now, "room_closed")
    history.now += 1.0
    history.talk(history.begin(HOSTILE, "RM_2", HOSTILE), 2, HOSTILE)
    return history.batch()


def what_is_read(reader: SessionReader) -> object:
    rows = [row for row in reader.sessions().sessions if row.ended_at is not None]
    return (
        rows,
        [session and session.timeline for session in map(reader.session, ("RM_1", "RM_2"))],
        [
            [row.id for row in reader.sessions(filters=Filters(**{name: text})).sessions]  # pyright: ignore[reportArgumentType]
            for name in ("room", "person")
            for text in (HOSTILE[:300] + "*", "alice", "Alic?", "\0*")
        ],
    )


async def test_hostile_text_stops_no_batch_and_is_read_as_from_sqlite(
    database_url: str, tmp_path: Path
) -> None:
    batch = hostile_batch()
    async with worker(database_url) as archive, open_store(tmp_path, instance="w") as on_disk:
        await archive.write(batch)
        await on_disk.write(batch)
        with open_database_reader(database_url) as reader, open_reader(tmp_path) as same:
            assert what_is_read(reader) == what_is_read(same)
        feeds = PostgresFeed(database_url), SqliteFeed(tmp_path, trio.Event)
        pages = [(await feed.after(Position({}), 1_000)).entries for feed in feeds]
    entries = [[evolve(one, position=Position({})) for one in page] for page in pages]
    assert entries[0] == entries[1]
    assert any("\0" in one.room for one in entries[0])


def test_what_no_text_of_the_database_can_have_is_replaced_or_comes_back(
    database_url: str,
) -> None:
    with behind_its_back(database_url) as db:
        for text in ("\0", "\ufdd0", "\ufdd00\0\ufdd01", "plain", ""):
            for binary in (False, True):
                assert db.execute("SELECT %s", (text,), binary=binary).fetchone() == (text,)
        assert db.execute("SELECT %s", ("a\ud800",)).fetchone() == ("a?",)


def test_a_pattern_finds_the_same_as_in_memory(database_url: str) -> None:
    with behind_its_back(database_url) as db:

        @given(
            st.lists(
                st.tuples(st.text(ALPHABET, max_size=8), st.text(ALPHABET, max_size=6)), max_size=40
            )
        )
        @example([("[c-a]", "b"), ("[^c-a]", "b"), ("[]a]", "]"), ("[a", "[a"), ("\\", "\\")])
        @example(
            [("[!a]", "!"), ("a[b-]", "a-"), ("[a-c]", "b"), ("[[:alpha:]]", "a"), ("\0", "\0")]
        )
        def same(pairs: list[tuple[str, str]]) -> None:
            in_database = db.execute(
                "SELECT t ~ p FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS one (t, p, n)"
                " ORDER BY n",
                ([text for _, text in pairs], [regex_in_postgres(one) for one, _ in pairs]),
            ).fetchall()
            wanted = [regex_of(pattern).match(text) is not None for pattern, text in pairs]
            assert [bool(one) for (one,) in in_database] == wanted

        same()


# ---------------------------------------------------------------- several workers


async def test_each_worker_recovers_its_own_sessions_though_their_numbers_are_the_same(
    database_url: str,
) -> None:
    histories = {name: History() for name in "ab"}
    async with worker(database_url, "a") as first, worker(database_url, "b") as second:
        for (name, history), archive in zip(histories.items(), (first, second), strict=True):
            journal = history.begin(f"room-{name}", f"RM_{name}")
            await history.write_to(archive)
            history.talk(journal, 3)
            await history.write_to(archive)
        for name, history in histories.items():
            history.talk(journal := history.begin("more", f"RM_{name}2"))
            journal.end(history.now, "room_closed")
        await histories["a"].write_to(first)
        await histories["b"].write_to(second)
        with open_database_reader(database_url) as reader:
            assert {row.id for row in reader.rooms()} == {"RM_a", "RM_b"}
            workers = reader.workers()
            assert {one.instance for one in workers} == {"a", "b"}
            assert all(one.running for one in workers)
            for name in ("RM_a", "RM_b"):
                session = reader.session(name)
                assert session is not None
                assert sum(entry.event == "data_message" for entry in session.timeline or ()) == 3
    async with worker(database_url, "b") as archive:
        assert await recovered(archive) == ["RM_b", "RM_b2"]
    with open_database_reader(database_url) as reader:
        # They ended in order: no worker is lost.
        assert [one.state for one in reader.workers()] == ["ended", "ended"]
    with psycopg.connect(database_url, autocommit=True) as db:
        db.execute(
            "UPDATE room_actors.workers SET expires = now() - CASE instance "
            "WHEN 'a' THEN interval '2 days' ELSE interval '3 days' END"
        )
    with open_database_reader(database_url) as reader:
        # Names of containers that never come back do not stay in the list for ever.
        assert [one.instance for one in reader.workers()] == ["a"]


async def test_a_feed_of_two_workers_has_all_entries_of_both(database_url: str) -> None:
    feed, position, got = PostgresFeed(database_url), Position({}), list[str]()
    histories = {name: History() for name in "ab"}
    async with worker(database_url, "a") as first, worker(database_url, "b") as second:
        journals = [history.begin(name, f"RM_{name}") for name, history in histories.items()]
        for _ in range(3):
            for journal, history in zip(journals, histories.values(), strict=True):
                history.talk(journal)
            # The later one of two batches with the same number becomes visible last.
            await histories["b"].write_to(second)
            while (page := await feed.after(position, 2)).entries:
                assert not page.gap
                got += [one.room_sid for one in page.entries]
                for one in page.entries:
                    position |= one.position
            await histories["a"].write_to(first)
        page = await feed.after(position, 1_000)
        got += [one.room_sid for one in page.entries]
    for journal in journals:
        assert got.count(journal.state.room_sid) == len(journal.unpublished)


async def test_a_process_that_was_replaced_writes_nothing_any_more(database_url: str) -> None:
    history = History()
    async with worker(database_url) as stalled:
        journal = history.begin()
        await history.write_to(stalled)
        history.talk(journal)
        late = history.batch()
        async with worker(database_url) as replacing:
            assert await recovered(replacing) == ["RM_1"]
            before = rows_stored(database_url)
            for _ in range(2):  # a second connection changes nothing
                with pytest.raises(ArchiveTrouble, match=r"another process writes .* as worker w"):
                    await stalled.write(late)
            assert rows_stored(database_url) == before
            await replacing.write(late)
            assert rows_stored(database_url) == before + len(late.rows)


# ---------------------------------------------------------------- trouble


async def test_a_batch_that_failed_is_written_once_over_the_next_connection(
    database_url: str,
) -> None:
    history = History()
    async with worker(database_url) as archive:
        journal = history.begin()
        await history.write_to(archive)
        history.talk(journal, 3)
        batch = history.batch()
        with behind_its_back(database_url) as db:
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid != pg_backend_pid() AND datname = current_database()"
            )
        with pytest.raises(ArchiveTrouble, match=r"postgresql://127\.0\.0\.1"):
            await archive.write(batch)
        await archive.write(batch)
        await archive.write(batch)
        assert rows_stored(database_url) == journal.seq + 1


async def test_a_database_that_does_not_answer_is_trouble(database_url: str) -> None:
    history = History()
    async with open_database_store(database_url, instance="w", answer_seconds=0.3) as archive:
        history.begin()
        batch = history.batch()
        with behind_its_back(database_url) as db, db.transaction():
            db.execute("LOCK TABLE workers IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(ArchiveTrouble, match=r"did not answer for 0\.3 s"):
                await archive.write(batch)
        with trio.fail_after(60):
            while True:
                try:
                    await archive.write(batch)
                    break
                except ArchiveTrouble:
                    await trio.sleep(0.05)
        assert rows_stored(database_url) == len(batch.rows)


async def test_a_database_that_lost_commits_gets_what_is_in_memory_again(
    database_url: str,
) -> None:
    history = History()
    async with worker(database_url) as archive:
        journal = history.begin()
        await history.write_to(archive)
        history.talk(journal, 2)
        await history.write_to(archive)
        with behind_its_back(database_url) as db:  # as after the promotion of a late standby
            db.execute("DELETE FROM journal WHERE batch = (SELECT max(batch) FROM journal)")
            db.execute("UPDATE workers SET epoch = epoch - 1")
        history.talk(journal)
        batch = history.batch()
        with pytest.raises(ArchiveLost, match="lost its last commits") as lost:
            await archive.write(batch)
        assert lost.value.rows_are_kept
        history.backlog.rewrite((journal,), history.now, rows_are_kept=True)
        await archive.write(batch)
        await history.write_to(archive)
        with open_database_reader(database_url) as reader:
            assert [one.state for one in reader.live()] == [journal.state]
        with behind_its_back(database_url) as db:
            db.execute("UPDATE layout SET store = 'another'")
            db.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE pid != pg_backend_pid() AND datname = current_database()"
            )
        with pytest.raises(ArchiveTrouble):
            await archive.write(batch)
        with pytest.raises(ArchiveLost, match="another database than before") as lost:
            await archive.write(batch)
        assert not lost.value.rows_are_kept


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://alice:hunter2@127.0.0.1:1/sessions",
        "postgresql://alice:hun%74er2@127.0.0.1:1/sessions",
        "postgresql://alice@127.0.0.1:1/sessions?password=hunter2",
        "postgresql://alice:hunter2%@127.0.0.1:1/sessions",
        "postgresql://alice:hunter2@127.0.0.1:1/sessions?nonsense=hunter2",
    ],
)
async def test_an_error_does_not_repeat_the_password(url: str) -> None:
    with pytest.raises((ArchiveTrouble, StoreRefused)) as error:
        async with worker(url) as archive:
            await archive.load()
    assert "hunter2" not in str(error.value)
    assert "hun%74er2" not in str(error.value)
    assert str(error.value).strip()


# ---------------------------------------------------------------- the tables


def test_programs_that_start_at_once_make_the_tables_once(empty_database: str) -> None:
    errors = list[BaseException]()

    def start() -> None:
        try:
            with connect(empty_database, WRITER_LIMITS) as db:
                postgres_schema.migrate(db, empty_database)
                postgres_schema.make_partitions(db)
        except BaseException as error:  # noqa: BLE001 (the test shows it)
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with connect(empty_database, READER_LIMITS) as db:
        row = db.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'chunks'::regclass")
        assert row.fetchone() == (postgres_schema.DAYS_AHEAD + 2,)


async def test_a_newer_layout_is_used_unless_it_says_otherwise(database_url: str) -> None:
    history = History()
    newest = postgres_schema.VERSION
    with behind_its_back(database_url) as db:
        db.execute("UPDATE layout SET version = %s", (newest + 1,))
        db.execute("ALTER TABLE sessions ADD COLUMN later text")
        try:
            async with worker(database_url) as archive:
                history.begin()
                await history.write_to(archive)
            with open_database_reader(database_url) as reader:
                assert reader.count() == 1
            db.execute("UPDATE layout SET oldest = %s", (newest + 1,))
            with pytest.raises(StoreRefused, match="newer version"):
                await worker(database_url).__aenter__()
            with pytest.raises(StoreRefused, match="newer version"):
                open_database_reader(database_url).__enter__()
        finally:
            db.execute("ALTER TABLE sessions DROP COLUMN later")
            db.execute("UPDATE layout SET version = %s, oldest = 1", (newest,))


def test_a_store_in_sqlite_does_not_load_the_driver(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, bridge.app.program, bridge.app.worker_web, bridge.cli.reading\n"
        "from bridge.app.session_source import open_sessions\n"
        "print([name for name in sys.modules if 'psycopg' in name or 'postgres_' in name])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert run.stdout.strip() == "[]"
