"""The people of simulated rooms, for a machine where no LiveKit server can be had.

The story, the truth and the comparison are the same.  Only WebRTC is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, final

import trio

from actors.rooms.room_port import RoomJob
from actors.simulation.simulated_person import SimulatedPerson
from actors.simulation.simulated_rooms import SimulatedRoom, SimulatedRooms
from bridge.lab.people import Deed, Kind, RoomTruth, Scenario, Source
from bridge.lab.people.person import payload_format
from bridge.lab.people.truth import by_room

WATCHER: Final = "agent-simulated"
_MACHINES: Final = frozenset({"agent", "egress", "ingress"})
"""Kinds that do not keep a room open."""


@final
class SimulatedSomebody:
    """One join of one person in a simulated room."""

    def __init__(self, crowd: SimulatedCrowd, room: str, person: SimulatedPerson) -> None:
        self._crowd = crowd
        self._room = room
        self._person = person
        self.identity = person.identity
        self.sid = person.sid
        self.room_sid = person.room_sid
        self.tracks: dict[str, Source] = {}
        self._has_left = False

    def did(self, deed: str, **data: Any) -> None:
        self._crowd.record(
            Deed(self._crowd.now(), deed, self._room, self.room_sid, self.identity, self.sid, data)
        )

    async def publish(self, source: Source) -> str:
        track = self._person.publish(source)
        self.tracks[track] = source
        self.did("published", track=track, source=source)
        return track

    async def unpublish(self, track: str) -> None:
        self._person.unpublish(track)
        del self.tracks[track]
        self.did("unpublished", track=track)

    async def mute(self, track: str) -> None:
        self._person.mute(track)
        self.did("muted", track=track)

    async def unmute(self, track: str) -> None:
        self._person.unmute(track)
        self.did("unmuted", track=track)

    async def talk(self, seconds: float) -> None:
        self._crowd.speak(self._room, self.identity, True)
        await trio.sleep(seconds)
        self._crowd.speak(self._room, self.identity, False)
        self.did("spoke", seconds=seconds)

    async def send_data(
        self, data: bytes, *, topic: str = "", reliable: bool = True, to: Sequence[str] = ()
    ) -> None:
        if not to:  # A watcher does not get a message for somebody else.
            self._person.send_data(data, topic=topic, reliable=reliable)
        self._sent(data, topic=topic, reliable=reliable, stream=False, to=tuple(to))

    async def send_text(self, text: str) -> None:
        self._person.send_text(text)
        self._sent(text.encode(), topic="lk.chat", reliable=True, stream=True, to=())

    def _sent(self, payload: bytes, **data: Any) -> None:
        self.did("sent", size=len(payload), format=payload_format(payload), **data)

    async def set_name(self, name: str) -> None:
        self._person.set_name(name)
        self.did("name", name=name)

    async def set_metadata(self, metadata: str) -> None:
        self._person.set_metadata(metadata)
        self.did("metadata", metadata=metadata)

    async def set_attributes(self, changed: Mapping[str, str]) -> None:
        self._person.set_attributes(changed)
        self.did("attributes", changed=dict(changed))

    async def simulate(self, scenario: Scenario) -> None:
        """A resume: nobody else notices, so there is nothing to tell the room."""
        self.did("scenario", scenario=scenario)
        self.did("reconnected")

    async def leave(self) -> None:
        self.go("client_initiated")
        self._crowd.close_if_empty(self._room)

    async def out(self) -> str:
        """Wait until this person is out; the reason."""
        while self._person.present:  # noqa: ASYNC110 (nobody tells a simulated person)
            await trio.sleep(0.05)
        reason = self._person.left_reason or "unknown_reason"
        if not self._has_left:
            self.on_left(reason)  # The worker removed them.
        return reason

    def go(self, reason: str) -> None:
        if self._person.present:
            self._person.leave(reason)
            self.on_left(reason)

    def on_left(self, reason: str) -> None:
        self._has_left = True
        self.did("left", reason=reason)
        self._crowd.forget(self)


@final
class SimulatedCrowd:
    """Everybody in the simulated rooms, and their server's administrator."""

    def __init__(self, rooms: SimulatedRooms) -> None:
        self._rooms = rooms
        self._here: dict[tuple[str, str], SimulatedSomebody] = {}
        self._speaking: dict[str, set[str]] = {}
        self._deeds: list[Deed] = []
        self._assign: Callable[[RoomJob], None] | None = None

    async def join(
        self,
        room: str,
        identity: str,
        *,
        name: str = "",
        metadata: str = "",
        attributes: Mapping[str, str] | None = None,
        kind: Kind = "standard",
    ) -> SimulatedSomebody:
        person = self._rooms.room(room).join(
            identity, name=name, metadata=metadata, attributes=attributes, kind=kind
        )
        somebody = self._here[room, identity] = SimulatedSomebody(self, room, person)
        somebody.did(
            "joined",
            joined_at=person.joined_at,
            name=name,
            metadata=metadata,
            attributes=dict(attributes or {}),
            kind=kind,
            hidden=False,
        )
        return somebody

    def truth(self) -> tuple[RoomTruth, ...]:
        return by_room(self._deeds)

    def now(self) -> float:
        return self._rooms.now()

    def record(self, deed: Deed) -> None:
        self._deeds.append(deed)

    def forget(self, somebody: SimulatedSomebody) -> None:
        self._here = {key: other for key, other in self._here.items() if other is not somebody}

    def speak(self, room: str, identity: str, on: bool) -> None:
        speaking = self._speaking.setdefault(room, set())
        (speaking.add if on else speaking.discard)(identity)
        self._rooms.room(room).speak(speaking)

    def close_if_empty(self, room: str) -> None:
        """The server closes a room when the last person left; machines do not keep it open."""
        people = self._rooms.room(room).people.values()
        if all(person.info().kind in _MACHINES for person in people):
            self._end(room, "room_closed")

    def _end(self, room: str, reason: str) -> None:
        inside = [one for (name, _), one in self._here.items() if name == room]
        self._rooms.room(room).close(reason)
        for somebody in inside:
            somebody.on_left(reason)

    # --- the administrator -------------------------------------------------------

    def dispatch_to(self, assign: Callable[[RoomJob], None]) -> None:
        """Give a worker every room, those that are open already and those to come."""
        self._assign = assign
        for room in self._rooms.live:
            self._dispatch(room)

    def _dispatch(self, room: SimulatedRoom) -> None:
        if self._assign is not None:
            self._assign(
                RoomJob(
                    job_id=self._rooms.next_id("AJ"),
                    room=room.name,
                    room_sid=room.sid,
                    url="simulated",
                    token="simulated",  # noqa: S106  no server, no secret
                    identity=WATCHER,
                    created_at=room.created_at,
                )
            )

    async def create_room(self, name: str, /, *, departure_timeout: int) -> None:  # noqa: ARG002
        self._dispatch(self._rooms.room(name))

    async def delete_room(self, name: str, /) -> None:
        self._end(name, "room_deleted")

    async def remove_participant(self, name: str, identity: str, /) -> None:
        self._here[name, identity].go("participant_removed")

    async def update_room_metadata(self, name: str, metadata: str, /) -> None:
        self._rooms.room(name).set_metadata(metadata)
