"""How entering rooms goes: a worker whose every entry fails is not ready.

It may be registered all the same, as signalling and media take other ways than the
worker's socket.  An entry that fails because its room has ended says nothing of that way.
A single room that lets nobody in (it is full, say) says nothing either, as long as we are in
others.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Final, TypeAlias

import trio
from attrs import define, field

from actors.rooms.room_port import Offer, OpenRoom, RoomError, RoomJob, RoomPort, RoomUnreachable

ENOUGH: Final = 3
"""Entries in a row that must fail: one alone may be an accident."""
ASK_WITHIN: Final = 3.0
"""Seconds in which the server must say that a room has ended."""

Lives: TypeAlias = Callable[[RoomJob], Awaitable[object | None]]
"""None where the server says that the room of a job has ended.  Raises `RoomUnreachable`
where it does not say."""


@define(eq=False)
class EntryHealth:
    """Of this run, until now."""

    failed_in_a_row: int = 0
    error: str = ""
    """Why the last one failed, if it did."""
    inside: int = 0
    """Rooms that we are in now."""
    _rooms: set[str] = field(factory=set, init=False)
    """Of those that failed in a row: as many as it takes to tell one from several."""

    def failed(self, room: str, error: RoomError) -> None:
        self.failed_in_a_row += 1
        self.error = str(error)
        if len(self._rooms) < 2:
            self._rooms.add(room)

    def succeeded(self) -> None:
        self.failed_in_a_row, self.error = 0, ""
        self._rooms.clear()

    @property
    def trouble(self) -> str | None:
        """Why no room can be entered; None while one can, or it is not known."""
        if self.failed_in_a_row < ENOUGH or (self.inside and len(self._rooms) < 2):
            return None
        return f"no room can be entered, the last {self.failed_in_a_row} tries failed: {self.error}"


class CountedRooms(RoomPort):
    """A port whose entries are counted.  A cancelled one is neither."""

    def __init__(self, port: RoomPort, entries: EntryHealth, lives: Lives) -> None:
        self._port = port
        self._entries = entries
        self._lives = lives

    def open(self, job: RoomJob, offer: Offer) -> AbstractAsyncContextManager[OpenRoom]:
        return self._open(job, offer)

    @asynccontextmanager
    async def _open(self, job: RoomJob, offer: Offer) -> AsyncGenerator[OpenRoom, None]:
        async with AsyncExitStack() as stack:
            try:
                room = await stack.enter_async_context(self._port.open(job, offer))
            except RoomError as error:
                if not await self._has_ended(job):
                    self._entries.failed(job.room, error)
                raise
            self._entries.succeeded()
            self._entries.inside += 1
            try:
                yield room
            finally:
                self._entries.inside -= 1

    async def _has_ended(self, job: RoomJob) -> bool:
        with trio.move_on_after(ASK_WITHIN), suppress(RoomUnreachable):
            return await self._lives(job) is None
        return False
