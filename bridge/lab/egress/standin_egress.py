"""A stand-in for LiveKit's egress worker: answers livekit-server, and records nothing.

It takes every start, and reports what the test or the story tells it to report.  The request has
neither a token nor a URL: a worker enters the room with a token of its own, as a hidden recorder
whose identity is the id of the egress.  `enter` does that here.

`kill` ends it as `kill -9` ends a worker: it answers nothing more and reports nothing.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, cast, final

import trio
from attrs import define
from google.protobuf.message import Message
from livekit.protocol import egress

from bridge.lab.egress.psrpc import PsrpcPeer, RpcRefused, StartEgress
from bridge.lab.egress.redis_connection import open_redis

Status: TypeAlias = int
"""One of LiveKit's numbers, `egress.EGRESS_...`."""

INTERNAL: Final = "EgressInternal"
HANDLER: Final = "EgressHandler"
IO: Final = "IOInfo"
ENDED: Final = frozenset(
    {
        egress.EGRESS_COMPLETE,
        egress.EGRESS_FAILED,
        egress.EGRESS_ABORTED,
        egress.EGRESS_LIMIT_REACHED,
    }
)
DURATION: Final = 1_000_000_000
"""Nanoseconds that a file is said to have."""

Leave: TypeAlias = Callable[[], Awaitable[object]]
Enter: TypeAlias = Callable[[str, str], Awaitable[Leave]]
"""Enters a room (its name, the id of the egress) as a hidden recorder; gives how to leave it."""


async def stay_out(_room: str, _egress_id: str) -> Leave:
    """Enter no room."""

    async def leave() -> None:
        await trio.lowlevel.checkpoint()

    await trio.lowlevel.checkpoint()
    return leave


@define(eq=False)
class StandinRecording:
    """One egress of the stand-in."""

    info: egress.EgressInfo
    leave: Leave | None = None


@final
class StandinEgress:
    """Made by `open_standin`."""

    def __init__(self, peer: PsrpcPeer, enter: Enter, scope: trio.CancelScope) -> None:
        self.recordings: dict[str, StandinRecording] = {}
        """By id, in the order of their starts."""
        self.requests: list[egress.StartEgressRequest | egress.RoomCompositeEgressRequest] = []
        """As they came, with their secrets."""
        self.refusal: RpcRefused | None = None
        """Raised for every start while it is set."""
        self.active_at_once = True
        """A recording becomes active by itself; else `report` says so."""
        self.delay = 0.0
        """Seconds from a start until its answer."""
        self.started = trio.Event()
        """Set at the next start; then another event."""
        self._peer = peer
        self._enter = enter
        self._scope = scope
        self._nursery: trio.Nursery | None = None

    async def serve(self, nursery: trio.Nursery) -> None:
        """Take starts; returns when they can come."""
        self._nursery = nursery
        await self._peer.open_client([IO])
        await self._peer.serve(INTERNAL, "StartEgress", self._start)

    def kill(self) -> None:
        """End at once; recorders in rooms stay there until `leave_rooms`."""
        self._scope.cancel()

    async def leave_rooms(self) -> None:
        """Every recorder leaves its room, as LiveKit notices of a worker that was killed."""
        for one in self.recordings.values():
            leave, one.leave = one.leave, None
            if leave is not None:
                await leave()

    async def report(self, egress_id: str, status: Status, error: str = "") -> None:
        """Report a status to livekit-server, which sends its webhooks."""
        one = self.recordings[egress_id]
        info, now = one.info, time.time_ns()
        info.status = cast("Any", status)
        info.updated_at, info.error = now, error
        if status == egress.EGRESS_ACTIVE:
            info.started_at = now
            one.leave = await self._enter(info.room_name, egress_id)
        if status in ENDED:
            info.ended_at = now
            leave, one.leave = one.leave, None
            if leave is not None:
                await leave()
        if status in (egress.EGRESS_COMPLETE, egress.EGRESS_LIMIT_REACHED):
            info.file_results.add(
                filename=_file_of(info), location=_file_of(info), duration=DURATION
            )
        await self._peer.call(IO, "UpdateEgress", info)
        if status in ENDED:
            await self._peer.stop_serving(HANDLER, "StopEgress", egress_id)

    async def _start(self, body: bytes) -> Message:
        request = StartEgress.FromString(body)
        if self.refusal is not None:
            raise self.refusal
        info = egress.EgressInfo(
            egress_id=request.egress_id,
            room_id=request.room_id,
            status=egress.EGRESS_STARTING,
            updated_at=time.time_ns(),
        )
        if request.HasField("egress"):
            self.requests.append(request.egress)
            info.egress.CopyFrom(request.egress)
            info.room_name = request.egress.room_name
            _hide_secrets([one.storage for one in info.egress.outputs])
        else:
            self.requests.append(request.room_composite)
            info.room_composite.CopyFrom(request.room_composite)
            info.room_name = request.room_composite.room_name
            _hide_secrets(list(info.room_composite.file_outputs))
        self.recordings[info.egress_id] = StandinRecording(info)
        await self._peer.call(IO, "CreateEgress", info)
        await self._peer.serve(HANDLER, "StopEgress", self._stop, topic=info.egress_id)
        started, self.started = self.started, trio.Event()
        started.set()
        assert self._nursery is not None
        if self.active_at_once:
            self._nursery.start_soon(self.report, info.egress_id, egress.EGRESS_ACTIVE)
        answer = egress.EgressInfo()
        answer.CopyFrom(info)
        await trio.sleep(self.delay)
        return answer

    async def _stop(self, body: bytes) -> Message:
        egress_id = egress.StopEgressRequest.FromString(body).egress_id
        await self.report(egress_id, egress.EGRESS_ENDING)
        answer = egress.EgressInfo()
        answer.CopyFrom(self.recordings[egress_id].info)
        assert self._nursery is not None
        self._nursery.start_soon(self.report, egress_id, egress.EGRESS_COMPLETE)
        return answer


def _hide_secrets(storages: Sequence[Any]) -> None:
    """As a worker does in the request that it shows."""
    for one in storages:
        for field, secret in (("s3", "secret"), ("gcp", "credentials"), ("azure", "account_key")):
            if one.HasField(field):
                setattr(getattr(one, field), secret, "{redacted}")


def _file_of(info: egress.EgressInfo) -> str:
    if info.HasField("egress"):
        return info.egress.outputs[0].file.filepath
    return info.room_composite.file_outputs[0].filepath


@asynccontextmanager
async def open_standin(
    redis_port: int, enter: Enter = stay_out
) -> AsyncGenerator[StandinEgress, None]:
    """A stand-in at the Redis on this port, for the length of a block."""
    async with (
        open_redis(redis_port) as publisher,
        open_redis(redis_port) as subscriber,
        trio.open_nursery() as outer,
    ):
        scope = trio.CancelScope()
        ready = trio.Event()
        opened: list[StandinEgress] = []

        async def run() -> None:
            with scope:
                async with trio.open_nursery() as nursery:
                    peer = PsrpcPeer(publisher, subscriber, nursery)
                    nursery.start_soon(peer.run)
                    nursery.start_soon(peer.drain_replies)
                    standin = StandinEgress(peer, enter, scope)
                    await standin.serve(nursery)
                    opened.append(standin)
                    ready.set()

        outer.start_soon(run)
        await ready.wait()
        try:
            yield opened[0]
        finally:
            scope.cancel()
