"""Plays a plan: production manager, connections, sessions and reporter in simulated rooms."""

from __future__ import annotations

import hashlib
import random
import traceback
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, final

import trio
from attrs import evolve, frozen

from actors.rooms import session
from actors.rooms.backlog import Backlog
from actors.rooms.book import Book
from actors.rooms.manager import RoomManager
from actors.rooms.messages import Assigned, Drain, Terminated
from actors.rooms.port import RoomJob, RoomRefused, RoomUnreachable
from actors.rooms.reporter import ListSessions, Reporter
from actors.rooms.room import Surroundings
from actors.rooms.simulated import SimulatedRoom, SimulatedRooms
from actors.rooms.store import Store
from actors.runtime import (
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
    Signal,
    Started,
    open_system,
)
from actors.session import Entry, SessionState, Tick
from actors.testing.rooms.disk import SimulatedDisk
from actors.testing.rooms.journals import Journals
from actors.testing.rooms.plan import Plan
from actors.testing.rooms.steps import STEPS
from actors.testing.rooms.truth import Truths
from actors.testing.rooms.verdict import judge
from actors.testing.rooms.wire import Wire, WiredRooms
from actors.testing.sabotage import Injected, Saboteur
from actors.testing.schedule import run
from actors.testing.shrink import shrink

T0: Final = 1_700_000_000.0
"""Unix seconds at which every simulation begins."""
SETTLING: Final = 60.0
"""Virtual seconds between the end of the faults and the comparison."""
MAILBOX: Final = 200
"""Small, so that a flood fills it."""
OFTEN: Final = Intensity(restarts=1_000_000, within=1.0)


@frozen
class Outcome:
    """What one simulation came to."""

    plan: Plan
    violations: tuple[str, ...]
    injected: Counter[str]
    """Faults that really took effect, by kind."""
    checked: Counter[str]
    """How often each law was looked at."""
    trace: str
    """A hash of everything that was observed, in order."""


def play(plan: Plan) -> Outcome:
    """Run one scenario to its verdict.  Never raises for what the actors do."""
    stage = Stage(plan)
    try:
        run(stage.main, seed=plan.seed)
    except Exception:  # noqa: BLE001 (whatever comes out of it is the finding)
        stage.violations.append(f"the run itself failed: {traceback.format_exc()}")
    trace = hashlib.sha256(repr(stage.trace).encode()).hexdigest()
    return Outcome(plan, tuple(stage.violations), stage.injected, stage.checked, trace)


def shrunk(plan: Plan) -> Plan:
    """The smallest part of a failing plan that was found to fail still."""
    return evolve(plan, steps=shrink(plan.steps, lambda steps: _fails(evolve(plan, steps=steps))))


def _fails(plan: Plan) -> bool:
    return bool(play(plan).violations)


@final
class Jobs:
    """LiveKit's side of the jobs: what it was told of each."""

    def __init__(self) -> None:
        self.given: dict[str, str] = {}
        """Job id to the SID of its room."""
        self.running: Counter[str] = Counter()
        self.ends: dict[str, list[str | None]] = {}
        self.capacities: list[int] = []

    def job_running(self, job_id: str) -> None:
        self.running[job_id] += 1

    def job_ended(self, job_id: str, error: str | None = None) -> None:
        self.ends.setdefault(job_id, []).append(error)

    def capacity(self, active: int) -> None:
        self.capacities.append(active)

    async def flush(self) -> None:
        await trio.sleep(0.01)


