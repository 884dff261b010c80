"""The list of alerts that fired, over SQLite and in memory alike; and what a store has of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from actors.journal.alert_history import AlertFilters, StoredAlert
from actors.journal.journal import Journal
from actors.journal.session_reader import BadCursor, SessionReader
from actors.session import TrackInfo, TrackPublished
from actors.session.rule_records import RuleFired, RuleResolved
from bridge.store import alert_rows
from bridge.store.schema import FILE
from bridge.store.sqlite_archive import open_store
from bridge.store.sqlite_reader import open_reader
from tests.store.stored_history import T0, History
from tests.store.test_session_reader import InMemory, OnDisk, stored

__all__ = ["stored"]

HOSTILE = "'); DROP TABLE alerts --\x1b[31m"


def fire(journal: Journal, at: float, rule: str = "alone", on: str = "", text: str = "") -> None:
    journal.record(RuleFired(T0 + at, rule, on, alert=True, text=text))


def resolve(journal: Journal, at: float, rule: str = "alone", on: str = "") -> None:
    journal.record(RuleResolved(T0 + at, rule, on))


def rules(reader: SessionReader, **filters: object) -> list[str]:
    page = reader.alerts(filters=AlertFilters(**filters))  # pyright: ignore[reportArgumentType]
    assert page.next is None
    return [one.rule for one in page.alerts]


async def test_an_alert_is_one_row_from_its_firing_to_its_end(stored: OnDisk | InMemory) -> None:
    journal = stored.history.begin("atlas", "RM_1")
    fire(journal, 1.0, text=HOSTILE)
    await stored.write()
    with stored.open() as reader:
        assert reader.alerts().alerts == [
            StoredAlert("alone", "atlas", "RM_1", "", HOSTILE, T0 + 1.0, None)
        ]
    resolve(journal, 5.0)
    fire(journal, 9.0)
    await stored.write()
    with stored.open() as reader:
        assert [(one.fired_at - T0, one.resolved_at) for one in reader.alerts().alerts] == [
            (9.0, None),
            (1.0, T0 + 5.0),
        ]


async def test_alerts_of_persons_and_rooms_are_told_apart(stored: OnDisk | InMemory) -> None:
    one = stored.history.begin("atlas", "RM_1")
    other = stored.history.begin("team-2", "RM_2")
    fire(one, 1.0, "poor", "alice")
    fire(one, 2.0, "poor", "bob")
    fire(other, 3.0, "empty")
    resolve(one, 4.0, "poor", "alice")
    await stored.write()
    with stored.open() as reader:
        assert rules(reader) == ["empty", "poor", "poor"]
        assert rules(reader, room="team-*") == ["empty"]
        assert rules(reader, person="b*") == ["poor"]
        assert rules(reader, status="firing") == ["empty", "poor"]
        assert rules(reader, status="resolved", person="alice") == ["poor"]
        assert rules(reader, since=T0 + 2.0, until=T0 + 3.0) == ["poor"]
        assert rules(reader, room="nowhere") == []


async def test_the_end_of_a_room_resolves_what_fires(stored: OnDisk | InMemory) -> None:
    journal = stored.history.begin("atlas", "RM_1")
    fire(journal, 1.0)
    stored.history.now += 60.0
    journal.end(stored.history.now, "room_closed")
    await stored.write()
    with stored.open() as reader:
        assert reader.alerts().alerts[0].resolved_at == stored.history.now


async def test_it_is_paged_from_the_newest_to_the_oldest(stored: OnDisk | InMemory) -> None:
    journal = stored.history.begin("atlas", "RM_1")
    for number in range(7):
        fire(journal, float(number), f"rule-{number}")
    await stored.write()
    with stored.open() as reader:
        pages, cursor = list[list[str]](), None
        while True:
            page = reader.alerts(3, cursor)
            pages.append([one.rule[-1] for one in page.alerts])
            cursor = page.next
            if cursor is None:
                break
        with pytest.raises(BadCursor):
            reader.alerts(3, "x")
    assert pages == [["6", "5", "4"], ["3", "2", "1"], ["0"]]


# ---------------------------------------------------------------- on disk


def tables(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / FILE)) as db:
        rows = db.execute("SELECT name FROM sqlite_master WHERE name LIKE '%alert%'")
        return [name for (name,) in rows]


async def test_a_store_without_alerts_has_nothing_of_them(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        journal = history.begin()
        journal.record(
            TrackPublished(history.now, "alert_firing", TrackInfo("alert_", "audio", "microphone"))
        )
        journal.end(history.now, "room_closed")
        await history.write_to(archive)
        with open_reader(tmp_path) as reader:
            assert reader.alerts().alerts == []
    assert tables(tmp_path) == []


async def test_a_batch_that_is_written_twice_notes_an_alert_once(tmp_path: Path) -> None:
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        fire(history.begin(), 1.0)
        batch = history.batch()
        await archive.write(batch)
        await archive.write(batch)
    with open_reader(tmp_path) as reader:
        assert len(reader.alerts().alerts) == 1


async def test_the_oldest_go_beyond_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_rows, "MOST_ALERTS", 5)
    monkeypatch.setattr(alert_rows, "_PRUNE_EVERY", 2)
    history = History()
    async with open_store(tmp_path, instance="w") as archive:
        journal = history.begin()
        for number in range(20):
            fire(journal, float(number), f"rule-{number}")
        await history.write_to(archive)
    with open_reader(tmp_path) as reader:
        assert rules(reader) == [f"rule-{number}" for number in range(19, 14, -1)]
