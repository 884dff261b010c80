"""The HTTP server inside our nursery: listening, how many connections, how it all ends.

Nothing here can take the program down or hold it up: a connection's failure is logged
and is its own; there are at most `CONNECTIONS`, as they share the open-file limit with
the rooms; and the end takes `GRACE` seconds at most, whatever a client does.
"""

from __future__ import annotations

import errno
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, final

import structlog
import trio

from bridge.http.address import HttpAddress
from bridge.http.exchange import HEAD_SECONDS, App, converse

log = structlog.get_logger()

CONNECTIONS: Final = 512
"""At once.  One more takes the place of whoever has been waiting longest without a
request, so that half-open connections keep nobody out."""

SEND_BUFFER: Final = 128 * 1024
"""Bytes that the system holds of what a client does not read (Linux doubles it).  Left to
itself it would be megabytes each."""

SAY_AGAIN: Final = 60.0
"""Seconds until it is logged again that there was no place."""

GRACE: Final = 1.0
"""Seconds that requests under way get when the server ends."""


class ListenError(Exception):
    """The address cannot be had.  One line that says what to do."""


async def serve(
    address: HttpAddress,
    app: App,
    *,
    task_status: trio.TaskStatus[HttpAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until cancelled; the task's status is where it really listens.

    On cancellation no connection is taken any more, waiting ones are closed, and
    requests under way may finish within `GRACE`.  Raises `ListenError`.
    """
    listeners = await _listen(address)
    host, port = listeners[0].socket.getsockname()[:2]
    async with trio.open_nursery() as nursery:
        connections = _Connections(app)
        try:
            handlers: trio.Nursery = await nursery.start(connections.hold)
            task_status.started(HttpAddress(host, port))
            await trio.serve_listeners(connections.handle, listeners, handler_nursery=handlers)
        finally:
            connections.end.set()
            for listener in listeners:
                listener.socket.close()


async def _listen(address: HttpAddress) -> list[trio.SocketListener]:
    try:
        listeners = await trio.open_tcp_listeners(address.port, host=address.host)
    except OSError as error:
        why = {
            errno.EADDRINUSE: "another program listens there",
            errno.EADDRNOTAVAIL: "this machine does not have that address",
            errno.EACCES: "ports below 1024 are for root",
        }.get(error.errno or 0, error.strerror or str(error))
        raise ListenError(
            f"--http {address} cannot be had: {why}; choose another by --http HOST:PORT or "
            f"ROOM_ACTORS_HTTP, or set it to off"
        ) from None
    for listener in listeners:  # its connections have what it has
        listener.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, SEND_BUFFER)
    if address.port == 0:  # of a name with several addresses each would have a port of its own
        for listener in listeners[1:]:
            await listener.aclose()
        del listeners[1:]
    return listeners


@final
class _Connections:
    def __init__(self, app: App) -> None:
        self.end = trio.Event()
        self._app = app
        self._open: set[trio.SocketStream] = set()
        self._waiting: dict[trio.CancelScope, None] = {}
        """Around those without a request, the oldest first."""
        self._refused = 0
        self._say_at = float("-inf")

    async def hold(self, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Holds the nursery of all connections, and outlives a cancellation by `GRACE`."""
        with trio.CancelScope(shield=True) as scope:
            async with trio.open_nursery() as nursery:
                task_status.started(nursery)
                await self.end.wait()
                scope.deadline = trio.current_time() + GRACE
                for waiting in self._waiting:
                    waiting.cancel()

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, from its accept to its close."""
        if len(self._open) >= CONNECTIONS:
            if not self._waiting:
                self._refuse(stream)
                return
            longest = next(iter(self._waiting))
            del self._waiting[longest]
            longest.cancel()
        self._open.add(stream)
        try:
            await converse(stream, self._app, self._wait)
        except Exception:
            log.exception("http_connection_failed")
        finally:
            self._open.remove(stream)
            stream.socket.close()

    def _refuse(self, stream: trio.SocketStream) -> None:
        stream.socket.close()
        self._refused += 1
        if trio.current_time() >= self._say_at:
            self._say_at = trio.current_time() + SAY_AGAIN
            log.warning("http_connection_refused", open=len(self._open), refused=self._refused)

    @contextmanager
    def _wait(self) -> Generator[trio.CancelScope, None, None]:
        with trio.move_on_after(0 if self.end.is_set() else HEAD_SECONDS) as scope:
            self._waiting[scope] = None
            try:
                yield scope
            finally:
                self._waiting.pop(scope, None)
