"""POSTs deliveries to one endpoint, on one HTTP/1.1 connection that stays open.

h11 on a trio stream: 190 µs of CPU a POST on a kept connection, where httpx2 takes 700 to 1,000
(`bench/run outlets`).  The receiver is the operator's, but what it answers is not trusted:

* an answer's head is read to `MOST_HEAD` bytes, its body to `MOST_ANSWER` bytes and `BODY_SECONDS`;
  where there is more the connection is closed, and the status counts all the same,
* what it sends without a request ends the connection, and is no answer to the next request,
* no redirect is followed: a 3xx is a failure,
* an attempt ends after `timeout` seconds, whatever the receiver does,
* nothing that the receiver sends is logged or shown; the status is, and words of ours.

The address is looked up again for each connection, and a connection is used for `MOST_AGE` seconds
at most, so a name that leads elsewhere is noticed.  Link-local addresses, where clouds serve
credentials, are refused; loopback and private ones are the usual case and are not.
"""

from __future__ import annotations

import email.utils
import select
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, final

import h11
import trio

from actors.outlets.outlet_port import Attempt, AttemptResult, Delivery
from bridge import __version__
from bridge.outlets.endpoint_url import EndpointUrl, is_forbidden
from bridge.outlets.envelope import CONTENT_TYPES, body_of
from bridge.outlets.formats import Format
from bridge.outlets.signatures import Signer

TIMEOUT: Final = 15.0
"""Seconds for one attempt, from the look-up of the address to the end of the answer."""
MOST_ANSWER: Final = 4096
"""Bytes of an answer's body that are read."""
MOST_HEAD: Final = 16 * 1024
"""Bytes of an answer's head."""
BODY_SECONDS: Final = 1.0
"""For the body of an answer, which nobody needs."""
READ_SIZE: Final = 4096
IDLE: Final = 30.0
"""Seconds after which an unused connection is not trusted any more."""
MOST_AGE: Final = 300.0
"""Seconds from its begin after which a connection is not used any more."""


_END: Final = h11.EndOfMessage()


class _Failed(Exception):
    """An attempt that came to no answer; the text is ours."""


