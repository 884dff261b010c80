"""Several workers that share a simulated database, in simulated rooms and virtual time."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, cast

import trio
from attrs import define, field
from livekit.protocol import agent_dispatch, models

from actors.journal.archive import JournalRow
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
from actors.rooms.server_lookups import OwnRoomRemoval
from actors.runtime import ChildSpec, GroupSpec, Intensity, Restart, Service, open_system
from actors.session import SessionState, TimelineEntry
from actors.simulation.simulated_database import SimulatedDatabase, SimulatedDatabaseArchive
from actors.simulation.simulated_jobs import SimulatedJobs
from actors.simulation.simulated_leases import SimulatedLeases
from actors.simulation.simulated_rooms import SimulatedRoom, SimulatedRooms
from bridge.livekit.server_api import ServerApi
from bridge.livekit.watching.leased_watching import LeasedWatching
from bridge.livekit.watching.reconciler import Reconciler
from bridge.livekit.watching.watch_state import OurRooms
from tests.livekit.watching.reconciler_scene import agent_info

T0 = 1_700_000_000.0
OFTEN = Intensity(restarts=1_000_000, within=1.0)


def now() -> float:
    return T0 + trio.current_time()


@define(eq=False)
class SimulatedServer(OwnRoomRemoval):
    """LiveKit's API over the simulated rooms."""

    rooms: SimulatedRooms
    scene: LeasedScene
    dispatches: dict[str, list[agent_dispatch.AgentDispatch]] = field(
        factory=dict[str, list[agent_dispatch.AgentDispatch]]
    )

    @property
    def clock(self) -> SimulatedServer:
        return self

    def now(self) -> float:
        return now()

    async def list_dispatch(self, name: str) -> list[agent_dispatch.AgentDispatch]:
        await trio.lowlevel.checkpoint()
        return self.dispatches.get(name, [])

    async def create_dispatch(
        self, name: str, agent_name: str, metadata: str
    ) -> agent_dispatch.AgentDispatch:
        """LiveKit offers the job to one worker after the other."""
        made = agent_dispatch.AgentDispatch(
            id=f"AD_{name}",
            agent_name=agent_name,
            metadata=metadata,
            state=agent_dispatch.AgentDispatchState(created_at=int(now() * 1e9)),
        )
        self.dispatches.setdefault(name, []).append(made)
        await self.scene.offer(self.rooms.room(name))
        return made

    async def list_rooms(self, names: Sequence[str] = ()) -> list[models.Room]:
        await trio.lowlevel.checkpoint()
        return [
            models.Room(sid=room.sid, name=room.name, num_participants=len(room.people))
            for room in self.rooms.live
            if not names or room.name in names
        ]

    async def list_participants(self, name: str) -> list[models.ParticipantInfo]:
        await trio.lowlevel.checkpoint()
        (room,) = [room for room in self.rooms.live if room.name == name]
        people = [models.ParticipantInfo(identity=one) for one in room.people]
        agents = [
            agent_info(record.job.identity, worker.name, joined_at=1)
            for worker in self.scene.workers.values()
            for record in worker.table.records.values()
            if record.key == room.sid
        ]
        return [*people, *agents]

    async def remove_participant(self, name: str, identity: str) -> None:
        """It does nothing: an agent that is to go stays."""

    async def living(self) -> frozenset[str]:
        await trio.lowlevel.checkpoint()
        return frozenset(room.sid for room in self.rooms.live)

    async def renew_job(self, job: RoomJob) -> RoomJob | None:
        return job if job.room_sid in await self.living() else None

    async def dispatch_exists(self, job: RoomJob) -> bool:
        return not job.dispatch_id

    async def only_we_made(self, job: RoomJob, room_sid: str) -> bool:
        return await self.rooms.only_we_made(job, room_sid)

    async def delete(self, job: RoomJob, room_sid: str) -> None:
        await self.rooms.delete(job, room_sid)


