"""LiveKit's RPC over Redis, as much of it as an egress worker needs.  Pure but for `PsrpcPeer`.

A call is a message in a channel of its method.  Every server that could do it claims it; the
client picks one of them, which answers in the client's own channel:

    client ──Request──▶        Service|Method[|topic]|REQ
    server ──ClaimRequest──▶   Service|CLIENT|CLAIM
    client ──ClaimResponse──▶  Service|Method[|topic]|RCLAIM
    server ──Response──▶       Service|CLIENT|RES

Source: livekit/psrpc v0.7 (`internal/internal.proto`, `pkg/info/channels.go`, `pkg/client/rpc.go`).
livekit-server takes part in this, so every test with it compares the two.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias, TypeVar, final

import trio
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from livekit.protocol import egress

from bridge.lab.egress.redis_connection import RedisConnection

M = TypeVar("M", bound=Message)

TYPE_URL: Final = "type.googleapis.com/internal."
TIMEOUT: Final = 3.0
"""Seconds for a call to livekit-server."""


class RpcRefused(Exception):
    """A handler raises it: the caller gets this code (Twirp's word) and text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


# ---------------------------------------------------------------- the messages

_KINDS: Final = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
}
_MESSAGES: Final = {
    # message: (field, number, kind); a kind that begins with a dot is another message
    "Msg": (("type_url", 1, "string"), ("value", 2, "bytes")),
    "Request": (
        ("request_id", 1, "string"),
        ("client_id", 2, "string"),
        ("sent_at", 3, "int64"),
        ("expiry", 4, "int64"),
        ("raw_request", 8, "bytes"),
    ),
    "Response": (
        ("request_id", 1, "string"),
        ("server_id", 2, "string"),
        ("sent_at", 3, "int64"),
        ("error", 5, "string"),
        ("code", 6, "string"),
        ("raw_response", 7, "bytes"),
    ),
    "ClaimRequest": (
        ("request_id", 1, "string"),
        ("server_id", 2, "string"),
        ("affinity", 3, "float"),
    ),
    "ClaimResponse": (("request_id", 1, "string"), ("server_id", 2, "string")),
    # rpc.StartEgressRequest of livekit/protocol, which its Python package lacks.
    "StartEgress": (
        ("egress_id", 1, "string"),
        ("room_id", 3, "string"),
        ("room_composite", 5, ".livekit.RoomCompositeEgressRequest"),
        ("egress", 16, ".livekit.StartEgressRequest"),
    ),
}


def _message_classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="room_actors/psrpc.proto",
        package="room_actors_psrpc",
        syntax="proto3",
        dependency=[egress.EgressInfo.DESCRIPTOR.file.name],
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind in fields:
            row = message.field.add(name=field, number=number)
            row.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            if kind.startswith("."):
                row.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                row.type_name = kind
            else:
                row.type = _KINDS[kind]
    pool = descriptor_pool.Default()
    pool.Add(file)
    file_of_pool = pool.FindFileByName(file.name).message_types_by_name
    return {name: message_factory.GetMessageClass(one) for name, one in file_of_pool.items()}


_CLASSES: Final = _message_classes()
Msg: Final = _CLASSES["Msg"]
Request: Final = _CLASSES["Request"]
Response: Final = _CLASSES["Response"]
ClaimRequest: Final = _CLASSES["ClaimRequest"]
ClaimResponse: Final = _CLASSES["ClaimResponse"]
StartEgress: Final = _CLASSES["StartEgress"]


def channel(*parts: str) -> str:
    """The name of a channel.  Parts here are letters, digits and `_`, so nothing is escaped."""
    return "|".join(part for part in parts if part)


def packed(message: Message) -> bytes:
    """A message as it goes through a channel."""
    name = message.DESCRIPTOR.name
    return Msg(type_url=TYPE_URL + name, value=message.SerializeToString()).SerializeToString()


def unpacked(kind: Any, body: bytes) -> Any:
    """The message in `body`, which the channel says is of this kind."""
    return kind.FromString(Msg.FromString(body).value)


# ---------------------------------------------------------------- a peer

Handler: TypeAlias = Callable[[bytes], Awaitable[Message]]
"""Answers one call.  Raises `RpcRefused`."""
OnMessage: TypeAlias = Callable[[bytes], Awaitable[None]]


