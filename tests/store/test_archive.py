"""The contract of an archive, for those in SQLite and PostgreSQL and the simulated one."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest
from attrs import evolve

from actors.journal.archive import RECENT, Archive, Checkpoint, RecoveredSessions
from actors.session.end_reasons import CONTINUABLE
from actors.simulation.simulated_disk import SimulatedDisk
from bridge.postgres.postgres_archive import open_database_store
from bridge.store.local_journal import LocalJournal
from bridge.store.sqlite_archive import open_store
from tests.store.stored_history import T0, History


class Runs(Protocol):
    """One archive, opened by one worker after the other."""

    def run(self) -> AbstractAsyncContextManager[Archive]: ...


class OnDisk:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self) -> AbstractAsyncContextManager[Archive]:
        return open_store(self._folder, instance="worker")


class InDatabase:
    def __init__(self, url: str, folder: Path | None = None) -> None:
        self._url, self._folder = url, folder

    def run(self) -> AbstractAsyncContextManager[Archive]:
        local = None if self._folder is None else LocalJournal(self._folder)
        return open_database_store(self._url, instance="worker", local=local)


class Simulated:
    def __init__(self) -> None:
        self._disk = SimulatedDisk()

    def run(self) -> Simulated:
        return self

    async def __aenter__(self) -> SimulatedDisk:
        self._disk.new_run()
        return self._disk

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture(params=["sqlite", "postgresql", "local events", "simulated"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Runs:
    match request.param:
        case "sqlite":
            return OnDisk(tmp_path / "data")
        case "postgresql":
            return InDatabase(request.getfixturevalue("database_url"))
        case "local events":
            return InDatabase(request.getfixturevalue("database_url"), tmp_path)
        case _:
            return Simulated()


async def recover(runs: Runs) -> RecoveredSessions:
    """The sessions that the next run finds."""
    async with runs.run() as archive:
        return await archive.load()


async def test_a_new_archive_has_nothing(runs: Runs) -> None:
    assert await recover(runs) == RecoveredSessions((), None)


async def test_what_a_run_left_is_found_by_the_next_one(runs: Runs) -> None:
    history = History()
    async with runs.run() as archive:
        journal = history.begin()
        await history.write_to(archive)
    (stored,) = (recovered := await recover(runs)).sessions
    assert (stored.session, stored.seq, stored.state) == (
        journal.number,
        journal.seq,
        journal.state,
    )
    assert recovered.alive_at == T0


async def test_lines_after_the_checkpoint_are_folded_in(runs: Runs) -> None:
    history = History()
    async with runs.run() as archive:
        journals = [history.begin(f"room-{n}", f"RM_{n}") for n in range(3)]
        await history.write_to(archive)
        for journal in journals:
            history.talk(journal, 2)
            batch = await history.write_to(archive)
            assert not batch.checkpoints
    sessions = (await recover(runs)).sessions
    assert [(stored.seq, stored.state) for stored in sessions] == [
        (j.seq, j.state) for j in journals
    ]


async def test_a_batch_may_be_written_twice(runs: Runs) -> None:
    history = History()
    async with runs.run() as archive:
        journal = history.begin()
        first = await history.write_to(archive)
        await archive.write(first)
        history.talk(journal, 3)
        second = await history.write_to(archive)
        await archive.write(second)
        await archive.write(second)
    (stored,) = (await recover(runs)).sessions
    assert (stored.seq, stored.state) == (journal.seq, journal.state)


async def test_what_ended_without_its_room_is_found_and_what_is_over_is_not(runs: Runs) -> None:
    history = History()
    reasons = ("room_closed", "room_deleted", "found_ended", *sorted(CONTINUABLE))
    async with runs.run() as archive:
        for number, reason in enumerate(reasons):
            journal = history.begin("atlas", f"RM_{number}")
            history.now += 1.0
            journal.end(history.now, reason)
        history.now += RECENT
        await history.write_to(archive)
    end_reasons = [stored.state.end_reason for stored in (await recover(runs)).sessions]
    assert end_reasons == sorted(CONTINUABLE)


async def test_what_is_over_is_found_for_as_long_as_webhooks_may_speak_of_it(runs: Runs) -> None:
    history = History()
    async with runs.run() as archive:
        for number in range(3):
            history.now += 1.0
            history.begin("atlas", f"RM_{number}").end(history.now, "room_closed")
        history.now += RECENT - 0.5
        await history.write_to(archive)
    assert [stored.state.room_sid for stored in (await recover(runs)).sessions] == ["RM_2"]


async def test_a_session_that_ended_and_goes_on_is_one_session(runs: Runs) -> None:
    history = History()
    async with runs.run() as archive:
        journal = history.begin()
        history.talk(journal)
        journal.end(history.now, "worker_stopped")
        await history.write_to(archive)
        journal.attach(history.now, "AJ_2")
        history.talk(journal)
        await history.write_to(archive)
    (stored,) = (await recover(runs)).sessions
    assert (stored.seq, stored.state) == (journal.seq, journal.state)


async def test_lines_that_were_given_up_are_made_up_for_by_a_checkpoint(runs: Runs) -> None:
    history = History()
    async with runs.run() as archive:
        journal = history.begin()
        await history.write_to(archive)
        history.talk(journal, 4)
        batch = history.batch()
        given_up = len(batch.rows) - 2
        checkpoint = Checkpoint(journal.number, journal.seq, journal.state, given_up)
        await archive.write(evolve(batch, rows=batch.rows[:2], checkpoints=(checkpoint,)))
        history.talk(journal)
        await history.write_to(archive)
    (stored,) = (await recover(runs)).sessions
    assert (stored.seq, stored.state, stored.lost) == (journal.seq, journal.state, given_up)
