"""Acting on rooms through LiveKit's server API: fills `actors.rooms.room_control.RoomControl`.

Facts about the real server that shape it:

* Muting a track of somebody who is not there, and sending into a room that is not there, are
  answered "unavailable" after 3 s, not "not found".  So it is looked up which of the two it was.
* Deleting a room can be answered "unavailable" although the room is gone.
* Recording needs Redis.  Without it `ListEgress` is an internal error that says so, but a start
  is "unavailable", as where no recorder answers.  So the list is asked first.
* Without a recorder a start is answered after 22 s, so it has a deadline of its own.
* Stopping a recording that is over is "failed precondition" or "not found" after 3 s.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, final

from livekit.protocol import egress, models

from actors.rooms.room_control import (
    ControlNotFound,
    ControlRefused,
    ControlTimedOut,
    ControlUnavailable,
    ControlUnsupported,
    RecordingRequest,
    RecordingState,
    RecordingStatus,
    RoomControl,
    RoomControlError,
)
from actors.rules.limits import PresentPerson, by_join
from actors.session.sighting import CALL_STATUS, RINGING
from bridge.livekit.api_errors import (
    ApiError,
    ApiRefused,
    NotFound,
    NotSupported,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from bridge.livekit.server_api import ServerApi
from bridge.output.harmless import harmless

MOST_ERROR: Final = 200
"""Characters of a recorder's error text."""

_BY_API_ERROR: Final[tuple[tuple[type[ApiError], type[RoomControlError]], ...]] = (
    (NotFound, ControlNotFound),
    (NotSupported, ControlUnsupported),
    (Unauthorized, ControlRefused),
    (ApiRefused, ControlRefused),
    (TimedOut, ControlTimedOut),
    (ApiError, ControlUnavailable),
)
"""In this order, because `TimedOut` is an `Unavailable`."""

_NO_REDIS: Final = "redis required"
"""Part of the text with which a server without Redis answers egress calls."""

_STATUS: Final[Mapping[int, RecordingStatus]] = {
    egress.EGRESS_STARTING: "starting",
    egress.EGRESS_ACTIVE: "active",
    egress.EGRESS_ENDING: "ending",
    egress.EGRESS_COMPLETE: "complete",
    egress.EGRESS_FAILED: "failed",
    egress.EGRESS_ABORTED: "failed",
    egress.EGRESS_LIMIT_REACHED: "complete",
}


@final
class LiveKitRoomControl(RoomControl):
    """Acts on the rooms of one LiveKit server."""

    def __init__(self, api: ServerApi) -> None:
        self._api = api

    async def remove(self, room: str, identity: str) -> None:
        with _translated():
            await self._api.remove_participant(room, identity)

    async def mute(self, room: str, identity: str, track_sid: str) -> None:
        with _translated():
            try:
                track = await self._api.mute_track(room, identity, track_sid)
            except Unavailable:
                people = await self._api.list_participants(room)
                if all(person.identity != identity for person in people):
                    raise NotFound(f"nobody called {harmless(identity)} is in the room") from None
                raise
            if track.sid != track_sid:
                raise NotFound(f"{harmless(identity)} has no track {harmless(track_sid)}")

    async def send(
        self, room: str, data: bytes, *, topic: str = "", identities: Sequence[str] = ()
    ) -> None:
        with _translated():
            try:
                await self._api.send_data(room, data, topic=topic, identities=identities)
            except Unavailable:
                if not await self._api.list_rooms([room]):
                    raise NotFound(f"there is no room {harmless(room)}") from None
                raise

    async def set_metadata(self, room: str, metadata: str) -> None:
        with _translated():
            await self._api.update_room_metadata(room, metadata)

    async def end(self, room: str, room_sid: str) -> None:
        with _translated():
            if not await self._is_there(room, room_sid):
                raise NotFound(f"there is no room {harmless(room)} with this SID")
            try:
                await self._api.delete_room(room)
            except Unavailable:
                if await self._is_there(room, room_sid):
                    raise

    async def _is_there(self, room: str, room_sid: str) -> bool:
        return any(one.sid == room_sid for one in await self._api.list_rooms([room]))

    async def record(self, room: str, request: RecordingRequest) -> RecordingState:
        with _translated():
            # Without Redis this fails at once; a start would be "unavailable" after a while.
            await self._api.list_egress(room)
            return _state(
                await self._api.start_room_egress(
                    egress.RoomCompositeEgressRequest(
                        room_name=room,
                        layout=request.layout,
                        audio_only=request.audio_only,
                        file_outputs=[egress.EncodedFileOutput(filepath=request.path)],
                    )
                )
            )

    async def stop_recording(self, egress_id: str) -> None:
        with _translated():
            try:
                await self._api.stop_egress(egress_id)
            except ApiRefused as over:
                raise NotFound(str(over)) from None

    async def people(self, room: str) -> tuple[PresentPerson, ...]:
        with _translated():
            listed = await self._api.list_participants(room)
            return tuple(by_join(_person(one) for one in listed if _takes_part(one)))

    async def recordings(self, room: str) -> tuple[RecordingState, ...]:
        with _translated():
            states = (_state(info) for info in await self._api.list_egress(room))
            return tuple(state for state in states if not state.is_over)


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


def _state(info: egress.EgressInfo) -> RecordingState:
    status = _STATUS.get(info.status, "failed")
    return RecordingState(info.egress_id, status, harmless(info.error, MOST_ERROR))


@contextmanager
def _translated() -> Generator[None, None, None]:
    """Translate the server API's errors into the port's."""
    try:
        yield
    except ApiError as error:
        raise _error_of(error) from None


def _error_of(error: ApiError) -> RoomControlError:
    text = str(error)
    if _NO_REDIS in text:
        return ControlUnsupported(f"{text}: this LiveKit server has no Redis, so it cannot record")
    return next(ours for theirs, ours in _BY_API_ERROR if isinstance(error, theirs))(text)
