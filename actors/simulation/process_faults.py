"""The faults of the disk, of the whole program and of LiveKit's webhooks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from actors.journal.store_actor import Flush
from actors.runtime import sleep
from actors.session import Suspended
from actors.session.gaps import BURST
from actors.simulation.people_actions import PlayStep, mark_inexact_if_unwatched
from actors.simulation.plan import Step
from actors.simulation.simulated_disk import REFUSALS
from actors.testing.sabotage import Injected

if TYPE_CHECKING:
    from actors.simulation.world import World

# ---------------------------------------------------------------- the disk


def _refuses(world: World, step: Step) -> None:
    """Counted when the program writes."""
    refusal = REFUSALS[step.what]

    async def until_it_is_over() -> None:
        world.disk.refusal = refusal
        await sleep(2.0 * step.n)
        if world.disk.refusal == refusal:
            world.disk.refusal = None

    world.nursery.start_soon(until_it_is_over)


def _slow(world: World, step: Step) -> None:
    async def until_it_is_over() -> None:
        world.disk.slow = 0.5 * step.n
        await sleep(3.0 * step.n)
        world.disk.slow = 0.0

    world.nursery.start_soon(until_it_is_over)


def _torn(world: World, step: Step) -> None:
    world.disk.torn += step.n


def _store_crash(world: World, step: Step) -> None:
    """The store's actor crashes while it writes, or with a message in hand."""
    program = world.program
    if not program.alive or "/store" not in program.saboteur.actors:
        return
    world.disk.stepwise_at = trio.current_time()
    if step.x < 0.5:
        world.disk.bug = partial(_raised, world, step)
    else:
        program.saboteur.raise_at("/store", 1, step.what)
        world.disk.troubled_at = trio.current_time()
        world.nursery.start_soon(_ask_to_flush, world)


def _raised(world: World, step: Step) -> Exception:
    world.inject(step.what)
    error = Injected("while writing")
    world.program.saboteur.raised.append(error)
    return error


async def _ask_to_flush(world: World) -> None:
    number, program = world.next_question(), world.program
    with trio.move_on_after(30.0):
        try:
            await program.store.ask(Flush, timeout=20.0)
        except Exception as error:  # noqa: BLE001 (every exception is an end)
            world.note("flush", type(error).__name__)
    world.questions[number] += 1


# ---------------------------------------------------------------- the program


def _kill(world: World, step: Step) -> None:
    world.nursery.start_soon(_counted_restart, world, _die_and_come_back, step)


async def _counted_restart(
    world: World, what: Callable[[World, Step], Awaitable[None]], step: Step
) -> None:
    world.pending_restarts += 1
    await what(world, step)
    world.pending_restarts -= 1


async def _die_and_come_back(world: World, step: Step) -> None:
    """The program is down for seconds while people go on; then the next run begins."""
    if not await _die(world, step):
        return
    world.inject(step.what)
    down = 0.7 * step.n
    await sleep(down / 2)
    if step.what == "ends_while_down":
        _end_rooms_unwatched(world, step)
    await world.run_again(down / 2)
    if step.what == "kill_recovering" and await _die(world, step):
        await world.run_again(1.0)


async def _die(world: World, step: Step) -> bool:
    """Kill the program at a random step of the scheduler within the moment."""
    world.disk.stepwise_at = trio.current_time()
    for _ in range(int(40 * step.x)):
        await trio.lowlevel.checkpoint()
    world.disk.keeps_interrupted_batch = step.who % 2 == 0
    return world.kill()


def _end_rooms_unwatched(world: World, step: Step) -> None:
    """Every second room ends.  Half of these begin again, as another room instance."""
    for n, room in enumerate(world.rooms.live):
        if n % 2 == step.n % 2:
            mark_inexact_if_unwatched(world, room)
            room.close()
            if n % 4 < 2:
                world.rooms.room(room.name).join("alice")


