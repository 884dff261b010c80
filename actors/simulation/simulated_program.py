"""One run of the program in a simulation: from its start to its end, or its death."""

from __future__ import annotations

import random
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, Final, final

import trio
from attrs import evolve

from actors.journal.backlog import Backlog
from actors.journal.store_actor import Flush, StoreActor
from actors.rooms import session_actor
from actors.rooms.manager import RoomManager
from actors.rooms.messages import Assigned, Drain, Terminated
from actors.rooms.recovery import Recovery
from actors.rooms.reporter import ListSessions, Reporter
from actors.rooms.room_group import RoomDependencies
from actors.rooms.room_port import OfferEvent, RoomJob
from actors.rooms.room_table import RoomTable
from actors.rooms.subscriber import Subscriber, SubscriberFanOut
from actors.runtime import (
    ActorDown,
    ActorError,
    ActorSystem,
    Backoff,
    ChildSpec,
    GroupSpec,
    Intensity,
    MailboxSpec,
    Ref,
    Restart,
    Restarting,
    Service,
    Signal,
    open_system,
    sleep,
)
from actors.session import RoomEvent, SessionState, TimelineEntry
from actors.simulation.event_delivery import DelayedRooms
from actors.simulation.simulated_jobs import SimulatedJobs
from actors.simulation.simulated_rooms import SimulatedRoom
from actors.testing.sabotage import Injected, Saboteur

if TYPE_CHECKING:
    from actors.simulation.world import World

MAILBOX: Final = 200
"""Small, so that a flood fills it."""
BACKLOG: Final = 60
"""Lines that may wait for the disk: few, so that some are given up."""
HEARTBEAT: Final = 4.0
"""Seconds between two batches without events; longer than in production, to simulate faster."""
CHECK_INTERVAL: Final = 8.0
"""Seconds between the recovery's looks at what lives."""
RECONCILE_FIRST: Final = 0.5
RECONCILE_EVERY: Final = 10.0
STATUS_EVERY: Final = 60.0
REPORT_EVERY: Final = 100.0
ASK_EVERY: Final = 37.0
"""Seconds between two questions for all sessions."""
STOP_WITHIN: Final = 10.0
"""Seconds for a graceful end."""
OFTEN: Final = Intensity(restarts=1_000_000, within=1.0)


@final
class TracingSubscriber(Subscriber):
    """Notes each entry in the trace of the simulation."""

    def __init__(self, world: World) -> None:
        self._world = world

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        self._world.note("entry", state.room_sid, entry.event, entry.at)


@final
class FaultySubscriber(Subscriber):
    """Raises where a fault wants it.  Neither session nor trace may notice."""

    def __init__(self, program: SimulatedProgram) -> None:
        self._program = program
        self.raised = 0

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:  # noqa: ARG002
        world = self._program.world
        if self._program.alive and world.publish_faults > 0:
            world.publish_faults -= 1
            world.inject("publisher_crash")
            self.raised += 1
            raise Injected("subscriber")


