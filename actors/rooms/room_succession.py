"""Succession: rooms that draining workers hand over to this one.

A successor enters a room while the owner still watches it, and says so.  Then the owner leaves, and
its last batch ends its lease.  Records of the successor until then are not stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, final

import trio
from attrs import frozen

from actors.journal.room_leases import RoomLeases
from actors.rooms.room_table_view import RoomTableView

WAIT: Final = 15.0
"""Seconds for which the successor of a room waits until the owner has left it."""
MOST_AT_ONCE: Final = 20
"""Rooms that a successor takes over at the same time."""


@frozen
class LeasedRoom:
    """A room that is ours, or is to be."""

    room: str
    """Its name; empty where the first batch of its session acquired it."""
    since: float
    """Seconds of trio."""


@final
class RoomSuccession:
    """A part of the keeper of leases, which alone calls it."""

    def __init__(self, leases: RoomLeases, table: RoomTableView) -> None:
        self._leases = leases
        self._table = table
        self._rooms: dict[str, LeasedRoom] = {}
        self._ready: set[str] = set()
        """SIDs of those in which we are."""

    @property
    def rooms(self) -> Mapping[str, LeasedRoom]:
        """The rooms that are handed over to us, by SID."""
        return self._rooms

    async def reserve(self, most: int) -> tuple[tuple[str, str], ...]:
        """Become the successor in up to `most` rooms: SID and name.  Raises `ArchiveTrouble`."""
        offered = await self._leases.reserve(min(most, MOST_AT_ONCE))
        now = trio.current_time()
        for one in offered:
            self._rooms.setdefault(one.room_sid, LeasedRoom(one.room, now))
        return tuple((one.room_sid, one.room) for one in offered)

    async def find_released(self) -> list[tuple[str, str]]:
        """Say in which rooms we are now; name and SID of those that their owners have left.

        Raises `ArchiveTrouble`.
        """
        ready = (self._rooms.keys() & self._table.connected_sids) - self._ready
        if ready:
            await self._leases.mark_ready(ready)
            self._ready |= ready
        waiting = self._ready & self._rooms.keys()
        if not waiting:
            return []
        # One question for all: a room that has its owner cannot be acquired.
        owners = await self._leases.owners(waiting)
        return [(self._rooms[sid].room, sid) for sid in waiting - owners.keys()]

    def drop(self, room_sid: str) -> None:
        """The room is ours, or another worker's."""
        self._rooms.pop(room_sid, None)
        self._ready.discard(room_sid)

    def drop_late(self) -> list[str]:
        """Give up the rooms whose owners did not leave in time; their SIDs."""
        now = trio.current_time()
        late = [sid for sid, one in self._rooms.items() if now - one.since >= WAIT]
        for sid in late:
            self.drop(sid)
        return late
