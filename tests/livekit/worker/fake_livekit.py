"""The worker endpoint of a LiveKit server, for faults that a real server cannot be made to show.

`test_contract` holds it to the real server's behaviour on the happy path.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import trio
from attrs import define, field
from livekit.protocol import agent
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    serve_websocket,
)

from tests.livekit.worker import server_messages as m

Handler = Callable[[WebSocketConnection, "FakeLiveKit"], Awaitable[None]]


@define(eq=False)
class FakeLiveKit:
    """`handler` gets each accepted websocket; `serve_worker` behaves like the real server."""

    handler: Handler
    url: str = ""
    opened_at: list[float] = field(factory=list[float])
    """The times at which connections were accepted, on trio's clock."""
    received: list[agent.WorkerMessage] = field(factory=list[agent.WorkerMessage])
    refusal: tuple[int, bytes] | None = None
    """Status and body of the answer to each further connection."""
    refused_at: list[float] = field(factory=list[float])
    socket: WebSocketConnection | None = None
    """The newest registered connection."""
    _changed: trio.Event = field(factory=trio.Event)

    async def accept(self, request: WebSocketRequest) -> None:
        if self.refusal is not None:
            self.refused_at.append(trio.current_time())
            await request.reject(self.refusal[0], body=self.refusal[1])
            return
        socket = await request.accept()
        self.opened_at.append(trio.current_time())
        self._notify()
        await self.handler(socket, self)

    def receive(self, message: agent.WorkerMessage) -> None:
        self.received.append(message)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until a message was received after which `holds` is true."""
        with trio.fail_after(60):
            while not holds():
                await self._changed.wait()

    async def send(self, data: bytes) -> None:
        assert self.socket is not None
        await self.socket.send_message(data)

    def answers(self) -> dict[str, bool]:
        """By job id: whether its offer was accepted."""
        return {
            message.availability.job_id: message.availability.available
            for message in self.received
            if message.HasField("availability")
        }

    def statuses(self) -> list[tuple[str, int]]:
        return [
            (message.update_job.job_id, message.update_job.status)
            for message in self.received
            if message.HasField("update_job")
        ]

    async def dispatch(self, job: agent.Job) -> None:
        """Offer a job and, where it is taken, assign it, as LiveKit does."""
        before = len(self.received)
        await self.send(m.offer(job))
        await self.until(lambda: any(x.HasField("availability") for x in self.received[before:]))
        if self.answers()[job.id]:
            await self.send(m.assignment(job))


async def serve_worker(socket: WebSocketConnection, server: FakeLiveKit) -> None:
    """Register the worker, answer pings, record its messages."""
    try:
        while True:
            data = await socket.get_message()
            assert isinstance(data, bytes)
            message = agent.WorkerMessage.FromString(data)
            if message.HasField("register"):
                server.socket = socket
                await socket.send_message(m.registered(f"AW_{len(server.opened_at)}"))
            elif message.HasField("ping"):
                await socket.send_message(m.pong())
            server.receive(message)
    except ConnectionClosed:
        pass


@asynccontextmanager
async def fake_livekit(handler: Handler = serve_worker) -> AsyncGenerator[FakeLiveKit, None]:
    async with trio.open_nursery() as nursery:
        server = FakeLiveKit(handler)
        websockets = await nursery.start(
            partial(serve_websocket, server.accept, "127.0.0.1", 0, ssl_context=None)
        )
        server.url = f"ws://127.0.0.1:{websockets.port}"
        try:
            yield server
        finally:
            nursery.cancel_scope.cancel()
