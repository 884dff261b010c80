"""Several workers without a database share the rooms.  In virtual time."""

from __future__ import annotations

import random
from collections import Counter
from typing import Final, cast

import pytest
import trio
from attrs import define, field

from bridge.livekit.server_api import ServerApi
from bridge.livekit.watching import claim_order as c
from bridge.livekit.watching import reconciler as r
from bridge.livekit.watching.reconciler import Reconciler
from tests.livekit.watching.reconciler_scene import SimulatedApi, SimulatedWorker, many

JOIN: Final = 0.4
"""Seconds from a claim until the agent is listed in the room."""
STAY: Final = 1.5
"""Seconds until an agent leaves that was not the first in a room."""


@define(eq=False)
class SharedRooms:
    """Workers with a reconciler each, at one server."""

    nursery: trio.Nursery
    api: SimulatedApi = field(factory=SimulatedApi)
    joins: list[tuple[str, str]] = field(factory=list[tuple[str, str]])
    """Worker and room of each."""
    dead: set[str] = field(factory=set[str])

    def start(self, *instances: str, places: int = 100) -> None:
        for instance in instances:
            worker = SimulatedWorker(free=places)
            worker.on_claim = lambda sid, instance=instance, worker=worker: self.nursery.start_soon(
                self._join, instance, worker, sid
            )
            reconciler = Reconciler(
                cast("ServerApi", self.api),
                worker,
                "watcher",
                instance,
                ("*",),
                claims_first=True,
                rng=random.Random(instance),
            )
            self.nursery.start_soon(reconciler.run)

    async def _join(self, instance: str, worker: SimulatedWorker, sid: str) -> None:
        if instance in self.dead:
            return
        worker.begin_to_enter(sid)
        worker.identities |= {f"agent-{instance}"}
        self.joins.append((instance, sid))
        await trio.sleep(JOIN)
        worker.enter(1)
        name = sid.removeprefix("RM_")
        if name in self.api.agents:
            self.api.guests[name] = f"agent-{instance}@{instance}"
            await trio.sleep(STAY)
            self.api.guests.pop(name, None)
            worker.rooms -= {sid}
            worker.free += 1
        else:
            self.api.agents[name] = instance
            self.api.joined_at[name] = trio.current_time()

    def make(self, *rooms: str) -> None:
        self.api.rooms += rooms
        self.api.people |= set(rooms)


@pytest.fixture
def shared(nursery: trio.Nursery, virtual_time: int) -> SharedRooms:
    return SharedRooms(nursery)


def test_all_workers_compute_one_order_and_a_worker_that_goes_changes_few_places() -> None:
    workers = [f"worker-{number}" for number in range(5)]
    firsts = dict[str, str]()
    for room in many(1000):
        places = {
            worker: len(c.before(room, worker, [one for one in workers if one != worker]))
            for worker in workers
        }
        assert sorted(places.values()) == [0, 1, 2, 3, 4]
        firsts[room] = min(places, key=lambda worker: places[worker])
        rest = [worker for worker in workers if worker != "worker-0"]
        if firsts[room] != "worker-0":
            others = [one for one in rest if one != firsts[room]]
            assert c.before(room, firsts[room], others) == []
    shares = Counter(firsts.values())
    assert max(shares.values()) / min(shares.values()) < 1.3


def test_each_later_worker_waits_longer_and_nobody_for_ever() -> None:
    delays = [c.claim_delay(place) for place in range(20)]
    assert delays[:4] == [0.0, 3.0, 4.5, 6.0]
    assert delays == sorted(delays)
    assert delays[-1] == c.LONGEST_DELAY
    assert c.claim_delay(1, many=True) == 6.0
    assert c.claim_delay(0, many=True) == 0.0


async def test_forty_rooms_at_once_are_joined_once_each_and_spread_evenly(
    shared: SharedRooms,
) -> None:
    shared.start("one", "two", "three")
    for number in range(12):
        shared.make(f"early-{number}")
        await trio.sleep(10)
    shared.joins.clear()
    shared.make(*many(40))
    await trio.sleep(4)
    assert len(shared.joins) <= 42
    assert {*many(40)} <= shared.api.agents.keys()
    spread = Counter(instance for instance, _ in shared.joins)
    assert max(spread.values()) <= 24
    assert min(spread.values()) >= 4


async def test_workers_that_never_saw_each_other_claim_few_rooms_twice(
    shared: SharedRooms,
) -> None:
    shared.start("one", "two", "three")
    await trio.sleep(30)
    shared.make(*many(40))
    await trio.sleep(10)
    assert {*many(40)} <= shared.api.agents.keys()
    assert len(shared.joins) <= 46


async def test_the_rooms_of_a_dead_worker_are_taken_in_its_place(shared: SharedRooms) -> None:
    shared.start("one", "two", "three")
    for number in range(9):
        shared.make(f"early-{number}")
        await trio.sleep(10)
    shared.dead = {"two"}
    shared.api.agents = {
        room: instance for room, instance in shared.api.agents.items() if instance != "two"
    }
    for number in range(10):
        shared.make(f"late-{number}")
        await trio.sleep(c.FIRST_TURN + c.NEXT_TURN + r.INTERVAL + 1.0)
        assert f"late-{number}" in shared.api.agents
    shared.make("last")
    await trio.sleep(r.INTERVAL + 2.0)
    assert "last" in shared.api.agents, "who misses its turn waits for nobody's patience"


async def test_rooms_of_a_full_worker_go_to_the_next_one(shared: SharedRooms) -> None:
    shared.start("one", places=3)
    shared.start("two")
    shared.make(*many(12))
    await trio.sleep(30)
    assert {*many(12)} <= shared.api.agents.keys()
