"""The keeper of leases by itself: offers, keys of sessions, and the end of all workers at once."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest
import trio

from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.journal.room_leases import RoomLease, WorkerStatus
from actors.rooms.lease_keeper import ANSWER_WITHIN, LeaseKeeper
from actors.rooms.room_table import FINISHED_LIMIT, RoomTable
from actors.session import SessionBegan
from actors.simulation.simulated_database import SimulatedDatabase, SimulatedDatabaseArchive
from actors.simulation.simulated_leases import SimulatedLeases


class KeeperScene:
    """Keepers of several workers, without any room."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.database = SimulatedDatabase(Random(1))

    def start(self, name: str) -> tuple[LeaseKeeper, SimulatedDatabaseArchive]:
        archive = self.database.connect(name, 0.0)
        keeper = LeaseKeeper(
            SimulatedLeases(archive),
            RoomTable(),
            Backlog(),
            lambda _: None,
            worker=name,
            status=lambda: WorkerStatus(name, "1"),
            announce=lambda _, /, **__: None,
        )
        self._nursery.start_soon(keeper.run)
        return keeper, archive


class LoneKeeper:
    """A keeper that is not started, with its table and backlog."""

    def __init__(self, leases: SimulatedLeases) -> None:
        self.table, self.backlog = RoomTable(), Backlog()
        self.announced: Counter[str] = Counter()
        self.keeper = LeaseKeeper(
            leases,
            self.table,
            self.backlog,
            lambda _: None,
            worker="ada",
            status=lambda: WorkerStatus("ada", "1"),
            announce=lambda event, /, **_: self.announced.update([event]),
        )

    def begin(self, room_sid: str) -> Journal:
        began = SessionBegan(5.0, "atlas", room_sid, (), "ada", "watcher", None, None)
        return Journal.begin(began, self.backlog)


@pytest.fixture
def scene(nursery: trio.Nursery, virtual_time: int) -> KeeperScene:
    return KeeperScene(nursery)


async def answer(keeper: LeaseKeeper, room_sid: str) -> bool:
    answered, answers = trio.Event(), list[bool]()

    def on_answer(taken: bool) -> None:
        answers.append(taken)
        answered.set()

    keeper.answer_offer("atlas", room_sid, on_answer)
    await answered.wait()
    (taken,) = answers
    return taken


async def test_an_offered_job_is_refused_where_another_worker_has_the_room(
    scene: KeeperScene,
) -> None:
    (ada, _), (bob, _) = scene.start("ada"), scene.start("bob")
    assert await answer(ada, "RM_1")
    assert ada.owned == {"RM_1"}
    assert await answer(ada, "RM_1"), "a second job for a room that is ours"
    assert not await answer(bob, "RM_1")
    assert await answer(bob, ""), "a server that gives no SID"


async def test_without_an_answer_of_the_database_an_offered_job_is_taken_in_time(
    scene: KeeperScene,
) -> None:
    keeper, archive = scene.start("ada")
    scene.database.slow = 60.0
    asked_at = trio.current_time()
    assert await answer(keeper, "RM_1")
    assert trio.current_time() - asked_at <= ANSWER_WITHIN
    scene.database.slow, archive.refusal = 0.0, "no route to host"
    assert await answer(keeper, "RM_2")


async def test_a_worker_hands_nothing_over_where_all_others_drain(scene: KeeperScene) -> None:
    keeper, _ = scene.start("ada")
    other = SimulatedLeases(scene.database.connect("bob", 0.0))
    await other.renew(WorkerStatus("bob", "1", draining=True))
    assert await keeper.acquire("atlas", "RM_1")
    began_at = trio.current_time()
    await keeper.hand_over(30.0)
    assert trio.current_time() - began_at < 1.0
    assert keeper.owned == {"RM_1"}


@pytest.mark.parametrize("ended", [False, True])
async def test_a_session_takes_the_number_that_the_lease_of_its_room_has(
    scene: KeeperScene, ended: bool
) -> None:
    """The job began it before the database answered, or after an earlier job came to nothing.

    It may have ended before any of it could be stored.
    """
    leases: Any = SimulatedLeases(scene.database.connect("ada", 0.0))
    lease = await leases.acquire("atlas", "RM_1")
    assert isinstance(lease, RoomLease)
    table, backlog = RoomTable(), Backlog()
    keeper = LeaseKeeper(
        leases,
        table,
        backlog,
        lambda _: None,
        worker="ada",
        status=lambda: WorkerStatus("ada", "1"),
        announce=lambda _, /, **__: None,
    )
    began = SessionBegan(5.0, "atlas", "RM_1", (), "ada", "watcher", None, None)
    journal = Journal.begin(began, backlog)
    if ended:
        journal.end(5.5, "room_finished")
    table.add_idle(journal)
    assert journal.number != lease.session
    backlog.fence([journal.number])
    keeper.on_fenced([journal.number])
    with trio.move_on_after(1.0):
        await keeper.run()
    assert journal.number == lease.session
    assert {row.session for row in backlog.take(6.0).rows} == {lease.session}


