"""The faults of one room or one actor in a plan: one function for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from actors.rooms.messages import GiveUp, RosterWanted
from actors.runtime import sleep
from actors.session import Tick
from actors.simulation.people_actions import (
    PEOPLE,
    PlayStep,
    mark_inexact_if_unwatched,
    room_name,
)
from actors.simulation.plan import Step
from actors.simulation.simulated_program import MAILBOX
from actors.simulation.simulated_rooms import SimulatedRoom

if TYPE_CHECKING:
    from actors.simulation.world import World

FLOOD: Final = MAILBOX + 20
"""Events of a flood."""
SHUTDOWN: Final = 5.0
"""Seconds that a session has to end, as its spec says."""


def _watched(what: Callable[[World, SimulatedRoom, Step], object]) -> PlayStep:
    """A fault of a room that we are in.  In other rooms it does nothing."""

    def play(world: World, step: Step) -> None:
        room = world.live(step.room)
        if room is not None and room.watchers and what(world, room, step) is not False:
            world.inject(step.what)

    return play


def _in_room(what: Callable[[World, SimulatedRoom, Step], None]) -> PlayStep:
    """As `_watched`, but the fault counts itself when it takes effect."""

    def play(world: World, step: Step) -> None:
        room = world.live(step.room)
        if room is not None and room.watchers:
            what(world, room, step)

    return play


def _disconnect(world: World, room: SimulatedRoom, _: Step) -> None:
    world.truths.mark_inexact(room)
    room.drop(None)


def _storm(world: World, room: SimulatedRoom, step: Step) -> None:
    for _n in range(1 + step.n % 3):
        room.storm(early=step.what == "early_storm")
    world.truths.watch(room)


def _half_join(world: World, room: SimulatedRoom, step: Step) -> bool:
    """A person whose media never connects and whom the server removes after a while.  Every other
    one connects at last.  A second try of the same person ends the first."""
    identity = f"half-{PEOPLE[step.who]}"
    before = room.people.get(identity)
    if before is not None:
        if before.joined_at == world.server_time():
            return False
        mark_inexact_if_unwatched(world, room)
    person = room.join(identity, active=False)

    async def give_up() -> None:
        await sleep(step.n)
        if person.present:
            if step.n % 2:
                person.activate()
            mark_inexact_if_unwatched(world, room)
            person.leave("signal_close")

    world.nursery.start_soon(give_up)
    return True


def _gap(world: World, room: SimulatedRoom, step: Step) -> None:
    async def gap() -> None:
        await sleep(step.n)
        if world.live(step.room) is room:
            room.reconnected()
            if room.watchers:
                world.truths.watch(room)

    room.reconnecting()
    world.truths.unwatch(room.sid)
    world.truths.mark_inexact(room)
    world.nursery.start_soon(gap)


def _disturb_delivery(world: World, step: Step) -> None:
    """Counted when an event passes."""
    room = world.live(step.room)
    if room is None or not room.watchers:
        return
    delivery = world.delivery(room.name)
    if step.what == "duplicate":
        delivery.duplicate += step.n
        return
    world.disordered.add(room.sid)
    world.truths.mark_inexact(room)
    if step.what == "reorder":
        delivery.reorder += step.n
    else:
        delivery.late = 5.0 * step.x


def _flood(world: World, room: SimulatedRoom, step: Step) -> bool:
    path = world.program.session_path(room)
    if path is None or path not in world.program.saboteur.actors:
        return False
    world.truths.mark_inexact(room, timed=False)
    world.disordered.add(room.sid)
    for n in range(FLOOD):
        room.set_metadata(f"flood {step.n} {n}")
    return True


def _in_session(world: World, room: SimulatedRoom) -> str | None:
    path = world.program.session_path(room)
    if path is not None:
        world.truths.mark_inexact(room, timed=False)
    return path


def _crash(world: World, step: Step) -> None:
    """Counted when it happens, as all faults of actors."""
    room = world.live(step.room)
    path = None if room is None else _in_session(world, room)
    if path is not None:
        world.program.saboteur.raise_at(path, step.n)


def _publisher_crash(world: World, _: Step) -> None:
    """A subscriber raises, and a session crashes before it has published."""
    world.publish_faults += 1
    world.record_faults += 1


def _poison(world: World, room: SimulatedRoom, _: Step) -> None:
    world.truths.mark_inexact(room, timed=False)
    world.tell_session(room, Tick(cast("Any", None)))


def _slow(world: World, step: Step) -> None:
    room = world.live(step.room)
    path = None if room is None else world.program.session_path(room)
    if room is not None and path is not None:
        world.program.saboteur.slow_at(path, 1, step.n)
        world.truths.of(room).timed = False
        if step.n >= SHUTDOWN:
            world.truths.mark_inexact(room)  # Slower than it may be when it ends.


def _actor_crash(path: str) -> PlayStep:
    def play(world: World, step: Step) -> None:
        world.program.saboteur.raise_at(path, 1 + step.n % 2, step.what)

    return play


def _connection_crash(world: World, room: SimulatedRoom, step: Step) -> None:
    record = world.program.table.find_room(room.sid)
    if record is None or record.connection is None:
        return
    path = record.connection.path
    world.truths.mark_inexact(room, timed=False)
    world.program.saboteur.raise_at(path, 1, step.what)
    record.connection.tell(RosterWanted())


def _next_start(world: World, step: Step) -> None:
    """The session crashes, and its next start fails or hangs."""
    room = world.live(step.room)
    path = None if room is None or not room.watchers else _in_session(world, room)
    if path is None or path not in world.program.saboteur.actors or room is None:
        return
    if step.what == "start_fails":
        world.program.saboteur.fail_start(path)
    else:
        world.program.saboteur.hang_start(path, step.n)
    world.tell_session(room, Tick(cast("Any", None)))
    world.inject("poison")


def _stubborn_stop(world: World, step: Step) -> None:
    room = world.live(step.room)
    path = None if room is None else world.program.session_path(room)
    if path is not None:
        world.program.saboteur.stubborn_stop(path, 2.0 * step.n)


def _clock_jump(world: World, step: Step) -> None:
    jump = (step.x - 0.5) * (7200.0 if step.who == 0 else 20.0)
    world.clock_offset += jump
    world.truths.move_clock(jump, world.clock_offset)
    world.inject("clock_jump")


def _server_restart(world: World, room: SimulatedRoom, _: Step) -> None:
    world.truths.mark_inexact(room)
    timed = world.truths.of(room).timed
    world.truths.end(room)
    world.server_dying = True
    room.restart()
    world.server_dying = False
    world.truths.mark_inexact(room, timed=timed)
    if room.watchers:
        world.truths.watch(room)


def _server_unreachable(world: World, step: Step) -> None:
    """Counted when the program asks the server."""
    world.server_down_until = trio.current_time() + 2.0 * step.n
    room = world.live(step.room)
    if room is not None and room.watchers:
        _disconnect(world, room, step)


def _entry_refused(world: World, room: SimulatedRoom, step: Step) -> None:
    world.entries.refused[room.name] += 1 + step.n % 3
    _disconnect(world, room, step)


def _entry_slow(world: World, room: SimulatedRoom, step: Step) -> None:
    world.entries.delays[room.name] = float(step.n)
    _disconnect(world, room, step)


def _deleted_while_entering(world: World, step: Step) -> None:
    """A room ends while we enter it: a new one, or one that we lost and enter again."""
    name = room_name(step.room)
    room = next((one for one in world.rooms.live if one.name == name), None)
    if room is None:
        room = world.rooms.room(name)
        world.assign(room)
    elif room.watchers:
        world.truths.mark_inexact(room)
        room.drop(None)

    async def delete() -> None:
        world.entries.delays[name] = 1.0
        await sleep(step.x)
        world.entries.delays.pop(name, None)
        if room in world.rooms.live:
            mark_inexact_if_unwatched(world, room)
            room.close("room_deleted")

    world.nursery.start_soon(delete)


def _place_wanted(world: World, step: Step) -> None:
    """An empty room is left in favour of another.  It stays open, and so does its session."""
    vacant = world.program.table.vacant_rooms if world.program.takes_jobs else ()
    if vacant:
        sid, _ = vacant[step.n % len(vacant)]
        room = next((one for one in world.rooms.live if one.sid == sid), None)
        if room is not None:
            world.truths.mark_inexact(room)
            world.program.manager.tell(GiveUp(sid))
            world.inject(step.what)


def _room_closed(_: World, room: SimulatedRoom, step: Step) -> None:
    room.close("room_closed" if step.x < 0.5 else "room_deleted")


def _removed(world: World, room: SimulatedRoom, _: Step) -> None:
    world.truths.mark_inexact(room)
    room.drop("participant_removed")


def _second_job(world: World, room: SimulatedRoom, _: Step) -> None:
    world.assign(room)


def _dispatch_deleted(world: World, room: SimulatedRoom, step: Step) -> bool:
    jobs = world.program.jobs.open_in(room.sid)
    if not jobs:
        return False
    world.truths.mark_inexact(room)
    world.program.delete_dispatch(jobs[step.n % len(jobs)])
    return True


def _job_terminated(world: World, step: Step) -> None:
    """LiveKit ends a job whose dispatch is still there: an entry failed, the first one into a new
    room or one after a lost connection, or the server knows before us that we connected anew."""
    name = room_name(step.room)
    room = world.live(step.room)
    if room is None:
        world.entries.unreachable[name] += 1 + step.n % 2
        room = world.rooms.room(name)
        world.assign(room)
    elif room.watchers and step.n % 3:
        world.truths.mark_inexact(room)
        if step.n % 3 == 1:
            world.entries.unreachable[name] += 1
            room.drop(None)

    async def terminate() -> None:
        await sleep(step.x)
        for job_id in world.program.jobs.open_in(room.sid):
            world.program.terminate(job_id)
            world.inject(step.what)

    if world.program.takes_jobs:
        world.nursery.start_soon(terminate)


ROOM_FAULTS: Final[Mapping[str, PlayStep]] = {
    "disconnect": _watched(_disconnect),
    "storm": _watched(_storm),
    "early_storm": _watched(_storm),
    "half_join": _watched(_half_join),
    "gap": _watched(_gap),
    "duplicate": _disturb_delivery,
    "reorder": _disturb_delivery,
    "late": _disturb_delivery,
    "flood": _watched(_flood),
    "crash": _crash,
    "publisher_crash": _publisher_crash,
    "poison": _watched(_poison),
    "slow": _slow,
    "manager_crash": _actor_crash("/manager"),
    "reporter_crash": _actor_crash("/reporter"),
    "connection_crash": _in_room(_connection_crash),
    "start_fails": _next_start,
    "start_hangs": _next_start,
    "stubborn_stop": _stubborn_stop,
    "clock_jump": _clock_jump,
    "server_restart": _watched(_server_restart),
    "server_unreachable": _server_unreachable,
    "entry_refused": _watched(_entry_refused),
    "entry_slow": _watched(_entry_slow),
    "place_wanted": _place_wanted,
    "deleted_while_entering": _deleted_while_entering,
    "room_closed": _watched(_room_closed),
    "removed": _watched(_removed),
    "second_job": _watched(_second_job),
    "dispatch_deleted": _watched(_dispatch_deleted),
    "job_terminated": _job_terminated,
}
