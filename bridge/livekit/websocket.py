"""A client websocket whose failures are two exceptions with clear texts.

trio-websocket's own `open_websocket` loses the reason of a failed TLS handshake (it
waits for its timeout instead), so the stream is opened here.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import h11
import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream
from wsproto.utilities import ProtocolError

from bridge.livekit.endpoint import Endpoint

T = TypeVar("T")

CONNECT_TIMEOUT: Final = 10.0
"""Seconds for name look-up, TCP, TLS and the upgrade together."""

CLOSE_TIMEOUT: Final = 1.0
"""Seconds for the closing handshake."""


HANDSHAKE_BYTES: Final = 128 << 10
"""Bytes that the server may send before the websocket is open."""


class SocketFailed(Exception):
    """No websocket could be opened.  The text says why; another try may succeed."""


class SocketRejected(Exception):
    """The server answered the upgrade with another status than 101.

    `body` can quote the token that was sent.  It may be classified and must not be shown.
    """

    def __init__(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status
        self.headers = tuple(headers)
        self.body = body


async def use_websocket(
    endpoint: Endpoint,
    resource: str,
    headers: Sequence[tuple[str, str]],
    use: Callable[[WebSocketConnection], Awaitable[T]],
    *,
    ssl_context: ssl.SSLContext | None = None,
) -> T:
    """Open a websocket at `resource`, call `use` with it, close it, return the result of `use`.

    Raises `SocketFailed` or `SocketRejected`, both only before `use` was called.
    """
    refusal: Exception | None = None
    result: list[T] = []
    with trio.CancelScope(deadline=trio.current_time() + CONNECT_TIMEOUT) as connecting:
        stream = await _open_stream(endpoint, ssl_context)
        try:
            async with trio.open_nursery() as nursery:
                bounded = _Handshake(stream)
                socket = await wrap_client_stream(
                    nursery,
                    bounded,  # pyright: ignore[reportArgumentType]  # any trio stream will do
                    endpoint.authority,
                    resource,
                    extra_headers=[(name.encode(), value.encode()) for name, value in headers],
                )
                connecting.deadline = bounded.left = float("inf")
                try:
                    result.append(await use(socket))
                finally:
                    with trio.move_on_after(CLOSE_TIMEOUT):
                        await socket.aclose()
                    nursery.cancel_scope.cancel()
        except* ConnectionRejected as group:
            # A raise inside `except*` would come out as a group again.
            refusal = _rejected(group)
        except* SocketFailed:
            refusal = SocketFailed("the server's answer to the upgrade has no end")
        except* (ProtocolError, h11.ProtocolError):
            refusal = SocketFailed("the server speaks something else than websockets")
        finally:
            await trio.aclose_forcefully(stream)
    if result:
        return result[0]
    raise refusal or SocketFailed(f"no answer within {CONNECT_TIMEOUT:g} s")


class _Handshake(trio.abc.Stream):
    """A stream that is cut off after `left` bytes, until `left` is set to infinity.

    It is needed because trio-websocket stores the whole body of a refusal, whatever its length.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.left: float = HANDSHAKE_BYTES

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self._stream.receive_some(max_bytes)
        self.left -= len(data)
        if self.left < 0:
            raise SocketFailed
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _open_stream(endpoint: Endpoint, context: ssl.SSLContext | None) -> trio.abc.Stream:
    try:
        stream = await trio.open_tcp_stream(endpoint.host, endpoint.port)
    except OSError as error:
        raise SocketFailed(f"cannot reach {endpoint.authority}: {cause_of(error)}") from None
    if not endpoint.secure:
        return stream
    try:
        secure = trio.SSLStream(
            stream,
            context or ssl.create_default_context(),
            server_hostname=endpoint.host,
            https_compatible=True,
        )
        await secure.do_handshake()
    except (trio.BrokenResourceError, ssl.SSLError, ssl.CertificateError) as error:
        await trio.aclose_forcefully(stream)
        raise SocketFailed(f"TLS with {endpoint.authority} failed: {cause_of(error)}") from None
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secure


def cause_of(error: BaseException) -> str:
    """The innermost reason of a failed connection: libraries wrap the operating system's."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif (inner := error.__cause__ or error.__context__) is not None:
            error = inner  # httpcore raises "from None", so the context counts too.
        else:
            break
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, OSError) and error.errno is not None:
        # Trio adds the address to the operating system's text.  A failed look-up of a name has a
        # number that is not one of the system's.
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return str(error) or type(error).__name__


def _rejected(group: BaseExceptionGroup[ConnectionRejected]) -> SocketRejected:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ConnectionRejected)
    return SocketRejected(error.status_code, error.headers, error.body or b"")
