"""A TCP proxy on loopback whose lines can be cut, stalled and refused, one room's or all."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import trio
from attrs import define, field

WORKER: Final = "/agent"
"""The purpose of a worker's socket."""
_TOKEN: Final = re.compile(rb"eyJ[\w-]+\.([\w-]+)\.")


@define(eq=False)
class Line:
    """One connection through the proxy."""

    purpose: str
    """`WORKER`, the name of the room whose signalling it is, or empty for calls of the API."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)


@define(eq=False)
class Proxy:
    """See the module.  Where `purpose` is None all lines are meant."""

    target: int
    port: int = 0
    refused: str | None = None
    """New lines of this purpose are closed at once."""
    _lines: set[Line] = field(factory=set[Line])
    _stalled: frozenset[str] = frozenset()
    _flows: trio.Event = field(factory=trio.Event)

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def cut(self, purpose: str | None = None) -> int:
        """End the lines; how many there were."""
        those = [line for line in self._lines if purpose in (None, line.purpose)]
        for line in those:
            line.scope.cancel()
        return len(those)

    def stall(self, *purposes: str) -> None:
        """The lines stay, and nothing goes through them until `flow`."""
        self._stalled = frozenset(purposes)

    def flow(self) -> None:
        self._stalled = frozenset()
        self._flows.set()
        self._flows = trio.Event()

    async def serve(self, client: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, OSError):
            async with client:
                first = await client.receive_some()
                line = Line(purpose_of(first))
                if not first or self.refused == line.purpose:
                    return
                await self._carry(line, client, bytes(first))

    async def _carry(self, line: Line, client: trio.SocketStream, first: bytes) -> None:
        self._lines.add(line)
        try:
            with line.scope:
                async with (
                    await trio.open_tcp_stream("127.0.0.1", self.target) as server,
                    trio.open_nursery() as nursery,
                ):
                    await server.send_all(first)
                    nursery.start_soon(self._copy, line, client, server)
                    await self._copy(line, server, client)
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._lines.discard(line)

    async def _copy(self, line: Line, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        async for chunk in source:
            while line.purpose in self._stalled:
                await self._flows.wait()
            await sink.send_all(chunk)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await sink.send_eof()


def purpose_of(request: bytes) -> str:
    """The purpose of a connection, by its first bytes: a request with a token."""
    path = request.split(b" ", 2)[1:2]
    if path and path[0].startswith(b"/agent"):
        return WORKER
    token = _TOKEN.search(request)
    if not path or not path[0].startswith(b"/rtc") or token is None:
        return ""
    body = token[1] + b"=" * (-len(token[1]) % 4)
    return json.loads(base64.urlsafe_b64decode(body))["video"]["room"]


@asynccontextmanager
async def open_proxy(target: int) -> AsyncGenerator[Proxy, None]:
    """A proxy to `target` on loopback."""
    proxy = Proxy(target)
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, proxy.serve, 0, host="127.0.0.1")
        listeners = await nursery.start(serve)
        proxy.port = listeners[0].socket.getsockname()[1]
        yield proxy
        nursery.cancel_scope.cancel()
