"""The contract of `forget`, for stores in SQLite and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

import pytest
import trio
from attrs import frozen

from actors.journal.archive import Archive, ArchiveTrouble
from actors.journal.session_filters import ALL
from actors.session import (
    DataReceived,
    NameChanged,
    ParticipantInfo,
    ParticipantJoined,
    SpeakersChanged,
)
from actors.session.rule_records import RuleFired
from bridge.app.forget import ForgetReport, forget
from bridge.app.session_source import open_journals, open_sessions
from bridge.config.store_address import StoreAddress
from bridge.postgres.postgres_archive import open_database_store
from bridge.store.local_journal import LocalJournal
from bridge.store.sqlite_archive import open_store
from tests.store.stored_history import History

HOUR = 3_600.0
WHO = "zebediah"
TEXTS = (WHO, "Zebedee the Great", "my-own-message")


@frozen
class StoreWithWorker:
    """A store, and the worker that writes it."""

    address: StoreAddress
    archive: Archive

    async def forget(self) -> ForgetReport:
        return await trio.to_thread.run_sync(forget, self.address, WHO, lambda _: None)


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[StoreWithWorker]:
    if request.param == "sqlite":
        async with open_store(tmp_path, instance="w") as archive:
            yield StoreWithWorker(StoreAddress(tmp_path), archive)
        return
    url = request.getfixturevalue("database_url")
    async with open_database_store(url, instance="w") as archive:
        yield StoreWithWorker(StoreAddress(tmp_path, url), archive)


async def meeting(store: StoreWithWorker, sid: str, age: float, *, ends: bool = True) -> None:
    """A session in which the person says, does and causes something."""
    history = History(time.time() - age)
    journal = history.begin(f"room of {sid}", sid, "bob")
    for event in (
        ParticipantJoined(history.now, ParticipantInfo(WHO, "PA_9", history.now)),
        NameChanged(history.now, WHO, "Zebedee the Great"),
        DataReceived(history.now, WHO, "chat", 3, "text", content="my-own-message"),
    ):
        journal.record(event)
    for _ in range(40):
        history.talk(journal, 1, "bob")
        journal.record(SpeakersChanged(history.now, (WHO,)))
    journal.record(RuleFired(history.now, "alone", WHO, alert=True, text="Zebedee the Great left"))
    if ends:
        journal.end(history.now, "room_closed")
    while True:
        # As the actor of a store: an erasure beside it may have the lock for a while.
        with suppress(ArchiveTrouble):
            await history.write_to(store.archive)
            return


def shown(address: StoreAddress) -> dict[str, str]:
    """By session: all that readers show of it."""
    with open_sessions(address) as reader, open_journals(address) as stored:
        alerts = reader.alerts().alerts
        texts = {one.room_sid: repr(list(stored.records(one))) for one in stored.journals(ALL)}
        for row in reader.sessions().sessions:
            of = [one for one in alerts if one.room_sid == row.room_sid]
            texts[row.room_sid] += repr((row, reader.session(row.id), of))
    return texts


async def test_a_person_is_erased_from_what_is_over_and_the_numbers_stay(
    store: StoreWithWorker,
) -> None:
    await meeting(store, "RM_1", 5 * HOUR)
    await meeting(store, "RM_2", 4 * HOUR)
    with open_sessions(store.address) as reader:
        before = {row.room_sid: row.people for row in reader.sessions().sessions}
    assert all(text in shown(store.address)["RM_1"] for text in TEXTS)

    await meeting(store, "RM_live", 0.0, ends=False)
    report = await store.forget()
    assert (report.store.sessions, report.store.alerts, report.store.unreadable) == (2, 2, 0)
    assert [one.session for one in report.store.left] == ["RM_live"]
    texts = shown(store.address)
    for sid in ("RM_1", "RM_2"):
        assert [text for text in TEXTS if text in texts[sid]] == []
        assert "bob" in texts[sid]
    assert all(text in texts["RM_live"] for text in TEXTS)
    with open_sessions(store.address) as reader:
        after = {row.room_sid: row.people for row in reader.sessions().sessions}
    assert {sid: after[sid] for sid in before} == before
    again = await store.forget()
    assert (again.store.sessions, again.store.records) == (0, 0)


async def test_the_worker_goes_on_beside_it(store: StoreWithWorker) -> None:
    await meeting(store, "RM_1", 5 * HOUR)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.forget)
        for number in range(5):
            await meeting(store, f"RM_new{number}", 0.0)
    assert len(shown(store.address)) == 6


def files_with(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir() if WHO.encode() in one.read_bytes()]


async def test_a_local_journal_is_erased_where_no_worker_runs(
    database_url: str, tmp_path: Path
) -> None:
    local = LocalJournal(tmp_path)
    address = StoreAddress(tmp_path, database_url)
    async with open_database_store(database_url, instance="w", local=local) as archive:
        store = StoreWithWorker(address, archive)
        await meeting(store, "RM_1", 5 * HOUR)
        assert files_with(local.path.parent) != []
    report = await store.forget()
    assert (report.store.sessions, report.whole) == (1, True)
    assert [
        one.name for one in local.path.parent.iterdir() if WHO.encode() in one.read_bytes()
    ] == []
