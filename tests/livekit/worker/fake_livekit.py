"""A LiveKit server's worker endpoint, for the faults that a real one cannot be made to show.

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

from tests.livekit.worker import messages as m

Handler = Callable[[WebSocketConnection, "FakeLiveKit"], Awaitable[None]]


@define(eq=False)
class FakeLiveKit:
    """`handler` gets each accepted websocket; `speak` behaves well."""

    handler: Handler
    url: str = ""
    opened_at: list[float] = field(factory=list[float])
    """When each connection was accepted, on trio's clock."""
    heard: list[agent.WorkerMessage] = field(factory=list[agent.WorkerMessage])
    refusal: tuple[int, bytes] | None = None
    """Status and body for whoever connects from now on."""
    refused_at: list[float] = field(factory=list[float])
    socket: WebSocketConnection | None = None
    """The newest registered connection."""
    _news: trio.Event = field(factory=trio.Event)

    async def accept(self, request: WebSocketRequest) -> None:
        if self.refusal is not None:
            self.refused_at.append(trio.current_time())
            await request.reject(self.refusal[0], body=self.refusal[1])
            return
        socket = await request.accept()
        self.opened_at.append(trio.current_time())
        self._tell()
        await self.handler(socket, self)

    def hear(self, message: agent.WorkerMessage) -> None:
        self.heard.append(message)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something was heard after which `holds`."""
        with trio.fail_after(60):
            while not holds():
                await self._news.wait()

    async def send(self, data: bytes) -> None:
        assert self.socket is not None
        await self.socket.send_message(data)

    def answers(self) -> dict[str, bool]:
        """What was said to each offer."""
        return {
            message.availability.job_id: message.availability.available
            for message in self.heard
            if message.HasField("availability")
        }

    def statuses(self) -> list[tuple[str, int]]:
        return [
            (message.update_job.job_id, message.update_job.status)
            for message in self.heard
            if message.HasField("update_job")
        ]

    async def dispatch(self, job: agent.Job) -> None:
        """Offer a job and, where it is taken, assign it, as LiveKit does."""
        before = len(self.heard)
        await self.send(m.offer(job))
        await self.until(lambda: any(x.HasField("availability") for x in self.heard[before:]))
        if self.answers()[job.id]:
            await self.send(m.assignment(job))


async def speak(socket: WebSocketConnection, server: FakeLiveKit) -> None:
    """Register whoever asks, answer pings, listen."""
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
            server.hear(message)
    except ConnectionClosed:
        pass


@asynccontextmanager
async def fake_livekit(handler: Handler = speak) -> AsyncGenerator[FakeLiveKit, None]:
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


@asynccontextmanager
async def raw_server(
    handler: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncGenerator[str, None]:
    """A TCP server on loopback; gives its `host:port`."""
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
        try:
            yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        finally:
            nursery.cancel_scope.cancel()


async def read_request(stream: trio.SocketStream) -> bytes:
    """An HTTP request's head and what came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some(65536)
        if not more:
            break
        data += more
    return data


def http_answer(status: str, body: bytes = b"", *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body
