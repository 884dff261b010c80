"""One HTTP/1.1 connection: its requests and answers, for an ASGI application.

Why not hypercorn: on trio its 0.18 has two faults.  One request without a token ends the
process (`Upgrade: h2c` with a broken `HTTP2-Settings` raises out of its server).  A connection
never ends while the client does not read, because it sends under a shield.  It also brings
HTTP/2 and 2.8 MiB that nobody here uses.  h11 is the whole protocol and was here already.

The bounds of a connection are in `http1_stream`.  The application decides how much of a body
is read, and for how long.  All answers in progress share one `AnswerBudget` of bytes.

No upgrades (HTTP/2, websockets): such a request is answered as if it had not asked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, final
from urllib.parse import unquote

import h11
import structlog
import trio

from bridge.http.server.http1_stream import (
    PIECE,
    RETRY_AFTER,
    ClientGoneError,
    ConnectionSlot,
    Http1Stream,
    response_head,
)

log = structlog.get_logger()

Message: TypeAlias = MutableMapping[str, Any]
"""An ASGI scope or event."""
App: TypeAlias = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]
"""An ASGI 3 application.  It has no lifespan events: ours has nothing to open."""

BUDGET: Final = "room_actors.budget"
"""The ASGI extension under which a request finds the `AnswerBudget` of all answers."""


DISCONNECT: Final[Message] = {"type": "http.disconnect"}


async def converse(stream: trio.SocketStream, app: App, slot: ConnectionSlot) -> None:
    """Answer the requests of one connection until one side ends it."""
    try:
        http = Http1Stream(stream, slot)
    except OSError:  # it was reset before we read it
        return
    try:
        while await _answer_next(http, app) and await http.start_next_cycle():
            pass
    except h11.RemoteProtocolError as error:
        await http.refuse(error.error_status_hint)
    except ClientGoneError:
        pass


async def _answer_next(http: Http1Stream, app: App) -> bool:
    """Answer one request.  False: the connection must be closed."""
    with http.slot.waiting() as scope:
        request = await http.next_event()
    if scope.cancelled_caught:
        if http.has_partial_head and trio.current_time() >= scope.deadline:
            await http.refuse(408)
        return False  # at once if it was cancelled for another connection
    if not isinstance(request, h11.Request):
        return False
    if status := _refusal_status(request):
        await http.refuse(status)
        return False
    with http.slot.request(request.target.partition(b"?")[0]) as admitted:
        if admitted:
            await HttpExchange(http, request).run(app)
        else:
            await http.refuse(503, RETRY_AFTER)
    return admitted


def _refusal_status(request: h11.Request) -> int:
    """The status for a request that h11 accepts and we refuse; 0 for a good one."""
    if request.http_version[:1] != b"1":
        return 505
    names = {name for name, _ in request.headers}
    # Two readers could disagree about where such a body ends (RFC 9112, 6.1 and 6.3).
    two_ends = b"transfer-encoding" in names and (
        b"content-length" in names or request.http_version < b"1.1"
    )
    return 400 if two_ends or not request.target.startswith(b"/") else 0


@final
class HttpExchange:
    """One request and its answer."""

    def __init__(self, stream: Http1Stream, request: h11.Request) -> None:
        self._stream = stream
        self._request = request
        self._head: h11.Response | None = None
        """Not sent until the body begins, so that both leave in one packet."""
        self._all_read = False
        self._end_reported = False
        """The application was told that it has the whole body."""
        self._answered = False

    async def run(self, app: App) -> None:
        await self._skip_missing_body()
        try:
            await app(self._scope(), self._receive, self._send)
        except Exception:
            if not self._stream.client_gone:
                log.exception("http_request_failed", **self._about())
        else:
            if not self._answered and not self._stream.client_gone:
                log.error("http_answer_missing", **self._about())
        if not self._answered:
            await self._stream.refuse(500)

    async def _skip_missing_body(self) -> None:
        """A request without a body has an end event too, and it is here already."""
        headers = dict(self._request.headers)
        if b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0":
            await self._stream.next_event()
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
            "client": self._stream.client,
            "server": self._stream.server,
            "extensions": {BUDGET: self._stream.slot.budget},
        }

    async def _receive(self) -> Message:
        """The next piece of the body; after the whole body, the end of the client."""
        try:
            if not self._all_read:
                with self._stream.slot.waiting() as scope:
                    event = await self._stream.next_event()
                if scope.cancelled_caught:  # it was cancelled for another connection
                    self._stream.client_gone = True
                    return DISCONNECT
                if isinstance(event, h11.Data):
                    # A body may be thousands of pieces that are all here: let other tasks run.
                    await trio.lowlevel.checkpoint()
                    return {"type": "http.request", "body": bytes(event.data), "more_body": True}
                self._all_read = True
            if not self._end_reported:
                self._end_reported = True
                return {"type": "http.request", "body": b"", "more_body": False}
            if not self._answered:
                await self._stream.wait_client_gone()
        except (h11.RemoteProtocolError, ClientGoneError):
            pass  # the body was cut short; the application may still answer
        return DISCONNECT

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            last = not self._all_read or self._stream.must_close
            self._head = response_head(message["status"], headers, last=last)
            return
        body = message.get("body", b"") if self._request.method != b"HEAD" else b""
        if message.get("more_body", False):
            await self._send_piece(body)  # the streaming application bounds it
            return
        with self._within_budget(len(body)) as fits:
            if not fits:
                self._head, self._answered = None, True
                await self._stream.refuse(503, RETRY_AFTER)
                return
            for start in range(0, len(body), PIECE):
                await self._send_piece(body[start : start + PIECE])
            await self._send_piece(b"", end=True)

    @contextmanager
    def _within_budget(self, size: int) -> Generator[bool, None, None]:
        """Count an answer in the budget; False if it is large and does not fit."""
        budget = self._stream.slot.budget
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
        await self._stream.send(*events)
