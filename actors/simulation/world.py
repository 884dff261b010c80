"""Runs a plan: people in simulated rooms, and the program that watches them, run after run."""

from __future__ import annotations

import hashlib
import traceback
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, final

import trio
from attrs import evolve, frozen

from actors.journal.store_actor import BATCH_INTERVAL, Flush
from actors.rooms.messages import WebhookReceived
from actors.rooms.room_group import ROOM_PARTS
from actors.rooms.room_port import RoomError, RoomJob, RoomUnreachable
from actors.rooms.server_lookups import OwnRoomRemoval
from actors.rooms.subscriber import Subscriber
from actors.runtime import sleep, sleep_until
from actors.session import Tick, WebhookReport, WebhookRoomStarted
from actors.simulation.entry_faults import EntryFaults
from actors.simulation.event_delivery import EventDelivery
from actors.simulation.ground_truth import GroundTruth
from actors.simulation.journal_watch import JournalWatch
from actors.simulation.laws import check_laws
from actors.simulation.people_actions import room_name
from actors.simulation.plan import Plan
from actors.simulation.plan_steps import STEPS
from actors.simulation.simulated_acting import SimulatedActing
from actors.simulation.simulated_agents import SimulatedAgents
from actors.simulation.simulated_disk import SimulatedDisk
from actors.simulation.simulated_measurer import SimulatedMeasurer
from actors.simulation.simulated_monitoring import SimulatedMonitoring
from actors.simulation.simulated_outlets import SimulatedOutlets
from actors.simulation.simulated_program import HEARTBEAT, SimulatedProgram
from actors.simulation.simulated_rooms import SimulatedRoom, SimulatedRooms
from actors.simulation.webhook_delivery import WebhookDelivery
from actors.testing.schedule import TasksOnlyClock, run

T0: Final = 1_700_000_000.0
"""Unix seconds at which every simulation begins."""
SETTLING: Final = 60.0
"""Virtual seconds between the end of the faults and the comparison."""
LONGEST: Final = 600.0
"""Virtual seconds after the end of the faults within which all is over."""
CALM: Final = 15.0
"""Virtual seconds after a fault of the disk until it is written to in time again."""


@frozen
class Outcome:
    """The result of one simulation."""

    plan: Plan
    violations: tuple[str, ...]
    injected: Counter[str]
    """Faults that really took effect, by kind."""
    checked: Counter[str]
    """How often each law was checked."""
    trace: str
    """A hash of everything that was observed, in order."""


def play(plan: Plan) -> Outcome:
    """Run one scenario and check all laws.  Never raises for a fault of the actors."""
    world = World(plan)
    try:
        run(world.main, seed=plan.seed, clock=TasksOnlyClock())
    except Exception:  # noqa: BLE001 (any exception is a violation)
        world.violations.append(f"the run itself failed: {traceback.format_exc()}")
    trace = hashlib.sha256(repr(world.trace).encode()).hexdigest()
    outcome = Outcome(plan, tuple(world.violations), world.injected, world.checked, trace)
    # Its parts know each other.  Most of it is freed here, for less than the collector takes.
    for part in (*(one.saboteur for one in world.programs), *world.programs, world.disk, world):
        vars(part).clear()
    return outcome