@final
class HttpSender:
    """Fills `actors.outlets.outlet_port.Sender`.  One caller at a time."""

    def __init__(
        self,
        url: EndpointUrl,
        form: Format,
        signer: Signer,
        *,
        timeout: float = TIMEOUT,
        tls: ssl.SSLContext | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`tls`: how certificates are checked; of None as the system does."""
        self._url = url
        self._form: Format = form
        self._signer = signer
        self._timeout = timeout
        self._tls = tls
        self._now = now
        self._head = (
            f"POST {url.target} HTTP/1.1\r\nHost: {url.authority}\r\n"
            f"User-Agent: room-actors/{__version__}\r\nContent-Type: {CONTENT_TYPES[form]}\r\n"
        ).encode("ascii")
        self._plain = h11.Request(method="POST", target="/", headers=[("Host", url.authority)])
        self._stream: trio.abc.Stream | None = None
        self._h11 = h11.Connection(h11.CLIENT)
        self._opened_at = 0.0
        self._used_at = 0.0

    async def send(self, delivery: Delivery) -> Attempt:
        body = body_of(delivery, self._form)
        fresh = self._stream is None
        attempt: Attempt | None = None
        with trio.move_on_after(self._timeout):
            try:
                attempt = await self._attempt(delivery.id, body)
            except _Failed as failed:
                attempt = Attempt(AttemptResult.FAILED, str(failed))
                if not fresh:
                    # The receiver may have closed a connection that was idle: that is no failure.
                    try:
                        attempt = await self._attempt(delivery.id, body)
                    except _Failed as again:
                        attempt = Attempt(AttemptResult.FAILED, str(again))
            finally:
                if attempt is None or attempt.status is None:
                    await self._drop()
        if attempt is None:
            return Attempt(AttemptResult.FAILED, f"no answer within {self._timeout:g} s")
        return attempt

    async def aclose(self) -> None:
        await self._drop()

    # ------------------------------------------------------------ one attempt

    async def _attempt(self, delivery_id: str, body: bytes) -> Attempt:
        """Raises `_Failed`."""
        try:
            stream = await self._connected()
            await stream.send_all(self._request(delivery_id, body))
            return await self._answer(stream)
        except _Failed:
            await self._drop()
            raise
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            await self._drop()
            raise _Failed(_cause(error)) from None
        except h11.ProtocolError:
            await self._drop()
            raise _Failed("what it answers is not HTTP/1.1") from None

    async def _connected(self) -> trio.abc.Stream:
        if self._stream is not None and self._is_usable(self._stream):
            return self._stream
        await self._drop()
        self._stream = await self._connect()
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEAD)
        self._opened_at = trio.current_time()
        return self._stream

    def _is_usable(self, stream: trio.abc.Stream) -> bool:
        now = trio.current_time()
        return (
            now - self._used_at < IDLE
            and now - self._opened_at < MOST_AGE
            and self._h11.our_state is h11.IDLE
            and not self._h11.trailing_data[0]
            and not _has_input(stream)
        )

    async def _connect(self) -> trio.abc.Stream:
        """Raises `_Failed`."""
        url = self._url
        try:
            tcp = await trio.open_tcp_stream(url.host, url.port)
        except OSError as error:
            raise _Failed(_cause(error)) from None
        try:
            if is_forbidden(tcp.socket.getpeername()[0]):
                raise _Failed("its name leads to a link-local address")
            if not url.secure:
                return tcp
            context = self._tls or ssl.create_default_context()
            tls = trio.SSLStream(tcp, context, server_hostname=url.host, https_compatible=True)
            await tls.do_handshake()
        except BaseException as error:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(tcp)
            if isinstance(error, trio.BrokenResourceError):
                raise _Failed(_tls_cause(error)) from None
            raise
        return tls

    def _request(self, delivery_id: str, body: bytes) -> bytes:
        """The request as bytes.

        h11, which reads the answer, is shown a request without our headers and without a body: it
        takes 20 µs to check what we wrote ourselves.
        """
        self._h11.send(self._plain)
        self._h11.send(_END)
        headers = self._signer.headers(delivery_id, body, self._now())
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        if lines.count("\r") + lines.count("\n") != 2 * len(headers):
            raise ValueError("a header has more than one line")
        return self._head + f"{lines}Content-Length: {len(body)}\r\n\r\n".encode("ascii") + body

    async def _answer(self, stream: trio.abc.Stream) -> Attempt:
        answer = await self._answer_head(stream)
        # The status is here, and that is all that counts.
        with suppress(trio.BrokenResourceError, OSError, h11.ProtocolError):
            if not self._take_body():
                with trio.move_on_after(BODY_SECONDS):
                    await self._answer_body(stream)
        self._used_at = trio.current_time()
        if self._h11.their_state is h11.DONE and self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        else:
            await self._drop()
        return verdict(answer.status_code, answer.headers, self._now())

    async def _answer_head(self, stream: trio.abc.Stream) -> h11.Response:
        size = 0
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                data = bytes(await stream.receive_some(READ_SIZE))
                size += len(data)
                if not data:
                    raise _Failed("it closed the connection without an answer")
                if size > MOST_HEAD + READ_SIZE:
                    raise _Failed("the head of its answer has no end")
                self._h11.receive_data(data)
            elif isinstance(event, h11.Response):
                return event
            elif not isinstance(event, h11.InformationalResponse):
                raise _Failed("it closed the connection without an answer")

    def _take_body(self) -> bool:
        """Pass over what is here of the body.  True at its end."""
        while isinstance(event := self._h11.next_event(), h11.Data):
            pass
        return event is not h11.NEED_DATA

    async def _answer_body(self, stream: trio.abc.Stream) -> None:
        """Read it to its end, as far as it is short."""
        size = 0
        while size <= MOST_ANSWER:
            data = bytes(await stream.receive_some(READ_SIZE))
            size += len(data)
            self._h11.receive_data(data)
            if self._take_body():
                return

    async def _drop(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)


def verdict(status: int, headers: Sequence[tuple[bytes, bytes]], now: float) -> Attempt:
    """The meaning of an answer in Standard Webhooks: 2xx is taken, 410 ends it, 3xx fails."""
    if 200 <= status < 300:
        return Attempt(AttemptResult.DELIVERED, status=status)
    if status == 410:
        return Attempt(AttemptResult.GONE, "410: it wants no more webhooks", status)
    wait = next((value for name, value in headers if name == b"retry-after"), None)
    retry_after = None if wait is None else seconds_of(wait, now)
    if 300 <= status < 400:
        return Attempt(
            AttemptResult.FAILED, f"{status}: redirects are not followed", status, retry_after
        )
    return Attempt(AttemptResult.FAILED, f"status {status}", status, retry_after)


def seconds_of(value: bytes, now: float) -> float | None:
    """`Retry-After` in seconds or as a date (RFC 9110, 10.2.3); None where it is neither."""
    text = value.decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return None


def _has_input(stream: trio.abc.Stream) -> bool:
    """True if something came without a request: text of the receiver, or the end."""
    transport = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
    if not isinstance(transport, trio.SocketStream):
        return False
    poll = select.poll()
    poll.register(transport.socket.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _cause(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno is None and "connect" in str(error):
        return "nobody listens there"
    if isinstance(error, OSError):
        return f"no connection: {type(error).__name__}"
    return "the connection broke"


def _tls_cause(error: BaseException) -> str:
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"[:200]
    return "no TLS there"
