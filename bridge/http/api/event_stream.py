"""`/api/v1/events`: the timeline entries of all sessions, as they happen, as server-sent events.

One task follows the feed (`actors.journal.feed`) and puts new entries into a replay buffer that
all clients share.  A client is a position in it.  So each entry is read and encoded once for all
clients.  A client that comes back with `Last-Event-ID`, or is new and slow, reads from the feed the
entries that are no longer in the buffer.

If a client is so slow that the buffer no longer has its next entry, it is dropped and counted.  It
may come back with its last id, and gets everything that the feed still has.  An event named `gap`
says that the feed has dropped entries.

An id is a position of the feed (`actors.journal.feed.Position`).  Data is a timeline entry with
its `room` and its `session`.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import aclosing, contextmanager, suppress
from itertools import islice
from typing import Final, final

import structlog
import trio
from attrs import frozen
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from actors.journal.archive import ArchiveTrouble
from actors.journal.feed import BadPosition, Feed, FeedEntry, Position
from actors.journal.session_filters import ROOM, regex_of
from actors.session import entry_view
from bridge.http.api.query import asked
from bridge.http.server.routes import HttpRoute
from bridge.output.ascii_json import json_text

log = structlog.get_logger()

CLIENTS: Final = 100
"""The most clients at once.  They share the server's connections with everybody else."""
RING_EVENTS: Final = 10_000
RING_BYTES: Final = 16 << 20
AT_ONCE: Final = 200
"""Events that are read, or sent, at once."""
SIZE_AT_ONCE: Final = 256 << 10
"""Bytes that are sent at once; one event may be longer."""
HEARTBEAT: Final = 15.0
"""Seconds without an event after which a comment keeps the connection alive."""
AGAIN: Final = 1.0
"""Seconds until the store is read again after a failure."""
RETRY: Final = b"retry: 2000\n"
"""Milliseconds after which a browser comes back."""


@frozen
class SseEvent:
    """One event, ready to be sent."""

    position: Position
    """The reader's position once it has this event: the event's id."""
    own: Position
    """The position of this event alone."""
    room: str
    text: bytes


@frozen
class EventBatch:
    """Events that were read from the feed at once."""

    events: list[SseEvent]
    gap: bool
    """The feed has dropped entries after the requested position."""


class Lagging(Exception):
    """The replay buffer no longer has all events after this position."""


@final
class ReplayBuffer:
    """The newest events of all sessions, bounded by number and bytes."""

    def __init__(self, begin: Position, *, events: int, size: int) -> None:
        self.newest = begin
        """The position after every event that was put in."""
        self.oldest = begin
        """The buffer has every event after this position, up to `newest`."""
        self._events: deque[SseEvent] = deque()
        self._bytes = 0
        self._most_events = events
        self._most_bytes = size

    def put(self, event: SseEvent) -> None:
        """Add an event.  Its position is `newest` with this event."""
        self._events.append(event)
        self._bytes += len(event.text)
        self.newest = event.position
        while len(self._events) > self._most_events or self._bytes > self._most_bytes:
            dropped = self._events.popleft()
            self._bytes -= len(dropped.text)
            self.oldest = dropped.position

    def after(self, position: Position) -> list[SseEvent]:
        """The next events, as many as are sent at once.  Raises `Lagging`."""
        if not self.oldest <= position:
            raise Lagging
        # Each position includes the one before it, so the events within `position` come first.
        begin = bisect_left(self._events, True, key=lambda event: not event.position <= position)
        events: list[SseEvent] = []
        size = 0
        for event in islice(self._events, begin, None):
            if event.own <= position:  # another server sent it, in another order
                continue
            events.append(event)
            size += len(event.text)
            if len(events) == AT_ONCE or size > SIZE_AT_ONCE:
                break
        return events


