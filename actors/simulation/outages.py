"""What the nemesis does to the disk, to the whole program, and to LiveKit's webhooks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, TypeAlias

import trio

from actors.journal.store_actor import Flush
from actors.session import Suspended
from actors.session.gaps import BURST
from actors.simulation.plan import Step
from actors.simulation.simulated_disk import REFUSALS
from actors.simulation.simulated_rooms import SimulatedRoom
from actors.testing.sabotage import Injected

if TYPE_CHECKING:
    from actors.simulation.world import World

Outage: TypeAlias = Callable[["World", Step], None]

# ---------------------------------------------------------------- the disk


def _refuses(stage: World, step: Step) -> None:
    """Counted where somebody wants to write."""
    refusal = REFUSALS[step.what]

    async def until_it_is_over() -> None:
        stage.disk.refusal = refusal
        await trio.sleep(2.0 * step.n)
        if stage.disk.refusal == refusal:
            stage.disk.refusal = None

    stage.nursery.start_soon(until_it_is_over)


def _slow(stage: World, step: Step) -> None:
    async def until_it_is_over() -> None:
        stage.disk.slow = 0.5 * step.n
        await trio.sleep(3.0 * step.n)
        stage.disk.slow = 0.0

    stage.nursery.start_soon(until_it_is_over)


def _torn(stage: World, step: Step) -> None:
    stage.disk.torn += step.n


def _store_crash(stage: World, step: Step) -> None:
    """While it writes, or by a message of its own."""
    program = stage.program
    if not program.alive or "/store" not in program.saboteur.actors:
        return
    if step.x < 0.5:
        stage.disk.bug = partial(_raised, stage, step)
    else:
        program.saboteur.raise_at("/store", 1, step.what)
        stage.disk.troubled_at = trio.current_time()
        stage.nursery.start_soon(_ask_to_flush, stage)


def _raised(stage: World, step: Step) -> Exception:
    stage.inject(step.what)
    error = Injected("while writing")
    stage.program.saboteur.raised.append(error)
    return error


async def _ask_to_flush(stage: World) -> None:
    number, program = stage.next_question(), stage.program
    with trio.move_on_after(30.0):
        try:
            await program.store.ask(Flush, timeout=20.0)
        except Exception as error:  # noqa: BLE001 (whatever it is, it is an end)
            stage.note("flush", type(error).__name__)
    stage.questions[number] += 1


# ---------------------------------------------------------------- the program


def _kill(stage: World, step: Step) -> None:
    stage.nursery.start_soon(_outage, stage, _die_and_come_back, step)


async def _outage(stage: World, what: Callable[[World, Step], Awaitable[None]], step: Step) -> None:
    stage.outages += 1
    await what(stage, step)
    stage.outages -= 1


async def _die_and_come_back(stage: World, step: Step) -> None:
    """Dead for seconds, in which the world goes on; then it is there again."""
    if not await _die(stage, step):
        return
    stage.inject(step.what)
    down = 0.7 * step.n
    await trio.sleep(down / 2)
    if step.what == "ends_while_down":
        _end_unseen(stage, step)
    await stage.run_again(down / 2)
    if step.what == "kill_recovering" and await _die(stage, step):
        await stage.run_again(1.0)


async def _die(stage: World, step: Step) -> bool:
    """At any step of the scheduler within the moment."""
    for _ in range(int(40 * step.x)):
        await trio.lowlevel.checkpoint()
    stage.disk.keeps_what_is_cut_off = step.who % 2 == 0
    return stage.kill()


def _end_unseen(stage: World, step: Step) -> None:
    """Every second room ends; every second of these begins another life."""
    for n, room in enumerate(stage.rooms.live):
        if n % 2 == step.n % 2:
            unseen(stage, room)
            room.close()
            if n % 4 < 2:
                stage.rooms.room(room.name).join("alice")


def unseen(stage: World, room: SimulatedRoom) -> None:
    """Whatever happens in it now, nobody of ours sees it."""
    if not room.watchers:
        stage.truths.inexact(room)


def _suspend(stage: World, step: Step) -> None:
    stage.nursery.start_soon(_outage, stage, _sleep_and_go_on, step)


async def _sleep_and_go_on(stage: World, step: Step) -> None:
    """The program hears nothing for seconds, then everything at once, and knows it.

    (Its timers run on: what a process does without news of its rooms is not looked at.)
    """
    program = stage.program
    seen = {
        room.sid: room
        for room in stage.rooms.live
        if stage.truths.of(room).watched_since is not None and not stage.wire(room.name).stopped
    }
    if not program.takes_jobs or not seen:
        return
    stage.inject(step.what)
    since, began = stage.our_time(), stage.server_time()
    for room in seen.values():
        stage.truths.inexact(room)
        stage.truths.blind(room.sid)
        stage.wire(room.name).stopped = True
    await trio.sleep(float(step.n))
    until = stage.our_time()
    for sid, truth in stage.truths.by_sid.items():
        if sid not in seen and (truth.ended_at is None or truth.ended_at >= began):
            truth.timed = False  # It was entered meanwhile, which no stopped program does.
    slept = stage.program is program and program.alive
    if slept:
        for session in program.table.sessions:
            session.tell(Suspended(until, since))
    for sid, room in seen.items():
        moved = stage.wire(room.name).go_on(stage.server_time())
        if moved or not slept or room not in stage.rooms.live or not room.watchers:
            stage.truths.by_sid[sid].timed = False  # In and out of the room meanwhile.
        elif not stage.truths.by_sid[sid].watched_since:
            stage.truths.watch(room)
        else:
            stage.truths.by_sid[sid].timed = False
        stage.truths.inexact(room)
        # What ends the watch in that second counts as having ended it before.
        stage.truths.by_sid[sid].forgotten += BURST


def _stop(stage: World, step: Step) -> None:
    stage.nursery.start_soon(_outage, stage, _stop_and_come_back, step)


async def _stop_and_come_back(stage: World, step: Step) -> None:
    if not stage.program.takes_jobs:
        return
    stage.inject(step.what)
    for room in stage.rooms.live:
        stage.truths.inexact(room)
    if await stage.stop():
        await stage.run_again(0.7 * step.n)


# ---------------------------------------------------------------- webhooks


def _webhook_lost(stage: World, step: Step) -> None:
    """Their effect is counted where one is sent."""
    stage.webhooks.lost += step.n


def _webhook_doubled(stage: World, step: Step) -> None:
    stage.webhooks.doubled += step.n


def _webhook_late(stage: World, step: Step) -> None:
    stage.webhooks.late += step.n


def _brief_room(stage: World, step: Step) -> None:
    """A room that is over before anybody sends us there."""

    async def live() -> None:
        stage.inject(step.what)
        room = stage.rooms.room(f"brief-{step.room}")
        people = [room.join(who) for who in ("alice", "bob", "carol")[: 1 + step.who % 3]]
        await trio.sleep(step.x)
        if people[0].present:
            people[0].publish("microphone")
        await trio.sleep(step.x)
        if room in stage.rooms.live:
            unseen(stage, room)
            room.close()

    if all(room.name != f"brief-{step.room}" for room in stage.rooms.live):
        stage.nursery.start_soon(live)


OUTAGES: Final[Mapping[str, Outage]] = {
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
