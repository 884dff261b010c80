"""The room instance that exists under a name, and the deletion of a room that only we made.

LiveKit makes a room for each participant who joins.  An agent on its way into a room that is
being deleted would make it again: another SID, nobody in it, for minutes.  Our tokens prevent
that (`tokens.NO_SUCH_CONFIGURATION`) on servers that know the claim.  On older servers the SID
is compared on entry.  The questions that this needs are here.
"""

from __future__ import annotations

from typing import Final

import structlog
import trio
from attrs import define, field
from livekit.protocol import models

from bridge.livekit.api_errors import ApiError
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import INSTANCE_ATTRIBUTE

log = structlog.get_logger()

MADE_BY_JOINING: Final = 3.0
"""Seconds, at most, between a room's creation and the join that made it, both on the
server's clock.  Measured: some milliseconds."""

DELETE_WITHIN: Final = 1.5
"""Seconds for the deletion of a room.  It takes effect at once.  The answer may take 3 s."""


@define(eq=False)
class _Batch:
    """Names in one call."""

    names: set[str] = field(factory=set[str])
    rooms: dict[str, models.Room] | None = None
    """The answer."""
    error: ApiError | None = None
    done: trio.Event = field(factory=trio.Event)


@define(eq=False)
class RoomInstances:
    """Questions about single rooms.

    Questions that arrive during a call are asked together in the next one, so that 100 rooms at
    once are a few calls.
    """

    api: ServerApi
    _next: _Batch | None = field(default=None, init=False)
    _calling: trio.Lock = field(factory=trio.Lock, init=False)

    async def room(self, name: str) -> models.Room | None:
        """The room that exists under this name now.  Raises `ApiError`."""
        while True:
            batch, first = self._next, False
            if batch is None:
                batch, first = _Batch(), True
                self._next = batch
            batch.names.add(name)
            if first:
                await self._call(batch)
            else:
                await batch.done.wait()
            if batch.error is not None:
                raise batch.error
            if batch.rooms is not None:
                return batch.rooms.get(name)
            # The task that made the call was cancelled.

    async def _call(self, batch: _Batch) -> None:
        try:
            async with self._calling:
                self._next = None
                rooms = await self.api.list_rooms(sorted(batch.names))
                batch.rooms = {room.name: room for room in rooms}
        except ApiError as error:
            batch.error = error
        finally:
            if self._next is batch:
                self._next = None
            batch.done.set()

    async def sid_of(self, name: str) -> str:
        """The SID of the room that exists under this name now, "" where there is none."""
        room = await self.room(name)
        return "" if room is None else room.sid

    async def only_we_made(self, name: str, sid: str, identity: str) -> bool:
        """True if this room instance began with our own join as `identity`, and nobody else is
        there.  A room with metadata was made by its owner.  Raises `ApiError`."""
        room = await self.room(name)
        if room is None or room.sid != sid or room.metadata:
            return False
        participants = await self.api.list_participants(name)
        ours = [one for one in participants if INSTANCE_ATTRIBUTE in one.attributes]
        joined_at = [one.joined_at_ms / 1000 for one in ours if one.identity == identity]
        made_at = room.creation_time_ms / 1000
        return (
            len(ours) == len(participants)
            and bool(joined_at)
            and abs(joined_at[0] - made_at) <= MADE_BY_JOINING
        )

    async def delete(self, name: str, sid: str) -> None:
        """Delete this room instance that only we made, unless somebody came meanwhile."""
        with trio.move_on_after(DELETE_WITHIN):
            try:
                participants = await self.api.list_participants(name)
                if any(INSTANCE_ATTRIBUTE not in one.attributes for one in participants):
                    return
                if await self.sid_of(name) == sid:
                    log.info("room_undone", room=name, room_sid=sid)
                    await self.api.delete_room(name)
            except ApiError as error:
                log.info("room_undone_unsure", room=name, room_sid=sid, error=str(error))
