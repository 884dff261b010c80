"""How entering rooms goes: a worker whose every entry fails is not ready.

It may be registered all the same, as signalling and media take other ways than the
worker's socket.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Final

from attrs import define

from actors.rooms.port import Offer, OpenRoom, RoomError, RoomJob, RoomPort

ENOUGH: Final = 3
"""Entries in a row that must fail: one alone may be of a room that just ended."""


@define(eq=False)
class Entries:
    """Of this run, until now."""

    failed_in_a_row: int = 0
    error: str = ""
    """Why the last one failed, if it did."""

    def failed(self, error: RoomError) -> None:
        self.failed_in_a_row += 1
        self.error = str(error)

    def succeeded(self) -> None:
        self.failed_in_a_row, self.error = 0, ""

    @property
    def trouble(self) -> str | None:
        """Why no room can be entered; None while one can, or it is not known."""
        if self.failed_in_a_row < ENOUGH:
            return None
        return f"no room can be entered, the last {self.failed_in_a_row} tries failed: {self.error}"


class CountedRooms(RoomPort):
    """A port whose entries are counted.  A cancelled one is neither."""

    def __init__(self, port: RoomPort, entries: Entries) -> None:
        self._port = port
        self._entries = entries

    def open(self, job: RoomJob, offer: Offer) -> AbstractAsyncContextManager[OpenRoom]:
        return self._open(job, offer)

    @asynccontextmanager
    async def _open(self, job: RoomJob, offer: Offer) -> AsyncGenerator[OpenRoom, None]:
        async with AsyncExitStack() as stack:
            try:
                room = await stack.enter_async_context(self._port.open(job, offer))
            except RoomError as error:
                self._entries.failed(error)
                raise
            self._entries.succeeded()
            yield room
