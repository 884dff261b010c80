"""After a restart: take over what earlier runs left, and end what is over meanwhile.

The archive gives back every session that was open when the worker before us was killed.
The manager keeps them as unwatched; the reconciler sends us into those rooms again, and
the first job for such a room continues its session.  Those whose room LiveKit does not
know any more are ended here, as found ended.  So are those, less often looked at, in which
we are although LiveKit has no such room.
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
from actors.runtime import Ref

ListLiving: TypeAlias = Callable[[], Awaitable[frozenset[str]]]
"""The SIDs of all rooms that LiveKit has.  Raises `RoomUnreachable`."""

LOOK_EVERY: Final = 2.0
"""Seconds between two looks at whether the rooms of unwatched sessions live."""
INSIDE_EVERY: Final = 30.0
"""Seconds between two looks at whether the rooms that we are in live.  They say it when
they end; only one that LiveKit was deleting while it let us in never says anything."""
MISSING: Final = 20.0
"""Seconds that a room in which we are must be missing before it is over."""
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
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._archive = archive
        self._table = table
        self._load = load
        self._manager = manager
        self._list_living = list_living
        self._clock = clock
        self._announce = announce
        self._look_every = look_every
        self._looked_at = trio.current_time()
        self._missing: dict[str, float] = {}
        """SIDs of rooms that we are in and LiveKit has not, and since when (seconds of trio)."""

    async def load_once(self) -> None:
        """Read the archive; in trouble this is said, and `run` tries again."""
        try:
            found = await self._archive.load()
        except ArchiveTrouble as trouble:
            self._announce("store_unreadable", error=str(trouble))
            return
        self._load(found)
        self._manager.tell(Recovered())
        still_open = sum(not kept.state.ended for kept in found.sessions)
        if still_open:
            self._announce("sessions_recovered", sessions=still_open)

    async def run(self) -> None:
        """For as long as the program runs."""
        while True:
            if self._table.loaded:
                if self._table.unwatched or trio.current_time() >= self._looked_at + INSIDE_EVERY:
                    await self._look()
                await trio.sleep(self._look_every)
            else:
                await trio.sleep(LOAD_AGAIN)
                await self.load_once()

    async def _look(self) -> None:
        table, asked_at, now = self._table, self._clock(), trio.current_time()
        unwatched, inside = frozenset(table.unwatched), table.connected_sids
        self._looked_at = now
        if not (unwatched or inside):
            return
        try:
            living = await self._list_living()
        except RoomUnreachable:
            return
        missing = (inside & table.connected_sids) - living
        self._missing = {sid: self._missing.get(sid, now) for sid in missing}
        gone = frozenset(sid for sid, at in self._missing.items() if now - at >= MISSING)
        over = gone | unwatched - living
        if over:
            self._manager.tell(RoomsVanished(asked_at, over))
