"""Shared parts of the tests of rooms: a recorder of events, and two stages.

A stage is a way into rooms (the port under test) together with people for them.  The
same story is played on both, so people have one face: `SimulatedActor` gives the
simulated ones the awaitable methods of real ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar, cast
from uuid import uuid4

import trio
from attrs import evolve
from livekit.protocol import models, room

from actors.rooms.room_port import OpenRoom, RoomJob, RoomPort
from actors.session.events import (
    AttributesChanged,
    Disconnected,
    MetadataChanged,
    NameChanged,
    ParticipantActive,
    ParticipantJoined,
    ParticipantLeft,
    QualityChanged,
    RoomEvent,
    TrackMuted,
    TrackPublished,
    TrackUnmuted,
    TrackUnpublished,
    Watching,
)
from actors.session.room_info import ParticipantInfo, Roster
from actors.simulation.simulated_person import SimulatedPerson
from actors.simulation.simulated_rooms import SimulatedRooms
from bridge.lab.people import Grants, People
from bridge.lab.server import PrivateServer
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import WATCHER_GRANTS, ApiKey, RoomGrants, room_token

PATIENCE = 60.0
"""Seconds that an event may take.  People who publish nothing are told on a 3 s tick."""
QUALITY_SECONDS = 7.0
"""LiveKit looks at everybody's quality every 5 s."""

E = TypeVar("E")


class Recorder:
    """Takes events as a session would, and lets a test wait for one."""

    def __init__(self) -> None:
        self.events: list[RoomEvent] = []
        self._news = trio.Event()

    def __call__(self, event: RoomEvent) -> None:
        self.events.append(event)
        self._news.set()
        self._news = trio.Event()

    def all(self, kind: type[E], **fields: Any) -> list[E]:
        """The events of this class so far with these fields."""
        return [
            event
            for event in self.events
            if isinstance(event, kind)
            and all(getattr(event, name) == value for name, value in fields.items())
        ]

    async def wait(self, kind: type[E], *, count: int = 1, **fields: Any) -> E:
        """The `count`th event of this class with these fields, when it is there."""
        return await self.until(
            lambda: (
                (result_of := self.all(kind, **fields))[count - 1 : count] and result_of[count - 1]
            ),
            f"{count} × {kind.__name__} {fields}",
        )

    async def joined(self, identity: str, *, count: int = 1) -> ParticipantJoined:
        return await self.until(
            lambda: (result_of := self.joins(identity))[count - 1 : count] and result_of[count - 1],
            f"{identity} joined",
        )

    def joins(self, identity: str) -> list[ParticipantJoined]:
        joins = self.all(ParticipantJoined)
        return [event for event in joins if event.participant.identity == identity]

    async def published(self, track_sid: str) -> TrackPublished:
        return await self.until(
            lambda: next((e for e in self.all(TrackPublished) if e.track.sid == track_sid), None),
            f"{track_sid} published",
        )

    def tracks(self) -> list[str]:
        """SIDs of the tracks that were told, in the roster or later, one entry each telling."""
        people = [*self.watching.roster.participants, *self._joined()]
        return [track.sid for person in people for track in person.tracks] + [
            event.track.sid for event in self.all(TrackPublished)
        ]

    def active(self) -> set[str]:
        """Identities of people whose media connection was established at some time."""
        people = [*self.watching.roster.participants, *self._joined()]
        return {person.identity for person in people if person.active} | {
            event.identity for event in self.all(ParticipantActive)
        }

    def owners(self, *tracks: str) -> set[str]:
        """Identities of the people who have published these tracks."""
        people = [*self.watching.roster.participants, *self._joined()]
        return {
            person.identity for person in people if {one.sid for one in person.tracks} & {*tracks}
        } | {event.identity for event in self.all(TrackPublished) if event.track.sid in tracks}

    def _joined(self) -> list[ParticipantInfo]:
        return [event.participant for event in self.all(ParticipantJoined)]

    async def until(
        self, result_of: Callable[[], Any], what: str = "", patience: float = PATIENCE
    ) -> Any:
        """The first true result of `found`."""
        with trio.move_on_after(patience):
            while not (result := result_of()):
                await self._news.wait()
            return result
        lines = "\n".join(str(event)[:200] for event in self.events)
        raise AssertionError(f"waited in vain for {what}; offered were\n{lines}")

    @property
    def watching(self) -> Watching:
        first = self.events[0]
        assert isinstance(first, Watching)
        return first

    def folded(self) -> Roster:
        """The first roster with everything that was told since."""
        roster = self.watching.roster
        people = {person.identity: person for person in roster.participants}
        for event in self.events:
            match event:
                case ParticipantJoined():
                    people[event.participant.identity] = event.participant
                case ParticipantLeft():
                    people.pop(event.identity)
                case NameChanged() | MetadataChanged() | AttributesChanged():
                    people[event.identity] = _changed(people[event.identity], event)
                case TrackPublished() | TrackUnpublished() | TrackMuted() | TrackUnmuted():
                    people[event.identity] = _with_track(people[event.identity], event)
                case _:
                    pass
        return evolve(roster, participants=tuple(people.values()))

    def known(self) -> list[str]:
        """Identities in the order in which they were first told, one entry each telling."""
        roster = [p.identity for p in self.watching.roster.participants]
        return roster + [e.participant.identity for e in self.all(ParticipantJoined)]

    def check_frame(self) -> None:
        """`Watching` first and once, `Disconnected` last and once, times in order."""
        assert [type(e) for e in self.events if isinstance(e, Watching | Disconnected)] == [
            Watching,
            Disconnected,
        ]
        assert isinstance(self.events[0], Watching)
        assert isinstance(self.events[-1], Disconnected)


