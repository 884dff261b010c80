"""`/api/v1/events`: what all sessions tell, as it happens, as server-sent events.

One task follows the store, woken by each batch that is kept, and puts what is new into a
ring that all clients share; a client is a place in it.  So a client costs what it is
sent, and what is sent was read and encoded once.  Who comes back with `Last-Event-ID`,
or is new and slow, gets what is no longer in the ring from the journal.

A client that cannot follow falls out of the ring: it is dropped and counted.  It may
come back with its last id and misses nothing that the journal still has; where that has
dropped something, an event named `gap` says so.

An id is a place in the journal, `BATCH-NUMBER`.  Data is an entry of a timeline with
its `room` and its `session`.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
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

from actors.session import entry_view
from bridge.http.api.endpoints import Archives, StoreUnreadable
from bridge.http.api.query import asked
from bridge.http.server.routes import HttpRoute
from bridge.store.filters import ROOM, regex_of
from bridge.store.reader import Position, PositionedEntry, Reader

log = structlog.get_logger()

CLIENTS: Final = 100
"""At once: they share the server's connections with everybody else."""
RING_EVENTS: Final = 10_000
RING_BYTES: Final = 16 << 20
AT_ONCE: Final = 200
"""Events that are read, or sent, at once."""
SIZE_AT_ONCE: Final = 256 << 10
"""Bytes that are sent at once; one event may be longer."""
HEARTBEAT: Final = 15.0
"""Seconds without an event after which a comment shows that we are there."""
AGAIN: Final = 1.0
"""Seconds until the store is tried again where it cannot be read."""
RETRY: Final = b"retry: 2000\n"
"""Milliseconds after which a browser comes back."""

_ID: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,9})", re.ASCII)


@frozen
class SseEvent:
    """One event, ready to be sent."""

    position: Position
    room: str
    text: bytes


@frozen
class EventBatch:
    """What was read of the journal at once."""

    told: list[SseEvent]
    gap: bool
    """The journal has dropped something after the place that was asked for."""


class Lagging(Exception):
    """What comes after this place is not in the ring any more."""


@final
class ReplayBuffer:
    """The newest events of all, bounded by number and bytes."""

    def __init__(self, begin: Position, *, events: int, size: int) -> None:
        self.newest = begin
        """Everything up to here was put in."""
        self.oldest = begin
        """Everything after this is in it."""
        self._told: deque[SseEvent] = deque()
        self._bytes = 0
        self._most_events = events
        self._most_bytes = size

    def put(self, told: SseEvent) -> None:
        self._told.append(told)
        self._bytes += len(told.text)
        self.newest = told.position
        while len(self._told) > self._most_events or self._bytes > self._most_bytes:
            dropped = self._told.popleft()
            self._bytes -= len(dropped.text)
            self.oldest = dropped.position

    def after(self, position: Position) -> list[SseEvent]:
        """The next events, as many as are sent at once.  Raises `Lagging`."""
        if position < self.oldest:
            raise Lagging
        begin = bisect_right(self._told, position, key=lambda told: told.position)
        found: list[SseEvent] = []
        size = 0
        for told in islice(self._told, begin, begin + AT_ONCE):
            found.append(told)
            size += len(told.text)
            if size > SIZE_AT_ONCE:
                break
        return found


