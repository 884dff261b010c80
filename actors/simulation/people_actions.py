"""The actions of people in a plan: one function for each word of `plan.ACTIONS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

from actors.session import QUALITIES, Permissions, TrackSource
from actors.simulation.plan import AGENT, MEASURE, Step
from actors.simulation.simulated_rooms import SimulatedPerson, SimulatedRoom

if TYPE_CHECKING:
    from actors.simulation.world import World

PEOPLE: Final = ("alice", "bob", "carol", "dave")
SOURCES: Final[tuple[TrackSource, ...]] = ("microphone", "camera", "screen", "screen_audio")

PlayStep: TypeAlias = Callable[["World", Step], None]


def room_name(index: int) -> str:
    return f"room-{index}"


def _join(world: World, step: Step) -> None:
    room = world.live(step.room)
    if room is None:  # The first person makes the room again, and LiveKit dispatches us.
        room = world.rooms.room(f"room-{step.room}")
        world.assign(room)
    identity = PEOPLE[step.who]
    present = room.people.get(identity)
    if present is not None and (step.x < 0.7 or present.joined_at == world.server_time()):
        return
    if identity in room.people:
        mark_inexact_if_unwatched(world, room)
    room.join(identity)


def _find_person(world: World, step: Step) -> tuple[SimulatedRoom, SimulatedPerson] | None:
    room = world.live(step.room)
    person = None if room is None else room.people.get(PEOPLE[step.who])
    return None if room is None or person is None else (room, person)


def mark_inexact_if_unwatched(world: World, room: SimulatedRoom) -> None:
    if not room.watchers:
        world.truths.mark_inexact(room)


def _by_person(what: Callable[[World, SimulatedRoom, SimulatedPerson, Step], None]) -> PlayStep:
    def play(world: World, step: Step) -> None:
        person_in_room = _find_person(world, step)
        if person_in_room is not None:
            what(world, *person_in_room, step)

    return play


def _leave(world: World, room: SimulatedRoom, person: SimulatedPerson, _: Step) -> None:
    mark_inexact_if_unwatched(world, room)
    person.leave()


def _vanish(world: World, room: SimulatedRoom, person: SimulatedPerson, _: Step) -> None:
    mark_inexact_if_unwatched(world, room)
    person.leave(None)


def _publish(_: World, __: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    if len(person.tracks) < 4:
        person.publish(SOURCES[step.n % 4], muted=step.x < 0.2, encrypted=step.x > 0.95)


def _unpublish(world: World, room: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    if person.tracks:
        mark_inexact_if_unwatched(world, room)
        person.unpublish(sorted(person.tracks)[step.n % len(person.tracks)])


def _mute(_: World, __: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    if person.tracks:
        track = sorted(person.tracks)[step.n % len(person.tracks)]
        (person.mute if step.what == "mute" else person.unmute)(track)


def _data(world: World, room: SimulatedRoom, person: SimulatedPerson, step: Step) -> None:
    mark_inexact_if_unwatched(world, room)
    for _ in range(1 + step.n % 3):
        world.truths.of(room).messages += 1
        if step.what == "text":
            person.send_text("hello")
        else:
            person.send_data(b"{}", topic="t")


def _attach(world: World, room: SimulatedRoom, person: SimulatedPerson, _: Step) -> None:
    mark_inexact_if_unwatched(world, room)
    world.truths.of(room).attachments += 1
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


def _room_metadata(world: World, step: Step) -> None:
    room = world.live(step.room)
    if room is not None:
        room.set_metadata(f"metadata {step.n}")


def _record(world: World, step: Step) -> None:
    room = world.live(step.room)
    if room is not None:
        room.record(step.x < 0.5)


def _measure(world: World, step: Step) -> None:
    room = world.live(step.room)
    if room is not None:
        world.measurer.measure(room, step)


def _agent(world: World, step: Step) -> None:
    room = world.live(step.room)
    if room is not None:
        world.agents.play(room, PEOPLE[step.who], step)


PEOPLE_ACTIONS: Final[Mapping[str, PlayStep]] = {
    "join": _join,
    "leave": _by_person(_leave),
    "vanish": _by_person(_vanish),
    "publish": _by_person(_publish),
    "unpublish": _by_person(_unpublish),
    "mute": _by_person(_mute),
    "unmute": _by_person(_mute),
    "data": _by_person(_data),
    "text": _by_person(_data),
    "quality": _by_person(_quality),
    "speak": _by_person(_speak),
    "name": _by_person(_name),
    "metadata": _by_person(_metadata),
    "attributes": _by_person(_attributes),
    "room_metadata": _room_metadata,
    "attach": _by_person(_attach),
    "permit": _by_person(_permit),
    "record": _record,
    MEASURE: _measure,
    AGENT: _agent,
}
