"""The contract of an outbox, for those in SQLite and PostgreSQL and the simulated one."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve

from actors.outlets.outbox_port import OutboxStore, OutboxTrouble, OutletRow, Parked
from actors.outlets.outlet_port import Delivery
from actors.simulation.simulated_outbox import SimulatedOutbox
from bridge.outlets import outbox_queries
from bridge.outlets.database_outbox import DatabaseOutbox
from bridge.outlets.outbox_queries import listed, send_again
from bridge.outlets.sqlite_outbox import FILE, SqliteOutbox, closing_outbox

HOSTILE = "'; DROP TABLE parked --\x00\x1b[31m\u202e<script>"


def delivery(session: str, number: int, **data: Any) -> Delivery:
    return Delivery(
        f"{session}-{number}-0", number << 16, session, HOSTILE, "RM_1", "track_muted",
        1.7e9 + number, data,
    )  # fmt: skip


def parked(session: str, number: int, due: float = 0.0, **changes: Any) -> Parked:
    return evolve(Parked(delivery(session, number), 0, due, 1.0), **changes)


@pytest.fixture(params=["sqlite", "postgresql", "simulated"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[OutboxStore]:
    if request.param == "simulated":
        yield SimulatedOutbox()
        return
    if request.param == "sqlite":
        sqlite = SqliteOutbox(tmp_path)
        yield sqlite
        await sqlite.aclose()
        return
    shared = DatabaseOutbox(request.getfixturevalue("database_url"), "w")
    for outlet in ("crm", "chat", "another"):
        await shared.acquire(outlet, "")
    yield shared
    await shared.aclose()


def ids(rows: list[Parked]) -> list[str]:
    return [row.delivery.id for row in rows]


async def test_an_endpoint_that_is_new_has_no_cursor(store: OutboxStore) -> None:
    assert await store.open("crm") == OutletRow(None)
    assert await store.heads("crm", 1e12, 10) == []
    assert await store.next_due("crm") is None


async def test_what_was_saved_is_there_again_whole(store: OutboxStore) -> None:
    one = Parked(delivery("S1", 1, identity=HOSTILE, numbers=[1, 2.5, None]), 3, 9.0, 2.0, "why")
    await store.save("crm", cursor="5-7", parked=[one])
    assert await store.heads("crm", 9.0, 10) == [one]
    assert await store.open("crm") == OutletRow("5-7", waiting=1)
    assert await store.open("another") == OutletRow(None)


async def test_a_session_waits_for_its_first_delivery_and_no_other_does(store: OutboxStore) -> None:
    await store.save(
        "crm",
        parked=[
            parked("S1", 1, due=100.0),
            parked("S2", 1, due=50.0),
            parked("S1", 2, due=10.0),
            parked("S2", 2, due=10.0),
        ],
    )
    assert ids(await store.heads("crm", 60.0, 10)) == ["S2-1-0", "S2-2-0"]
    assert await store.next_due("crm") == 50.0
    assert await store.blocked("crm") == {"S1", "S2"}
    assert ids(await store.heads("crm", 100.0, 3)) == ["S2-1-0", "S2-2-0", "S1-1-0"]


async def test_what_was_delivered_lets_the_next_one_go_at_once(store: OutboxStore) -> None:
    await store.save("crm", parked=[parked("S1", 1, due=100.0), parked("S1", 2, due=100.0)])
    row = await store.save("crm", delivered=["S1-1-0"])
    assert row.waiting == 1
    assert ids(await store.heads("crm", 100.0, 10)) == ["S1-2-0"]
    row = await store.save("crm", delivered=["S1-2-0"])
    assert (row.waiting, await store.blocked("crm")) == (0, frozenset())


async def test_what_is_given_up_blocks_nobody_and_stays_to_be_looked_at(
    store: OutboxStore,
) -> None:
    first, second = parked("S1", 1), parked("S1", 2)
    await store.save("crm", parked=[first, second])
    row = await store.save("crm", parked=[evolve(first, attempts=10, dead=True, error="500")])
    assert (row.waiting, row.dead) == (1, 1)
    assert ids(await store.heads("crm", 1.0, 10)) == ["S1-2-0"]


async def test_the_same_delivery_is_parked_once(store: OutboxStore) -> None:
    """The page is read again after a crash."""
    await store.save("crm", parked=[parked("S1", 1, due=5.0)])
    row = await store.save("crm", parked=[parked("S1", 1, due=7.0, attempts=1)])
    assert row.waiting == 1
    [one] = await store.heads("crm", 7.0, 10)
    assert (one.due, one.attempts) == (7.0, 1)


async def test_an_endpoint_that_is_well_again_gets_everything_at_once(store: OutboxStore) -> None:
    await store.save("crm", parked=[parked(f"S{n}", 1, due=1000.0 + n) for n in range(3)])
    await store.hasten("crm", 5.0)
    assert len(await store.heads("crm", 5.0, 10)) == 3


async def test_a_disabled_endpoint_stays_so_until_it_is_enabled(store: OutboxStore) -> None:
    await store.disable("crm", "410: it wants no more webhooks")
    assert (await store.open("crm")).disabled == "410: it wants no more webhooks"
    await store.disable("crm", None)
    assert (await store.open("crm")).disabled is None


async def test_endpoints_do_not_see_each_others_deliveries(store: OutboxStore) -> None:
    await store.save("crm", parked=[parked("S1", 1)])
    await store.save("chat", parked=[parked("S1", 1)], delivered=[])
    await store.save("chat", delivered=["S1-1-0"])
    assert (await store.open("crm")).waiting == 1
    assert await store.blocked("chat") == frozenset()


# -- the file


async def test_a_full_outbox_drops_what_is_new_and_counts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_queries, "MOST_PARKED", 2)
    sqlite, simulated = SqliteOutbox(tmp_path), SimulatedOutbox(most_parked=2)
    for store in (sqlite, simulated):
        row = await store.save("crm", parked=[parked("S1", n) for n in range(5)])
        assert (row.waiting, row.dropped) == (2, 3)
    await sqlite.aclose()


async def test_of_those_that_were_given_up_the_newest_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_queries, "MOST_DEAD", 2)
    store = SqliteOutbox(tmp_path)
    for n in range(5):
        await store.save("crm", parked=[parked(f"S{n}", n, dead=True)])
    assert (await store.open("crm")).dead == 2
    await store.aclose()
    with closing_outbox(tmp_path) as db:
        assert [one.session for _, one in listed(db, None, 10)] == ["S3", "S4"]


async def test_a_command_sends_again_beside_the_worker(tmp_path: Path) -> None:
    store = SqliteOutbox(tmp_path)
    await store.save(
        "crm", parked=[parked("S1", 1, dead=True, attempts=10), parked("S1", 2, due=1e12)]
    )
    with closing_outbox(tmp_path) as db:
        assert send_again(db, "crm", (), 5.0) == 2
    rows = await store.heads("crm", 5.0, 10)
    assert [(row.delivery.id, row.attempts) for row in rows] == [("S1-1-0", 0), ("S1-2-0", 0)]
    assert (await store.open("crm")) == OutletRow(None, waiting=2)
    await store.aclose()


async def test_the_file_is_ours_alone_and_another_file_is_refused(tmp_path: Path) -> None:
    store = SqliteOutbox(tmp_path)
    await store.open("crm")
    await store.aclose()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    other = tmp_path / "other"
    other.mkdir()
    with sqlite3.connect(other / FILE) as db:
        db.execute("CREATE TABLE something (x)")
        db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(OutboxTrouble, match="not an outbox"):
        await SqliteOutbox(other).open("crm")


async def test_a_directory_that_is_gone_is_trouble_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(OutboxTrouble):
        await SqliteOutbox(tmp_path / "gone").open("crm")


async def test_a_call_that_is_cancelled_leaves_the_connection_usable(tmp_path: Path) -> None:
    store = SqliteOutbox(tmp_path)
    await store.open("crm")
    with trio.move_on_after(0):
        await store.save("crm", parked=[parked("S1", 1)])
    row = await store.save("crm", parked=[parked("S1", 2)])
    assert row.waiting in (1, 2)
    await store.aclose()
