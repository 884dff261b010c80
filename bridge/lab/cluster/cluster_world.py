"""The world of a simulated cluster: it makes rooms, starts workers and injects the faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from random import Random
from typing import Any, Final, final

import structlog
import trio
from attrs import frozen

from actors.simulation.simulated_database import T0, SimulatedDatabase
from actors.simulation.simulated_rooms import SimulatedRooms
from actors.testing import schedule
from bridge.lab.cluster.cluster_laws import ClusterLaws
from bridge.lab.cluster.cluster_plan import CALM, RESTART_PAUSE, ClusterFault, ClusterPlan
from bridge.lab.cluster.cluster_server import ClusterServer
from bridge.lab.cluster.cluster_worker import ClusterWorker
from bridge.lab.cluster.lease_witness import LeaseWitness

START_SETTLED: Final = 20.0
"""Seconds after the last room was made."""
ENTRY: Final = 0.15
"""Seconds that the entry into a room takes."""
SLOW: Final = 1.0
"""Seconds of each call to a slow database."""
CHURN_EVERY: Final = 2.0
"""Seconds between two rooms that end and are made."""
TALK_EVERY: Final = 1.0
TALKING: Final = 50
"""One room of so many has a message each time."""
SPARE: Final = 2.0
"""How many times its share of the rooms a worker has places for."""


@frozen
class ClusterOutcome:
    """The result of a run."""

    violations: tuple[str, ...]
    checked: Counter[str]
    injected: Counter[str]
    seconds: float
    """Of virtual time."""
    longest_unowned: float
    """Seconds for which a room had no owner, outside of outages of the database."""
    sessions: int
    rows: int
    takeovers: int
    """Changes of the owner of a session."""
    calls: int
    """Of the database, batches included."""


def play_cluster(plan: ClusterPlan) -> ClusterOutcome:
    """Run a plan in virtual time."""
    with _quiet_log():
        return schedule.run(_play, plan, seed=plan.seed, clock=schedule.TasksOnlyClock())


@contextmanager
def _quiet_log() -> Generator[None, None, None]:
    """The parts of production log each claim: that would be most of the time."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger("critical"))
    try:
        yield
    finally:
        structlog.configure(**before)


async def _play(plan: ClusterPlan) -> ClusterOutcome:
    async with trio.open_nursery() as nursery:
        world = ClusterWorld(plan, nursery)
        await world.play()
        nursery.cancel_scope.cancel()
    laws, disk = world.laws, world.database.disk
    laws.check_store()
    return ClusterOutcome(
        (*world.witness.violations, *laws.violations),
        laws.checked,
        world.injected,
        trio.current_time(),
        laws.longest_unowned,
        len(disk.numbers),
        sum(map(len, disk.rows.values())),
        sum(len(writers) - 1 for writers in world.database.writers.values()),
        world.database.calls,
    )


@final
class ClusterWorld:
    """One run."""

    def __init__(self, plan: ClusterPlan, nursery: trio.Nursery) -> None:
        self.plan: Final = plan
        self.random: Final = Random(plan.seed)
        self.database: Final = SimulatedDatabase(Random(plan.seed), self.now)
        rooms = SimulatedRooms(self.now)
        rooms.delay = lambda _: ENTRY
        self.server: Final = ClusterServer(self.now, rooms)
        self.witness: Final = LeaseWitness()
        self.laws: Final = ClusterLaws(self)
        self.database.on_batch = self.laws.on_batch
        self.workers: Final[dict[str, ClusterWorker]] = {}
        """Those that run, by name."""
        self.most_rooms: Final = int(SPARE * plan.rooms / plan.workers) + 5
        self.injected: Final[Counter[str]] = Counter()
        self.announced: Final[Counter[str]] = Counter()
        self.outage = ""
        """Why the database cannot be expected to give rooms an owner now."""
        self.outage_ended_at = 0.0
        """On trio's clock."""
        self._nursery: Final = nursery
        self._made = 0

    @staticmethod
    def now() -> float:
        """Unix seconds, on the clock of the database and of all workers."""
        return T0 + trio.current_time()

    def announce(self, event: str, /, **_: Any) -> None:
        """Count what the workers would log."""
        self.announced[event] += 1

    # ------------------------------------------------- the run

    async def play(self) -> None:
        """From the start to the last calm time."""
        for number in range(self.plan.workers):
            await self._start(f"worker-{number}")
        self._nursery.start_soon(self.laws.watch)
        await self._fill()
        await trio.sleep(START_SETTLED)
        self.laws.check_calm("the start")
        self._nursery.start_soon(self._churn)
        self._nursery.start_soon(self._talk)
        for fault in self.plan.faults:
            self.injected[fault.kind] += 1
            await self._inject(fault)
            await trio.sleep(CALM)
            self.laws.check_calm(fault.kind)

    async def _fill(self) -> None:
        pause = self.plan.fill_seconds / 50
        for step in range(1, 51):
            while self._made < self.plan.rooms * step // 50:
                self._make_room()
            await trio.sleep(pause)

    def _make_room(self) -> None:
        self._made += 1
        self.server.make(f"room-{self._made}")

    async def _churn(self) -> None:
        while True:
            await trio.sleep(CHURN_EVERY)
            names = list(self.server.by_name)
            self.server.close(self.server.by_name[self.random.choice(names)])
            self._make_room()

    async def _talk(self) -> None:
        while True:
            rooms = list(self.server.by_name.values())
            for room in self.random.sample(rooms, max(1, len(rooms) // TALKING)):
                room.send_data(b"hello", sender="alice")
            await trio.sleep(TALK_EVERY)

    async def _start(self, name: str) -> ClusterWorker:
        worker = self.workers[name] = ClusterWorker(self, name)
        self._nursery.start_soon(worker.run)
        await worker.running.wait()
        return worker

    # ------------------------------------------------- the faults

    async def _inject(self, fault: ClusterFault) -> None:
        worker = self.workers[f"worker-{fault.worker % self.plan.workers}"]
        match fault.kind:
            case "worker_killed":
                await self._kill(worker, fault.seconds)
            case "leader_killed":
                leader = self.database.leader
                await self._kill(worker if leader is None else self.workers[leader[0]], 10.0)
            case "cut_from_database":
                worker.archive.refusal = "no route to host"
                await trio.sleep(fault.seconds)
                worker.archive.refusal = None
            case "cut_from_livekit":
                worker.rooms_port.cut()
                await trio.sleep(fault.seconds)
                worker.rooms_port.heal()
            case "database_slow":
                await self._outage("the database is slow", fault.seconds, self._set_slow)
            case "database_away":
                await self._outage("the database is away", fault.seconds, self._set_refusal)
            case "rolling_restart":
                for name in list(self.workers):
                    await self.workers[name].stop()
                    await self._start(name)
                    await trio.sleep(RESTART_PAUSE)

    async def _kill(self, worker: ClusterWorker, seconds: float) -> None:
        await worker.kill()
        del self.workers[worker.name]
        await trio.sleep(seconds)
        await self._start(worker.name)

    def _set_slow(self, is_slow: bool) -> None:
        self.database.slow = SLOW if is_slow else 0.0

    def _set_refusal(self, is_away: bool) -> None:
        self.database.refusal = "the database system is shutting down" if is_away else None

    async def _outage(self, why: str, seconds: float, switch: Callable[[bool], object]) -> None:
        self.outage = why
        switch(True)
        await trio.sleep(seconds)
        switch(False)
        self.outage, self.outage_ended_at = "", trio.current_time()
