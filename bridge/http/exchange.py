"""One HTTP/1.1 connection: h11 on the side of the socket, ASGI on the side of the application.

Why not hypercorn: on trio its 0.18 lets one request without a token end the process
(`Upgrade: h2c` with a broken `HTTP2-Settings` raises out of its server), never ends
while a client does not read (it sends under a shield), and brings HTTP/2 and 2.8 MiB
that nobody here uses.  h11 is the whole protocol and was already here.

What a client can cost is bounded: `HEAD_BYTES` of headers that must be there in
`HEAD_SECONDS`, `STALL_SECONDS` without taking any of our answer, `LINGER_SECONDS` at
the end.  How much of a body is read, and for how long, is the application's to say.

No upgrades (HTTP/2, websockets): such a request is answered as if it had not asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AbstractContextManager, suppress
from email.utils import formatdate
from typing import Any, Final, TypeAlias, final
from urllib.parse import unquote

import h11
import structlog
import trio

from bridge.http.problem import PROBLEM_JSON, problem_body

log = structlog.get_logger()

Message: TypeAlias = MutableMapping[str, Any]
"""An ASGI scope or event."""
App: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
"""An ASGI 3 application.  Lifespan is not spoken: ours has nothing to open."""

HEAD_BYTES: Final = 16 * 1024
"""Of a request line and its headers, where they do not come in one piece."""
HEAD_SECONDS: Final = 15.0
"""From a connection's start, or its last answer, until the next request's headers are here."""
STALL_SECONDS: Final = 20.0
"""For which a client may take none of our answer."""
LINGER_SECONDS: Final = 1.0
"""For which a client that still sends is read after our last answer.  Closing at once
would reset the connection, and with it the answer it has not read yet."""
LINGER_BYTES: Final = 4 * 1024 * 1024
PIECE: Final = 64 * 1024
"""Bytes read or written at once."""

DISCONNECT: Final[Message] = {"type": "http.disconnect"}


class ClientGoneError(OSError):
    """Nobody is there to take the answer.  An `OSError`, as ASGI wants it."""


Waiting: TypeAlias = Callable[[], AbstractContextManager[trio.CancelScope]]
"""Marks the time in which a connection has no request that will be answered; whoever gave it
may cancel then."""


async def converse(stream: trio.SocketStream, app: App, waiting: Waiting) -> None:
    """Answer the requests of one connection until one side has had enough."""
    try:
        wire = _Wire(stream)
    except OSError:  # it was reset before we came to it
        return
    while True:
        try:
            with waiting() as scope:
                request = await wire.next_event()
            if scope.cancelled_caught:
                if wire.half_a_head and trio.current_time() >= scope.deadline:
                    await _send_away(wire, 408, waiting)
                return  # at once where it had to make place
            if not isinstance(request, h11.Request):
                return
            if not request.target.startswith(b"/"):
                await _send_away(wire, 400, waiting)
                return
            await _Exchange(wire, request).run(app)
        except h11.RemoteProtocolError as error:
            await _send_away(wire, error.error_status_hint, waiting)
            return
        except ClientGoneError:
            return
        if not await wire.can_go_on():
            return


async def _send_away(wire: _Wire, status: int, waiting: Waiting) -> None:
    """Refuse, and meanwhile make place for whoever has a request."""
    with waiting():
        await wire.refuse(status)


@final
class _Wire:
    """A socket that speaks HTTP/1.1.  Raises `ClientGoneError` and h11's errors."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.client, self.server = stream.socket.getpeername()[:2], stream.socket.getsockname()[:2]
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        self.gone = False

    @property
    def half_a_head(self) -> bool:
        return bool(self.h11.trailing_data[0])

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        """What the client says next.  Raises `h11.RemoteProtocolError` where it is not HTTP."""
        while True:
            event = self.h11.next_event()
            if event is not h11.NEED_DATA:
                return event  # pyright: ignore[reportReturnType] (not the type NEED_DATA)
            if self.h11.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.h11.receive_data(await self._receive())

    async def until_gone(self) -> None:
        """Wait until the client closes its side.  What it sends meanwhile is the next request."""
        while data := await self._receive():
            self.h11.receive_data(data)
            if len(self.h11.trailing_data[0]) > HEAD_BYTES:
                await trio.sleep_forever()
        self.h11.receive_data(b"")

    async def send(self, *events: h11.Event) -> None:
        """Raises `ClientGoneError`."""
        data = memoryview(b"".join(self.h11.send(event) or b"" for event in events))
        try:
            for start in range(0, len(data), PIECE):
                with trio.fail_after(STALL_SECONDS):
                    await self.stream.send_all(data[start : start + PIECE])
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            self.gone = True
            raise ClientGoneError("the client is gone") from None

    async def refuse(self, status: int) -> None:
        """Answer what no application ever sees: not HTTP, or not in time."""
        if self.gone or self.h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = problem_body(status)
        headers = [
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", str(len(body)).encode()),
        ]
        with suppress(ClientGoneError):
            await self.send(
                _head(status, headers, last=True), h11.Data(data=body), h11.EndOfMessage()
            )
            await self._linger()

    async def can_go_on(self) -> bool:
        """Whether there can be another request; otherwise the connection is done with."""
        if self.gone:
            return False
        if self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE:
            self.h11.start_next_cycle()
            return True
        if self.h11.their_state is h11.SEND_BODY:
            await self._linger()
        return False

    async def _receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(PIECE))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.gone = True
            raise ClientGoneError("the client is gone") from None

    async def _linger(self) -> None:
        left = LINGER_BYTES
        with trio.move_on_after(LINGER_SECONDS):
            with suppress(trio.BrokenResourceError, ClientGoneError):
                await self.stream.send_eof()
                while left > 0 and (data := await self._receive()):
                    left -= len(data)