@final
class Stage:
    """One simulation while it runs."""

    nursery: trio.Nursery
    system: ActorSystem
    store: Ref[Any]
    manager: Ref[Any]
    reporter: Ref[Any]

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.violations: list[str] = []
        self.checked: Counter[str] = Counter()
        self.trace: list[tuple[object, ...]] = []
        """Everything that was observed, in order."""
        self.saboteur = Saboteur()
        self.injected = self.saboteur.done
        self.rooms = SimulatedRooms(self.server_time)
        self.rooms.fault = self._entry_fault
        self.rooms.delay = lambda job: self.entry_delays.get(job.room, 0.02)
        self.truths = Truths()
        self.wires: dict[str, Wire] = {}
        self.jobs = Jobs()
        self.book = Book()
        self.backlog = Backlog()
        self.disk = SimulatedDisk(self.inject)
        self.journals = Journals()
        self.clock_offset = 0.0
        self.server_down_until = 0.0
        self.refusals: Counter[str] = Counter()
        """Room to entries that will be refused."""
        self.entry_delays: dict[str, float] = {}
        self.publish_faults = 0
        """Entries that will make the publisher raise."""
        self.signals: list[Signal] = []
        self.restarts: list[tuple[float, Restarting]] = []
        self.started: Counter[str] = Counter()
        self.disordered: set[str] = set()
        """SIDs of rooms whose events came in another order, or not all."""
        self.questions: Counter[int] = Counter()
        """Each question of ours to its number of ends."""

    # -- the world around the actors

    def server_time(self) -> float:
        return T0 + trio.current_time()

    def our_time(self) -> float:
        return self.server_time() + self.clock_offset

    def wire(self, room: str) -> Wire:
        if room not in self.wires:
            self.wires[room] = Wire(self.nursery, partial(self._on_wire, room))
        return self.wires[room]

    def _on_wire(self, name: str, kind: str) -> None:
        self.inject(kind)
        room = next((room for room in self.rooms.live if room.name == name), None)
        if room is not None and kind != "duplicate":
            self.disordered.add(room.sid)
            self.truths.inexact(room)

    def inject(self, kind: str) -> None:
        """Count a fault that took effect."""
        self.injected[kind] += 1

    def note(self, *what: object) -> None:
        """Into the trace."""
        self.trace.append((trio.current_time(), *what))

    def _entry_fault(self, job: RoomJob) -> RoomUnreachable | RoomRefused | None:
        if trio.current_time() < self.server_down_until:
            return RoomUnreachable("the server is down")
        if self.refusals[job.room] > 0:
            self.refusals[job.room] -= 1
            self.inject("entry_refused")
            return RoomRefused("401")
        return None

    async def find_again(self, job: RoomJob) -> RoomJob | None:
        await trio.sleep(0.05)
        if trio.current_time() < self.server_down_until:
            self.inject("server_unreachable")
            raise RoomUnreachable("the server is down")
        return job if any(room.sid == job.room_sid for room in self.rooms.live) else None

    def _publish(self, state: SessionState, entry: Entry) -> None:
        if self.publish_faults > 0:
            self.publish_faults -= 1
            self.inject("publisher_crash")
            error = Injected("publisher")
            self.saboteur.raised.append(error)
            raise error
        self.note("entry", state.room_sid, entry.event, entry.at)

    def _announce(self, event: str, /, **fields: Any) -> None:
        self.note("announce", event, fields.get("room"))

    def _on_signal(self, signal: Signal) -> None:
        self.signals.append(signal)
        kind = type(signal)
        self.note(kind.__name__, getattr(signal, "actor", ""))
        if kind is Restarting:
            self.restarts.append((trio.current_time(), signal))  # type: ignore[arg-type]
        elif kind is Started:
            assert isinstance(signal, Started)
            if signal.generation == 1:
                self.started[signal.actor] += 1

    # -- rooms and jobs

    def live(self, index: int) -> SimulatedRoom | None:
        """The room of this number, where it lives."""
        name = room_name(index)
        return next((room for room in self.rooms.live if room.name == name), None)

    def session_path(self, room: SimulatedRoom) -> str | None:
        """Where the session of a room is in the tree."""
        held = self.book.find_room(room.sid)
        return None if held is None else f"/rooms/{held.key}/session"

    def assign(self, room: SimulatedRoom) -> None:
        """LiveKit gives us a job for a room."""
        job_id = f"AJ_{len(self.jobs.given)}"
        self.jobs.given[job_id] = room.sid
        job = RoomJob(job_id, room.name, room.sid, "ws://simulated", "token", "agent-1")
        self.book.given[job_id] = evolve(job, created_at=room.created_at)
        self.manager.tell(Assigned(self.book.given[job_id]))

    def terminate(self, room: SimulatedRoom, which: int) -> bool:
        """LiveKit wants one of our jobs ended."""
        jobs = [
            job_id
            for job_id, sid in self.jobs.given.items()
            if sid == room.sid and job_id not in self.jobs.ends
        ]
        if jobs:
            self.manager.tell(Terminated(jobs[which % len(jobs)]))
        return bool(jobs)

    # -- the run

    async def main(self) -> None:
        """The whole scenario."""
        before = trio.lowlevel.current_statistics().tasks_living
        async with self.running():
            await self._play()
            await self._heal()
            judge(self, "healed")
            await self._drain()
            judge(self, "drained")
        after = trio.lowlevel.current_statistics().tasks_living
        judge(self, "over", tasks=(before, after))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """The actors and their rooms, for the length of a block."""
        with self.journals.kept():
            async with trio.open_nursery() as self.nursery:
                async with open_system(
                    rng=random.Random(self.plan.seed),
                    on_signal=self._on_signal,
                    prepare=self.saboteur.prepare,
                ) as self.system:
                    await self._start()
                    yield
                self.nursery.cancel_scope.cancel()

    async def _start(self) -> None:
        root = self.system.supervisor
        around = Surroundings(
            port=WiredRooms(self.rooms, self.wire),
            find_again=self.find_again,
            backlog=self.backlog,
            clock=self.our_time,
            publish=self._publish,
            announce=self._announce,
            worker="simulated",
            agent_name="simulated",
            session_mailbox=evolve(session.MAILBOX, capacity=MAILBOX),
        )
        self.store = root.start_child(
            ChildSpec(
                "store",
                lambda: Store(
                    self.backlog,
                    self.disk,
                    journals=lambda: self.book.journals,
                    clock=self.our_time,
                    announce=self._announce,
                ),
                intensity=OFTEN,
                backoff=Backoff(first=0.01),
            )
        )
        rooms = root.start_group(GroupSpec("rooms", restart=Restart.PERMANENT, intensity=OFTEN))
        await rooms.running()
        self.manager = root.start_child(
            ChildSpec(
                "manager",
                lambda: RoomManager(self.book, rooms, self.jobs, around),
                intensity=OFTEN,
                backoff=Backoff(first=0.01),
                mailbox=MailboxSpec(capacity=1_000_000),
            )
        )
        self.reporter = root.start_child(
            ChildSpec(
                "reporter",
                lambda: Reporter(
                    self.manager,
                    announce=self._announce,
                    clock=self.our_time,
                    status_every=30.0,
                    report_every=60.0,
                ),
                intensity=OFTEN,
            )
        )
        for index in range(self.plan.rooms):
            room = self.rooms.room(room_name(index))
            self.truths.begin(room)
            self.assign(room)
        await trio.sleep(0.5)

    async def _play(self) -> None:
        began = trio.current_time()
        self.nursery.start_soon(self._ask_now_and_then)
        for step in self.plan.steps:
            await trio.sleep_until(began + step.at)
            self.note(step.what, step.room)
            STEPS[step.what](self, step)
        await trio.sleep_until(began + self.plan.seconds)

    async def _ask_now_and_then(self) -> None:
        while True:
            await trio.sleep(23.0)
            self.nursery.start_soon(self._ask, len(self.questions))
            self.questions[len(self.questions)] = 0

    async def _ask(self, number: int) -> None:
        began = trio.current_time()
        try:
            await self.reporter.ask(ListSessions, timeout=5.0)
        except ActorError as error:
            self.note("asked", type(error).__name__)
        if trio.current_time() - began > 5.001:
            self.violations.append(f"question {number} took {trio.current_time() - began:g} s")
        self.questions[number] += 1

    async def _heal(self) -> None:
        """Take every fault back, do what the reconciler would, and let things settle."""
        self.saboteur.heal()
        self.publish_faults = 0
        self.server_down_until = 0.0
        self.refusals.clear()
        self.entry_delays.clear()
        for wire in self.wires.values():
            wire.clear()
        await trio.sleep(SETTLING / 3)
        for room in self.rooms.live:
            if self.book.find_room(room.sid) is None and room.sid not in self.book.declined:
                self.assign(room)
        await trio.sleep(SETTLING / 3)
        for room in self.rooms.live:
            if room.sid in self.disordered:
                room.resync()
        await trio.sleep(SETTLING / 3)

    async def _drain(self) -> None:
        with trio.move_on_after(60.0) as scope:
            await self.manager.ask(Drain, timeout=float("inf"))
        if scope.cancelled_caught:
            self.violations.append(f"not drained within 60 s: {sorted(self.book.held)}")
        await trio.sleep(6.0)

    # -- for steps

    def tell_session(self, room: SimulatedRoom, tick: Tick) -> None:
        """Past the wire: what no room would say."""
        held = self.book.find_room(room.sid)
        if held is not None and held.session is not None:
            held.session.tell(tick)


def room_name(index: int) -> str:
    return f"room-{index}"
