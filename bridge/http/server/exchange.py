"""One HTTP/1.1 connection: h11 on the side of the socket, ASGI on the side of the application.

Why not hypercorn: on trio its 0.18 lets one request without a token end the process
(`Upgrade: h2c` with a broken `HTTP2-Settings` raises out of its server), never ends
while a client does not read (it sends under a shield), and brings HTTP/2 and 2.8 MiB
that nobody here uses.  h11 is the whole protocol and was already here.

What a client can cost is bounded: `HEAD_BYTES` of a request line and headers, however they
arrive, that must be there in `HEAD_SECONDS`; `STALL_SECONDS` without taking any of our
answer; `LINGER_SECONDS` at the end.  How much of a body is read, and for how long, is the
application's to say.  A connection that waits for its client can be closed to make place
for another (`ConnectionSlot`), and all answers under way share one `AnswerBudget` of bytes.

A head is collected here and given to h11 whole: h11 itself bounds only a head that is not
complete.  What makes its pattern of a header line slow (quadratic in blanks before a
character that no header may have) is refused before (`_illegal`).  Trailers of a chunked
body, which have the same pattern, are bounded by `CHUNK_BYTES`.

No upgrades (HTTP/2, websockets): such a request is answered as if it had not asked.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, suppress
from email.utils import formatdate
from typing import Any, Final, Protocol, TypeAlias, final
from urllib.parse import unquote

import h11
import structlog
import trio

from bridge.http.server.answer_budget import AnswerBudget
from bridge.http.server.problem import PROBLEM_JSON, problem_body

log = structlog.get_logger()

Message: TypeAlias = MutableMapping[str, Any]
"""An ASGI scope or event."""
App: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
"""An ASGI 3 application.  Lifespan is not spoken: ours has nothing to open."""

HEAD_BYTES: Final = 16 * 1024
"""Of a request line and its headers."""
CHUNK_BYTES: Final = 512
"""That h11 gets at once of a body without a length, and the most that the line before a chunk,
or what follows the last one, may have.  h11 is quadratic there too, and nobody sends more."""
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
BUDGET: Final = "room_actors.budget"
"""The ASGI extension under which a request finds the `AnswerBudget` of all answers."""

RETRY_AFTER: Final = (b"retry-after", b"5")
"""Seconds, of an answer that is refused because there is no place for it."""

_HEAD_END: Final = re.compile(rb"\n\r?\n")
_illegal: Final = re.compile(rb"[\x00\x0b\x0c]|\r(?!\n)").search
"""Characters that no header may have.  Linear."""

DISCONNECT: Final[Message] = {"type": "http.disconnect"}


class ClientGoneError(OSError):
    """Nobody is there to take the answer.  An `OSError`, as ASGI wants it."""


class ConnectionSlot(Protocol):
    """A connection's place among all connections; the server gives it."""

    @property
    def budget(self) -> AnswerBudget:
        """Of all answers together."""
        ...

    def waiting(self, *, within: float | None = None) -> AbstractContextManager[trio.CancelScope]:
        """Marks the time in which the connection waits for its client, `within` seconds at
        most (of None: `HEAD_SECONDS`).  The server may cancel then, to make place."""
        ...

    def request(self, path: bytes) -> AbstractContextManager[bool]:
        """A request is under way for the length of the block; False where there is no place."""
        ...


async def converse(stream: trio.SocketStream, app: App, place: ConnectionSlot) -> None:
    """Answer the requests of one connection until one side has had enough."""
    try:
        wire = _Wire(stream, place)
    except OSError:  # it was reset before we came to it
        return
    try:
        while await _answer_next(wire, app) and await wire.can_go_on():
            pass
    except h11.RemoteProtocolError as error:
        await wire.refuse(error.error_status_hint)
    except ClientGoneError:
        pass


async def _answer_next(wire: _Wire, app: App) -> bool:
    """One request; False where the connection is done with."""
    with wire.place.waiting() as scope:
        request = await wire.next_event()
    if scope.cancelled_caught:
        if wire.half_a_head and trio.current_time() >= scope.deadline:
            await wire.refuse(408)
        return False  # at once where it had to make place
    if not isinstance(request, h11.Request):
        return False
    if wrong := _wrong(request):
        await wire.refuse(wrong)
        return False
    with wire.place.request(request.target.partition(b"?")[0]) as admitted:
        if admitted:
            await _Exchange(wire, request).run(app)
        else:
            await wire.refuse(503, RETRY_AFTER)
    return admitted


def _wrong(request: h11.Request) -> int:
    """The status of what h11 takes and we do not; 0 of a good request."""
    if request.http_version[:1] != b"1":
        return 505
    names = {name for name, _ in request.headers}
    # Where such a body ends can be read in two ways (RFC 9112, 6.1 and 6.3).
    two_ends = b"transfer-encoding" in names and (
        b"content-length" in names or request.http_version < b"1.1"
    )
    return 400 if two_ends or not request.target.startswith(b"/") else 0


