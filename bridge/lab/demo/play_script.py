"""Plays a plan with real people, and records what they really did.

Each person in a room has a task, so that a slow one (a reconnect takes 3 s) does not delay the
others.  A room's own time begins when the worker watches it, because a
message that no watcher could receive proves nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

import trio
from attrs import define, field, frozen

from actors.session import SessionView
from bridge.lab.demo.script import RoomScript, Script, ScriptStep
from bridge.lab.people import Kind, RoomTruth, Scenario, Source
from bridge.livekit.api_errors import Unavailable

WATCHED_SECONDS: Final = 20.0
"""Within this a room must be watched, otherwise the story cannot go on."""
CLOSED_SECONDS: Final = 20.0
"""Within this a room that is over must be known to be over."""
ANNOUNCED_SECONDS: Final = 3.2
"""Leaves and joins of people who publish nothing are announced every 3 s."""
SETTLED_SECONDS: Final = 0.5
"""Between the worker being in a room and the first step: its data channel must be open."""
REMOVED_SECONDS: Final = 20.0
"""Within this somebody beyond a limit must be out; else the comparison shows it."""
_LOOK_SECONDS: Final = 0.2

AT_ONCE: Final = 8
"""Rooms that open at the same moment: joins compete for the processor."""


class StoryError(Exception):
    """The story could not be played to its end.  The text says where it stopped."""


class Administrator(Protocol):
    """The part of the server API that a story needs."""

    async def create_room(self, name: str, /, *, departure_timeout: int) -> object: ...

    async def delete_room(self, name: str, /) -> object: ...

    async def remove_participant(self, name: str, identity: str, /) -> object: ...

    async def update_room_metadata(self, name: str, metadata: str, /) -> object: ...


class Somebody(Protocol):
    """One join of one person: `bridge.lab.people.Person`, or somebody in a simulated room."""

    identity: str
    sid: str
    room_sid: str
    tracks: dict[str, Source]

    async def publish(self, source: Source) -> str: ...

    async def unpublish(self, track: str) -> None: ...

    async def mute(self, track: str) -> None: ...

    async def unmute(self, track: str) -> None: ...

    async def talk(self, seconds: float) -> None: ...

    async def send_data(
        self, data: bytes, *, topic: str = "", reliable: bool = True, to: Sequence[str] = ()
    ) -> None: ...

    async def send_text(self, text: str) -> None: ...

    async def set_name(self, name: str) -> None: ...

    async def set_metadata(self, metadata: str) -> None: ...

    async def set_attributes(self, changed: Mapping[str, str]) -> None: ...

    async def simulate(self, scenario: Scenario) -> None: ...

    async def leave(self) -> None: ...

    async def out(self) -> str: ...


class Crowd(Protocol):
    """Everybody there is: `bridge.lab.people.People`, or the people of simulated rooms."""

    async def join(
        self,
        room: str,
        identity: str,
        *,
        name: str = "",
        metadata: str = "",
        attributes: Mapping[str, str] | None = None,
        kind: Kind = "standard",
    ) -> Somebody: ...

    def truth(self) -> tuple[RoomTruth, ...]: ...


class WatchingWorker(Protocol):
    """A worker that watches the rooms while the story is played."""

    async def sessions(self) -> Sequence[SessionView]:
        """Every session of this run, live and ended, each whole."""
        ...


@frozen
class TrueRecording:
    """A recording of a room, as the one who recorded it tells it.  Times are Unix seconds."""

    id: str
    rule: str
    file: str | None
    """None until it is complete."""
    started_at: float
    ended_at: float | None


@frozen
class RoomStory:
    """A room's plan and what really happened in it."""

    plan: RoomScript
    truth: RoomTruth
    metadata: str
    """The room's own, as it was last set."""
    recordings: tuple[TrueRecording, ...] = ()


@define
class Cast:
    """One room and its people while its story is played."""

    plan: RoomScript
    people: Crowd
    api: Administrator
    metadata: str = ""
    here: dict[str, Somebody] = field(factory=dict[str, Somebody])
    everyone: list[Somebody] = field(factory=list[Somebody])

    def person(self, step: ScriptStep) -> Somebody:
        return self.here[step.who]

    def track(self, step: ScriptStep) -> str:
        """The SID of what the person published from the source that the step names."""
        source: Source = step.data["source"]
        tracks = self.person(step).tracks
        return next(sid for sid, its_source in tracks.items() if its_source == source)


async def _join(cast: Cast, step: ScriptStep) -> None:
    person = await cast.people.join(cast.plan.room, step.who, **step.data)
    cast.here[step.who] = person
    cast.everyone.append(person)


async def _publish(cast: Cast, step: ScriptStep) -> None:
    await cast.person(step).publish(step.data["source"])


async def _unpublish(cast: Cast, step: ScriptStep) -> None:
    await cast.person(step).unpublish(cast.track(step))


async def _mute(cast: Cast, step: ScriptStep) -> None:
    await cast.person(step).mute(cast.track(step))


async def _unmute(cast: Cast, step: ScriptStep) -> None:
    await cast.person(step).unmute(cast.track(step))


async def _talk(cast: Cast, step: ScriptStep) -> None:
    await cast.person(step).talk(step.data["seconds"])


async def _send_data(cast: Cast, step: ScriptStep) -> None:
    data = dict(step.data)
    await cast.person(step).send_data(data.pop("payload"), **data)


async def _send_text(cast: Cast, step: ScriptStep) -> None:
    await cast.person(step).send_text(step.data["text"])


async def _set_name(cast: Cast, step: ScriptStep) -> None:
    await cast.person(step).set_name(step.data["name"])


async def _set_metadata(cast: Cast, step: ScriptStep) -> None:
    await cast.person(step).set_metadata(step.data["metadata"])


