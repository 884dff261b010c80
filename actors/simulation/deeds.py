"""What each step of a plan does.  One row a word of `plan.DEEDS` and `plan.FAULTS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import trio

from actors.rooms.messages import GiveUp, RosterWanted
from actors.session import QUALITIES, Permissions, Tick, TrackSource
from actors.simulation.outages import OUTAGES, unseen
from actors.simulation.plan import Step
from actors.simulation.simulated_person import SimulatedPerson
from actors.simulation.simulated_rooms import SimulatedRoom

if TYPE_CHECKING:
    from actors.simulation.world import World

PEOPLE: Final = ("alice", "bob", "carol", "dave")
SOURCES: Final[tuple[TrackSource, ...]] = ("microphone", "camera", "screen", "screen_audio")

SHUTDOWN: Final = 5.0
"""Seconds that a session has to end, as its spec says."""


def room_name(index: int) -> str:
    return f"room-{index}"


Play: TypeAlias = Callable[["World", Step], None]


# ---------------------------------------------------------------- what people do


def _join(stage: World, step: Step) -> None:
    room = stage.live(step.room)
    if room is None:  # The first one in makes the room anew, and LiveKit dispatches us.
        room = stage.rooms.room(f"room-{step.room}")
        stage.assign(room)
    identity = PEOPLE[step.who]
    present = room.people.get(identity)
    if present is not None and (step.x < 0.7 or present.joined_at == stage.server_time()):
        return
    if identity in room.people:
        _losing_unwatched(stage, room)
    room.join(identity)


def _somebody(stage: World, step: Step) -> tuple[SimulatedRoom, SimulatedPerson] | None:
    room = stage.live(step.room)
    person = None if room is None else room.people.get(PEOPLE[step.who])
    return None if room is None or person is None else (room, person)


def _losing_unwatched(stage: World, room: SimulatedRoom) -> None:
    if not room.watchers:
        stage.truths.inexact(room)


def _deed(what: Callable[[World, SimulatedRoom, SimulatedPerson, Step], None]) -> Play:
    def play(stage: World, step: Step) -> None:
        found = _somebody(stage, step)
        if found is not None:
            what(stage, *found, step)

    return play


def _leave(stage: World, room: SimulatedRoom, person: SimulatedPerson, _: Step) -> None:
    _losing_unwatched(stage, room)
    person.leave()


def _vanish(stage: World, room: SimulatedRoom, person: SimulatedPerson, _: Step) -> None:
    _losing_unwatched(stage, room)
    person.leave(None)


def _publish(_: World, __: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    if len(person.tracks) < 4:
        person.publish(SOURCES[step.n % 4], muted=step.x < 0.2, encrypted=step.x > 0.95)


def _unpublish(stage: World, room: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    if person.tracks:
        _losing_unwatched(stage, room)
        person.unpublish(sorted(person.tracks)[step.n % len(person.tracks)])


def _mute(_: World, __: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    if person.tracks:
        track = sorted(person.tracks)[step.n % len(person.tracks)]
        (person.mute if step.what == "mute" else person.unmute)(track)


def _data(stage: World, room: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    _losing_unwatched(stage, room)
    for _ in range(step.n):
        stage.truths.of(room).messages += 1
        if step.what == "text":
            person.send_text("hello")
        else:
            person.send_data(b"{}", topic="t")


def _attach(stage: World, room: SimulatedRoom, person: SimulatedPerson, _: Step) -> None:
    _losing_unwatched(stage, room)
    stage.truths.of(room).attachments += 1
    person.send_file(b"file")


def _permit(_: World, __: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    person.permit(Permissions(can_publish=step.x < 0.5, sources=SOURCES[: step.n % 3]))


def _quality(_: World, __: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    person.quality(QUALITIES[step.n % 4])


def _speak(_: World, __: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    person.speak(step.x < 0.6)


def _name(_: World, __: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    person.set_name(f"name {step.n}")


def _metadata(_: World, __: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    person.set_metadata(f"metadata {step.n}")


def _attributes(_: World, __: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    person.set_attributes({"key": "value" if step.x < 0.5 else ""})


def _room_metadata(stage: World, step: Step) -> None:
    room = stage.live(step.room)
    if room is not None:
        room.set_metadata(f"metadata {step.n}")


def _record(stage: World, step: Step) -> None:
    room = stage.live(step.room)
    if room is not None:
        room.record(step.x < 0.5)


# ---------------------------------------------------------------- what the nemesis does


def _watched(what: Callable[[World, SimulatedRoom, Step], object]) -> Play:
    """A fault of a room that we are in; elsewhere it does nothing."""

    def play(stage: World, step: Step) -> None:
        room = stage.live(step.room)
        if room is not None and room.watchers and what(stage, room, step) is not False:
            stage.inject(step.what)

    return play


def _in_room(what: Callable[[World, SimulatedRoom, Step], None]) -> Play:
    """As `_watched`, but its effect is counted where it happens."""

    def play(stage: World, step: Step) -> None:
        room = stage.live(step.room)
        if room is not None and room.watchers:
            what(stage, room, step)

    return play


def _disconnect(stage: World, room: SimulatedRoom, _: Step) -> None:
    stage.truths.inexact(room)
    room.drop(None)


def _storm(stage: World, room: SimulatedRoom, step: Step) -> None:
    for _n in range(step.n):
        room.storm(early=step.what == "early_storm")
    stage.truths.watch(room)


def _half_join(stage: World, room: SimulatedRoom, step: Step) -> bool:
    """Somebody whose media never connects, and who is put out after a while; every other one
    connects at last.  Who is there still tries again, which ends the first try."""
    identity = f"half-{PEOPLE[step.who]}"
    before = room.people.get(identity)
    if before is not None:
        if before.joined_at == stage.server_time():
            return False
        _losing_unwatched(stage, room)
    person = room.join(identity, active=False)

    async def give_up() -> None:
        await trio.sleep(step.n)
        if person.present:
            if step.n % 2:
                person.activate()
            _losing_unwatched(stage, room)
            person.leave("signal_close")

    stage.nursery.start_soon(give_up)
    return True


def _gap(stage: World, room: SimulatedRoom, step: Step) -> None:
    async def gap() -> None:
        await trio.sleep(step.n)
        if stage.live(step.room) is room:
            room.reconnected()
            if room.watchers:
                stage.truths.watch(room)

    room.reconnecting()
    stage.truths.blind(room.sid)
    stage.truths.inexact(room)
    stage.nursery.start_soon(gap)


def _wire(stage: World, step: Step) -> None:
    """Its effect is counted when an event passes."""
    room = stage.live(step.room)
    if room is None or not room.watchers:
        return
    wire = stage.wire(room.name)
    if step.what == "duplicate":
        wire.duplicate += step.n
        return
    stage.disordered.add(room.sid)
    stage.truths.inexact(room)
    if step.what == "reorder":
        wire.reorder += step.n
    else:
        wire.late = 5.0 * step.x


def _flood(stage: World, room: SimulatedRoom, step: Step) -> bool:
    path = stage.program.session_path(room)
    if path is None or path not in stage.program.saboteur.actors:
        return False
    stage.truths.inexact(room, timed=False)
    stage.disordered.add(room.sid)
    for n in range(300):
        room.set_metadata(f"flood {step.n} {n}")
    return True


def _in_session(stage: World, room: SimulatedRoom) -> str | None:
    path = stage.program.session_path(room)
    if path is not None:
        stage.truths.inexact(room, timed=False)
    return path


def _crash(stage: World, step: Step) -> None:
    """Counted when it happens, as are all that hit an actor."""
    room = stage.live(step.room)
    path = None if room is None else _in_session(stage, room)
    if path is not None:
        stage.program.saboteur.raise_at(path, step.n)


def _publisher_crash(stage: World, _: Step) -> None:
    """A subscriber raises, and a session crashes before it has published."""
    stage.publish_faults += 1
    stage.record_faults += 1


def _poison(stage: World, room: SimulatedRoom, _: Step) -> None:
    stage.truths.inexact(room, timed=False)
    stage.tell_session(room, Tick(cast("Any", None)))


def _slow(stage: World, step: Step) -> None:
    room = stage.live(step.room)
    path = None if room is None else stage.program.session_path(room)
    if room is not None and path is not None:
        stage.program.saboteur.slow_at(path, 1, step.n)
        stage.truths.of(room).timed = False
        if step.n >= SHUTDOWN:
            stage.truths.inexact(room)  # Slower than it may be at its end.


def _actor_crash(path: str) -> Play:
    def play(stage: World, step: Step) -> None:
        stage.program.saboteur.raise_at(path, 1 + step.n % 2, step.what)

    return play


def _connection_crash(stage: World, room: SimulatedRoom, step: Step) -> None:
    held = stage.program.table.find_room(room.sid)
    if held is None or held.connection is None:
        return
    path = held.connection.path
    stage.truths.inexact(room, timed=False)
    stage.program.saboteur.raise_at(path, 1, step.what)
    held.connection.tell(RosterWanted())


def _next_start(stage: World, step: Step) -> None:
    """The session crashes, and its next start fails or hangs."""
    room = stage.live(step.room)
    path = None if room is None or not room.watchers else _in_session(stage, room)
    if path is None or path not in stage.program.saboteur.actors or room is None:
        return
    if step.what == "start_fails":
        stage.program.saboteur.fail_start(path)
    else:
        stage.program.saboteur.hang_start(path, step.n)
    stage.tell_session(room, Tick(cast("Any", None)))
    stage.inject("poison")


def _stubborn_stop(stage: World, step: Step) -> None:
    room = stage.live(step.room)
    path = None if room is None else stage.program.session_path(room)
    if path is not None:
        stage.program.saboteur.stubborn_stop(path, 2.0 * step.n)


def _clock_jump(stage: World, step: Step) -> None:
    jump = (step.x - 0.5) * (7200.0 if step.who == 0 else 20.0)
    stage.clock_offset += jump
    stage.truths.move_clock(jump, stage.clock_offset)
    stage.inject("clock_jump")


def _server_restart(stage: World, room: SimulatedRoom, _: Step) -> None:
    stage.truths.inexact(room)
    timed = stage.truths.of(room).timed
    stage.truths.end(room)
    stage.server_dying = True
    room.restart()
    stage.server_dying = False
    stage.truths.inexact(room, timed=timed)
    if room.watchers:
        stage.truths.watch(room)


def _server_unreachable(stage: World, step: Step) -> None:
    """Its effect is counted where somebody asks the server."""
    stage.server_down_until = trio.current_time() + 2.0 * step.n
    room = stage.live(step.room)
    if room is not None and room.watchers:
        _disconnect(stage, room, step)


def _entry_refused(stage: World, room: SimulatedRoom, step: Step) -> None:
    stage.refusals[room.name] += 1 + step.n % 3
    _disconnect(stage, room, step)


def _entry_slow(stage: World, room: SimulatedRoom, step: Step) -> None:
    stage.entry_delays[room.name] = float(step.n)
    _disconnect(stage, room, step)


def _deleted_while_entering(stage: World, step: Step) -> None:
    """A room ends while we are on our way in: into a new one, or back into one that we lost."""
    name = room_name(step.room)
    room = next((one for one in stage.rooms.live if one.name == name), None)
    if room is None:
        room = stage.rooms.room(name)
        stage.assign(room)
    elif room.watchers:
        stage.truths.inexact(room)
        room.drop(None)

    async def delete() -> None:
        stage.entry_delays[name] = 1.0
        await trio.sleep(step.x)
        stage.entry_delays.pop(name, None)
        if room in stage.rooms.live:
            unseen(stage, room)
            room.close("room_deleted")

    stage.nursery.start_soon(delete)


def _place_wanted(stage: World, step: Step) -> None:
    """A room that nobody is in is left for another one; it lives on, and so does its session."""
    vacant = stage.program.table.vacant_rooms if stage.program.takes_jobs else ()
    if vacant:
        sid, _ = vacant[step.n % len(vacant)]
        room = next((one for one in stage.rooms.live if one.sid == sid), None)
        if room is not None:
            stage.truths.inexact(room)
            stage.program.manager.tell(GiveUp(sid))
            stage.inject(step.what)


def _room_closed(_: World, room: SimulatedRoom, step: Step) -> None:
    room.close("room_closed" if step.x < 0.5 else "room_deleted")


def _removed(stage: World, room: SimulatedRoom, _: Step) -> None:
    stage.truths.inexact(room)
    room.drop("participant_removed")


def _second_job(stage: World, room: SimulatedRoom, _: Step) -> None:
    stage.assign(room)


def _dispatch_deleted(stage: World, room: SimulatedRoom, step: Step) -> bool:
    stage.truths.inexact(room)
    return stage.program.terminate(room, step.n)


STEPS: Final[Mapping[str, Play]] = {
    "join": _join,
    "leave": _deed(_leave),
    "vanish": _deed(_vanish),
    "publish": _deed(_publish),
    "unpublish": _deed(_unpublish),
    "mute": _deed(_mute),
    "unmute": _deed(_mute),
    "data": _deed(_data),
    "text": _deed(_data),
    "quality": _deed(_quality),
    "speak": _deed(_speak),
    "name": _deed(_name),
    "metadata": _deed(_metadata),
    "attributes": _deed(_attributes),
    "room_metadata": _room_metadata,
    "attach": _deed(_attach),
    "permit": _deed(_permit),
    "record": _record,
    "disconnect": _watched(_disconnect),
    "storm": _watched(_storm),
    "early_storm": _watched(_storm),
    "half_join": _watched(_half_join),
    "gap": _watched(_gap),
    "duplicate": _wire,
    "reorder": _wire,
    "late": _wire,
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
    **OUTAGES,
}
