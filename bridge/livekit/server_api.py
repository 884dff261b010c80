"""The calls of LiveKit's server API that we need, on trio.

`livekit.api` is not used.  It needs aiohttp, which does not run on trio, and it does not apply the
timeout that it documents, so a silent server blocks it.  The messages are those of
livekit-protocol.  A Twirp call is a POST of one message and an answer with another.

Every call has a deadline and a token with the least grant that it needs.  It fails with a subclass
of `ApiError` and nothing else (`api_errors`).

Facts about the real server that callers should know:

* `list_participants` of a room that does not exist is an empty list.  Where the server asks the
  rooms' nodes (`api.enable_psrpc_for_get_list_participants`) it is "unavailable" after 3 s.
* `list_dispatch` and `create_dispatch` go to the room itself.  `list_dispatch` of a room that
  does not exist is "unavailable" after three seconds, so its deadline here is shorter.
  `create_dispatch` makes the room.
* `delete_room` takes 3 s and may answer "unavailable" although the room was deleted.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import httpx2
import trio
from attrs import define, field
from google.protobuf.message import Message
from livekit.protocol import agent_dispatch, egress, models, room

from bridge.livekit.api_errors import (
    ApiError,
    MalformedAnswer,
    TimedOut,
    error_of_exception,
    error_of_response,
)
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_clock import ServerClock
from bridge.livekit.tokens import ApiKey

M = TypeVar("M", bound=Message)

DEADLINE: Final = 5.0
"""Seconds for a call, from its beginning to the last byte of its answer."""

START_EGRESS_DEADLINE: Final = 30.0
"""Seconds: where there is Redis and no recorder, the server answers after 22."""

LIST_DISPATCH_DEADLINE: Final = 2.0
"""Seconds: a room that exists answers in milliseconds, a missing one after three seconds."""

MOST_BYTES: Final = 32 << 20
"""Of an answer.  The list of 50,000 rooms without metadata has 10 MB."""

MOST_ERROR_BYTES: Final = 64 << 10
"""Of an answer that is an error."""

CONNECTIONS: Final = 8
"""At once.  Further calls wait for one of these, within their own deadline."""


@define(eq=False)
class ServerApi:
    """LiveKit's server API at one endpoint.  A context manager that closes it at the end."""

    endpoint: Endpoint
    api_key: ApiKey
    deadline: float = DEADLINE
    clock: ServerClock = field(factory=ServerClock)
    """The server's clock, which gets the time of each answer."""
    _http: httpx2.AsyncClient = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._http = httpx2.AsyncClient(
            base_url=self.endpoint.http_url,
            headers={"Accept-Encoding": "identity"},
            timeout=None,  # One deadline around the whole call instead.
            limits=httpx2.Limits(
                max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS
            ),
            # Reading the system's certificates takes 20 ms and 2 MiB: only where needed.
            verify=ssl.create_default_context() if self.endpoint.secure else False,
            # No proxy: the worker's socket and the media could not use it either.
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        await self._http.aclose()

    async def ask_time(self) -> None:
        """Ask the server for its time, if it can be reached.  Needs no valid token."""
        sent_at = self.clock.steady()
        with trio.move_on_after(self.deadline), suppress(httpx2.HTTPError, ApiError):
            async with self._http.stream("GET", "/") as response:
                self.clock.observe_date(response.headers.raw, sent_at)
                await _read("GET /", response)

    # ------------------------------------------------------------------- rooms

    async def list_rooms(self, names: Sequence[str] = ()) -> list[models.Room]:
        """All rooms, or the rooms of `names` that exist."""
        answer = await self._call(
            "RoomService/ListRooms",
            room.ListRoomsRequest(names=names),
            room.ListRoomsResponse,
            {"roomList": True},
        )
        # A room of another name could be taken, and even deleted, without anybody's request.
        return [room for room in answer.rooms if not names or room.name in names]

    async def alive(self) -> frozenset[str]:
        """The SIDs of all rooms that exist."""
        return frozenset(room.sid for room in await self.list_rooms())

    async def create_room(
        self,
        name: str,
        *,
        metadata: str = "",
        empty_timeout: int = 0,
        departure_timeout: int = 0,
        agents: Sequence[str] = (),
    ) -> models.Room:
        """Make a room, with a dispatch for each name of `agents`.

        Timeouts are in whole seconds, 0 for the server's default.  A room that exists is returned
        unchanged.
        """
        return await self._call(
            "RoomService/CreateRoom",
            room.CreateRoomRequest(
                name=name,
                metadata=metadata,
                empty_timeout=empty_timeout,
                departure_timeout=departure_timeout,
                agents=[agent_dispatch.RoomAgentDispatch(agent_name=agent) for agent in agents],
            ),
            models.Room,
            {"roomCreate": True},
        )

    async def delete_room(self, name: str) -> None:
        await self._call(
            "RoomService/DeleteRoom",
            room.DeleteRoomRequest(room=name),
            room.DeleteRoomResponse,
            {"roomCreate": True},
        )

    async def update_room_metadata(self, name: str, metadata: str) -> models.Room:
        return await self._call(
            "RoomService/UpdateRoomMetadata",
            room.UpdateRoomMetadataRequest(room=name, metadata=metadata),
            models.Room,
            _admin(name),
        )

    # ------------------------------------------------------------- participants

    async def list_participants(self, name: str) -> list[models.ParticipantInfo]:
        """All participants of a room, hidden ones too; empty where there is no such room."""
        answer = await self._call(
            "RoomService/ListParticipants",
            room.ListParticipantsRequest(room=name),
            room.ListParticipantsResponse,
            _admin(name),
        )
        return list(answer.participants)

    async def remove_participant(self, name: str, identity: str) -> None:
        await self._call(
            "RoomService/RemoveParticipant",
            room.RoomParticipantIdentity(room=name, identity=identity),
            room.RemoveParticipantResponse,
            _admin(name),
        )

    async def update_permissions(
        self, name: str, identity: str, permission: models.ParticipantPermission
    ) -> None:
        """Replace all permissions of a participant."""
        await self._call(
            "RoomService/UpdateParticipant",
            room.UpdateParticipantRequest(room=name, identity=identity, permission=permission),
            models.ParticipantInfo,
            _admin(name),
        )

    async def mute_track(
        self, name: str, identity: str, track_sid: str, *, muted: bool = True
    ) -> models.TrackInfo:
        """Mute a participant's track.  Servers refuse to unmute, unless configured otherwise.

        Returns the track as it is now, an empty one if the participant has no such track.
        """
        answer = await self._call(
            "RoomService/MutePublishedTrack",
            room.MuteRoomTrackRequest(
                room=name, identity=identity, track_sid=track_sid, muted=muted
            ),
            room.MuteRoomTrackResponse,
            _admin(name),
        )
        return answer.track

    async def send_data(
        self, name: str, data: bytes, *, topic: str = "", identities: Sequence[str] = ()
    ) -> None:
        """Send a reliable data message to all in a room, or to `identities`."""
        await self._call(
            "RoomService/SendData",
            room.SendDataRequest(
                room=name,
                data=data,
                kind=models.DataPacket.Kind.RELIABLE,
                topic=topic,
                destination_identities=identities,
            ),
            room.SendDataResponse,
            _admin(name),
        )

    # ---------------------------------------------------------------- dispatches

    async def list_dispatch(self, name: str) -> list[agent_dispatch.AgentDispatch]:
        """The dispatches of a room, also those whose agent died.  `Unavailable` without a room."""
        answer = await self._call(
            "AgentDispatchService/ListDispatch",
            agent_dispatch.ListAgentDispatchRequest(room=name),
            agent_dispatch.ListAgentDispatchResponse,
            _admin(name),
            deadline=min(self.deadline, LIST_DISPATCH_DEADLINE),
        )
        return list(answer.agent_dispatches)

    async def create_dispatch(
        self, name: str, agent_name: str, metadata: str = ""
    ) -> agent_dispatch.AgentDispatch:
        """Send an agent to a room.  Makes the room if it does not exist.  LiveKit does not check
        whether such an agent is there or on its way."""
        return await self._call(
            "AgentDispatchService/CreateDispatch",
            agent_dispatch.CreateAgentDispatchRequest(
                room=name, agent_name=agent_name, metadata=metadata
            ),
            agent_dispatch.AgentDispatch,
            _admin(name),
        )

    async def delete_dispatch(self, name: str, dispatch_id: str) -> None:
        """Take a dispatch back.  LiveKit asks its agent to leave, and removes it if it stays."""
        await self._call(
            "AgentDispatchService/DeleteDispatch",
            agent_dispatch.DeleteAgentDispatchRequest(room=name, dispatch_id=dispatch_id),
            agent_dispatch.AgentDispatch,
            _admin(name),
        )

    # -------------------------------------------------------------------- egress

    async def start_egress(self, request: egress.StartEgressRequest) -> egress.EgressInfo:
        """Record.  Two calls make two recordings.  `NotSupported` by servers that know only
        `start_room_egress`."""
        return await self._call(
            "Egress/StartEgress",
            request,
            egress.EgressInfo,
            _RECORD,
            deadline=START_EGRESS_DEADLINE,
        )

    async def start_room_egress(
        self, request: egress.RoomCompositeEgressRequest
    ) -> egress.EgressInfo:
        """Record a room.  Two calls make two recordings."""
        return await self._call(
            "Egress/StartRoomCompositeEgress",
            request,
            egress.EgressInfo,
            _RECORD,
            deadline=START_EGRESS_DEADLINE,
        )

    async def stop_egress(self, egress_id: str) -> egress.EgressInfo:
        """`ApiRefused` or `NotFound`, after 3 s, where it is over."""
        return await self._call(
            "Egress/StopEgress",
            egress.StopEgressRequest(egress_id=egress_id),
            egress.EgressInfo,
            _RECORD,
        )

    async def list_egress(
        self, name: str = "", *, egress_id: str = "", active: bool = False
    ) -> list[egress.EgressInfo]:
        """The egresses of a room, or one of this id.

        Those that are over are kept for a day; `active` leaves them out.
        """
        assert name or egress_id, "the server would read everything"
        answer = await self._call(
            "Egress/ListEgress",
            egress.ListEgressRequest(room_name=name, egress_id=egress_id, active=active),
            egress.ListEgressResponse,
            _RECORD,
        )
        return list(answer.items)

    # ---------------------------------------------------------------------- Twirp

    async def _call(
        self,
        method: str,
        request: Message,
        answer: type[M],
        grant: Mapping[str, Any],
        *,
        deadline: float | None = None,
    ) -> M:
        seconds, sent_at = self.deadline if deadline is None else deadline, self.clock.steady()
        sent = self._http.stream(
            "POST",
            f"/twirp/livekit.{method}",
            content=request.SerializeToString(),
            headers={
                "Content-Type": "application/protobuf",
                "Authorization": f"Bearer {self.api_key.sign(grant)}",
            },
        )
        try:
            with trio.fail_after(seconds):
                async with sent as response:
                    self.clock.observe_date(response.headers.raw, sent_at)
                    body = await _read(method, response)
        except trio.TooSlowError:
            raise TimedOut(f"{method}: no answer within {seconds:g} s") from None
        except httpx2.HTTPError as error:
            raise error_of_exception(method, error) from None
        if response.status_code != 200:
            raise error_of_response(method, response.status_code, body)
        try:
            return answer.FromString(body)
        except Exception:  # noqa: BLE001  any fault is one of bytes that are not ours
            raise MalformedAnswer(f"{method}: not a {answer.DESCRIPTOR.name}") from None


async def _read(method: str, response: httpx2.Response) -> bytes:
    """The body as it was sent, up to a bound.

    Nothing is unpacked: a kilobyte could become a gigabyte, and we asked for no encoding.
    """
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise MalformedAnswer(f"{method}: an answer that is encoded, which was not asked for")
    most = MOST_BYTES if response.status_code == 200 else MOST_ERROR_BYTES
    body = bytearray()
    with trio.CancelScope() as reading:
        async for part in response.aiter_raw():
            body += part
            if len(body) > most:
                # The client's generators only end when they are cancelled.
                reading.cancel()
    if len(body) > most:
        raise MalformedAnswer(f"{method}: an answer of more than {most} bytes")
    return bytes(body)


_RECORD: Final[Mapping[str, Any]] = {"roomRecord": True}


def _admin(name: str) -> Mapping[str, Any]:
    return {"roomAdmin": True, "room": name}
