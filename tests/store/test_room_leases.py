"""The contract of room leases, with the archive beside them: PostgreSQL and the simulated one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from random import Random
from typing import Protocol

import pytest
from attrs import evolve, frozen

from actors.journal.archive import Archive, Fenced
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.journal.room_leases import OfferedEvent, RoomLease, RoomLeases, WorkerStatus
from actors.session import DataReceived
from actors.simulation.simulated_database import SimulatedDatabase
from actors.simulation.simulated_leases import SimulatedLeases
from bridge.postgres.postgres_archive import open_database_store
from bridge.postgres.postgres_connection import WRITER_LIMITS, connect
from bridge.postgres.postgres_leases import PostgresLeases
from tests.store.stored_history import T0, History

LONG = 600.0
"""Seconds of a lease that is over only where a test says so, however busy the machine is."""
STATUS = WorkerStatus("worker one", "1.2", "http://a:8088", 3, 10, 0.5)


@frozen
class Worker:
    archive: Archive
    leases: RoomLeases


class Cluster(Protocol):
    """One database, used by processes of several workers."""

    async def start(self, instance: str) -> Worker: ...
    def expire(self, instance: str) -> None: ...


class SimulatedCluster:
    def __init__(self) -> None:
        self._database = SimulatedDatabase(Random(1))

    async def start(self, instance: str) -> Worker:
        archive = self._database.connect(instance, T0)
        return Worker(archive, SimulatedLeases(archive))

    def expire(self, instance: str) -> None:
        self._database.expire(instance)


class DatabaseCluster:
    def __init__(self, url: str, open_stores: AsyncExitStack) -> None:
        self._url = url
        self._open_stores = open_stores

    async def start(self, instance: str) -> Worker:
        store = open_database_store(self._url, instance=instance, lease=LONG)
        archive = await self._open_stores.enter_async_context(store)
        return Worker(archive, PostgresLeases(archive))

    def expire(self, instance: str) -> None:
        with connect(self._url, WRITER_LIMITS) as db:
            db.execute("UPDATE workers SET expires = now() WHERE instance = %s", (instance,))


@pytest.fixture(params=["postgresql", "simulated"])
async def cluster(request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    if request.param == "simulated":
        yield SimulatedCluster()
        return
    async with AsyncExitStack() as open_stores:
        yield DatabaseCluster(request.getfixturevalue("database_url"), open_stores)


async def rooms_of(worker: Worker) -> set[str]:
    return set((await worker.leases.renew(STATUS)).rooms)


async def acquired(worker: Worker, sid: str = "RM_1", number: int | None = None) -> RoomLease:
    lease = await worker.leases.acquire("atlas", sid, number)
    assert lease is not None
    return lease


async def watched(worker: Worker, sid: str = "RM_1", at: float = T0) -> tuple[History, Journal]:
    """A room that this worker has acquired and written some lines of."""
    history = History(at)
    journal = history.begin("atlas", sid)
    lease = await acquired(worker, sid, journal.number)
    assert (lease.session, lease.stored) == (journal.number, None)
    await history.write_to(worker.archive)
    history.talk(journal, 2)
    await history.write_to(worker.archive)
    return history, journal


# ---------------------------------------------------------------- one owner


async def test_a_room_has_one_owner(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    lease = await acquired(a)
    assert (lease.room, lease.room_sid, lease.stored, lease.former) == ("atlas", "RM_1", None, None)
    assert await b.leases.acquire("atlas", "RM_1") is None
    assert (await acquired(a)).session == lease.session
    assert await b.leases.acquire_unowned(10) == ()
    assert await b.leases.owners(["RM_1", "RM_2"]) == {"RM_1": "a"}
    assert (await rooms_of(a), await rooms_of(b)) == ({"RM_1"}, set())
    assert (await acquired(b, "RM_2")).session != lease.session


async def test_the_next_owner_goes_on_where_the_killed_one_stopped(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    history, journal = await watched(a)
    cluster.expire("a")
    lease = await acquired(b)
    assert lease.stored is not None
    assert (lease.session, lease.former) == (journal.number, "a")
    assert (lease.stored.seq, lease.stored.state) == (journal.seq, journal.state)
    assert lease.seen_until == history.now
    assert lease.silent_for is not None
    assert lease.silent_for >= 0.0
    backlog = Backlog()
    goes_on = Journal.resume(lease.stored, backlog)
    goes_on.record(DataReceived(history.now, "alice", "chat", 1, "text"))
    await b.archive.write(backlog.take(history.now))
    cluster.expire("b")
    c = await cluster.start("c")
    lease = await acquired(c)
    assert lease.stored is not None
    assert (lease.stored.seq, lease.stored.state) == (goes_on.seq, goes_on.state)
    assert lease.former == "b"


async def test_no_line_of_a_stopped_worker_comes_after_its_room_was_acquired(
    cluster: Cluster,
) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    history, journal = await watched(a)
    other = history.begin("other", "RM_2")
    await history.write_to(a.archive)
    seq = journal.seq
    cluster.expire("a")
    await acquired(b)
    history.talk(journal)
    history.talk(other)
    late = history.batch()
    for batch in (late, evolve(late, checkpoints=())):
        with pytest.raises(Fenced) as fenced:
            await a.archive.write(batch)
        assert fenced.value.sessions == {journal.number}
    assert await rooms_of(a) == {"RM_2"}
    rest = evolve(late, rows=tuple(row for row in late.rows if row.session == other.number))
    await a.archive.write(rest)
    cluster.expire("b")
    lease = await acquired(a)
    assert lease.stored is not None
    assert lease.stored.seq == seq
    assert (await acquired(b, "RM_3")).stored is None
    cluster.expire("a")
    lease = await acquired(b, "RM_2")
    assert lease.stored is not None
    assert lease.stored.state == other.state


async def test_a_worker_that_was_silent_goes_on_where_nobody_took_over(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    history, journal = await watched(a)
    epoch = (await a.leases.renew(STATUS)).epoch
    cluster.expire("a")
    assert [(one.room, one.has_session) for one in await b.leases.unowned()] == [("atlas", True)]
    history.talk(journal, 2)
    await history.write_to(a.archive)
    renewal = await a.leases.renew(STATUS)
    assert renewal.epoch > epoch
    assert renewal.rooms == {"RM_1"}
    assert await b.leases.acquire("atlas", "RM_1") is None
    lease = await acquired(a)
    assert lease.stored is not None
    assert lease.stored.state == journal.state


async def test_a_second_session_of_a_room_is_not_written(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    _, journal = await watched(a)
    history = History(T0 + 60.0)
    second = history.begin("atlas", "RM_1")
    batch = history.batch()
    with pytest.raises(Fenced) as fenced:
        await b.archive.write(batch)
    assert fenced.value.sessions == {second.number}
    cluster.expire("a")
    with pytest.raises(Fenced):  # the room is free, and yet it has a session
        await b.archive.write(batch)
    assert (await acquired(b, number=second.number)).session == journal.number


async def test_a_session_that_began_without_a_lease_is_acquired_by_its_first_batch(
    cluster: Cluster,
) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    history = History()
    history.begin()
    await history.write_to(a.archive)
    assert await rooms_of(a) == {"RM_1"}
    assert await b.leases.acquire("atlas", "RM_1") is None


async def test_the_database_gives_no_number_that_a_session_without_a_lease_can_have(
    cluster: Cluster,
) -> None:
    """A session that begins without a lease, and waits for it, shares its number with no other."""
    a, b = await cluster.start("a"), await cluster.start("b")
    of_a = Backlog().number(T0)
    assert (await acquired(a, "RM_1", of_a)).session == of_a
    leases = [await acquired(a, "RM_2"), await acquired(b, "RM_3"), await acquired(b, "RM_4", of_a)]
    for lease in leases:
        for microseconds in range(-3, 4):
            assert Backlog().number((lease.session + microseconds) / 1e6) != lease.session


async def test_a_new_session_gets_a_number_that_no_other_one_has(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    _, first = await watched(a)
    history = History()
    journal = history.begin("other", "RM_2")
    assert journal.number == first.number
    lease = await acquired(b, "RM_2", journal.number)
    assert lease.stored is None
    assert lease.session != journal.number
    journal.renumber(lease.session)
    await history.write_to(b.archive)
    cluster.expire("b")
    lease = await acquired(a, "RM_2")
    assert lease.stored is not None
    assert lease.stored.state == journal.state


async def test_the_next_process_of_a_worker_owns_its_rooms_again(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    _, journal = await watched(a)
    cluster.expire("a")
    again = await cluster.start("a")
    (stored,) = (await again.archive.load()).sessions
    assert (stored.session, stored.state) == (journal.number, journal.state)
    assert await b.leases.acquire("atlas", "RM_1") is None
    assert await rooms_of(again) == {"RM_1"}


async def test_a_process_recovers_no_session_that_another_worker_acquired(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    await watched(a)
    await watched(a, "RM_2", T0 + 100.0)
    cluster.expire("a")
    await acquired(b, "RM_2")
    again = await cluster.start("a")
    assert [one.state.room_sid for one in (await again.archive.load()).sessions] == ["RM_1"]


async def test_an_ended_session_has_no_owner_and_may_be_continued_by_another_worker(
    cluster: Cluster,
) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    history, journal = await watched(a)
    journal.end(history.now, "server_lost")
    await history.write_to(a.archive)
    assert await b.leases.owners(["RM_1"]) == {}
    assert await b.leases.unowned() == ()
    lease = await acquired(b)
    assert lease.stored is not None
    assert lease.stored.state == journal.state
    assert lease.session == journal.number
    backlog = Backlog()
    goes_on = Journal.resume(lease.stored, backlog)
    goes_on.attach(history.now, "AJ_2", "worker b")
    await b.archive.write(backlog.take(history.now))
    journal.attach(history.now, "AJ_3")
    with pytest.raises(Fenced):
        await history.write_to(a.archive)


async def test_a_report_after_the_end_is_written_by_who_wrote_the_session(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    history, journal = await watched(a)
    journal.end(history.now, "room_closed")
    await history.write_to(a.archive)
    history.talk(journal)
    await history.write_to(a.archive)
    lease = await b.leases.acquire("atlas", "RM_1")
    if lease is None:  # until the next checkpoint the writer owns the room
        journal.end(history.now, "room_closed")
        cluster.expire("a")
        lease = await acquired(b)
    assert lease.stored is not None
    assert lease.stored.seq == journal.seq


# ---------------------------------------------------------------- giving rooms away


async def test_a_released_room_is_free_with_the_last_batch_in_it(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    history, journal = await watched(a)
    history.talk(journal)
    history.backlog.release(journal, history.now)
    batch = await history.write_to(a.archive)
    assert batch.released == (journal.number,)
    assert [one.room_sid for one in await b.leases.unowned()] == ["RM_1"]
    (lease,) = await b.leases.acquire_unowned(10)
    assert lease.stored is not None
    assert (lease.stored.state, lease.seen_until) == (journal.state, history.now)
    assert await rooms_of(a) == set()
    with pytest.raises(Fenced):
        await a.archive.write(evolve(batch, released=()))


async def test_a_room_without_a_session_is_released_at_once(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    session = (await acquired(a)).session
    await a.leases.release(["RM_1", "RM_2"])
    assert (await acquired(b)).session == session
    await a.leases.release(["RM_1"])
    assert await b.leases.owners(["RM_1"]) == {"RM_1": "b"}


async def test_a_room_whose_session_ended_is_offered_to_nobody_once_it_is_released(
    cluster: Cluster,
) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    history, journal = await watched(a)
    journal.end(history.now, "server_lost")
    await history.write_to(a.archive)
    await acquired(b)
    assert await a.leases.owners(["RM_1"]) == {"RM_1": "b"}
    await b.leases.release(["RM_1"])
    assert await a.leases.acquire_unowned(10) == ()
    lease = await acquired(a)
    assert lease.stored is not None
    assert lease.stored.state == journal.state


async def test_a_room_is_handed_over_to_one_successor_that_is_inside(cluster: Cluster) -> None:
    a, b, c = [await cluster.start(name) for name in "abc"]
    history, journal = await watched(a)
    await a.leases.offer(["RM_1"])
    assert await a.leases.reserve(10) == ()
    (offered,) = await b.leases.reserve(10)
    assert (offered.room, offered.room_sid) == ("atlas", "RM_1")
    assert await c.leases.reserve(10) == ()
    assert (await a.leases.renew(STATUS)).ready == frozenset()
    await b.leases.mark_ready(["RM_1"])
    assert (await a.leases.renew(STATUS)).ready == {"RM_1"}
    assert await b.leases.acquire("atlas", "RM_1") is None
    history.backlog.release(journal, history.now)
    await history.write_to(a.archive)
    assert await c.leases.acquire("atlas", "RM_1") is None
    assert await c.leases.acquire_unowned(10) == ()
    lease = await acquired(b)
    assert lease.stored is not None
    assert lease.stored.state == journal.state


async def test_the_successor_of_a_room_may_die(cluster: Cluster) -> None:
    a, b, c = [await cluster.start(name) for name in "abc"]
    history, journal = await watched(a)
    await a.leases.offer(["RM_1"])
    assert len(await b.leases.reserve(10)) == 1
    await b.leases.mark_ready(["RM_1"])
    cluster.expire("b")
    assert len(await c.leases.reserve(10)) == 1
    assert (await a.leases.renew(STATUS)).ready == frozenset()
    cluster.expire("c")
    history.backlog.release(journal, history.now)
    await history.write_to(a.archive)
    assert (await acquired(b)).session == journal.number


# ---------------------------------------------------------------- rooms that nobody owns


async def test_rooms_without_an_owner_are_shared_without_doubles(cluster: Cluster) -> None:
    leader, b, c = [await cluster.start(name) for name in "abc"]
    rooms = {f"RM_{number}": f"room-{number}" for number in range(10)}
    await leader.leases.register(rooms)
    await leader.leases.register(rooms)
    assert len(await b.leases.unowned()) == 10
    got = [*await b.leases.acquire_unowned(4), *await c.leases.acquire_unowned(100)]
    assert {lease.room_sid: lease.room for lease in got} == rooms
    assert len({lease.session for lease in got}) == len(got) == 10
    assert await leader.leases.acquire_unowned(1) == ()
    await leader.leases.register({"RM_0": "room-0"})
    assert await leader.leases.unowned() == ()


async def test_a_room_that_is_over_is_removed_unless_it_has_an_owner_or_an_open_session(
    cluster: Cluster,
) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    history, journal = await watched(a)
    await b.leases.register({"RM_2": "over", "RM_3": "owned"})
    await acquired(b, "RM_3")
    cluster.expire("a")
    await b.leases.remove(["RM_1", "RM_2", "RM_3", "RM_4"])
    assert [one.room_sid for one in await b.leases.unowned()] == ["RM_1"]
    lease = await acquired(b)
    assert lease.stored is not None
    backlog = Backlog()
    ended = Journal.resume(lease.stored, backlog)
    ended.end(history.now, "found_ended")
    await b.archive.write(backlog.take(history.now))
    assert await b.leases.unowned() == ()
    assert await rooms_of(b) == {"RM_3"}
    assert journal.number == lease.session


async def test_a_room_that_its_owner_does_not_watch_is_overdue(cluster: Cluster) -> None:
    a = await cluster.start("a")
    await acquired(a)
    assert (await a.leases.renew(STATUS, {"RM_1"})).overdue == frozenset()


# ---------------------------------------------------------------- workers


async def test_workers_see_each_other(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    await a.leases.renew(STATUS)
    await b.leases.renew(evolve(STATUS, name="two", draining=True))
    history = History()
    history.begin()
    await history.write_to(a.archive)
    await history.write_to(b.archive)
    rows = {row.instance: row for row in await a.leases.workers()}
    assert all(row.running for row in rows.values())
    one = rows["a"]
    assert (one.name, one.version, one.url) == ("worker one", "1.2", "http://a:8088")
    assert (one.rooms, one.max_rooms, one.load, one.draining) == (3, 10, 0.5, False)
    assert (rows["b"].name, rows["b"].draining) == ("two", True)
    cluster.expire("a")
    assert [(row.instance, row.running) for row in await b.leases.workers()] == [
        ("b", True),
        ("a", False),
    ]


async def test_there_is_one_leader(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    assert await a.leases.lead()
    assert await a.leases.lead()
    assert not await b.leases.lead()
    cluster.expire("a")
    assert await b.leases.lead()
    assert not await a.leases.lead()
    await a.leases.resign()
    assert not await a.leases.lead()
    await b.leases.resign()
    assert await a.leases.lead()


# ---------------------------------------------------------------- webhooks


def event(event_id: str, sid: str = "RM_1") -> OfferedEvent:
    return OfferedEvent(event_id, "atlas", sid, f"body of {event_id}".encode())


async def test_a_webhook_event_goes_to_the_owner_of_its_room_once(cluster: Cluster) -> None:
    a, b = await cluster.start("a"), await cluster.start("b")
    await acquired(a)
    assert await b.leases.offer_event(event("EV_1"))
    assert await b.leases.offer_event(event("EV_2"))
    assert not await a.leases.offer_event(event("EV_1"))
    assert await b.leases.take_events(10, unowned=True) == ()
    assert await a.leases.take_events(1) == (event("EV_1"),)
    assert await a.leases.take_events(10) == (event("EV_2"),)
    assert await a.leases.take_events(10) == ()
    await a.leases.drop_events(["EV_1"])
    assert not await a.leases.offer_event(event("EV_1"))
    cluster.expire("a")
    await acquired(b)
    assert await b.leases.take_events(10) == (event("EV_2"),)


async def test_events_of_rooms_that_nobody_owns_are_for_the_leader(cluster: Cluster) -> None:
    a = await cluster.start("a")
    assert await a.leases.offer_event(event("EV_1", "RM_unknown"))
    assert await a.leases.take_events(10) == ()
    assert await a.leases.take_events(10, unowned=True) == (event("EV_1", "RM_unknown"),)
