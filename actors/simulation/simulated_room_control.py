"""Acting on simulated rooms: fills `actors.rooms.room_control.RoomControl`.

Each act takes effect at once.  A test that needs another outcome sets `fault`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

from actors.rooms.room_control import ControlNotFound, RoomControl, RoomControlError
from actors.rules.limits import PresentPerson, by_join, is_restricted
from actors.runtime import sleep
from actors.session import Permissions
from actors.session.participant import COUNTED_KINDS
from actors.session.sighting import join_of
from actors.simulation.simulated_person import SimulatedPerson
from actors.simulation.simulated_rooms import SimulatedRoom, SimulatedRooms


@final
class SimulatedRoomControl(RoomControl):
    """Acts on the rooms of one simulated server."""

    def __init__(self, rooms: SimulatedRooms) -> None:
        self._rooms = rooms
        self.fault: Callable[[str, str], RoomControlError | None] = lambda _act, _room: None
        """Asked at each act with its name and the room's; what it gives is raised there, before
        anything happened."""
        self.on_remove: Callable[[SimulatedRoom, SimulatedPerson], object] = lambda _room, _who: (
            None
        )
        """Called before somebody is removed."""
        self.delay: Callable[[str], float] = lambda _act: 0.0
        """Seconds that an act takes before it has its effect."""

    async def remove(self, room: str, identity: str) -> None:
        await self._begin("remove", room)
        person = self._person(room, identity)
        self.on_remove(self._room(room), person)
        person.leave("participant_removed")

    async def mute(self, room: str, identity: str, track_sid: str) -> None:
        await self._begin("mute", room)
        person = self._person(room, identity)
        if track_sid not in person.tracks:
            raise ControlNotFound(f"{identity!r} has no track {track_sid}")
        person.mute(track_sid)

    async def set_permissions(self, room: str, identity: str, permissions: Permissions) -> None:
        await self._begin("set_permissions", room)
        person = self._person(room, identity)
        person.permit(permissions)
        if not permissions.can_publish:
            for track_sid in tuple(person.tracks):
                person.unpublish(track_sid)

    async def send(
        self, room: str, data: bytes, *, topic: str = "", identities: Sequence[str] = ()
    ) -> None:
        await self._begin("send", room)
        target = self._room(room)
        # A watcher gets what is for everybody; a message to some of the people passes it by.
        if not identities:
            target.send_data(data, topic=topic)
        for person in target.people.values():
            if not identities or person.identity in identities:
                person.received.append((topic, data))

    async def set_metadata(self, room: str, metadata: str) -> None:
        await self._begin("set_metadata", room)
        self._room(room).set_metadata(metadata)

    async def end(self, room: str, room_sid: str) -> None:
        await self._begin("end", room)
        target = self._room(room)
        if target.sid != room_sid:
            raise ControlNotFound(f"there is no room {room!r} with the SID {room_sid}")
        target.close("room_deleted")

    async def people(self, room: str) -> tuple[PresentPerson, ...]:
        await self._begin("people", room)
        people = list[PresentPerson]()
        for target in self._rooms.live:
            for one in target.people.values() if target.name == room else ():
                info = one.info()
                join = join_of(info, info.joined_at, answer_observed=True)
                if not one.hidden and info.kind in COUNTED_KINDS and not join.ringing:
                    restricted = is_restricted(info.permissions)
                    people.append(PresentPerson(one.identity, one.sid, one.joined_at, restricted))
        return tuple(by_join(people))

    # ------------------------------------------------------------------ the rooms

    async def _begin(self, act: str, room: str) -> None:
        await sleep(self.delay(act))
        if (fault := self.fault(act, room)) is not None:
            raise fault

    def _room(self, name: str) -> SimulatedRoom:
        for room in self._rooms.live:
            if room.name == name:
                return room
        raise ControlNotFound(f"there is no room {name!r}")

    def _person(self, room: str, identity: str) -> SimulatedPerson:
        person = self._room(room).people.get(identity)
        if person is None:
            raise ControlNotFound(f"nobody called {identity!r} is in room {room!r}")
        return person