def _changed(
    person: ParticipantInfo, event: NameChanged | MetadataChanged | AttributesChanged
) -> ParticipantInfo:
    match event:
        case NameChanged():
            return evolve(person, name=event.name)
        case MetadataChanged():
            return evolve(person, metadata=event.metadata)
        case AttributesChanged():
            attributes = {**(person.attributes or {}), **event.changed}
            return evolve(person, attributes={k: v for k, v in attributes.items() if v})


def _with_track(
    person: ParticipantInfo,
    event: TrackPublished | TrackUnpublished | TrackMuted | TrackUnmuted,
) -> ParticipantInfo:
    tracks = {track.sid: track for track in person.tracks}
    match event:
        case TrackPublished():
            tracks[event.track.sid] = event.track
        case TrackUnpublished():
            del tracks[event.track_sid]
        case TrackMuted() | TrackUnmuted():
            muted = isinstance(event, TrackMuted)
            tracks[event.track_sid] = evolve(tracks[event.track_sid], muted=muted)
    return evolve(person, tracks=tuple(tracks.values()))


class Stage(Protocol):
    """A port under test, people for its rooms, and what the server can do to them."""

    port: RoomPort
    room: str

    def job(self, identity: str = "agent-1") -> RoomJob: ...

    def open(
        self, offer: Recorder, identity: str = "agent-1"
    ) -> AbstractAsyncContextManager[OpenRoom]: ...

    async def join(self, identity: str, **details: Any) -> Any: ...

    async def visible(self, *tracks: str) -> None:
        """Wait until others can see these tracks, and that their owners are active.

        This is later than the owners know, by seconds on a busy machine.
        """
        scout = Recorder()
        async with self.open(scout, "scout"):
            await scout.until(lambda: set(scout.tracks()) >= set(tracks), "tracks")
            await scout.until(lambda: scout.owners(*tracks) <= scout.active(), "active people")

    async def full_reconnect(self, opened: OpenRoom) -> None:
        """Have the watcher's own connection fail and come back."""
        ...

    async def remove(self, identity: str) -> None: ...

    async def delete_room(self) -> None: ...

    async def set_room_metadata(self, metadata: str) -> None: ...

    async def server_says(self, payload: bytes, topic: str) -> None: ...

    def refused(self) -> RoomJob:
        """A job that the server turns down."""
        ...

    def unreachable(self) -> RoomJob:
        """A job for a server that is not there."""
        ...