@final
class _Wire:
    """A socket that speaks HTTP/1.1.  Raises `ClientGoneError` and h11's errors."""

    def __init__(self, stream: trio.SocketStream, place: ConnectionSlot) -> None:
        self.stream = stream
        self.place = place
        self.client, self.server = stream.socket.getpeername()[:2], stream.socket.getsockname()[:2]
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=CHUNK_BYTES)
        self.gone = False
        self._ahead = bytearray()
        """What came and h11 has not got yet."""
        self._looked = 0
        """So much of it has no end of a head."""
        self._body_left = 0
        """Bytes of a body of known length that h11 has not got yet."""
        self._chunked = False
        """The body has no known length: nothing can follow it, as h11 may have taken it."""

    @property
    def half_a_head(self) -> bool:
        return bool(self._ahead)

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        """What the client says next.  Raises `h11.RemoteProtocolError` where it is not HTTP."""
        while True:
            event = self.h11.next_event()
            if isinstance(event, h11.Request):
                headers = dict(event.headers)
                self._chunked = b"transfer-encoding" in headers
                self._body_left = int(headers.get(b"content-length", b"0"))
            if event is not h11.NEED_DATA:
                return event  # pyright: ignore[reportReturnType] (not the type NEED_DATA)
            if self.h11.their_state is h11.IDLE:
                self.h11.receive_data(await self._next_head())
            else:
                self.h11.receive_data(await self._more_body())

    async def until_gone(self) -> None:
        """Wait until the client closes its side.  What it sends meanwhile is the next request."""
        while data := await self._receive():
            self._ahead += data
            if len(self._ahead) > HEAD_BYTES:
                await trio.sleep_forever()

    async def send(self, *events: h11.Event) -> None:
        """Raises `ClientGoneError`."""
        data = memoryview(b"".join(self.h11.send(event) or b"" for event in events))
        try:
            for start in range(0, len(data), PIECE):
                with self.place.waiting(within=STALL_SECONDS) as scope:
                    await self.stream.send_all(data[start : start + PIECE])
                if scope.cancelled_caught:
                    raise trio.TooSlowError
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            self.gone = True
            raise ClientGoneError("the client is gone") from None

    async def refuse(self, status: int, *more: tuple[bytes, bytes]) -> None:
        """Answer what no application ever sees: not HTTP, not in time, no place for it."""
        if self.gone or self.h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = problem_body(status)
        headers = [
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", str(len(body)).encode()),
            *more,
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
            if self._chunked:
                return False
            self.h11.start_next_cycle()
            return True
        if self.h11.their_state is h11.SEND_BODY:
            await self._linger()
        return False

    @property
    def ends(self) -> bool:
        """There will be no other request, whatever the client wishes."""
        return self._chunked

    async def _next_head(self) -> bytes:
        """A request line and its headers, whole; less where no more comes or it is no head."""
        while True:
            end = _HEAD_END.search(self._ahead, self._looked)
            size = len(self._ahead) if end is None else end.end()
            if size > HEAD_BYTES:
                raise h11.RemoteProtocolError("the head is too long", error_status_hint=431)
            # A line that begins like this is none (TLS): nothing more need come.
            if end is not None or (self._ahead and self._ahead[0] < 0x21):
                break
            self._looked = max(0, size - 3)
            data = await self._receive()
            if not data:
                return self._take(size)
            self._ahead += data
        if _illegal(self._ahead, 0, size):
            raise h11.RemoteProtocolError("a character that no header may have")
        return self._take(size)

    async def _more_body(self) -> bytes:
        if not self._ahead:
            if self.h11.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._ahead += await self._receive()
        most = CHUNK_BYTES if self._chunked else min(HEAD_BYTES, self._body_left)
        data = self._take(most)
        self._body_left -= len(data)
        return data

    def _take(self, size: int) -> bytes:
        taken = bytes(self._ahead[:size])
        del self._ahead[:size]
        self._looked = 0
        return taken

    async def _receive(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(PIECE))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.gone = True
            raise ClientGoneError("the client is gone") from None

    async def _linger(self) -> None:
        left = LINGER_BYTES
        with (
            self.place.waiting(within=LINGER_SECONDS),
            suppress(trio.BrokenResourceError, ClientGoneError),
        ):
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
            "method": self._request.method.decode(),
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(self._request.headers),
            "client": self._wire.client,
            "server": self._wire.server,
            "extensions": {BUDGET: self._wire.place.budget},
        }

    async def _receive(self) -> Message:
        """The next piece of the body; once it is whole, the client's end."""
        try:
            if not self._all_read:
                with self._wire.place.waiting() as scope:
                    event = await self._wire.next_event()
                if scope.cancelled_caught:  # it made place for another
                    self._wire.gone = True
                    return DISCONNECT
                if isinstance(event, h11.Data):
                    # A body may be thousands of pieces that are all here.
                    await trio.lowlevel.checkpoint()
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
            last = not self._all_read or self._wire.ends
            self._head = _head(message["status"], headers, last=last)
            return
        body = message.get("body", b"") if self._request.method != b"HEAD" else b""
        if message.get("more_body", False):
            await self._send_piece(body)  # bounded by whoever streams
            return
        with self._under_way(len(body)) as fits:
            if not fits:
                self._head, self._answered = None, True
                await self._wire.refuse(503, RETRY_AFTER)
                return
            for start in range(0, len(body), PIECE):
                await self._send_piece(body[start : start + PIECE])
            await self._send_piece(b"", end=True)

    @contextmanager
    def _under_way(self, size: int) -> Generator[bool, None, None]:
        """Counts an answer as under way; False where it is large and does not fit."""
        budget = self._wire.place.budget
        whole = self._head is not None
        taken = budget.take(size)
        if not taken and whole and size > PIECE:
            yield False
            return
        try:
            yield True
        finally:
            if taken:
                budget.give_back(size)

    async def _send_piece(self, body: bytes, *, end: bool = False) -> None:
        events: list[h11.Event] = []
        if self._head is not None:
            events.append(self._head)
            self._head = None
        if body:
            events.append(h11.Data(data=body))
        if end:
            events.append(h11.EndOfMessage())
            self._answered = True
        await self._wire.send(*events)
