"""Acting on rooms through LiveKit's server API: fills `actors.rooms.room_control.RoomControl`.

Facts about the real server that shape it:

* Muting a track of somebody who is not there, and sending into a room that is not there, are
  answered "unavailable" after 3 s, not "not found".  So it is looked up which of the two it was.
* Deleting a room can be answered "unavailable" although the room is gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, final

from livekit.protocol import models

from actors.rooms.room_control import RoomControl
from actors.rules.limits import PresentPerson, by_join
from actors.session import Permissions
from actors.session.sighting import CALL_STATUS, RINGING
from bridge.livekit.api_errors import NotFound, Unavailable
from bridge.livekit.control_errors import translated
from bridge.livekit.server_api import ServerApi
from bridge.output.harmless import harmless


@final
class LiveKitRoomControl(RoomControl):
    """Acts on the rooms of one LiveKit server."""

    def __init__(self, api: ServerApi) -> None:
        self._api = api

    async def remove(self, room: str, identity: str) -> None:
        with translated():
            await self._api.remove_participant(room, identity)

    async def mute(self, room: str, identity: str, track_sid: str) -> None:
        with translated():
            try:
                track = await self._api.mute_track(room, identity, track_sid)
            except Unavailable:
                people = await self._api.list_participants(room)
                if all(person.identity != identity for person in people):
                    raise NotFound(f"nobody called {harmless(identity)} is in the room") from None
                raise
            if track.sid != track_sid:
                raise NotFound(f"{harmless(identity)} has no track {harmless(track_sid)}")

    async def set_permissions(self, room: str, identity: str, permissions: Permissions) -> None:
        with translated():
            # The server replaces all of them, so those that are not ours are copied.
            listed = await self._api.list_participants(room)
            person = next((one for one in listed if one.identity == identity), None)
            if person is None:
                raise NotFound(f"nobody called {harmless(identity)} is in the room")
            wanted = models.ParticipantPermission()
            wanted.CopyFrom(person.permission)
            wanted.can_publish = permissions.can_publish
            wanted.can_subscribe = permissions.can_subscribe
            wanted.can_publish_data = permissions.can_publish_data
            del wanted.can_publish_sources[:]
            wanted.can_publish_sources.extend(_SOURCES[source] for source in permissions.sources)
            await self._api.update_permissions(room, identity, wanted)

    async def send(
        self, room: str, data: bytes, *, topic: str = "", identities: Sequence[str] = ()
    ) -> None:
        with translated():
            try:
                await self._api.send_data(room, data, topic=topic, identities=identities)
            except Unavailable:
                if not await self._api.list_rooms([room]):
                    raise NotFound(f"there is no room {harmless(room)}") from None
                raise

    async def set_metadata(self, room: str, metadata: str) -> None:
        with translated():
            await self._api.update_room_metadata(room, metadata)

    async def end(self, room: str, room_sid: str) -> None:
        with translated():
            if not await self._is_there(room, room_sid):
                raise NotFound(f"there is no room {harmless(room)} with this SID")
            try:
                await self._api.delete_room(room)
            except Unavailable:
                if await self._is_there(room, room_sid):
                    raise

    async def _is_there(self, room: str, room_sid: str) -> bool:
        return any(one.sid == room_sid for one in await self._api.list_rooms([room]))

    async def people(self, room: str) -> tuple[PresentPerson, ...]:
        with translated():
            listed = await self._api.list_participants(room)
            return tuple(by_join(_person(one) for one in listed if _takes_part(one)))


_SOURCES: Final[Mapping[str, Any]] = {
    "camera": models.TrackSource.CAMERA,
    "microphone": models.TrackSource.MICROPHONE,
    "screen": models.TrackSource.SCREEN_SHARE,
    "screen_audio": models.TrackSource.SCREEN_SHARE_AUDIO,
    "unknown": models.TrackSource.UNKNOWN,
}

_KINDS: Final = frozenset(
    (
        models.ParticipantInfo.Kind.STANDARD,
        models.ParticipantInfo.Kind.SIP,
        models.ParticipantInfo.Kind.CONNECTOR,
    )
)
"""The kinds that are people."""


def _takes_part(info: models.ParticipantInfo) -> bool:
    """True if this is one of the people."""
    permission = info.permission
    return (
        info.kind in _KINDS
        and info.state != models.ParticipantInfo.State.DISCONNECTED
        and not (permission.hidden or permission.recorder or permission.agent)
        and info.attributes.get(CALL_STATUS) not in RINGING
    )


def _person(info: models.ParticipantInfo) -> PresentPerson:
    permission = info.permission
    return PresentPerson(
        info.identity,
        info.sid,
        info.joined_at_ms / 1000 or float(info.joined_at),
        restricted=not (permission.can_publish or permission.can_publish_data),
    )