class RealStage(Stage):
    def __init__(
        self, server: PrivateServer, port: LiveKitRooms, people: People, api: ServerApi
    ) -> None:
        self.server = server
        self.port = self.rooms = port
        self.people = people
        self.api = api
        self.room = f"connection-{uuid4().hex[:8]}"

    def job(
        self,
        identity: str = "agent-1",
        *,
        visible: bool = False,
        grants: RoomGrants = WATCHER_GRANTS,
        **other: Any,
    ) -> RoomJob:
        key = ApiKey(self.server.api_key, self.server.api_secret)
        token = room_token(
            key,
            room=self.room,
            identity=identity,
            agent_name="watcher",
            visible=visible,
            grants=grants,
        )
        job = RoomJob(
            job_id="AJ_1",
            room=self.room,
            room_sid="",
            url=self.server.url,
            token=token,
            identity=identity,
        )
        return evolve(job, **other)

    def open(
        self, offer: Recorder, identity: str = "agent-1"
    ) -> AbstractAsyncContextManager[OpenRoom]:
        return self.port.open(self.job(identity), offer)

    async def join(self, identity: str, *, hidden: bool = False, **details: Any) -> Any:
        grants = Grants(hidden=hidden)
        return await self.people.join(self.room, identity, grants=grants, **details)

    async def full_reconnect(self, opened: OpenRoom) -> None:
        await simulate(opened, "SIMULATE_FULL_RECONNECT")

    async def living(self, room: str) -> str:
        """The SID of the room that lives under this name."""
        return next((one.sid for one in await self.api.list_rooms([room])), "")

    async def quality(self, recorder: Recorder, identity: str) -> QualityChanged:
        """Wait for the quality of somebody.

        LiveKit tells it when somebody is new or changes, to whoever is subscribed at that
        moment.  Who subscribes just after it looked hears nothing until the next change: so
        somebody new comes until it was told.
        """
        for number in itertools.count():
            with trio.move_on_after(QUALITY_SECONDS):
                return await recorder.wait(QualityChanged, identity=identity)
            await self.join(f"newcomer-{identity}-{number}", kind="agent")
        raise AssertionError("not reached")

    async def remove(self, identity: str) -> None:
        await self.api.remove_participant(self.room, identity)

    async def permit(self, identity: str, **permissions: Any) -> None:
        """Give somebody who is in the room these permissions, and no others."""
        await self.api._call(
            "RoomService/UpdateParticipant",
            room.UpdateParticipantRequest(
                room=self.room,
                identity=identity,
                permission=models.ParticipantPermission(**permissions),
            ),
            models.ParticipantInfo,
            {"roomAdmin": True, "room": self.room},
        )

    async def delete_room(self) -> None:
        await self.api.delete_room(self.room)

    async def set_room_metadata(self, metadata: str) -> None:
        await self.api.update_room_metadata(self.room, metadata)

    async def server_says(self, payload: bytes, topic: str) -> None:
        await self.api.send_data(self.room, payload, topic=topic)

    def refused(self) -> RoomJob:
        key = ApiKey(self.server.api_key, "another-secret-that-is-long-enough")
        token = room_token(key, room=self.room, identity="agent-1", agent_name="watcher")
        return self.job(token=token)

    def unreachable(self) -> RoomJob:
        return self.job(url="ws://127.0.0.1:9")


async def simulate(opened: OpenRoom, scenario: str) -> None:
    """Have LiveKit's SDK break the watcher's own connection in one of its ways."""
    import trio_asyncio
    from livekit import rtc

    room: rtc.Room = cast("Any", opened)._room
    kind = rtc.SimulateScenarioKind.Value(scenario)
    await trio_asyncio.aio_as_trio(room.simulate_scenario)(kind)


class SimulatedActor:
    """A simulated person with the awaitable methods of a real one."""

    def __init__(self, person: SimulatedPerson) -> None:
        self._person = person

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._person, name)
        if not callable(value):
            return value

        async def method(*args: Any, **kwargs: Any) -> Any:
            await trio.lowlevel.checkpoint()
            return value(*args, **kwargs)

        return method


class SimulatedStage(Stage):
    def __init__(self, rooms: SimulatedRooms) -> None:
        self.port = self.rooms = rooms
        self.room = "standup"

    def job(self, identity: str = "agent-1", **other: Any) -> RoomJob:
        job = RoomJob(
            job_id="AJ_1",
            room=self.room,
            room_sid="",
            url="ws://simulated",
            token="token",
            identity=identity,
        )
        return evolve(job, **other)

    def open(
        self, offer: Recorder, identity: str = "agent-1"
    ) -> AbstractAsyncContextManager[OpenRoom]:
        return self.port.open(self.job(identity), offer)

    async def join(
        self, identity: str, *, attributes: Mapping[str, str] | None = None, **details: Any
    ) -> Any:
        await trio.lowlevel.checkpoint()
        room = self.rooms.room(self.room)
        return SimulatedActor(room.join(identity, attributes=attributes, **details))

    async def full_reconnect(self, opened: OpenRoom) -> None:
        await trio.lowlevel.checkpoint()
        self.rooms.room(self.room).storm(early=True)

    async def remove(self, identity: str) -> None:
        await trio.lowlevel.checkpoint()
        self.rooms.room(self.room).people[identity].leave("participant_removed")

    async def delete_room(self) -> None:
        await trio.lowlevel.checkpoint()
        self.rooms.room(self.room).close("room_deleted")

    async def set_room_metadata(self, metadata: str) -> None:
        await trio.lowlevel.checkpoint()
        self.rooms.room(self.room).set_metadata(metadata)

    async def server_says(self, payload: bytes, topic: str) -> None:
        await trio.lowlevel.checkpoint()
        self.rooms.room(self.room).send_data(payload, topic=topic)

    def refused(self) -> RoomJob:
        return self.job(token="")

    def unreachable(self) -> RoomJob:
        from actors.rooms.room_port import RoomUnreachable

        self.rooms.fault = lambda _: RoomUnreachable("no server there")
        return self.job()
