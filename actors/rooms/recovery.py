"""After a restart: take over what earlier runs left, and end what is over meanwhile.

The archive gives back every session that was open when the worker before us was killed.
The manager keeps them as unwatched; the reconciler sends us into those rooms again, and
the first job for such a room continues its session.  Those whose room LiveKit does not
know any more are ended here, as found ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias, final

import trio

from actors.rooms.archive import Archive, ArchiveTrouble
from actors.rooms.book import Book
from actors.rooms.messages import Announce, FoundOver, Recovered
from actors.rooms.port import RoomUnreachable
from actors.rooms.session import Clock
from actors.runtime import Ref

ListLiving: TypeAlias = Callable[[], Awaitable[frozenset[str]]]
"""The SIDs of all rooms that LiveKit has.  Raises `RoomUnreachable`."""

LOOK_EVERY: Final = 2.0
"""Seconds between two looks at whether the rooms of unwatched sessions live."""
LOAD_AGAIN: Final = 5.0
"""Seconds between two tries to read an archive that is in trouble."""


@final
class Recovery:
    """A service: `load_once` before anything else runs, then `run`."""

    def __init__(
        self,
        archive: Archive,
        book: Book,
        manager: Ref[Any],
        list_living: ListLiving,
        *,
        clock: Clock,
        announce: Announce,
        look_every: float = LOOK_EVERY,
    ) -> None:
        self._archive = archive
        self._book = book
        self._manager = manager
        self._list_living = list_living
        self._clock = clock
        self._announce = announce
        self._look_every = look_every

    async def load_once(self) -> None:
        """Read the archive; in trouble this is said, and `run` tries again."""
        try:
            found = await self._archive.load()
        except ArchiveTrouble as trouble:
            self._announce("store_unreadable", error=str(trouble))
            return
        self._book.loaded = True
        self._book.found.extend(found.sessions)
        self._book.alive_at = found.alive_at
        self._manager.tell(Recovered())
        still_open = sum(not kept.state.ended for kept in found.sessions)
        if still_open:
            self._announce("sessions_recovered", sessions=still_open)

    async def run(self) -> None:
        """For as long as the program runs."""
        while True:
            if self._book.loaded:
                if self._book.unwatched:
                    await self._look()
                await trio.sleep(self._look_every)
            else:
                await trio.sleep(LOAD_AGAIN)
                await self.load_once()

    async def _look(self) -> None:
        asked_at, unwatched = self._clock(), frozenset(self._book.unwatched)
        try:
            living = await self._list_living()
        except RoomUnreachable:
            return
        over = unwatched - living
        if over:
            self._manager.tell(FoundOver(asked_at, over))