@final
class EventSource:
    """Has the route.  `run` must run beside the server."""

    def __init__(
        self,
        feed: Feed,
        *,
        clients: int = CLIENTS,
        ring_events: int = RING_EVENTS,
        ring_bytes: int = RING_BYTES,
    ) -> None:
        self.clients = 0
        """The number of clients now."""
        self.dropped = 0
        """The number of clients that could not follow."""
        self.refused = 0
        """The number of clients that were refused because all places were taken."""
        self._feed = feed
        self._most_clients = clients
        self._ring_events = ring_events
        self._ring_bytes = ring_bytes
        self._ring: ReplayBuffer | None = None
        """None while nobody listens: nothing is read then."""
        self._wanted = trio.Event()
        self._news = trio.Event()
        self._over = trio.Event()

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (HttpRoute("GET", "/api/v1/events", self._answer),)

    # ------------------------------------------------------------ following the feed

    async def run(self) -> None:
        """Follow the feed while somebody listens.  When this ends, every stream ends."""
        self._over = trio.Event()
        try:
            while True:
                await self._wanted.wait()
                await self._follow()
        finally:
            self._over.set()
            self._tell()

    async def _follow(self) -> None:
        while self.clients:
            changed = self._feed.changed
            try:
                await self._read_news()
            except ArchiveTrouble as error:
                _log_unreadable(error)
                await trio.sleep(AGAIN)
                continue
            with trio.move_on_after(HEARTBEAT):
                await changed.wait()
        self._ring, self._wanted = None, trio.Event()

    async def _read_news(self) -> None:
        if self._ring is None:
            begin = await self._feed.newest()
            self._ring = ReplayBuffer(begin, events=self._ring_events, size=self._ring_bytes)
            self._tell()
        while True:
            news = await self._read(self._ring.newest)
            for event in news.events:
                self._ring.put(event)
            if news.events:
                self._tell()
            if len(news.events) < AT_ONCE:
                return

    async def _read(self, position: Position) -> EventBatch:
        """The next events after a position.  Raises `ArchiveTrouble`."""
        page = await self._feed.after(position, AT_ONCE)
        events: list[SseEvent] = []
        for entry in page.entries:
            position |= entry.position
            events.append(_event(position, entry))
        return EventBatch(events, page.gap)

    def _tell(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    # ------------------------------------------------------------ one client

    async def _answer(self, request: Request) -> Response:
        given = asked(request, (ROOM,))
        last = _position(request.headers.get("last-event-id"))
        if self.clients >= self._most_clients:
            self.refused += 1
            raise HTTPException(
                503, f"there are {self._most_clients} listeners already", {"retry-after": "10"}
            )
        if request.method == "HEAD":
            return Response(headers=_HEADERS)
        pattern = regex_of(given["room"]) if "room" in given else None
        return _Stream(self, last, pattern)

    @contextmanager
    def listening(self) -> Generator[None, None, None]:
        """Be a client for the length of a block."""
        self.clients += 1
        self._wanted.set()
        try:
            yield
        finally:
            self.clients -= 1

    async def pieces(
        self, last: Position | None, room: re.Pattern[str] | None
    ) -> AsyncGenerator[bytes, None]:
        """The pieces for one client, until the server ends or the client cannot follow."""
        while self._ring is None:
            if self._over.is_set():
                return
            await self._news.wait()
        place = _Cursor(self._ring, last)
        yield RETRY + _id(place.position) + b"\n"
        said_at = trio.current_time()
        while not self._over.is_set():
            news = self._news
            try:
                events = await place.next(self._read)
            except ArchiveTrouble as error:
                _log_unreadable(error)
                return  # a client that comes back goes on from its last id
            except Lagging:
                self.dropped += 1
                return
            wanted = [one.text for one in events if room is None or room.match(one.room)]
            if place.gap:
                wanted.insert(0, b"event: gap\ndata: {}\n\n")
                place.gap = False
            if not wanted and trio.current_time() >= said_at + HEARTBEAT:
                wanted.append(b":\n" + _id(place.position) + b"\n")
            if wanted:
                yield b"".join(wanted)
                said_at = trio.current_time()
            elif not events:
                with trio.move_on_at(said_at + HEARTBEAT):
                    await news.wait()


@final
class _Cursor:
    """The position of one client."""

    def __init__(self, ring: ReplayBuffer, last: Position | None) -> None:
        self.position = ring.newest if last is None else last & ring.newest
        self.gap = last is not None and not _is_of(last, ring.newest)
        self._ring = ring
        self._live = False
        """It read from the buffer once; from then on it must not fall behind."""

    async def next(self, read: Callable[[Position], Awaitable[EventBatch]]) -> list[SseEvent]:
        """The next events, empty if there are none yet.  Raises `Lagging`."""
        try:
            events = self._ring.after(self.position)
            self._live = True
        except Lagging:
            if self._live:
                raise
            oldest = self._ring.oldest
            news = await read(self.position)
            events, self.gap = news.events, self.gap or news.gap
            if not events:  # the feed has nothing before the buffer's first event
                self.position |= oldest
        for event in events:
            self.position |= event.own
        return events


def _is_of(last: Position, newest: Position) -> bool:
    """True if a feed whose newest position is this one gave the id `last`.

    The feed may have forgotten writers that are over for long.
    """
    known = last.of_writers_in(newest)
    return bool(known.places) and known <= newest


def _position(text: str | None) -> Position | None:
    if not text:
        return None
    try:
        return Position.parse(text)
    except BadPosition:
        raise HTTPException(400, "Last-Event-ID: this is not the id of an event") from None


def _id(position: Position) -> bytes:
    return f"id: {position}\n".encode()


def _event(position: Position, entry: FeedEntry) -> SseEvent:
    """An event whose id is `position`."""
    about = json_text({"room": entry.room, "session": entry.room_sid})
    # Join both to one object: drop the end of the first and the begin of the second.
    data = f"{about[:-1]},{json_text(entry_view(entry.entry))[1:]}".encode()
    text = _id(position) + b"data: " + data + b"\n\n"
    return SseEvent(position, entry.position, entry.room, text)


def _log_unreadable(error: ArchiveTrouble) -> None:
    log.warning("store_unreadable_for_http", error=str(error))


_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


@final
class _Stream(Response):
    """Closes its generator when the client disconnects; Starlette's own does not."""

    def __init__(
        self, feed: EventSource, last: Position | None, room: re.Pattern[str] | None
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._feed = feed
        self._last = last
        self._room = room

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        with self._feed.listening():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_gone, receive, nursery.cancel_scope)
                await self._send_all(send)
                nursery.cancel_scope.cancel()
        with suppress(OSError):
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async with aclosing(self._feed.pieces(self._last, self._room)) as pieces:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        except OSError:  # the client reads nothing, or was reset
            self._feed.dropped += 1


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
