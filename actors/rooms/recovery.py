"""After a restart: take over the sessions of earlier runs, and end those that are over.

The archive gives back every session that was open when the worker before us was killed.
The manager keeps them as unwatched.  The reconciler sends us into those rooms again, and
the first job for such a room continues its session.  If LiveKit does not have the room any
more, the session is ended here with the reason `found_ended`.  It checks the rooms that
we are in too, less often.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, final

import trio

from actors.journal.archive import Archive, ArchiveTrouble, RecoveredSessions
from actors.journal.process_ports import Announce, Clock
from actors.rooms.messages import Recovered, RoomsVanished
from actors.rooms.room_port import RoomUnreachable
from actors.rooms.room_table_view import RoomTableView
from actors.runtime import Ref, sleep

ListLiving: TypeAlias = Callable[[], Awaitable[frozenset[str]]]
"""The SIDs of all rooms that LiveKit has.  Raises `RoomUnreachable`."""

CHECK_INTERVAL: Final = 2.0
"""Seconds between two checks whether the rooms of unwatched sessions exist."""
INSIDE_INTERVAL: Final = 30.0
"""Seconds between two checks whether the rooms that we are in exist.  A room reports its end
itself, except one that LiveKit was deleting while it let us in."""
MISSING_TIMEOUT: Final = 20.0
"""Seconds for which a room that we are in must be missing before it counts as over."""
LOAD_AGAIN: Final = 5.0
"""Seconds between two tries to read an archive that is in trouble."""


@final
class Recovery:
    """A service: `load_once` before anything else runs, then `run`."""

    def __init__(
        self,
        archive: Archive,
        table: RoomTableView,
        load: Callable[[RecoveredSessions], object],
        manager: Ref[Any],
        list_living: ListLiving,
        *,
        clock: Clock,
        announce: Announce,
        check_interval: float = CHECK_INTERVAL,
    ) -> None:
        self._archive = archive
        self._table = table
        self._load = load
        self._manager = manager
        self._list_living = list_living
        self._clock = clock
        self._announce = announce
        self._check_interval = check_interval
        self._checked_at = trio.current_time()
        self._missing: dict[str, float] = {}
        """SIDs of our rooms that LiveKit does not list, and since when (seconds of trio)."""

    async def load_once(self) -> None:
        """Read the archive.  If that fails it is announced, and `run` tries again."""
        try:
            earlier = await self._archive.load()
        except ArchiveTrouble as trouble:
            self._announce("store_unreadable", error=str(trouble))
            return
        self._load(earlier)
        self._manager.tell(Recovered())
        still_open = sum(not stored.state.ended for stored in earlier.sessions)
        if still_open:
            self._announce("sessions_recovered", sessions=still_open)

    async def run(self) -> None:
        """For as long as the program runs."""
        while True:
            if self._table.loaded:
                if (
                    self._table.unwatched
                    or trio.current_time() >= self._checked_at + INSIDE_INTERVAL
                ):
                    await self._check()
                await sleep(self._check_interval)
            else:
                await sleep(LOAD_AGAIN)
                await self.load_once()

    async def _check(self) -> None:
        table, asked_at, now = self._table, self._clock(), trio.current_time()
        unwatched, inside = frozenset(table.unwatched), table.connected_sids
        self._checked_at = now
        if not (unwatched or inside):
            return
        try:
            living = await self._list_living()
        except RoomUnreachable:
            return
        missing = (inside & table.connected_sids) - living
        self._missing = {sid: self._missing.get(sid, now) for sid in missing}
        vanished = frozenset(
            sid for sid, at in self._missing.items() if now - at >= MISSING_TIMEOUT
        )
        over = vanished | unwatched - living
        if over:
            self._manager.tell(RoomsVanished(asked_at, over))
