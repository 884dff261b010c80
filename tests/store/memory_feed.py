"""A feed in memory, of one writer or of several, for tests that need no disk."""

from __future__ import annotations

from typing import final

import trio

from actors.journal.archive import Batch
from actors.journal.feed import FeedEntry, FeedPage, Position
from bridge.store.replay import entries_of


@final
class MemoryFeed:
    """See `Feed`.  Entries come in the order of the calls of `add`."""

    def __init__(self) -> None:
        self.changed = trio.Event()
        self._entries: list[FeedEntry] = []
        self._newest_count = 0
        self._newest = self._dropped = Position({})
        self._rooms: dict[tuple[str, int], tuple[str, str]] = {}

    def add(self, batch: Batch, writer: str = "") -> None:
        """A batch of one writer."""
        for checkpoint in batch.checkpoints:
            key, state = (writer, checkpoint.session), checkpoint.state
            self._rooms[key] = (state.room, state.room_sid)
        number, entries = self._newest.place(writer)[0] + 1, list[FeedEntry]()
        for row in batch.rows:
            for entry in entries_of((row,)):
                position = Position.at(number, len(entries) + 1, writer)
                entries.append(FeedEntry(position, *self._rooms[writer, row.session], entry))
        self._entries += entries
        self._newest_count = len(entries)
        self._newest |= Position.at(number, len(entries), writer)
        changed, self.changed = self.changed, trio.Event()
        changed.set()

    def drop_all_but_the_newest_batch(self) -> None:
        """Forget the entries of earlier batches."""
        for entry in self._entries[: -self._newest_count]:
            self._dropped |= entry.position
        del self._entries[: -self._newest_count]

    async def newest(self) -> Position:
        """See `Feed`."""
        return self._newest

    async def after(self, position: Position, limit: int) -> FeedPage:
        """See `Feed`."""
        entries = [one for one in self._entries if not one.position <= position]
        return FeedPage(tuple(entries[:limit]), gap=not self._dropped <= position)