async def _set_attributes(cast: Cast, step: ScriptStep) -> None:
    await cast.person(step).set_attributes(step.data["changed"])


async def _simulate(cast: Cast, step: ScriptStep) -> None:
    await cast.person(step).simulate(step.data["scenario"])


async def _leave(cast: Cast, step: ScriptStep) -> None:
    await cast.person(step).leave()


async def _kick(cast: Cast, step: ScriptStep) -> None:
    identity: str = step.data["identity"]
    await cast.api.remove_participant(cast.plan.room, identity)
    await cast.here[identity].out()


async def _removed(cast: Cast, step: ScriptStep) -> None:
    """The worker keeps the limit of the room."""
    with trio.move_on_after(REMOVED_SECONDS):
        await cast.person(step).out()


async def _set_room_metadata(cast: Cast, step: ScriptStep) -> None:
    cast.metadata = step.data["metadata"]
    await cast.api.update_room_metadata(cast.plan.room, cast.metadata)


async def _delete(cast: Cast, step: ScriptStep) -> None:  # noqa: ARG001  one table, one shape
    with suppress(Unavailable):  # The call may fail although the room was deleted.
        await cast.api.delete_room(cast.plan.room)
    for person in cast.everyone:
        await person.out()


DEEDS: Final[Mapping[str, Callable[[Cast, ScriptStep], Awaitable[None]]]] = {
    "join": _join,
    "publish": _publish,
    "unpublish": _unpublish,
    "mute": _mute,
    "unmute": _unmute,
    "talk": _talk,
    "send_data": _send_data,
    "send_text": _send_text,
    "set_name": _set_name,
    "set_metadata": _set_metadata,
    "set_attributes": _set_attributes,
    "simulate": _simulate,
    "leave": _leave,
    "kick": _kick,
    "removed": _removed,
    "room_metadata": _set_room_metadata,
    "delete": _delete,
}
"""Every `Step.do`."""


async def open_early(plan: Script, people: Crowd, api: Administrator) -> dict[str, Cast]:
    """Open the rooms that are older than the worker; hand the result to `tell_story`."""
    return {room.room: await _open(room, people, api) for room in plan.rooms if room.before_worker}


async def tell_story(
    plan: Script,
    people: Crowd,
    api: Administrator,
    worker: WatchingWorker,
    early: Mapping[str, Cast],
) -> tuple[RoomStory, ...]:
    """Play all of `plan` while `worker` watches.  Returns when the worker can know of every event
    and of every room's end.

    `early` is what `open_early` returned before the worker was started.  Raises
    `StoryError` where a room is not watched or not ended in time, `PeopleError` where a
    person could not do as planned.
    """
    stories: dict[str, Cast] = dict(early)
    limit = trio.CapacityLimiter(AT_ONCE)

    async def tell(room: RoomScript) -> None:
        await trio.sleep(room.starts_at)
        if room.room not in stories:
            async with limit:
                stories[room.room] = await _open(room, people, api)
        cast = stories[room.room]
        await _watched(worker, cast)
        await _perform(cast)
        if room.ending == "open":
            await trio.sleep(ANNOUNCED_SECONDS)
        else:
            await _ended(worker, cast)

    async with trio.open_nursery() as nursery:
        for room in plan.rooms:
            nursery.start_soon(tell, room)
    truths = {truth.room: truth for truth in people.truth()}
    return tuple(
        RoomStory(room, truths[room.room], stories[room.room].metadata) for room in plan.rooms
    )


async def _open(room: RoomScript, people: Crowd, api: Administrator) -> Cast:
    """The room and its first people, who join one after the other."""
    await api.create_room(room.room, departure_timeout=DEPARTURE_SECONDS)
    cast = Cast(room, people, api)
    for step in room.steps:
        if step.at < 0:
            await DEEDS[step.do](cast, step)
    return cast


DEPARTURE_SECONDS: Final = 2
"""Whole seconds for which the server keeps a room open after the last person left."""


async def _perform(cast: Cast) -> None:
    """Every later step at its time, each person's one after the other."""
    begin = trio.current_time()
    steps: dict[str, list[ScriptStep]] = {}
    for step in cast.plan.steps:
        if step.at >= 0:
            steps.setdefault(step.who, []).append(step)

    async def one(mine: list[ScriptStep]) -> None:
        for step in mine:
            await trio.sleep_until(begin + step.at)
            await DEEDS[step.do](cast, step)

    async with trio.open_nursery() as nursery:
        for mine in steps.values():
            nursery.start_soon(one, mine)


async def _watched(worker: WatchingWorker, cast: Cast) -> None:
    room_sid = cast.everyone[0].room_sid
    await _until_shown(
        worker,
        lambda session: session.room_sid == room_sid and session.status == "active",
        WATCHED_SECONDS,
        f"the room {cast.plan.room!r} is not watched",
    )
    await trio.sleep(SETTLED_SECONDS)


async def _ended(worker: WatchingWorker, cast: Cast) -> None:
    room_sid = cast.everyone[0].room_sid
    await _until_shown(
        worker,
        lambda session: session.room_sid == room_sid and session.status == "ended",
        CLOSED_SECONDS,
        f"the room {cast.plan.room!r} is over, and its session goes on",
    )


async def _until_shown(
    worker: WatchingWorker, wanted: Callable[[SessionView], bool], seconds: float, why: str
) -> None:
    """Poll, for there is nothing to wait on outside of the worker."""
    with trio.move_on_after(seconds):
        while True:
            if any(wanted(session) for session in await worker.sessions()):
                return
            await trio.sleep(_LOOK_SECONDS)
    raise StoryError(f"{why}, {seconds:.0f} s later")
