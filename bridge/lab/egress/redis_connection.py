"""One connection to Redis on trio: commands, and messages of channels.

RESP 2 (https://redis.io/docs/latest/develop/reference/protocol-spec/), as much of it as
publishing and subscribing need.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, TypeAlias, final

import trio

from bridge.lab.server.ports import LOOPBACK

Reply: TypeAlias = "bytes | int | list[Reply] | None"

CHUNK: Final = 65_536


class RedisError(Exception):
    """Redis refused a command, or the connection ended."""


@final
class RedisConnection:
    """Commands go out as they come; the caller reads the replies in the same order."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._received = bytearray()
        self._sending = trio.Lock()

    async def send(self, *parts: bytes | str) -> None:
        """Send one command."""
        body = [part.encode() if isinstance(part, str) else part for part in parts]
        command = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in body)
        async with self._sending:
            await self._stream.send_all(b"*%d\r\n%s" % (len(body), command))

    async def read(self) -> Reply:
        """The next reply, or the next message of a channel."""
        line = await self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RedisError(rest.decode(errors="replace"))
        if kind == b"+":
            return rest
        number = int(rest)
        if kind == b":":
            return number
        if number < 0:
            return None
        if kind == b"*":
            return [await self.read() for _ in range(number)]
        data = await self._bytes(number + 2)
        return data[:-2]

    async def _line(self) -> bytes:
        while (end := self._received.find(b"\r\n")) < 0:
            await self._receive()
        return (await self._bytes(end + 2))[:-2]

    async def _bytes(self, number: int) -> bytes:
        while len(self._received) < number:
            await self._receive()
        taken = bytes(self._received[:number])
        del self._received[:number]
        return taken

    async def _receive(self) -> None:
        part = await self._stream.receive_some(CHUNK)
        if not part:
            raise RedisError("the connection to Redis ended")
        self._received += part


@asynccontextmanager
async def open_redis(port: int) -> AsyncGenerator[RedisConnection, None]:
    """A connection to the Redis on a port of this machine."""
    async with await trio.open_tcp_stream(LOOPBACK, port) as stream:
        yield RedisConnection(stream)