def _suspend(world: World, step: Step) -> None:
    world.nursery.start_soon(_counted_restart, world, _suspend_and_resume, step)


async def _suspend_and_resume(world: World, step: Step) -> None:
    """The program gets no event for seconds, then all at once, and knows that it was suspended.

    Its timers run on, so this fault says nothing about timers of a suspended process.  But what it
    writes meanwhile has the time from before: a suspended process does not show that it is alive.
    """
    program = world.program
    watched_rooms = {
        room.sid: room
        for room in world.rooms.live
        if world.truths.of(room).watched_since is not None and not world.delivery(room.name).stopped
    }
    if not program.takes_jobs or not watched_rooms:
        return
    world.inject(step.what)
    program.suspended_at = since = world.our_time()
    began = world.server_time()
    for room in watched_rooms.values():
        world.truths.mark_inexact(room)
        world.truths.unwatch(room.sid)
        world.delivery(room.name).stopped = True
    await sleep(float(step.n))
    until = world.our_time()
    program.suspended_at = None
    for sid, truth in world.truths.by_sid.items():
        if sid not in watched_rooms and (truth.ended_at is None or truth.ended_at >= began):
            truth.timed = False  # It was entered meanwhile; a stopped program does not do that.
    slept = world.program is program and program.alive
    if slept:
        for session in program.table.sessions:
            session.tell(Suspended(until, since))
    for sid, room in watched_rooms.items():
        moved = world.delivery(room.name).resume(world.server_time())
        if moved or not slept or room not in world.rooms.live or not room.watchers:
            world.truths.by_sid[sid].timed = False  # We left or entered the room meanwhile.
        elif not world.truths.by_sid[sid].watched_since:
            world.truths.watch(room)
        else:
            world.truths.by_sid[sid].timed = False
        world.truths.mark_inexact(room)
        # An end of the watch in the second of the burst counts as one before it.
        world.truths.by_sid[sid].unsaved_seconds += BURST


def _stop(world: World, step: Step) -> None:
    world.nursery.start_soon(_counted_restart, world, _stop_and_come_back, step)


async def _stop_and_come_back(world: World, step: Step) -> None:
    if not world.program.takes_jobs:
        return
    world.inject(step.what)
    for room in world.rooms.live:
        world.truths.mark_inexact(room)
    if await world.stop():
        await world.run_again(0.7 * step.n)


# ---------------------------------------------------------------- webhooks


def _webhook_lost(world: World, step: Step) -> None:
    """Counted when a webhook is sent."""
    world.webhooks.lost += step.n


def _webhook_doubled(world: World, step: Step) -> None:
    world.webhooks.doubled += step.n


def _webhook_late(world: World, step: Step) -> None:
    world.webhooks.late += step.n


def _brief_room(world: World, step: Step) -> None:
    """A room that ends before we are sent there."""

    async def live() -> None:
        world.inject(step.what)
        room = world.rooms.room(f"brief-{step.room}")
        people = [room.join(who) for who in ("alice", "bob", "carol")[: 1 + step.who % 3]]
        await sleep(step.x)
        if people[0].present:
            people[0].publish("microphone")
        await sleep(step.x)
        if room in world.rooms.live:
            mark_inexact_if_unwatched(world, room)
            room.close()

    if all(room.name != f"brief-{step.room}" for room in world.rooms.live):
        world.nursery.start_soon(live)


PROCESS_FAULTS: Final[Mapping[str, PlayStep]] = {
    "disk_full": _refuses,
    "disk_locked": _refuses,
    "disk_readonly": _refuses,
    "disk_slow": _slow,
    "disk_torn": _torn,
    "store_crash": _store_crash,
    "kill": _kill,
    "kill_recovering": _kill,
    "ends_while_down": _kill,
    "suspend": _suspend,
    "stop": _stop,
    "webhook_lost": _webhook_lost,
    "webhook_doubled": _webhook_doubled,
    "webhook_late": _webhook_late,
    "brief_room": _brief_room,
}
