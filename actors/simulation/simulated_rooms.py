"""Rooms without a server, behind the same port as the real ones.

For the demo where no LiveKit server can be had, for tests that need a fault the real
server cannot be made to show, and for the deterministic simulation.  Hence: no clock
but the injected `now`, nothing random, every change takes effect in the call that
makes it, and ids count up.

What a watcher may rely on is the same as with LiveKit: `Watching` is the first event,
`Disconnected` the last, nothing comes after it; somebody who leaves has unpublished
first; a person of a known identity who joins again first leaves, without a reason.
What LiveKit gets wrong (a leave before `Reconnecting`, a message before its sender)
is made on purpose, by `SimulatedRoom.storm` and `SimulatedRoom.tell`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import count
from typing import TypeAlias, final

import trio
from attrs import evolve

from actors.rooms.room_port import (
    OfferEvent,
    OpenRoom,
    RoomError,
    RoomJob,
    RoomPort,
    RoomRefused,
    SendOutcome,
)
from actors.runtime import sleep
from actors.session.events import (
    DataReceived,
    ParticipantJoined,
    ParticipantLeft,
    Reconnected,
    Reconnecting,
    RecordingChanged,
    Resynced,
    RoomEvent,
    RoomMetadataChanged,
    SpeakersChanged,
    TrackPublished,
    TrackUnpublished,
)
from actors.session.room_info import (
    ParticipantInfo,
    ParticipantKind,
    Permissions,
    Roster,
)
from actors.session.webhook_reports import (
    WebhookJoined,
    WebhookReport,
    WebhookRoomFinished,
    WebhookRoomStarted,
)
from actors.simulation.simulated_person import SimulatedPerson, format_of
from actors.simulation.simulated_watcher import Watcher

StreamOutcome: TypeAlias = Callable[["SimulatedRoom"], Awaitable[SendOutcome]]
"""The outcome of a text stream that a watcher sends in a room; asked before it is delivered."""


async def _sent(_room: SimulatedRoom) -> SendOutcome:
    await trio.lowlevel.checkpoint()
    return "sent"


@final
class SimulatedRooms(RoomPort):
    """A server of simulated rooms, and the port into them."""

    def __init__(self, now: Callable[[], float], *, log_payloads: bool = False) -> None:
        self.now = now
        self.log_payloads = log_payloads
        self.fault: Callable[[RoomJob], RoomError | None] = lambda _: None
        """Asked at each entry; what it gives is raised there."""
        self.delay: Callable[[RoomJob], float] = lambda _: 0.0
        """Seconds that an entry takes."""
        self.made: Callable[[SimulatedRoom], object] = lambda _: None
        """Told of each room that a watcher made by joining it."""
        self.tell: Callable[[SimulatedRoom, WebhookReport], object] = lambda _, __: None
        """Told at once of all that the server has webhooks for."""
        self.stream_outcome: StreamOutcome = _sent
        self.text_sent: Callable[[SimulatedRoom, str], object] = lambda _, __: None
        """Told of each text stream that people got."""
        self._rooms: dict[str, SimulatedRoom] = {}
        self._numbers = count(1)

    def next_id(self, prefix: str) -> str:
        return f"{prefix}_sim{next(self._numbers):06d}"

    def room(self, name: str, *, metadata: str = "") -> SimulatedRoom:
        """The room of this name, made where there is none."""
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = SimulatedRoom(self, name, metadata)
            room.webhook(WebhookRoomStarted(self.now(), int(self.now()), room.created_at, metadata))
        return room

    def find(self, name: str) -> SimulatedRoom | None:
        """The room of this name, if there is one now."""
        return self._rooms.get(name)

    @property
    def live(self) -> tuple[SimulatedRoom, ...]:
        """Every room there is now."""
        return tuple(self._rooms.values())

    async def only_we_made(self, job: RoomJob, room_sid: str) -> bool:
        """True if this life of a room began with a watcher, and nobody came since."""
        room = self._rooms.get(job.room)
        return room is not None and room.sid == room_sid and room.made_by_watcher

    async def delete(self, job: RoomJob, room_sid: str) -> None:
        """Delete such a room."""
        room = self._rooms.get(job.room)
        if room is not None and await self.only_we_made(job, room_sid):
            room.close("room_deleted")

    def forget(self, room: SimulatedRoom) -> None:
        if self._rooms.get(room.name) is room:
            del self._rooms[room.name]

    def open(self, job: RoomJob, offer: OfferEvent) -> AbstractAsyncContextManager[OpenRoom]:
        return self._open(job, offer)

    @asynccontextmanager
    async def _open(self, job: RoomJob, offer: OfferEvent) -> AsyncGenerator[OpenRoom, None]:
        await sleep(self.delay(job))
        if (fault := self.fault(job)) is not None:
            raise fault
        if not job.token:
            raise RoomRefused("401 Unauthorized - no token")
        is_new = job.room not in self._rooms
        room = self.room(job.room)  # LiveKit makes a room for whoever joins it.
        if is_new:
            room.made_by_watcher = True
            self.made(room)
        watcher = Watcher(room, offer)
        try:
            yield watcher
        finally:
            watcher.leave("client_initiated")


@final
class SimulatedRoom:
    """One name, one life at a time.  Made by `SimulatedRooms.room`."""

    def __init__(self, rooms: SimulatedRooms, name: str, metadata: str) -> None:
        self._rooms = rooms
        self.name = name
        self.metadata = metadata
        self.sid = rooms.next_id("RM")
        self.created_at = rooms.now()
        self.recording = False
        self.people: dict[str, SimulatedPerson] = {}
        """By identity."""
        self.watchers: list[Watcher] = []
        self.made_by_watcher = False
        """It exists because a watcher joined it, and nobody else has been in it."""

    def now(self) -> float:
        return self._rooms.now()

    def next_id(self, prefix: str) -> str:
        return self._rooms.next_id(prefix)

    async def stream_outcome(self) -> SendOutcome:
        return await self._rooms.stream_outcome(self)

    def text_sent(self, text: str) -> None:
        self._rooms.text_sent(self, text)

    @property
    def log_payloads(self) -> bool:
        return self._rooms.log_payloads

    def roster(self) -> Roster:
        return Roster(
            room_sid=self.sid,
            metadata=self.metadata,
            participants=tuple(p.info() for p in self.people.values() if not p.hidden),
            created_at=self.created_at,
            recording=self.recording,
        )

    def tell(self, event: RoomEvent) -> None:
        """Say something to every watcher, true or not."""
        for watcher in tuple(self.watchers):
            watcher.tell(event)

    def webhook(self, event: WebhookReport) -> None:
        """Say something that is true to whoever has the server's webhooks."""
        self._rooms.tell(self, event)

    # --- what people do ---------------------------------------------------------

    def join(
        self,
        identity: str,
        *,
        name: str = "",
        metadata: str = "",
        attributes: Mapping[str, str] | None = None,
        kind: ParticipantKind = "standard",
        hidden: bool = False,
        active: bool = True,
    ) -> SimulatedPerson:
        """Somebody comes in.  A second one of the same identity pushes the first one out.

        Where not `active` the media connection does not stand until `activate` is called.
        """
        if identity in self.people:
            self.people[identity].leave(None)
        info = ParticipantInfo(
            identity=identity,
            sid=self.next_id("PA"),
            joined_at=self.now(),
            kind=kind,
            name=name,
            metadata=metadata,
            attributes=dict(attributes or {}),
            active=active,
            permissions=Permissions(),
        )
        self.made_by_watcher = False
        person = SimulatedPerson(self, info, hidden)
        self.people[identity] = person
        if not hidden:
            self.tell(ParticipantJoined(self.now(), person.info()))
            if active:
                self.webhook(WebhookJoined(self.now(), int(self.now()), person.info()))
        return person

    def set_metadata(self, metadata: str) -> None:
        if metadata != self.metadata:
            self.metadata = metadata
            self.tell(RoomMetadataChanged(self.now(), metadata))

    def send_data(
        self,
        payload: bytes,
        *,
        topic: str = "",
        reliable: bool = True,
        stream: bool = False,
        sender: str | None = None,
    ) -> None:
        """A message; without a sender it is the server's, or came before its sender."""
        self.tell(
            DataReceived(
                self.now(),
                sender,
                topic,
                len(payload),
                format_of(payload),
                reliable=reliable,
                stream=stream,
                content=payload.decode("utf-8", "replace") if self.log_payloads else None,
            )
        )

    def record(self, on: bool) -> None:
        """A recorder comes in, or leaves."""
        if on != self.recording:
            self.recording = on
            self.tell(RecordingChanged(self.now(), on))

    def speak(self, identities: Iterable[str]) -> None:
        """Set the speakers; everybody else is silent."""
        wanted = set(identities)
        self.tell(SpeakersChanged(self.now(), tuple(i for i in self.people if i in wanted)))

    # --- what networks and servers do --------------------------------------------

    def reconnecting(self) -> None:
        """The watchers' connections are down."""
        self.tell(Reconnecting(self.now()))

    def reconnected(self) -> None:
        """The watchers' connections are back."""
        self.tell(Reconnected(self.now(), self.roster()))
        self._watch_all()

    def storm(self, *, early: bool = False) -> None:
        """A full reconnect as LiveKit shows it: everybody seems to leave, and is back.

        `early`: the leaves come before `Reconnecting`, as LiveKit has it in one case.
        """
        visible = [person for person in self.people.values() if not person.hidden]
        if not early:
            self.reconnecting()
        for person in visible:
            for sid in person.tracks:
                self.tell(TrackUnpublished(self.now(), person.identity, sid))
            self.tell(ParticipantLeft(self.now(), person.identity, person.sid, None))
            for watcher in self.watchers:
                watcher.forget(person.identity)
        if early:
            self.reconnecting()
        for person in visible:
            bare = evolve(person.info(), tracks=())
            self.tell(ParticipantJoined(self.now(), bare))
            for track in person.tracks.values():
                self.tell(TrackPublished(self.now(), person.identity, track))
        self.reconnected()

    def resync(self) -> None:
        """A full view for every watcher."""
        self.tell(Resynced(self.now(), self.roster()))

    def restart(self) -> None:
        """The server was killed and is back: another life of the room, nobody in it yet.

        Whoever was in it finds out by coming back; the watchers hold on.
        """
        self.reconnecting()
        for person in tuple(self.people.values()):
            person.leave(None)
        self.sid = self.next_id("RM")
        self.created_at = self.now()
        self.recording = False
        self.webhook(WebhookRoomStarted(self.now(), int(self.now()), self.created_at, ""))
        self.set_metadata("")
        self.reconnected()

    def drop(self, reason: str | None = None) -> None:
        """The watchers lose the room for good; the people stay."""
        for watcher in tuple(self.watchers):
            watcher.leave(reason)

    def close(self, reason: str = "room_closed") -> None:
        """The end of the room: everybody is out, the name is free for another life."""
        for person in tuple(self.people.values()):
            person.leave(reason)
        self.drop(reason)
        self._rooms.forget(self)
        self.webhook(WebhookRoomFinished(self.now(), int(self.now())))

    def remove(self, person: SimulatedPerson) -> None:
        """Somebody is out."""
        del self.people[person.identity]
        for watcher in self.watchers:
            watcher.forget(person.identity)

    def watch(self, person: SimulatedPerson) -> None:
        for watcher in self.watchers:
            watcher.watch(person)

    def _watch_all(self) -> None:
        for person in self.people.values():
            self.watch(person)
