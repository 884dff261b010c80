"""Leases in PostgreSQL: what is its own, beyond the contract of `test_room_leases`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from actors.journal.archive import ArchiveTrouble, Fenced
from actors.journal.room_leases import (
    EVENT_SECONDS,
    UNWATCHED_AFTER,
    OfferedEvent,
    RoomLease,
    WorkerStatus,
)
from bridge.postgres.postgres_archive import PostgresArchive, open_database_store
from bridge.postgres.postgres_connection import WRITER_LIMITS, Database, connect
from bridge.postgres.postgres_leases import PostgresLeases
from bridge.postgres.postgres_reader import open_database_for_reading
from tests.store.stored_history import History
from tests.store.test_room_leases import LONG

STATUS = WorkerStatus("one", "1")


class Stores:
    """Processes of workers on one database."""

    def __init__(self, url: str, db: Database, open_stores: AsyncExitStack) -> None:
        self.url = url
        self.db = db
        """A connection that is not the program's."""
        self._open_stores = open_stores

    async def start(self, instance: str) -> tuple[PostgresArchive, PostgresLeases]:
        store = open_database_store(self.url, instance=instance, lease=LONG)
        archive = await self._open_stores.enter_async_context(store)
        return archive, PostgresLeases(archive)

    def expire(self, instance: str) -> None:
        self.db.execute("UPDATE workers SET expires = now() WHERE instance = %s", (instance,))

    def forget_leases(self) -> None:
        """As if a version of the program without leases had written all that there is."""
        self.db.execute("DELETE FROM room_leases")


@pytest.fixture
async def stores(database_url: str) -> AsyncIterator[Stores]:
    with connect(database_url, WRITER_LIMITS) as db:
        async with AsyncExitStack() as open_stores:
            yield Stores(database_url, db, open_stores)


async def acquired(leases: PostgresLeases, sid: str = "RM_1") -> RoomLease:
    lease = await leases.acquire("atlas", sid)
    assert lease is not None
    return lease


async def test_a_worker_of_a_version_without_leases_owns_its_sessions_while_it_runs(
    stores: Stores,
) -> None:
    older, _ = await stores.start("older")
    _, leases = await stores.start("newer")
    history = History()
    journal = history.begin()
    await history.write_to(older)
    stores.forget_leases()
    await leases.register({"RM_1": "atlas"})
    assert await leases.acquire("atlas", "RM_1") is None
    assert await leases.acquire_unowned(10) == ()
    stores.expire("older")
    lease = await acquired(leases)
    assert lease.stored is not None
    assert (lease.session, lease.stored.state) == (journal.number, journal.state)
    history.talk(journal)
    with pytest.raises(ArchiveTrouble):
        await history.write_to(older)


async def test_a_process_acquires_the_sessions_that_a_version_without_leases_left_it(
    stores: Stores,
) -> None:
    before, _ = await stores.start("a")
    history = History()
    history.begin()
    await history.write_to(before)
    stores.forget_leases()
    after, leases = await stores.start("a")
    assert len((await after.load()).sessions) == 1
    assert (await leases.renew(STATUS)).rooms == {"RM_1"}


async def test_a_room_counts_as_unwatched_from_when_its_owner_first_says_it(
    stores: Stores,
) -> None:
    _, leases = await stores.start("a")
    await acquired(leases)
    await acquired(leases, "RM_2")
    await leases.renew(STATUS, {"RM_1"})
    stores.db.execute(
        "UPDATE room_leases SET unwatched_since = unwatched_since - make_interval(secs => %s)",
        (UNWATCHED_AFTER,),
    )
    assert (await leases.renew(STATUS, {"RM_1"})).overdue == {"RM_1"}
    assert (await leases.renew(STATUS)).overdue == frozenset()
    assert (await leases.renew(STATUS, {"RM_1"})).overdue == frozenset()


async def test_the_lines_of_a_dead_worker_are_read_until_others_have_its_sessions(
    stores: Stores,
) -> None:
    dead, _ = await stores.start("a")
    other, leases = await stores.start("b")
    history = History()
    journal = history.begin()
    await history.write_to(dead)
    history.talk(journal)
    await history.write_to(dead)

    def packs() -> int:
        with open_database_for_reading(stores.url) as db:
            return len([lines for lines in db.packs_in_no_chunk() if len(lines) > 5])

    stores.expire("a")
    await leases.unowned()
    await other.prune(None)
    assert packs() == 1
    assert (await acquired(leases)).former == "a"
    await other.prune(None)
    assert packs() == 0
    again, leases = await stores.start("a")
    assert (await again.load()).sessions == ()
    history = History(history.now)
    history.begin("other", "RM_2")
    await history.write_to(again)
    assert (await leases.renew(STATUS)).rooms == {"RM_2"}


async def test_an_event_is_forgotten_after_a_time(stores: Stores) -> None:
    _, leases = await stores.start("a")
    event = OfferedEvent("EV_1", "atlas", "RM_1", b"alice")
    assert await leases.offer_event(event)
    stores.db.execute(
        "UPDATE webhook_events SET at = at - make_interval(secs => %s)", (EVENT_SECONDS + 1.0,)
    )
    assert await leases.take_events(10, unowned=True) == ()
    row = stores.db.execute("SELECT count(*) FROM webhook_events").fetchone()
    assert row == (0,)


async def test_rooms_of_a_database_that_lost_the_last_commits_have_one_owner(
    stores: Stores,
) -> None:
    a, leases = await stores.start("a")
    _, others = await stores.start("b")
    history = History()
    journal = history.begin()
    lease = await leases.acquire("atlas", "RM_1", journal.number)
    assert lease is not None
    await history.write_to(a)
    # As after the promotion of a standby that had neither the lease nor the session.
    stores.forget_leases()
    stores.db.execute("DELETE FROM sessions")
    stores.db.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE pid != pg_backend_pid() AND datname = current_database()"
    )
    with pytest.raises(ArchiveTrouble):
        await others.renew(STATUS)
    assert (await acquired(others)).stored is None
    history.talk(journal)
    history.backlog.rewrite((journal,), history.now, rows_are_kept=True)
    batch = history.batch()
    with pytest.raises(ArchiveTrouble):
        await a.write(batch)
    with pytest.raises(Fenced):
        await a.write(batch)
    assert await others.owners(["RM_1"]) == {"RM_1": "b"}
