"""The feed of a simulated disk: its timeline entries, in the order in which they were stored."""

from __future__ import annotations

from typing import final

import trio

from actors.journal.archive import ArchiveTrouble, JournalRow
from actors.journal.feed import FeedEntry, FeedPage, Position
from actors.session.codec import decode_entries
from actors.simulation.simulated_disk import UNREADABLE, SimulatedDisk


@final
class SimulatedFeed:
    """Fills `actors.journal.feed.Feed`.  Each row is a batch of its own."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self.entries: list[FeedEntry] = []
        self._disk = disk
        self._changed = trio.Event()
        self._batches = 0
        self._starts: list[int] = [0]
        """The place in `entries` of the first entry of each batch, and the place after the last."""
        self._seqs: dict[int, int] = {}
        """The newest row of each session."""
        disk.on_row = self._add

    @property
    def changed(self) -> trio.Event:
        return self._changed

    @property
    def position(self) -> Position:
        """Of all entries so far."""
        return Position.at(self._batches + 1, 0)

    async def newest(self) -> Position:
        await self._read()
        return self.position

    async def after(self, position: Position, limit: int) -> FeedPage:
        await self._read()
        batch, number = position.place()
        batch = min(max(batch, 1), self._batches + 1)
        start = self._starts[batch - 1] + number
        return FeedPage(tuple(self.entries[start : start + limit]), gap=False)

    async def _read(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._disk.refusal == UNREADABLE:
            raise ArchiveTrouble(UNREADABLE)

    def _add(self, row: JournalRow) -> None:
        """A row is on the disk.  It may be one that was there, of a batch that is written again."""
        if not row.entries or row.seq <= self._seqs.get(row.session, -1):
            return
        self._seqs[row.session] = row.seq
        self._batches += 1
        room, sid = self._disk.room_of(row.session)
        for index, entry in enumerate(decode_entries(row.entries)):
            position = Position.at(self._batches, index + 1)
            session = str(row.session)
            self.entries.append(FeedEntry(position, room, sid, entry, session, row.seq, index))
        self._starts.append(len(self.entries))
        changed, self._changed = self._changed, trio.Event()
        changed.set()