@final
class PsrpcPeer:
    """Serves calls and makes calls, over two connections to Redis.

    `run` must run while it is used.
    """

    def __init__(
        self, publisher: RedisConnection, subscriber: RedisConnection, nursery: trio.Nursery
    ) -> None:
        self.server_id = f"SRV_{secrets.token_hex(6)}"
        self.client_id = f"CLI_{secrets.token_hex(6)}"
        self._publisher = publisher
        self._subscriber = subscriber
        self._nursery = nursery
        self._channels: dict[str, OnMessage] = {}
        self._subscribed: dict[str, trio.Event] = {}
        self._claims: dict[str, trio.MemorySendChannel[str]] = {}
        self._calls: dict[str, trio.MemorySendChannel[Any]] = {}

    async def run(self) -> None:
        """Read what comes in the channels."""
        while True:
            reply = await self._subscriber.read()
            assert isinstance(reply, list)
            kind, name, body = reply
            assert isinstance(name, bytes)
            if kind == b"subscribe":
                self._subscribed[name.decode()].set()
            elif kind == b"message" and name.decode() in self._channels:
                assert isinstance(body, bytes)
                self._nursery.start_soon(self._channels[name.decode()], body)

    async def drain_replies(self) -> None:
        """Read the replies to what is published: the number of receivers, of no interest."""
        while True:
            await self._publisher.read()

    async def serve(
        self, service: str, method: str, handler: Handler, *, topic: str = "", affinity: float = 1.0
    ) -> None:
        """Answer the calls of a method; returns when they can come."""
        rclaim = channel(service, method, topic, "RCLAIM")

        async def on_request(body: bytes) -> None:
            await self._answer(service, unpacked(Request, body), handler, affinity)

        async def on_claim(body: bytes) -> None:
            claim = unpacked(ClaimResponse, body)
            waiting = self._claims.get(claim.request_id)
            if waiting is not None:
                await waiting.send(claim.server_id)

        await self._subscribe(rclaim, on_claim)
        await self._subscribe(channel(service, method, topic, "REQ"), on_request)

    async def stop_serving(self, service: str, method: str, topic: str = "") -> None:
        """Answer no more."""
        for what in ("REQ", "RCLAIM"):
            name = channel(service, method, topic, what)
            if self._channels.pop(name, None) is not None:
                await self._subscriber.send("UNSUBSCRIBE", name)

    async def _answer(self, service: str, request: Any, handler: Handler, affinity: float) -> None:
        send, receive = trio.open_memory_channel[str](1)
        self._claims[request.request_id] = send
        claim = ClaimRequest(
            request_id=request.request_id, server_id=self.server_id, affinity=affinity
        )
        await self._publish(channel(service, request.client_id, "CLAIM"), claim)
        left = request.expiry / 1e9 - time.time()
        chosen = ""
        with trio.move_on_after(max(0.0, left)):
            chosen = await receive.receive()
        del self._claims[request.request_id]
        if chosen != self.server_id:
            return
        response = Response(request_id=request.request_id, server_id=self.server_id)
        try:
            response.raw_response = (await handler(request.raw_request)).SerializeToString()
        except RpcRefused as refused:
            response.error, response.code = str(refused), refused.code
        response.sent_at = time.time_ns()
        await self._publish(channel(service, request.client_id, "RES"), response)

    async def open_client(self, services: Sequence[str]) -> None:
        """Be able to call the methods of these services."""

        async def on_claim(body: bytes) -> None:
            claim = unpacked(ClaimRequest, body)
            if claim.request_id in self._calls:
                await self._calls[claim.request_id].send(claim)

        async def on_response(body: bytes) -> None:
            response = unpacked(Response, body)
            if response.request_id in self._calls:
                await self._calls[response.request_id].send(response)

        for service in services:
            await self._subscribe(channel(service, self.client_id, "CLAIM"), on_claim)
            await self._subscribe(channel(service, self.client_id, "RES"), on_response)

    async def call(self, service: str, method: str, request: Message) -> bytes:
        """Call a method; its answer, encoded.  Raises `RpcRefused`, or trio.TooSlowError."""
        request_id, now = f"REQ_{secrets.token_hex(6)}", time.time()
        send, receive = trio.open_memory_channel[Any](16)
        self._calls[request_id] = send
        try:
            await self._publish(
                channel(service, method, "REQ"),
                Request(
                    request_id=request_id,
                    client_id=self.client_id,
                    sent_at=int(now * 1e9),
                    expiry=int((now + TIMEOUT) * 1e9),
                    raw_request=request.SerializeToString(),
                ),
            )
            with trio.fail_after(TIMEOUT):
                claim = await receive.receive()
                await self._publish(
                    channel(service, method, "RCLAIM"),
                    ClaimResponse(request_id=request_id, server_id=claim.server_id),
                )
                while not isinstance(answer := await receive.receive(), Response):
                    pass
        finally:
            del self._calls[request_id]
        if answer.error:
            raise RpcRefused(answer.code, answer.error)
        return answer.raw_response

    async def _publish(self, name: str, message: Message) -> None:
        await self._publisher.send("PUBLISH", name, packed(message))

    async def _subscribe(self, name: str, on_message: OnMessage) -> None:
        self._channels[name] = on_message
        event = self._subscribed[name] = trio.Event()
        await self._subscriber.send("SUBSCRIBE", name)
        await event.wait()