class EntryCount:
    """A subscriber that notes the entries of each session."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, TimelineEntry]] = []

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        self.entries.append((state.room_sid, entry))


@define(eq=False)
class LeasedWorker:
    """One process of a worker.  Implements the reconciler's `WorkerPort`."""

    scene: LeasedScene
    name: str
    max_rooms: int
    table: RoomTable = field(factory=RoomTable)
    backlog: Backlog = field(factory=Backlog)
    jobs: SimulatedJobs = field(factory=SimulatedJobs)
    announced: list[str] = field(factory=list[str])
    registered: bool = True
    draining: bool = False
    claims: int = 0
    places_for_people: int = 1
    archive: SimulatedDatabaseArchive = field(init=False)
    leases: SimulatedLeases = field(init=False)
    keeper: LeaseKeeper = field(init=False)
    watching: LeasedWatching = field(init=False)
    manager: Any = field(init=False)
    store: Any = field(init=False)
    running: trio.Event = field(factory=trio.Event)
    over: trio.Event = field(factory=trio.Event)
    _scope: trio.CancelScope = field(factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        self.archive = self.scene.database.connect(self.name, now())
        self.leases = SimulatedLeases(self.archive)

    # -- the worker's port

    @property
    def free(self) -> int:
        return 0 if self.draining else max(0, self.max_rooms - len(self.table.records))

    @property
    def rooms(self) -> frozenset[str]:
        return frozenset(self.table.records)

    @property
    def identities(self) -> frozenset[str]:
        return frozenset(record.job.identity for record in self.table.records.values())

    @property
    def pending_entries(self) -> int:
        return sum(not record.entered for record in self.table.records.values())

    def reserved_from(self, room: str) -> int:
        return 0

    def reserved_for(self, room: str) -> bool:
        return True

    async def wait_registered(self) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_pending_entries(self, most: int) -> None:
        raise NotImplementedError

    def claim(self, room: str, room_sid: str, created_at: float | None) -> None:
        self.claims += 1
        self.assign(room, room_sid, created_at)

    def assign(self, room: str, room_sid: str, created_at: float | None = None) -> None:
        job_id = f"AJ_{self.name}{len(self.jobs.given)}"
        self.jobs.given[job_id] = room_sid
        job = RoomJob(job_id, room, room_sid, "ws://simulated", "token", f"agent-{job_id}")
        self.table.assign(job)
        self.manager.tell(Assigned(job))
        del created_at

    # -- from the start to the end

    async def run(self) -> None:
        server = self.scene.server
        with self._scope:
            async with open_system(rng=random.Random(self.name)) as system:
                root = system.supervisor
                self.keeper = LeaseKeeper(
                    self.leases,
                    self.table,
                    self.backlog,
                    self._tell_manager,
                    worker=self.name,
                    status=self._status,
                    announce=self._announce,
                )
                dependencies = RoomDependencies(
                    port=self.scene.rooms,
                    renew_job=server.renew_job,
                    dispatch_exists=server.dispatch_exists,
                    own_room_removal=server,
                    backlog=self.backlog,
                    clock=now,
                    subscriber=self.scene.entries,
                    announce=self._announce,
                    worker=self.name,
                    agent_name="watcher",
                    leases=self.keeper,
                )
                self.store = root.start_child(
                    ChildSpec(
                        "store",
                        lambda: StoreActor(
                            self.backlog,
                            self.archive,
                            journals=lambda: self.table.journals,
                            clock=now,
                            announce=self._announce,
                            fenced=self.keeper.on_fenced,
                        ),
                    )
                )
                rooms = root.start_group(
                    GroupSpec("rooms", restart=Restart.PERMANENT, intensity=OFTEN)
                )
                await rooms.running()
                self.manager = root.start_child(
                    ChildSpec(
                        "manager", lambda: RoomManager(self.table, rooms, self.jobs, dependencies)
                    )
                )
                recovery = Recovery(
                    self.archive,
                    self.table,
                    self.table.load,
                    self.manager,
                    server.living,
                    clock=now,
                    announce=self._announce,
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
        self.over.set()

    def _make_watching(self) -> LeasedWatching:
        table = self.table
        reconciler = Reconciler(
            api=cast("ServerApi", self.scene.server),
            worker=self,
            agent_name="watcher",
            instance=self.name,
            watch=("*",),
            rooms=OurRooms(
                occupied=lambda: table.watched_names,
                excluded=lambda _name, sid: sid in table.declined or table.is_over(sid),
                resumable=lambda: table.interrupted_sids,
                vacant=lambda: table.vacant_rooms,
            ),
            rng=random.Random(self.name),
        )
        return LeasedWatching(
            reconciler, self.leases, self.keeper, self.name, rng=random.Random(self.name)
        )

    def _tell_manager(self, message: HandOver | Recovered) -> None:
        self.manager.tell(message)

    def _status(self) -> WorkerStatus:
        return WorkerStatus(
            self.name,
            "1",
            rooms=len(self.table.records),
            max_rooms=self.max_rooms,
            draining=self.draining,
        )

    def _announce(self, event: str, /, **_: Any) -> None:
        self.announced.append(event)

    async def kill(self) -> None:
        """End it at once."""
        self._scope.cancel()
        await self.over.wait()

    async def stop(self) -> None:
        """End it as SIGTERM does."""
        self.draining = True
        await self.keeper.hand_over(10.0)
        await self.manager.ask(Drain, timeout=float("inf"))
        await self.store.ask(Flush, timeout=float("inf"))
        await self.kill()
        self.scene.database.expire(self.name)

    @property
    def watched(self) -> frozenset[str]:
        """SIDs of the rooms that it is in."""
        return self.table.connected_sids


class LeasedScene:
    """The rooms, the database, and the workers by name."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.rooms = SimulatedRooms(now)
        self.server = SimulatedServer(self.rooms, self)
        self.database = SimulatedDatabase(random.Random(1), now)
        self.entries = EntryCount()
        self.workers: dict[str, LeasedWorker] = {}

    async def start(self, name: str, max_rooms: int = 1_000) -> LeasedWorker:
        worker = self.workers[name] = LeasedWorker(self, name, max_rooms)
        self._nursery.start_soon(worker.run)
        await worker.running.wait()
        return worker

    def make(self, name: str) -> SimulatedRoom:
        """A room with alice and her microphone."""
        room = self.rooms.room(name)
        room.join("alice").publish("microphone")
        return room

    async def offer(self, room: SimulatedRoom) -> None:
        """Offer a job for a room to the workers, until one takes it."""
        for worker in self.workers.values():
            answered, answers = trio.Event(), list[bool]()

            def answer(taken: bool) -> None:
                answers.append(taken)  # noqa: B023 (it is called before the next turn)
                answered.set()  # noqa: B023

            worker.keeper.answer_offer(room.name, room.sid, answer)
            await answered.wait()
            if answers[0]:
                worker.assign(room.name, room.sid)
                return

    def watchers(self) -> dict[str, int]:
        """How many agents are in each room, by name."""
        return {room.name: len(room.watchers) for room in self.rooms.live}

    def rows(self, sid: str) -> list[JournalRow]:
        """The rows of the one session of a room."""
        rows = self.database.disk.rows[self._number(sid)]
        assert sorted(rows) == list(range(len(rows))), "numbers have a gap"
        return list(rows.values())

    def state(self, sid: str) -> SessionState:
        """The one session of a room, as it is stored."""
        assert self.rows(sid)
        return self.database.disk.session(self._number(sid)).state

    def _number(self, sid: str) -> int:
        disk = self.database.disk
        (number,) = [one for one in disk.numbers if disk.room_of(one)[1] == sid]
        return number