@final
class World:
    """One simulation while it runs."""

    nursery: trio.Nursery
    webhooks: WebhookDelivery
    program: SimulatedProgram
    """The newest run.  While none is up, the next one."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.violations: list[str] = []
        self.checked: Counter[str] = Counter()
        self.injected: Counter[str] = Counter()
        self.trace: list[tuple[object, ...]] = []
        """Everything that was observed, in order."""
        self.entries = EntryFaults(self.inject)
        self.rooms = SimulatedRooms(self.server_time)
        self.rooms.fault = self._entry_fault
        self.rooms.delay = self.entries.delay
        self.rooms.tell = self._on_webhook
        self.rooms.made = lambda _: self.inject("deleted_while_entering")
        self.truths = GroundTruth(self.server_time)
        self.deliveries: dict[str, EventDelivery] = {}
        self.disk = SimulatedDisk(self.inject)
        self.outlets = SimulatedOutlets(self) if plan.outlets else None
        """The endpoint for webhooks, if the plan has one."""
        self.monitoring = SimulatedMonitoring(self) if plan.monitored else None
        """The monitors of people, if the plan has them."""
        self.measurer = SimulatedMeasurer(self)
        self.agents = SimulatedAgents(self)
        self.journals = JournalWatch()
        self.parts = ROOM_PARTS
        """The actors of each room."""
        self.subscribers: dict[str, Subscriber] = {}
        """Further ones than those of the simulation, by name."""
        self.acting = SimulatedActing(self)
        self.programs: list[SimulatedProgram] = []
        self._new_program()
        self.clock_offset = 0.0
        self.server_down_until = 0.0
        self.server_dying = False
        """The server is killed, and sends no webhook."""
        self.deleted_dispatches: dict[str, str] = {}
        """Dispatches that somebody deleted, to the SID of their room."""
        self.publish_faults = 0
        """Entries that will make a subscriber raise."""
        self.record_faults = 0
        """Records after which the session will crash, before it publishes them."""
        self.rooms_left_by_kill: set[str] = set()
        """SIDs of rooms that a killed program had made by joining them."""
        self.disordered: set[str] = set()
        """SIDs of rooms whose events came in another order, or not all of them."""
        self.questions: Counter[int] = Counter()
        """Each question to its number of ends."""
        self.pending_restarts = 0
        """Runs of the program that a fault ends or starts again."""
        self._jobs = 0

    # -- the world around the program

    def server_time(self) -> float:
        return T0 + trio.current_time()

    def our_time(self) -> float:
        return T0 + trio.current_time() + self.clock_offset

    def delivery(self, room: str) -> EventDelivery:
        if room not in self.deliveries:
            on_fault = partial(self._on_delivery_fault, room)
            self.deliveries[room] = EventDelivery(self.nursery, on_fault)
        return self.deliveries[room]

    def _on_delivery_fault(self, name: str, kind: str) -> None:
        self.inject(kind)
        room = self.rooms.find(name)
        if room is not None and kind != "duplicate":
            self.disordered.add(room.sid)
            self.truths.mark_inexact(room)

    def _on_webhook(self, room: SimulatedRoom, event: WebhookReport) -> None:
        self.truths.note_webhook(room, event)
        if self.monitoring is not None:
            self.monitoring.on_webhook(room, event)
        if self.plan.webhooks and (isinstance(event, WebhookRoomStarted) or not self.server_dying):
            self.webhooks.send(room, event)

    def _deliver(self, webhook: WebhookReceived) -> bool:
        """A webhook comes in.  False: no program is up to take it."""
        if not self.program.takes_jobs:
            return False
        truth = self.truths.by_sid[webhook.room_sid]
        truth.webhook_at = trio.current_time()
        event = evolve(webhook.event, at=self.our_time())
        self.program.manager.tell(WebhookReceived(webhook.room, webhook.room_sid, event))
        return True

    def _on_webhook_missed(self, webhook: WebhookReceived) -> None:
        self.truths.by_sid[webhook.room_sid].webhooks_missed += 1

    def inject(self, kind: str) -> None:
        """Count a fault that took effect."""
        self.injected[kind] += 1

    def note(self, *what: object) -> None:
        """Into the trace."""
        self.trace.append((trio.current_time(), *what))

    def announce(self, event: str, /, **fields: Any) -> None:
        self.note("announce", event, fields.get("room"))

    def _entry_fault(self, job: RoomJob) -> RoomError | None:
        if trio.current_time() < self.server_down_until:
            return RoomUnreachable("the server is down")
        return self.entries.fault(job)

    async def renew_job(self, job: RoomJob) -> RoomJob | None:
        living = await self.list_living()
        if job.room_sid:
            return job if job.room_sid in living else None
        return None if self.rooms.find(job.room) is None else job

    async def dispatch_exists(self, job: RoomJob) -> bool:
        await self.list_living()
        return job.dispatch_id not in self.deleted_dispatches

    @property
    def own_room_removal(self) -> OwnRoomRemoval:
        """Deletes a room that only we made."""
        return self.rooms

    async def list_living(self) -> frozenset[str]:
        """The SIDs of all open rooms."""
        await sleep(0.05)
        if trio.current_time() < self.server_down_until:
            self.inject("server_unreachable")
            raise RoomUnreachable("the server is down")
        return frozenset(room.sid for room in self.rooms.live)

    # -- rooms and jobs

    def live(self, index: int) -> SimulatedRoom | None:
        """The open room of this number, if any."""
        return self.rooms.find(room_name(index))

    def assign(self, room: SimulatedRoom) -> None:
        """LiveKit gives us a job for a room, if we are there."""
        if self.program.takes_jobs:
            self.program.assign(room)

    def next_job_id(self) -> str:
        self._jobs += 1
        return f"AJ_{self._jobs - 1}"

    def next_question(self) -> int:
        number = len(self.questions)
        self.questions[number] = 0
        return number

    # -- the program's death and its next run

    def _new_program(self) -> None:
        self.program = SimulatedProgram(self)
        self.programs.append(self.program)

    def kill(self) -> bool:
        """End the program at once, with all that it has in memory.  False if it was not up."""
        ending = self.program
        if not ending.alive:
            return False
        self._check_durability(ending)
        ending.kill()
        self.rooms_left_by_kill.update(room.sid for room in self.rooms.live if room.made_by_watcher)
        for room in self.rooms.live:
            room.drop(None)
            self.truths.unwatch(room.sid)
        for delivery in self.deliveries.values():
            delivery.clear()
        self._new_program()
        return True

    def _check_durability(self, ending: SimulatedProgram, *, well: bool = False) -> None:
        """Check that all older records are stored, and note which newer ones may be lost."""
        now, durable_until = trio.current_time(), self.disk.durable_until
        self.checked["durable"] += 1
        calm_since = max(ending.began_at, self.disk.troubled_at)
        late = now - durable_until - HEARTBEAT - 2 * BATCH_INTERVAL
        if not well and now - calm_since > CALM and late > 0:
            self.violations.append(f"durable: nothing was written in the last {late:g} s or more")
        for watched in self.journals.of(ending.backlog):
            truth = self.truths.by_sid[watched.journal.state.room_sid]
            seq, expected = self.disk.seq(watched.journal.number), watched.seq_before(durable_until)
            if seq < expected:
                sid = watched.journal.state.room_sid
                self.violations.append(f"durable: {sid} has {seq} on the disk, not {expected}")
            if seq < watched.journal.seq:
                truth.exact = False
            if seq < watched.journal.seq or not well:
                truth.unsaved_seconds += now - max(durable_until, ending.began_at)
        for room in self.rooms.live:
            path = ending.session_path(room)
            mailboxes = ending.saboteur.mailboxes.get(path or "")
            if path is None or mailboxes is None or len(mailboxes[-1]):
                self.truths.mark_inexact(room)
        for truth in self.truths.by_sid.values():
            if truth.webhook_at is not None and truth.webhook_at >= durable_until - BATCH_INTERVAL:
                truth.webhooks_missed += 1  # It may not have been written yet.

    async def run_again(self, seconds: float) -> None:
        """Begin the next run after so many seconds."""
        program = self.program
        await sleep(seconds)
        self.nursery.start_soon(program.run)
        await trio.lowlevel.checkpoint()

    async def stop(self) -> bool:
        """Stop the program, or kill it if that takes too long.  False if it has ended meanwhile."""
        ending = self.program
        well = await ending.stop()
        if ending is not self.program:
            return False
        if not well:
            return self.kill()
        self._check_durability(ending, well=True)
        for room in self.rooms.live:
            self.truths.unwatch(room.sid)
        self._new_program()
        return True

    # -- the scenario

    async def main(self) -> None:
        """The whole scenario."""
        before = trio.lowlevel.current_statistics().tasks_living
        with trio.fail_after(self.plan.seconds + LONGEST):
            await self._run()
        if self.outlets is not None:
            await self.outlets.deliver_the_rest()
        after = trio.lowlevel.current_statistics().tasks_living
        check_laws(self, "over", tasks=(before, after))

    async def _run(self) -> None:
        async with self.running():
            for index in range(self.plan.rooms):
                self.assign(self.rooms.room(room_name(index)))
            await sleep(0.5)
            await self._play()
            await self._heal()
            check_laws(self, "healed")
            await self._drain()
            check_laws(self, "drained")

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """The program and its rooms, for the length of a block."""
        with self.journals.watching():
            async with trio.open_nursery() as self.nursery:
                self.webhooks = WebhookDelivery(
                    self.nursery, self._deliver, self._on_webhook_missed, self.inject
                )
                self.nursery.start_soon(self.program.run)
                await self.program.ready.wait()
                yield
                last = self.program
                if last.alive and not await last.stop():
                    self.violations.append("the last run did not end by itself")
                    last.kill()
                for program in self.programs:
                    await program.over.wait()
                self.nursery.cancel_scope.cancel()

    async def _play(self) -> None:
        began = trio.current_time()
        for step in self.plan.steps:
            if began + step.at > trio.current_time():
                await sleep_until(began + step.at)
            elif step.n % 3 == 0:  # Many steps share a moment: others get their turn between some.
                await trio.lowlevel.checkpoint()
            self.note(step.what, step.room)
            STEPS[step.what](self, step)
        await sleep_until(began + self.plan.seconds)

    async def _heal(self) -> None:
        """End every fault and let the program recover."""
        while self.pending_restarts:
            await sleep(1.0)
        await self.program.ready.wait()
        parts = (self.program.saboteur, self.disk, self.webhooks, self.acting, self.entries)
        for part in (*parts, self.outlets, self.monitoring):
            if part is not None:
                part.heal()
        self.publish_faults = self.record_faults = 0
        self.server_down_until = 0.0
        for delivery in self.deliveries.values():
            delivery.clear()
        await sleep(SETTLING * 2 / 3)
        for room in self.rooms.live:
            if room.sid in self.disordered:
                room.resync()
        await sleep(SETTLING / 3)
        if not await self.program.store.ask(Flush, timeout=30.0):
            self.violations.append("not stored, although the disk is well")

    async def _drain(self) -> None:
        with trio.move_on_after(60.0) as scope:
            await self.program.drain()
            await self.program.store.ask(Flush, timeout=30.0)
        if scope.cancelled_caught:
            left = sorted(self.program.table.records)
            self.violations.append(f"not drained within 60 s: {left}")
        await sleep(6.0)

    # -- for steps

    def tell_session(self, room: SimulatedRoom, tick: Tick) -> None:
        """Send the session a message that no room would send."""
        record = self.program.table.find_room(room.sid)
        if record is not None and record.session is not None:
            record.session.tell(tick)
