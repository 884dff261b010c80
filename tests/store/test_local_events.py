"""Sessions in PostgreSQL whose journal is on the worker's own machine (`--events local`)."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractAsyncContextManager, closing
from pathlib import Path

import psycopg
import pytest
import trio
from msgspec.structs import replace

from actors.journal.archive import Fenced
from actors.journal.backlog import CHECKPOINT_AGE
from actors.journal.feed import Position
from actors.journal.journal import Journal
from actors.session import Disconnected, SessionView
from bridge.postgres.postgres_archive import PostgresArchive, open_database_store
from bridge.postgres.postgres_leases import PostgresLeases
from bridge.postgres.postgres_reader import open_database_reader
from bridge.postgres.postgres_statements import NOT_STORED
from bridge.store.journal_rows import encode_journal_row, pack, rows_by_session
from bridge.store.local_journal import LocalJournal, journal_folder
from bridge.store.sqlite_feed import SqliteFeed
from tests.store.stored_history import History

ROOM, SID = "atlas", "RM_1"


class Machine:
    """A worker, with its disk."""

    def __init__(self, url: str, disk: Path, instance: str = "w") -> None:
        self.url, self.disk, self._instance = url, disk, instance
        disk.mkdir()

    def run(self) -> AbstractAsyncContextManager[PostgresArchive]:
        return open_database_store(self.url, instance=self._instance, local=LocalJournal(self.disk))


@pytest.fixture
def machine(database_url: str, tmp_path: Path) -> Machine:
    return Machine(database_url, tmp_path / "disk")


def expire(url: str, instance: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            "UPDATE room_actors.workers SET expires = now() WHERE instance = %s", (instance,)
        )


def count(url: str, table: str) -> int:
    with psycopg.connect(url) as db:
        row = db.execute(f"SELECT count(*) FROM room_actors.{table}".encode()).fetchone()
    assert row is not None
    return row[0]


def shown(url: str, name: str) -> SessionView:
    with open_database_reader(url) as reader:
        view = reader.session(name)
    assert view is not None
    return replace(view, room_sid="", id="")


async def test_both_modes_store_equal_sessions(machine: Machine) -> None:
    """Only the journal is elsewhere: what readers show of a session is the same."""
    histories = {"RM_local": History(), "RM_shared": History()}
    async with (
        machine.run() as local,
        open_database_store(machine.url, instance="shared") as shared,
    ):
        for (sid, history), archive in zip(histories.items(), (local, shared), strict=True):
            journal = history.begin(ROOM, sid)
            await history.write_to(archive)
            for _ in range(5):
                history.talk(journal, 3)
                batch = await history.write_to(archive)
                assert not batch.checkpoints
                await archive.write(batch)
            history.now += CHECKPOINT_AGE
            history.talk(journal, 2)
            assert (await history.write_to(archive)).checkpoints
            history.talk(journal, 2)
            journal.end(history.now, "room_closed")
            if archive is local:
                assert count(machine.url, "journal") == 0
                entries = (await SqliteFeed(
                    journal_folder(machine.disk), trio.Event
                ).after(Position({}), 10_000)).entries  # fmt: skip
                assert {(one.room, one.room_sid) for one in entries} == {(ROOM, sid)}
            await history.write_to(archive)
    assert shown(machine.url, "RM_local") == shown(machine.url, "RM_shared")


async def test_a_worker_that_is_killed_loses_nothing_that_is_on_its_disk(machine: Machine) -> None:
    history = History()
    async with machine.run() as archive:
        journal = history.begin(ROOM, SID)
        await history.write_to(archive)
        for _ in range(3):
            history.talk(journal, 2)
            await history.write_to(archive)
    async with machine.run() as archive:
        recovered = await archive.load()
        (stored,) = recovered.sessions
        assert (stored.seq, stored.state) == (journal.seq, journal.state)
        # It goes on, and is killed again.
        resumed = Journal.resume(stored, history.backlog)
        history.talk(resumed, 2)
        await history.write_to(archive)
    async with machine.run() as archive:
        assert [one.seq for one in (await archive.load()).sessions] == [resumed.seq]
    timeline = shown(machine.url, SID).timeline
    assert [one.event for one in timeline or ()].count("data_message") == 8


async def test_a_machine_that_is_lost_costs_what_came_after_the_checkpoint_and_a_gap_tells_it(
    machine: Machine, tmp_path: Path
) -> None:
    history = History()
    other = Machine(machine.url, tmp_path / "another disk", "other")
    async with machine.run() as lost, other.run() as next_one:
        leases = PostgresLeases(next_one)
        journal = history.begin(ROOM, SID)
        await history.write_to(lost)
        history.now += 100.0  # Nothing happens; the signs of life go on.
        await history.write_to(lost)
        at_checkpoint, alive_at = journal.seq, history.now
        history.talk(journal, 3)
        await history.write_to(lost)
        expire(machine.url, "w")
        lease = await leases.acquire(ROOM, SID)
        assert lease is not None
        assert lease.stored is not None
        assert lease.stored.seq == at_checkpoint
        assert lease.seen_until is not None
        # All until then is stored: the quiet time before it is no gap.
        assert alive_at - NOT_STORED <= lease.seen_until <= history.now - CHECKPOINT_AGE
        after = History(history.now + 6.0)
        resumed = Journal.resume(lease.stored, after.backlog)
        resumed.record(Disconnected(lease.seen_until, None, "worker_failed"))
        after.talk(resumed)
        await after.write_to(next_one)
        gap = shown(machine.url, SID).gaps[-1]
        assert gap.reason == "worker_failed"
        # The lost machine is back: it may write nothing of the session, and its rows are dropped.
        history.talk(journal)
        history.now += CHECKPOINT_AGE
        with pytest.raises(Fenced):
            await history.write_to(lost)
    async with machine.run() as archive:
        assert (await archive.load()).sessions == ()
        # It gets the room again, and goes on where the other one stopped.
        expire(machine.url, "other")
        lease = await PostgresLeases(archive).acquire(ROOM, SID)
        assert lease is not None
        assert lease.stored is not None
        assert lease.stored.seq == resumed.seq
    async with machine.run() as archive:
        assert [one.seq for one in (await archive.load()).sessions] == [resumed.seq]


def test_sessions_that_come_back_rewrite_no_batch(tmp_path: Path) -> None:
    """With many rooms of a dead worker the whole journal was written once for each."""
    history, journal = History(), LocalJournal(tmp_path)
    back, other = history.begin("a", "RM_a"), history.begin("b", "RM_b")

    def add(number: int) -> None:
        history.talk(back)
        history.talk(other)
        ((_, packed),) = pack([encode_journal_row(row) for row in history.batch().rows])
        names = [(one.number, one.state.room, one.state.room_sid) for one in (back, other)]
        journal.add([(number, 1, history.now, packed)], names)

    def seqs(session: Journal) -> list[int]:
        rows = rows_by_session(journal.packs()).get(session.number, [])
        return [row.seq for row in rows]

    add(1)
    add(2)
    whole, before = seqs(other), back.seq
    with closing(sqlite3.connect(journal.path)) as db:
        stored = db.execute("SELECT * FROM journal").fetchall()
        journal.forget([back.number, 12345])
        assert db.execute("SELECT * FROM journal").fetchall() == stored
        assert db.execute("SELECT count(*) FROM tombstones").fetchone() == (1,)
    assert (seqs(back), seqs(other)) == ([], whole)
    journal.close()
    journal = LocalJournal(tmp_path)
    add(3)
    assert seqs(back) == list(range(before + 1, back.seq + 1))
    assert seqs(other) == list(range(other.seq + 1))
    journal.close()


async def test_a_worker_without_its_disk_of_before_knows_less_of_the_past(
    machine: Machine, tmp_path: Path
) -> None:
    history = History()
    async with machine.run() as archive:
        history.begin(ROOM, SID)
        await history.write_to(archive)
    async with Machine(machine.url, tmp_path / "new disk").run() as archive:
        assert (await archive.load()).alive_at == history.now - NOT_STORED
