"""Our HTTP server for a test, with a polite client and a rude one."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import trio
from attrs import define, field, frozen
from starlette.requests import Request
from starlette.responses import Response

from bridge.config.http_address import HttpAddress
from bridge.http.server.exchange import App
from bridge.http.server.listener import serve
from bridge.http.server.routes import HttpRoute, app

HANG = 60.0
"""Seconds; only bounds a test that would hang."""


@frozen
class Answer:
    """One answer as it came over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The body, which must be that of an error and fit its status."""
        assert self.headers["content-type"] == "application/problem+json"
        found = json.loads(self.body)
        assert found["status"] == self.status
        assert found["title"]
        return found


def answer_in(said: bytes) -> Answer:
    """The first answer in what a server said before it closed."""
    head, _, body = said.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    return Answer(int(status.split()[1]), headers, body)


def polite(response: httpx2.Response) -> Answer:
    """The same of a polite client's response."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)


@define(eq=False)
class Site:
    """A running server."""

    address: HttpAddress
    http: httpx2.AsyncClient
    over: trio.Event = field(factory=trio.Event)
    """The server has ended."""
    _scope: trio.CancelScope = field(factory=trio.CancelScope)

    def stop(self) -> None:
        """Ask the server to end."""
        self._scope.cancel()

    async def open(self) -> trio.SocketStream:
        """A connection of one's own."""
        return await trio.open_tcp_stream(self.address.host, self.address.port)

    async def say(self, data: bytes, *, end: bool = True) -> bytes:
        """Send this, close our side if `end`, and give all that comes until the other closes."""
        stream = await self.open()
        async with stream:
            await stream.send_all(data)
            if end:
                await stream.send_eof()
            return await read_all(stream)


async def read_all(stream: trio.SocketStream) -> bytes:
    said = bytearray()
    with trio.fail_after(HANG):
        async for data in stream:
            said += data
    return bytes(said)


@asynccontextmanager
async def open_site(
    application: App,
    port: int = 0,
    *,
    bounded: Callable[[str], bool] = lambda _: False,
    most: int | None = None,
) -> AsyncGenerator[Site, None]:
    """Serve `application` on loopback for the length of a block."""
    async with trio.open_nursery() as nursery, httpx2.AsyncClient(timeout=HANG) as http:
        site = Site(HttpAddress("127.0.0.1", port), http)

        async def run(task_status: trio.TaskStatus[HttpAddress]) -> None:
            with site._scope:
                await serve(
                    site.address, application, bounded=bounded, most=most, task_status=task_status
                )
            site.over.set()

        site.address = await nursery.start(run)
        http.base_url = f"http://{site.address}"
        yield site
        site.stop()


def one_row(
    answer: Callable[[Request], Awaitable[Response]], path: str = "/", *, token: str | None = None
) -> App:
    """An application of one GET."""
    return app([HttpRoute("GET", path, answer)], loopback=True, token=token)
