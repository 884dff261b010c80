"""Receivers of webhooks on loopback, good and bad."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeAlias

import h11
import trio
from attrs import define, field

HERE: Final = Path(__file__).parent
CERTIFICATE: Final = HERE / "receiver.pem"
"""A certificate for localhost, signed by itself."""

Answer: TypeAlias = Callable[[trio.abc.Stream, "Received"], Awaitable[bool]]
"""Answers one request; whether the connection stays open."""


@define
class Received:
    """One request."""

    headers: dict[str, str]
    body: bytes


@define(eq=False)
class Receiver:
    """A server that keeps what it was sent."""

    port: int
    received: list[Received] = field(factory=list[Received])
    connections: int = 0
    _more: trio.Event = field(factory=trio.Event)

    def take(self, request: Received) -> None:
        self.received.append(request)
        more, self._more = self._more, trio.Event()
        more.set()

    async def until(self, holds: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until what was received makes this true."""
        with trio.fail_after(seconds):
            while not holds():
                await self._more.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?from=test"


def status(code: int, *headers: str, body: bytes = b"") -> Answer:
    """Answer with this status."""

    async def answer(stream: trio.abc.Stream, _: Received) -> bool:
        lines = (f"HTTP/1.1 {code} X", f"Content-Length: {len(body)}", *headers, "", "")
        await stream.send_all("\r\n".join(lines).encode() + body)
        return True

    return answer


async def hang(stream: trio.abc.Stream, _: Received) -> bool:
    await trio.sleep_forever()
    return False


async def endless_body(stream: trio.abc.Stream, _: Received) -> bool:
    """A gigabyte, as long as somebody reads."""
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
    with trio.CancelScope():
        try:
            for _number in range(1024):
                await stream.send_all(bytes(1 << 20))
        except trio.BrokenResourceError:
            pass
    return False


async def endless_head(stream: trio.abc.Stream, _: Received) -> bool:
    try:
        await stream.send_all(b"HTTP/1.1 200 OK\r\n")
        while True:
            await stream.send_all(b"x-more: " + b"a" * 4000 + b"\r\n")
    except trio.BrokenResourceError:
        return False


async def endless_continue(stream: trio.abc.Stream, _: Received) -> bool:
    try:
        while True:
            await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)
    except trio.BrokenResourceError:
        return False


def drop_by_drop(text: bytes, pause: float = 0.01) -> Answer:
    """Send this byte by byte, and then the last one for ever."""

    async def answer(stream: trio.abc.Stream, _: Received) -> bool:
        try:
            for byte in text:
                await stream.send_all(bytes([byte]))
                await trio.sleep(pause)
            while True:
                await stream.send_all(text[-1:])
                await trio.sleep(pause)
        except trio.BrokenResourceError:
            return False

    return answer


def cut_after(text: bytes) -> Answer:
    """Send this and close the connection."""

    async def answer(stream: trio.abc.Stream, _: Received) -> bool:
        await stream.send_all(text)
        return False

    return answer


async def garbage(stream: trio.abc.Stream, _: Received) -> bool:
    await stream.send_all(b"\x16\x03\x01\x00<html>\x1b[31m\r\n\r\n")
    return False


async def close_at_once(stream: trio.abc.Stream, _: Received) -> bool:
    return False


def in_order(*answers: Answer) -> Answer:
    """One answer after the other; the last one again and again."""
    waiting = list(answers)

    async def answer(stream: trio.abc.Stream, request: Received) -> bool:
        this = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return await this(stream, request)

    return answer


@asynccontextmanager
async def receiving(
    answer: Answer, *, tls: bool = False, port: int = 0
) -> AsyncGenerator[Receiver]:
    """A receiver on loopback, on a free port or this one, which ends with the block."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        receiver = Receiver(listeners[0].socket.getsockname()[1])

        async def serve(stream: trio.abc.Stream) -> None:
            receiver.connections += 1
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(CERTIFICATE, HERE / "receiver.key")
                stream = trio.SSLStream(stream, context, server_side=True)
            try:
                await _serve(stream, answer, receiver)
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                pass
            finally:
                await trio.aclose_forcefully(stream)

        nursery.start_soon(trio.serve_listeners, serve, listeners)
        yield receiver
        nursery.cancel_scope.cancel()


async def _serve(stream: trio.abc.Stream, answer: Answer, receiver: Receiver) -> None:
    while True:
        conn = h11.Connection(h11.SERVER)
        request: Received | None = None
        while True:
            event = conn.next_event()
            if event is h11.NEED_DATA:
                data = bytes(await stream.receive_some(65536))
                if not data and request is None:
                    return
                conn.receive_data(data)
            elif isinstance(event, h11.Request):
                headers = {name.decode(): value.decode() for name, value in event.headers}
                request = Received(headers, b"")
            elif isinstance(event, h11.Data):
                assert request is not None
                request.body += bytes(event.data)
            else:
                break
        assert request is not None
        receiver.take(request)
        if not await answer(stream, request):
            return
