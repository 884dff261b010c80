"""The HTTP server in our nursery: it listens, limits the connections, and ends in order.

Nothing here can take the program down or hold it up: a connection's failure is logged
and is its own; there are at most `CONNECTIONS`, or as many as the open-file limit leaves
beside the rooms; clients that are slow make place for others; and the end takes `GRACE` seconds
at most, whatever a client does.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, final

import structlog
import trio
from attrs import define

from bridge.config.http_address import HttpAddress, network_of
from bridge.http.server.answer_budget import AnswerBudget
from bridge.http.server.exchange import App, converse
from bridge.http.server.http1_stream import HEAD_SECONDS

log = structlog.get_logger()

CONNECTIONS: Final = 512
"""Connections at once.  One more closes the one that has waited longest for its client: for a
request, for its body, or for the client to read an answer."""

CONNECTIONS_OF_ONE: Final = 128
"""Connections from one address (IPv6: one network), if strangers can reach us.  One more closes
another one from there."""

ONE_FOR_HEALTH_IN: Final = 16
"""One in so many connections is reserved for the two routes of `HEALTH`, so that these are
answered while everything else is busy."""

HEALTH: Final = (b"/healthz", b"/readyz")
"""Ends of the paths that report our health."""

SEND_BUFFER: Final = 128 * 1024
"""Bytes of an answer that the system buffers for a slow client (Linux doubles it).  By default
it is megabytes for each connection."""

SAY_AGAIN: Final = 60.0
"""Seconds until a refusal for lack of slots is logged again."""

GRACE: Final = 1.0
"""Seconds that running requests get when the server ends."""


class ListenError(Exception):
    """The address cannot be bound.  One line that says what to do."""


async def serve(
    address: HttpAddress,
    app: App,
    *,
    bounded: Callable[[str], bool] = lambda _: False,
    most: int | None = None,
    task_status: trio.TaskStatus[HttpAddress] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until cancelled; the task's status is where it really listens.

    On cancellation no connection is taken any more, waiting ones are closed, and
    requests under way may finish within `GRACE`.  `bounded` says whether connections from an
    address are bounded to `CONNECTIONS_OF_ONE`.  With `most` there are at most so many
    connections, and a quarter of them from one such address.  Raises `ListenError`.
    """
    listeners = await _listen(address)
    host, port = listeners[0].socket.getsockname()[:2]
    async with trio.open_nursery() as nursery:
        connections = _Connections(app, bounded, most)
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


@define(eq=False)
class _Wait:
    """One connection that waits for its client, and may have to make place."""

    scope: trio.CancelScope
    since: float
    """When it began, or the request that it is part of did."""
    place: _Slot


@final
class _Connections:
    def __init__(self, app: App, bounded: Callable[[str], bool], most: int | None) -> None:
        self.end = trio.Event()
        self.budget = AnswerBudget()
        self.waits: dict[_Wait, None] = {}
        self._app = app
        self._bounded = bounded
        self._most = CONNECTIONS if most is None else min(most, CONNECTIONS)
        self._most_of_one = (
            CONNECTIONS_OF_ONE if most is None else min(most // 4, CONNECTIONS_OF_ONE)
        )
        self._open: set[trio.SocketStream] = set()
        self._by_network: Counter[str] = Counter()
        self._requests = 0
        """Under way, those for the health of the program left out."""
        self._refused: Counter[str] = Counter()
        self._say_at: dict[str, float] = {}

    async def hold(self, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """Holds the nursery of all connections, and outlives a cancellation by `GRACE`."""
        with trio.CancelScope(shield=True) as scope:
            async with trio.open_nursery() as nursery:
                task_status.started(nursery)
                await self.end.wait()
                scope.deadline = trio.current_time() + GRACE
                for wait in self.waits:
                    if not wait.place.busy:
                        wait.scope.cancel()

    async def handle(self, stream: trio.SocketStream) -> None:
        """One connection, from its accept to its close."""
        try:
            address = stream.socket.getpeername()[0]
        except OSError:  # it was reset before we read it
            stream.socket.close()
            return
        network = network_of(address) if self._bounded(address) else None
        if not self._has_place(network):
            stream.socket.close()
            return
        self._open.add(stream)
        if network is not None:
            self._by_network[network] += 1
        try:
            await converse(stream, self._app, _Slot(self, network))
        except Exception:
            log.exception("http_connection_failed")
        finally:
            self._open.remove(stream)
            stream.socket.close()
            if network is not None:
                self._by_network[network] -= 1
                if not self._by_network[network]:
                    del self._by_network[network]

    def _has_place(self, network: str | None) -> bool:
        if network is not None and self._by_network[network] >= self._most_of_one:
            if not self._close_longest(lambda wait: wait.place.network == network):
                self._say("http_connection_refused", network=network)
                return False
        elif len(self._open) >= self._most and not self._close_longest(lambda _: True):
            self._say("http_connection_refused")
            return False
        return True

    def admit(self) -> bool:
        """Count a request as under way, if there is a place for it."""
        if self.budget.full:
            self._say("http_request_refused", bytes_under_way=self.budget.used)
            return False
        if (
            self._requests >= self._most - self._most // ONE_FOR_HEALTH_IN
            and not self._close_longest(lambda wait: wait.place.counted)
        ):
            self._say("http_request_refused", requests=self._requests)
            return False
        self._requests += 1
        return True

    def leave(self) -> None:
        """A request that was admitted has ended."""
        self._requests -= 1

    def _close_longest(self, choose: Callable[[_Wait], bool]) -> bool:
        """Close the connection that waits longest among those chosen.  False: none waits."""
        longest = min(filter(choose, self.waits), key=lambda wait: wait.since, default=None)
        if longest is None:
            return False
        del self.waits[longest]
        longest.scope.cancel()
        return True

    def _say(self, event: str, **about: object) -> None:
        self._refused[event] += 1
        if trio.current_time() >= self._say_at.get(event, float("-inf")):
            self._say_at[event] = trio.current_time() + SAY_AGAIN
            log.warning(event, open=len(self._open), refused=self._refused[event], **about)


@final
class _Slot:
    """One connection among all: a `ConnectionSlot`."""

    def __init__(self, connections: _Connections, network: str | None) -> None:
        self.budget = connections.budget
        self.network = network
        self.busy = False
        """A request is under way."""
        self.counted = False
        """And it counts among the limited requests."""
        self._connections = connections
        self._since = 0.0

    @contextmanager
    def waiting(self, *, within: float | None = None) -> Generator[trio.CancelScope, None, None]:
        """The connection waits for its client."""
        within = HEAD_SECONDS if within is None else within
        if self._connections.end.is_set() and not self.busy:
            within = 0.0
        now = trio.current_time()
        with trio.move_on_after(within) as scope:
            wait = _Wait(scope, self._since if self.busy else now, self)
            self._connections.waits[wait] = None
            try:
                yield scope
            finally:
                self._connections.waits.pop(wait, None)

    @contextmanager
    def request(self, path: bytes) -> Generator[bool, None, None]:
        """A request is under way; False where there is no place for it."""
        self.counted = not path.rstrip(b"/").endswith(HEALTH)
        if self.counted and not self._connections.admit():
            self.counted = False
            yield False
            return
        self.busy, self._since = True, trio.current_time()
        try:
            yield True
        finally:
            if self.counted:
                self._connections.leave()
            self.busy = self.counted = False