async def test_an_ended_session_waits_in_memory_until_it_gets_its_lease(
    scene: KeeperScene,
) -> None:
    """The database was away while more sessions ended than are remembered."""
    leases: Any = SimulatedLeases(scene.database.connect("ada", 0.0))
    lease = await leases.acquire("atlas", "RM_1")  # Its answer was lost.
    alone = LoneKeeper(leases)
    journal = alone.begin("RM_1")
    journal.end(5.5, "room_finished")
    rows = journal.seq + 1
    alone.table.add_idle(journal)
    for number in range(FINISHED_LIMIT):
        other = alone.begin(f"RM_other_{number}")
        other.end(5.6, "room_finished")
        alone.table.add_idle(other)
    alone.backlog.fence([journal.number])
    alone.keeper.on_fenced([journal.number])
    with trio.move_on_after(1.0):
        await alone.keeper.run()
    stored = [row for row in alone.backlog.take(6.0).rows if row.session == lease.session]
    assert len(stored) == rows
    alone.backlog.done()
    last = alone.begin("RM_last")
    last.end(6.0, "room_finished")
    alone.table.add_idle(last)
    assert len(alone.table.journals) == FINISHED_LIMIT
    assert alone.table.ended_count == FINISHED_LIMIT + 2


async def test_the_number_of_a_room_that_was_lost_is_not_given_to_a_session_of_ours(
    scene: KeeperScene,
) -> None:
    """The other worker's session has it: ours would be taken for that one, and dropped."""
    alone = LoneKeeper(SimulatedLeases(scene.database.connect("ada", 0.0)))
    await alone.keeper.renew()
    assert await alone.keeper.acquire("atlas", "RM_1")
    scene.database.expire("ada")
    other = SimulatedLeases(scene.database.connect("bob", 0.0))
    assert await other.acquire("atlas", "RM_1") is not None
    await alone.keeper.renew()
    assert alone.keeper.owned == frozenset()
    assert alone.keeper.session_number("RM_1") is None


async def test_records_of_a_room_that_another_worker_owns_are_counted_and_logged(
    scene: KeeperScene,
) -> None:
    other = SimulatedLeases(scene.database.connect("bob", 0.0))
    assert await other.acquire("atlas", "RM_1") is not None
    alone = LoneKeeper(SimulatedLeases(scene.database.connect("ada", 0.0)))
    journal, forgotten = alone.begin("RM_1"), alone.begin("RM_2")
    alone.table.add_idle(journal)
    alone.backlog.fence([journal.number, forgotten.number])
    alone.keeper.on_fenced([journal.number, forgotten.number])
    with trio.move_on_after(0.5):
        await alone.keeper.run()
    assert alone.announced == {"rows_refused": 2, "room_left_to_owner": 1}
    assert alone.backlog.health.refused == journal.seq + forgotten.seq + 2
    assert alone.backlog.empty


async def test_a_session_that_goes_on_soon_after_its_end_is_not_lost(scene: KeeperScene) -> None:
    """Its lease ended with it, and the batch that acquires the room again is not written yet."""
    archive = scene.database.connect("ada", 0.0)
    table, backlog, orders = RoomTable(), Backlog(), list[Any]()
    keeper = LeaseKeeper(
        SimulatedLeases(archive),
        table,
        backlog,
        orders.append,
        worker="ada",
        status=lambda: WorkerStatus("ada", "1"),
        announce=lambda _, /, **__: None,
    )
    assert await keeper.acquire("atlas", "RM_1")
    began = SessionBegan(5.0, "atlas", "RM_1", ("job-1",), "ada", "watcher", None, None)
    journal = Journal.begin(began, backlog, keeper.session_number("RM_1"))
    journal.end(6.0, "disconnected")
    table.add_idle(journal)
    await archive.write(backlog.take(6.0))
    backlog.done()
    journal.attach(6.5, "job-2", "ada")
    assert table.remove_idle("RM_1") is journal
    table.add_idle(journal)
    await keeper.renew()
    assert orders == []
    await archive.write(backlog.take(7.0))
    backlog.done()
    await keeper.renew()
    assert keeper.owned == {"RM_1"}
    assert scene.database.disk.session(journal.number).state == journal.state