def _head(status: int, headers: list[tuple[bytes, bytes]], *, last: bool) -> h11.Response:
    """The head of an answer; `last` tells the client that the connection ends with it."""
    dated = [*headers, (b"date", formatdate(usegmt=True).encode())]
    return h11.Response(
        status_code=status, headers=[*dated, (b"connection", b"close")] if last else dated
    )


@final
class _Exchange:
    """One request and its answer."""

    def __init__(self, wire: _Wire, request: h11.Request) -> None:
        self._wire = wire
        self._request = request
        self._head: h11.Response | None = None
        """Held back until the body begins, so that both leave in one packet."""
        self._all_read = False
        self._end_told = False
        """The application knows that it has the whole body."""
        self._answered = False

    async def run(self, app: App) -> None:
        await self._skip_missing_body()
        try:
            await app(self._scope(), self._receive, self._send)
        except Exception:
            if not self._wire.gone:
                log.exception("http_request_failed", **self._about())
        else:
            if not self._answered and not self._wire.gone:
                log.error("http_answer_missing", **self._about())
        if not self._answered:
            await self._wire.refuse(500)

    async def _skip_missing_body(self) -> None:
        """A request without a body has an end all the same, and it is here already."""
        headers = dict(self._request.headers)
        if b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0":
            await self._wire.next_event()
            self._all_read = True

    def _about(self) -> dict[str, str]:
        path = self._request.target.partition(b"?")[0]
        return {"method": self._request.method.decode(), "path": path.decode("latin-1")}

    def _scope(self) -> Message:
        path, _, query = self._request.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": self._request.http_version.decode(),
            "method": self._request.method.decode().upper(),
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(self._request.headers),
            "client": self._wire.client,
            "server": self._wire.server,
        }

    async def _receive(self) -> Message:
        """The next piece of the body; once it is whole, the client's end."""
        try:
            if not self._all_read:
                event = await self._wire.next_event()
                if isinstance(event, h11.Data):
                    return {"type": "http.request", "body": bytes(event.data), "more_body": True}
                self._all_read = True
            if not self._end_told:
                self._end_told = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if not self._answered:
                await self._wire.until_gone()
        except (h11.RemoteProtocolError, ClientGoneError):
            pass  # a body cut short: the application may still say so
        return DISCONNECT

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            self._head = _head(message["status"], headers, last=not self._all_read)
            return
        events: list[h11.Event] = []
        if self._head is not None:
            events.append(self._head)
            self._head = None
        body = message.get("body", b"")
        if body and self._request.method != b"HEAD":
            events.append(h11.Data(data=body))
        if not message.get("more_body", False):
            events.append(h11.EndOfMessage())
            self._answered = True
        await self._wire.send(*events)
