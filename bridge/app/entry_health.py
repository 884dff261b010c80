"""The health of entries: a worker is not ready if it can enter no room.

Such a worker may still be registered: signalling and media do not use the worker's socket.
An entry that fails because its room has ended does not count.  A single room that nobody
can enter (because it is full, for example) does not count either while we are in other rooms.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from typing import Final, TypeAlias

import trio
from attrs import define, field

from actors.rooms.room_port import (
    OfferEvent,
    OpenRoom,
    RoomError,
    RoomJob,
    RoomPort,
    RoomUnreachable,
)

ENOUGH: Final = 3
"""Entries in a row that must fail: one alone may be an accident."""
ASK_WITHIN: Final = 3.0
"""Seconds in which the server must say that a room has ended."""

RoomLookUp: TypeAlias = Callable[[RoomJob], Awaitable[object | None]]
"""Gives None if the room of a job has ended.  Raises `RoomUnreachable` if the server does not
answer."""


@define(eq=False)
class EntryHealth:
    """The entries of this run, until now."""

    failed_in_a_row: int = 0
    error: str = ""
    """Why the last entry failed, if it did."""
    inside: int = 0
    """Rooms that we are in now."""
    _rooms: set[str] = field(factory=set, init=False)
    """Rooms of the failures in a row: two at most, which is enough to tell one from several."""

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
    """A port whose entries are counted.  A cancelled entry neither succeeds nor fails."""

    def __init__(self, port: RoomPort, entries: EntryHealth, look_up: RoomLookUp) -> None:
        self._port = port
        self._entries = entries
        self._look_up = look_up

    def open(self, job: RoomJob, offer: OfferEvent) -> AbstractAsyncContextManager[OpenRoom]:
        return self._open(job, offer)

    @asynccontextmanager
    async def _open(self, job: RoomJob, offer: OfferEvent) -> AsyncGenerator[OpenRoom, None]:
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
            return await self._look_up(job) is None
        return False
