"""What the actors of a room ask the server, besides being in the room."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeAlias

from actors.rooms.room_port import RoomJob

RenewJob: TypeAlias = Callable[[RoomJob], Awaitable[RoomJob | None]]
"""The job with a token that is valid now; None if that room instance is over.
Raises `RoomUnreachable` if the server gives no answer."""

DispatchExists: TypeAlias = Callable[[RoomJob], Awaitable[bool]]
"""True if the dispatch of a job exists.  Asked only while the room does.  Raises
`RoomUnreachable` if the server gives no answer."""


class OwnRoomRemoval(Protocol):
    """Recognizes a room that only our own entry made, and deletes it."""

    async def only_we_made(self, job: RoomJob, room_sid: str) -> bool:
        """True if this instance of the room of `job` began with our entry, and nobody else is
        in it.  Raises `RoomUnreachable` if the server gives no answer."""
        ...

    async def delete(self, job: RoomJob, room_sid: str) -> None:
        """Delete it, unless somebody came in the meantime.  Takes a few seconds; never raises."""
        ...
