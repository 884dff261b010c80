"""One connection as HTTP/1.1: h11 on a socket, with bounds on time and bytes.

A client's costs are bounded: `HEAD_BYTES` of a request line and headers, however they arrive,
within `HEAD_SECONDS`; `STALL_SECONDS` without reading any of our answer; `LINGER_SECONDS` at
the end.  A connection that waits for its client can be closed in favour of another
(`ConnectionSlot`).

A head is collected here and given to h11 whole: h11 itself bounds only an incomplete head.
h11's pattern of a header line is slow (quadratic in blanks before a character that no header
may have), so such heads are refused before (`_illegal`).  Trailers of a chunked body have the
same pattern; `CHUNK_BYTES` bounds them.
"""

from __future__ import annotations

import re
from contextlib import AbstractContextManager, suppress
from email.utils import formatdate
from typing import Final, Protocol, final

import h11
import trio

from bridge.http.server.answer_budget import AnswerBudget
from bridge.http.server.problem import PROBLEM_JSON, problem_body

HEAD_BYTES: Final = 16 * 1024
"""Of a request line and its headers."""
CHUNK_BYTES: Final = 512
"""Bytes that h11 gets at once of a body without a length.  They also bound the line before a
chunk and the trailers, where h11 is quadratic too.  Real clients send fewer."""
HEAD_SECONDS: Final = 15.0
"""From a connection's start, or its last answer, until the next request's headers have come."""
STALL_SECONDS: Final = 20.0
"""A client may read nothing of our answer for so long."""
LINGER_SECONDS: Final = 1.0
"""A client that still sends is read for so long after our last answer.  Closing at once would
reset the connection, and the client would lose the part of the answer that it has not read."""
LINGER_BYTES: Final = 4 * 1024 * 1024
PIECE: Final = 64 * 1024
"""Bytes read or written at once."""
RETRY_AFTER: Final = (b"retry-after", b"5")
"""Seconds, in the answer to a request that is refused for lack of a slot or of budget."""

_HEAD_END: Final = re.compile(rb"\n\r?\n")
_illegal: Final = re.compile(rb"[\x00\x0b\x0c]|\r(?!\n)").search
"""Characters that no header may have.  Linear."""


class ClientGoneError(OSError):
    """The client has closed the connection.  An `OSError`, as ASGI requires."""


class ConnectionSlot(Protocol):
    """One connection among all; the listener makes it."""

    @property
    def budget(self) -> AnswerBudget:
        """The budget of all answers together."""
        ...

    def waiting(self, *, within: float | None = None) -> AbstractContextManager[trio.CancelScope]:
        """Marks the time in which the connection waits for its client, `within` seconds at
        most (None: `HEAD_SECONDS`).  The listener may cancel it then, for another client."""
        ...

    def request(self, path: bytes) -> AbstractContextManager[bool]:
        """A request runs for the length of the block; False if there are too many."""
        ...


@final
class Http1Stream:
    """A socket with h11's state.  Raises `ClientGoneError` and h11's errors."""

    def __init__(self, stream: trio.SocketStream, slot: ConnectionSlot) -> None:
        self._socket = stream
        self.slot = slot
        self.client, self.server = stream.socket.getpeername()[:2], stream.socket.getsockname()[:2]
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=CHUNK_BYTES)
        self.client_gone = False
        self._received = bytearray()
        """Bytes that came and h11 has not got yet."""
        self._searched = 0
        """So many of these bytes contain no end of a head."""
        self._body_left = 0
        """Bytes of a body of known length that h11 has not got yet."""
        self._chunked = False
        """The body has no known length.  No request can follow it: h11 may have taken bytes of
        that request."""

    @property
    def has_partial_head(self) -> bool:
        return bool(self._received)

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        """The next event of the client.  Raises `h11.RemoteProtocolError` if it is not HTTP."""
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

    async def wait_client_gone(self) -> None:
        """Wait until the client closes its side.  Bytes meanwhile are the next request."""
        while data := await self._receive():
            self._received += data
            if len(self._received) > HEAD_BYTES:
                await trio.sleep_forever()

    async def send(self, *events: h11.Event) -> None:
        """Raises `ClientGoneError`."""
        data = memoryview(b"".join(self.h11.send(event) or b"" for event in events))
        try:
            for start in range(0, len(data), PIECE):
                with self.slot.waiting(within=STALL_SECONDS) as scope:
                    await self._socket.send_all(data[start : start + PIECE])
                if scope.cancelled_caught:
                    raise trio.TooSlowError
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            self.client_gone = True
            raise ClientGoneError("the client is gone") from None

    async def refuse(self, status: int, *more: tuple[bytes, bytes]) -> None:
        """Answer a request that the application does not get: not HTTP, too late, or no slot."""
        if self.client_gone or self.h11.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = problem_body(status)
        headers = [
            (b"content-type", PROBLEM_JSON.encode()),
            (b"content-length", str(len(body)).encode()),
            *more,
        ]
        with suppress(ClientGoneError):
            await self.send(
                response_head(status, headers, last=True), h11.Data(data=body), h11.EndOfMessage()
            )
            await self._linger()

    async def start_next_cycle(self) -> bool:
        """Get ready for another request.  False: the connection must be closed."""
        if self.client_gone:
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
    def must_close(self) -> bool:
        """No other request can follow this one, whatever the client asked for."""
        return self._chunked

    async def _next_head(self) -> bytes:
        """A whole request line and its headers; less if no more comes or it is no head."""
        while True:
            end = _HEAD_END.search(self._received, self._searched)
            size = len(self._received) if end is None else end.end()
            if size > HEAD_BYTES:
                raise h11.RemoteProtocolError("the head is too long", error_status_hint=431)
            # No request line begins like this (TLS does): do not wait for more.
            if end is not None or (self._received and self._received[0] < 0x21):
                break
            self._searched = max(0, size - 3)
            data = await self._receive()
            if not data:
                return self._take(size)
            self._received += data
        if _illegal(self._received, 0, size):
            raise h11.RemoteProtocolError("a character that no header may have")
        return self._take(size)

    async def _more_body(self) -> bytes:
        if not self._received:
            if self.h11.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self._received += await self._receive()
        most = CHUNK_BYTES if self._chunked else min(HEAD_BYTES, self._body_left)
        data = self._take(most)
        self._body_left -= len(data)
        return data

    def _take(self, size: int) -> bytes:
        taken = bytes(self._received[:size])
        del self._received[:size]
        self._searched = 0
        return taken

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._socket.receive_some(PIECE))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.client_gone = True
            raise ClientGoneError("the client is gone") from None

    async def _linger(self) -> None:
        left = LINGER_BYTES
        with (
            self.slot.waiting(within=LINGER_SECONDS),
            suppress(trio.BrokenResourceError, ClientGoneError),
        ):
            await self._socket.send_eof()
            while left > 0 and (data := await self._receive()):
                left -= len(data)


def response_head(status: int, headers: list[tuple[bytes, bytes]], *, last: bool) -> h11.Response:
    """The head of an answer; `last` tells the client that the connection ends with it."""
    dated = [*headers, (b"date", formatdate(usegmt=True).encode())]
    return h11.Response(
        status_code=status, headers=[*dated, (b"connection", b"close")] if last else dated
    )