@final
class EventSource:
    """Gives the row.  `run` must run beside the server; `kept` is the store's next batch."""

    def __init__(
        self,
        archives: Archives,
        kept: Callable[[], trio.Event],
        *,
        clients: int = CLIENTS,
        ring_events: int = RING_EVENTS,
        ring_bytes: int = RING_BYTES,
    ) -> None:
        self.clients = 0
        """Who is served now."""
        self.dropped = 0
        """Clients that could not follow."""
        self.refused = 0
        """Clients for whom there was no place."""
        self._archives = archives
        self._kept = kept
        self._most_clients = clients
        self._ring_events = ring_events
        self._ring_bytes = ring_bytes
        self._ring: ReplayBuffer | None = None
        """None while nobody listens: then nothing is read."""
        self._wanted = trio.Event()
        self._news = trio.Event()
        self._over = trio.Event()

    @property
    def rows(self) -> tuple[HttpRoute, ...]:
        return (HttpRoute("GET", "/api/v1/events", self._answer),)

    # ------------------------------------------------------------ following the store

    async def run(self) -> None:
        """Follow the store as long as somebody listens.  When it ends, so does every stream."""
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
            kept = self._kept()
            try:
                await self._read_news()
            except StoreUnreadable:
                await trio.sleep(AGAIN)
                continue
            with trio.move_on_after(HEARTBEAT):
                await kept.wait()
        self._ring, self._wanted = None, trio.Event()

    async def _read_news(self) -> None:
        if self._ring is None:
            begin = await self._archives.read(Reader.newest_position)
            self._ring = ReplayBuffer(begin, events=self._ring_events, size=self._ring_bytes)
            self._tell()
        while True:
            news = await self._read(self._ring.newest)
            for told in news.told:
                self._ring.put(told)
            if news.told:
                self._tell()
            if len(news.told) < AT_ONCE:
                return

    async def _read(self, position: Position) -> EventBatch:
        def read(reader: Reader) -> EventBatch:
            gap = position.batch < reader.oldest_batch()
            return EventBatch(list(map(_told, reader.told_after(position, AT_ONCE))), gap)

        return await self._archives.read(read)

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
        """What a client is sent, until the server ends or the client cannot follow."""
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
                told = await place.next(self._read)
            except StoreUnreadable:
                return  # whoever comes back goes on from its last id
            except Lagging:
                self.dropped += 1
                return
            wanted = [one.text for one in told if room is None or room.match(one.room)]
            if place.gap:
                wanted.insert(0, b"event: gap\ndata: {}\n\n")
                place.gap = False
            if not wanted and trio.current_time() >= said_at + HEARTBEAT:
                wanted.append(b":\n" + _id(place.position) + b"\n")
            if wanted:
                yield b"".join(wanted)
                said_at = trio.current_time()
            elif not told:
                with trio.move_on_at(said_at + HEARTBEAT):
                    await news.wait()


@final
class _Cursor:
    """How far one client has come."""

    def __init__(self, ring: ReplayBuffer, last: Position | None) -> None:
        self.position = ring.newest if last is None else min(last, ring.newest)
        self.gap = last is not None and last > ring.newest  # no id of this store
        self._ring = ring
        self._live = False
        """It had all that was in the ring once."""

    async def next(self, read: Callable[[Position], Awaitable[EventBatch]]) -> list[SseEvent]:
        """What comes next, nothing where nothing does yet.  Raises `Lagging`."""
        try:
            told = self._ring.after(self.position)
            self._live = True
        except Lagging:
            if self._live:
                raise
            oldest = self._ring.oldest
            news = await read(self.position)
            told, self.gap = news.told, self.gap or news.gap
            if not told:  # what the ring begins with is all there is
                self.position = max(self.position, oldest)
        if told:
            self.position = told[-1].position
        return told


def _position(text: str | None) -> Position | None:
    if not text:
        return None
    found = _ID.fullmatch(text)
    if found is None:
        raise HTTPException(400, "Last-Event-ID: this is no id of an event")
    return Position(int(found[1]), int(found[2]))


def _id(position: Position) -> bytes:
    return b"id: %d-%d\n" % (position.batch, position.number)


def _told(placed: PositionedEntry) -> SseEvent:
    about = {"room": placed.room, "session": placed.room_sid, **entry_view(placed.entry)}
    data = json.dumps(about, separators=(",", ":")).encode()
    return SseEvent(placed.position, placed.room, _id(placed.position) + b"data: " + data + b"\n\n")


_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",
}


@final
class _Stream(Response):
    """Starlette's own leaves its generator open when the client goes."""

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
        except OSError:  # it takes nothing, or was reset
            self._feed.dropped += 1


async def _until_gone(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