@final
class SimulatedProgram:
    """One run, made by `World`.  Only the disk outlives it."""

    system: ActorSystem
    store: Ref[Any]
    manager: Ref[Any]
    reporter: Ref[Any]
    subscriber: SubscriberFanOut

    def __init__(self, world: World) -> None:
        self.world = world
        self.number = len(world.programs)
        self.table, self.backlog = RoomTable(), Backlog(most_rows=BACKLOG)
        self.faulty = FaultySubscriber(self)
        self.jobs = SimulatedJobs()
        self.saboteur = Saboteur(world.injected)
        self.signals: list[Signal] = []
        self.restarts: list[tuple[float, Restarting]] = []
        self.began_at = 0.0
        """Virtual seconds."""
        self.suspended_at: float | None = None
        """Unix seconds since when it is suspended: it writes no later time to the disk."""
        self.drained_at = inf
        """Virtual seconds since when it leaves every room."""
        self.alive = False
        """It runs, and its effects reach the world."""
        self.killed = False
        self.ready = trio.Event()
        """It takes jobs."""
        self.over = trio.Event()
        """All of its tasks have ended."""
        self._scope = trio.CancelScope()
        self._stopped = trio.Event()

    @property
    def takes_jobs(self) -> bool:
        return self.alive and self.ready.is_set() and not self.table.draining

    # -- from the start to the end

    async def run(self) -> None:
        self.alive, self.began_at = True, trio.current_time()
        self.world.disk.new_run()
        with self._scope:
            async with (
                open_system(
                    rng=random.Random(f"{self.world.plan.seed} {self.number}"),
                    on_signal=self._on_signal,
                    prepare=self.saboteur.prepare,
                ) as self.system,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(self._ask_periodically, nursery)
                await self._start()
                self.ready.set()
                await self._stopped.wait()
                nursery.cancel_scope.cancel()
        self.alive = False
        self.over.set()

    def kill(self) -> None:
        """End it at once, without a shutdown."""
        self.alive, self.killed = False, True
        self._scope.cancel()

    async def stop(self) -> bool:
        """As after SIGTERM: leave every room and store everything.  False if that took too long or
        it was killed."""
        with trio.move_on_after(STOP_WITHIN) as scope:
            await self.drain()
            await self._flush()
        if scope.cancelled_caught or not self.alive:
            return False
        self._stopped.set()
        await self.over.wait()
        return True

    async def drain(self) -> None:
        """Leave every room."""
        self.drained_at = min(self.drained_at, trio.current_time())
        while self.alive:
            try:
                await self.manager.ask(Drain, timeout=float("inf"))
            except ActorDown:  # It crashed with the question in hand.
                await sleep(0.1)
            else:
                return

    async def _flush(self) -> None:
        with suppress(ActorDown):
            await self.store.ask(Flush, timeout=float("inf"))

    async def _start(self) -> None:
        await trio.lowlevel.checkpoint()  # A kill may come here.
        root = self.system.supervisor
        self.subscriber = SubscriberFanOut(
            {
                "faulty": self.faulty,
                "trace": TracingSubscriber(self.world),
                **self.world.subscribers,
            },
            report_failure=self._report_subscriber,
        )
        acting = self.world.acting.make()
        around = RoomDependencies(
            port=DelayedRooms(self.world.rooms, self._through_delivery, self._entered, self._left),
            renew_job=self.world.renew_job,
            dispatch_exists=self.world.dispatch_exists,
            own_room_removal=self.world.own_room_removal,
            backlog=self.backlog,
            clock=self.world.our_time,
            subscriber=self.subscriber,
            observe_lag=self._observe_lag,
            announce=self._announce,
            worker="simulated",
            agent_name="simulated",
            parts=self.world.parts,
            start_rules=acting.start_rules,
            session_mailbox=evolve(session_actor.MAILBOX, capacity=MAILBOX),
        )
        self.store = root.start_child(
            ChildSpec("store", self._make_store, intensity=OFTEN, backoff=Backoff(first=0.01))
        )
        if self.world.outlets is not None:
            self.world.outlets.start(root)
        rooms = root.start_group(GroupSpec("rooms", restart=Restart.PERMANENT, intensity=OFTEN))
        await rooms.running()
        self.manager = root.start_child(
            ChildSpec(
                "manager",
                lambda: RoomManager(self.table, rooms, self.jobs, around),
                intensity=OFTEN,
                backoff=Backoff(first=0.01),
                mailbox=MailboxSpec(capacity=1_000_000),
            )
        )
        if self.world.monitoring is not None:
            await self.world.monitoring.start(self, root)
        self.world.acting.start(self, acting)
        recovery = Recovery(
            self.world.disk,
            self.table,
            self.table.load,
            self.manager,
            self.world.list_living,
            clock=self.world.our_time,
            announce=self._announce,
            check_interval=CHECK_INTERVAL,
        )
        await recovery.load_once()
        root.start_child(ChildSpec("recovery", lambda: Service(recovery.run)))
        self.reporter = root.start_child(
            ChildSpec("reporter", self._make_reporter, intensity=OFTEN)
        )
        if self.world.plan.reconciled:
            root.start_child(ChildSpec("reconciler", lambda: Service(self._reconcile)))

    def _make_store(self) -> StoreActor:
        return StoreActor(
            self.backlog,
            self.world.disk,
            journals=lambda: self.table.journals,
            clock=self._time_on_disk,
            announce=self._announce,
            heartbeat=HEARTBEAT,
        )

    def _time_on_disk(self) -> float:
        return self.world.our_time() if self.suspended_at is None else self.suspended_at

    def _make_reporter(self) -> Reporter:
        return Reporter(
            self.manager,
            announce=self._announce,
            clock=self.world.our_time,
            status_every=STATUS_EVERY,
            report_every=REPORT_EVERY,
        )

    async def _reconcile(self) -> None:
        """Have every open room watched, as the reconciler of the bridge does."""
        await sleep(RECONCILE_FIRST)
        while True:
            for room in self.world.rooms.live:
                known = self.table.find_room(room.sid) or room.sid in self.table.declined
                if self.takes_jobs and not known:
                    self.assign(room)
            await sleep(RECONCILE_EVERY)

    # -- its effects and its events

    def _through_delivery(self, room: str, offer: OfferEvent) -> OfferEvent:
        """`offer` over the delivery of this room, where what comes is stamped with our clock."""
        world = self.world

        def stamp(event: RoomEvent) -> None:
            offset = world.clock_offset
            offer(evolve(event, at=event.at + offset) if offset else event)

        return world.delivery(room).through(stamp)

    def _entered(self, room: SimulatedRoom) -> None:
        if self.alive:
            self.world.truths.watch(room)

    def _left(self, room: SimulatedRoom) -> None:
        if self.alive and not room.watchers:
            self.world.truths.unwatch(room.sid)

    def _announce(self, event: str, /, **fields: Any) -> None:
        if self.alive:
            self.world.announce(event, **fields)

    def _observe_lag(self, _: float) -> None:
        """Crash the session between a record and its publication."""
        if self.alive and self.world.record_faults > 0:
            self.world.record_faults -= 1
            self.world.inject("publisher_crash")
            error = Injected("after the record")
            self.saboteur.raised.append(error)
            raise error

    def _report_subscriber(self, name: str, error: Exception) -> None:
        self.world.note("subscriber failed", name, repr(error))

    def _on_signal(self, signal: Signal) -> None:
        self.signals.append(signal)
        kind = type(signal)
        self.world.note(kind.__name__, getattr(signal, "actor", ""))
        if isinstance(signal, Restarting):
            self.restarts.append((trio.current_time(), signal))

    # -- rooms and jobs

    def session_path(self, room: SimulatedRoom) -> str | None:
        """The path of a room's session in the tree."""
        record = self.table.find_room(room.sid)
        return None if record is None else f"/rooms/{record.key}/session"

    def assign(self, room: SimulatedRoom) -> None:
        """LiveKit gives us a job for a room."""
        job_id = self.world.next_job_id()
        self.jobs.given[job_id] = room.sid
        job = RoomJob(job_id, room.name, room.sid, "ws://simulated", "token", "agent-1")
        job = evolve(job, created_at=room.created_at, dispatch_id=f"AD_{job_id}")
        self.table.assign(job)
        self.manager.tell(Assigned(job))

    def terminate(self, job_id: str) -> None:
        """LiveKit ends a job: its participant left, or its dispatch was deleted."""
        self.manager.tell(Terminated(job_id))

    def delete_dispatch(self, job_id: str) -> None:
        """Somebody deletes the dispatch of a job."""
        self.world.deleted_dispatches[f"AD_{job_id}"] = self.jobs.given[job_id]
        self.terminate(job_id)

    async def _ask_periodically(self, nursery: trio.Nursery) -> None:
        while True:
            await sleep(ASK_EVERY)
            nursery.start_soon(self._ask, self.world.next_question())

    async def _ask(self, number: int) -> None:
        world, began = self.world, trio.current_time()
        try:
            await self.reporter.ask(ListSessions, timeout=5.0)
        except ActorError as error:
            world.note("asked", type(error).__name__)
        finally:
            world.questions[number] += 1
            took = trio.current_time() - began
            if took > 5.001:
                world.violations.append(f"question {number} took {took:g} s")
