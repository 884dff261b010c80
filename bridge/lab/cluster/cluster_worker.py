"""One process of a worker in a simulated cluster, from its start to its end or death."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final, cast, final

import trio

from actors.journal.backlog import Backlog
from actors.journal.room_leases import WorkerStatus
from actors.journal.store_actor import Flush, StoreActor
from actors.rooms.lease_keeper import LeaseKeeper
from actors.rooms.manager import RoomManager
from actors.rooms.messages import Assigned, Drain, HandOver, Recovered
from actors.rooms.recovery import Recovery
from actors.rooms.room_group import RoomDependencies
from actors.rooms.room_port import RoomJob
from actors.rooms.room_table import RoomTable
from actors.runtime import (
    ChildSpec,
    GroupSpec,
    Intensity,
    Ref,
    Restart,
    Service,
    Signal,
    open_system,
)
from actors.session import SessionState, TimelineEntry
from actors.simulation.simulated_database import SimulatedDatabaseArchive
from actors.simulation.simulated_jobs import SimulatedJobs
from bridge.lab.cluster.cluster_server import AGENT, WorkerRooms
from bridge.lab.cluster.lease_witness import LeaseGrants, WitnessedArchive, WitnessedLeases
from bridge.livekit.server_api import ServerApi
from bridge.livekit.watching.leased_watching import LeasedWatching
from bridge.livekit.watching.reconciler import Reconciler
from bridge.livekit.watching.watch_state import OurRooms

if TYPE_CHECKING:
    from bridge.lab.cluster.cluster_world import ClusterWorld

OFTEN: Final = Intensity(restarts=1_000_000, within=1.0)
CLOCK_STEP: Final = 0.0017
"""Seconds by which each machine's clock is ahead of the one before it.  In virtual time all would
read the same microsecond, from which sessions get their numbers."""
HAND_OVER_WITHIN: Final = 30.0
"""Seconds for other workers to take over the rooms of one that stops."""


def _ignore(_: Signal) -> None:
    """Crashes are counted by what they lead to: an entry that fails is one."""


class _NoSubscriber:
    def offer(self, state: SessionState, entry: TimelineEntry) -> None: ...


@final
class ClusterWorker:
    """See the module.  Implements the reconciler's `WorkerPort`, so with all its properties."""

    keeper: LeaseKeeper
    watching: LeasedWatching
    manager: Ref[Any]
    store: Ref[Any]

    def __init__(self, world: ClusterWorld, name: str) -> None:
        self._world = world
        self.name: Final = name
        self._ahead: Final = CLOCK_STEP * (1 + int(name.rpartition("-")[2]))
        self.table: Final = RoomTable()
        self.backlog: Final = Backlog()
        self.jobs: Final = SimulatedJobs()
        self.rooms_port: Final = WorkerRooms(world.server, name)
        self.archive: Final[SimulatedDatabaseArchive] = world.database.connect(name, self.now())
        self.grants: Final = LeaseGrants()
        world.witness.grants[name] = self.grants
        self.leases: Final = WitnessedLeases(self.archive, self.grants, world.witness)
        self.draining = False
        self.registered = True
        self.running: Final = trio.Event()
        self.over: Final = trio.Event()
        self._scope: Final = trio.CancelScope()
        self._random: Final = random.Random(f"{world.plan.seed} {name}")

    def now(self) -> float:
        """Unix seconds, on the clock of this machine."""
        return self._world.now() + self._ahead

    # ------------------------------------------------- the worker's port

    @property
    def free(self) -> int:
        most = self._world.most_rooms
        return 0 if self.draining else max(0, most - len(self.table.records))

    @property
    def rooms(self) -> frozenset[str]:
        return frozenset(self.table.records)

    @property
    def identities(self) -> frozenset[str]:
        return frozenset(record.job.identity for record in self.table.records.values())

    @property
    def pending_entries(self) -> int:
        return sum(not record.entered for record in self.table.records.values())

    @property
    def places_for_people(self) -> int:
        return 1

    def reserved_from(self, room: str) -> int:
        del room
        return 0

    def reserved_for(self, room: str) -> bool:
        del room
        return True

    async def wait_registered(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_pending_entries(self, most: int) -> None:
        del most
        await trio.sleep(0.5)

    def claim(self, room: str, room_sid: str, created_at: float | None) -> None:
        """LiveKit gives the job that was claimed."""
        del created_at
        job_id = f"AJ_{self.name}_{len(self.jobs.given)}"
        self.jobs.given[job_id] = room_sid
        job = RoomJob(job_id, room, room_sid, "ws://simulated", "token", f"agent-{job_id}")
        self.table.assign(job)
        self.manager.tell(Assigned(job))

    # ------------------------------------------------- from the start to the end

    async def run(self) -> None:
        """Run until it is killed."""
        with self._scope:
            await self._run_actors()
        self.over.set()

    async def _run_actors(self) -> None:
        world, server = self._world, self._world.server
        archive = WitnessedArchive(self.archive, self.grants)
        async with open_system(rng=self._random, on_signal=_ignore) as system:
            root = system.supervisor
            self.keeper = LeaseKeeper(
                self.leases,
                self.table,
                self.backlog,
                self._tell_manager,
                worker=self.name,
                status=self._status,
                announce=world.announce,
            )
            dependencies = RoomDependencies(
                port=self.rooms_port,
                renew_job=server.renew_job,
                dispatch_exists=server.dispatch_exists,
                own_room_removal=server,
                backlog=self.backlog,
                clock=self.now,
                subscriber=_NoSubscriber(),
                announce=world.announce,
                worker=self.name,
                agent_name=AGENT,
                leases=self.keeper,
            )
            self.store = root.start_child(
                ChildSpec(
                    "store",
                    lambda: StoreActor(
                        self.backlog,
                        archive,
                        journals=lambda: self.table.journals,
                        clock=self.now,
                        announce=world.announce,
                        fenced=self.keeper.on_fenced,
                    ),
                )
            )
            rooms = root.start_group(GroupSpec("rooms", restart=Restart.PERMANENT, intensity=OFTEN))
            await rooms.running()
            self.manager = root.start_child(
                ChildSpec(
                    "manager", lambda: RoomManager(self.table, rooms, self.jobs, dependencies)
                )
            )
            recovery = Recovery(
                archive,
                self.table,
                self.table.load,
                self.manager,
                server.living,
                clock=self.now,
                announce=world.announce,
            )
            await recovery.load_once()
            self.watching = self._make_watching()
            for name, function in {
                "recovery": recovery.run,
                "leases": self.keeper.run,
                "watching": self.watching.run,
            }.items():
                root.start_child(ChildSpec(name, lambda function=function: Service(function)))
            self.running.set()
            await trio.sleep_forever()

    def _make_watching(self) -> LeasedWatching:
        table = self.table
        reconciler = Reconciler(
            api=cast("ServerApi", self._world.server),
            worker=self,
            agent_name=AGENT,
            instance=self.name,
            watch=("*",),
            rooms=OurRooms(
                occupied=lambda: table.watched_names,
                excluded=lambda _name, sid: sid in table.declined or table.is_over(sid),
                resumable=lambda: table.interrupted_sids,
                vacant=lambda: table.vacant_rooms,
            ),
            claims_first=True,
            rng=self._random,
        )
        return LeasedWatching(reconciler, self.leases, self.keeper, self.name, rng=self._random)

    def _tell_manager(self, message: HandOver | Recovered) -> None:
        self.manager.tell(message)

    def _status(self) -> WorkerStatus:
        rooms = len(self.table.records)
        return WorkerStatus(
            self.name, "1", rooms=rooms, max_rooms=self._world.most_rooms, draining=self.draining
        )

    async def kill(self) -> None:
        """End it at once, as SIGKILL does."""
        self._scope.cancel()
        await self.over.wait()

    async def stop(self) -> None:
        """End it in order, as SIGTERM does."""
        self.draining = True
        await self.keeper.hand_over(HAND_OVER_WITHIN)
        await self.manager.ask(Drain, timeout=float("inf"))
        await self.store.ask(Flush, timeout=float("inf"))
        await self.kill()
        self._world.database.expire(self.name)
        self.grants.rooms.clear()
