"""The feed over the SQLite file of this worker (port: `actors.journal.feed`).

A row of the journal is a batch, and its number is unique in the file: each run goes on above the
numbers of the run before.  So the file is one writer, without a name in a position.

Each read opens the file anew, in a thread.  The file may have been replaced meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import final

import trio

from actors.journal.feed import FeedEntry, FeedPage, Position
from actors.session.codec import Unreadable
from bridge.store.feed_reads import FeedReads
from bridge.store.journal_rows import unpack
from bridge.store.replay import entries_of
from bridge.store.schema import transaction
from bridge.store.sqlite_reader import open_database


@final
class SqliteFeed:
    """See `Feed`."""

    def __init__(
        self,
        data_dir: Path,
        changed: Callable[[], trio.Event],
        unreadable: Callable[[str], object] = lambda _: None,
    ) -> None:
        """`changed` gives the event of the next batch that is written.

        `unreadable` is called in the event loop with the reason of each read that failed.
        """
        self._changed = changed
        self._reads = FeedReads[sqlite3.Connection](lambda: _snapshot(data_dir), unreadable)

    @property
    def changed(self) -> trio.Event:
        """See `Feed`."""
        return self._changed()

    async def newest(self) -> Position:
        """See `Feed`."""
        return await self._reads.read(_newest)

    async def after(self, position: Position, limit: int) -> FeedPage:
        """See `Feed`.

        The journal goes back at least `bridge.store.retention.REPLAY` seconds.
        """
        return await self._reads.read(lambda db: _after(db, position, limit))


@contextmanager
def _snapshot(data_dir: Path) -> Generator[sqlite3.Connection, None, None]:
    with open_database(data_dir) as db, transaction(db, "DEFERRED"):
        yield db


def _newest(db: sqlite3.Connection) -> Position:
    batch = db.execute("SELECT coalesce(max(batch), 0) FROM journal").fetchone()[0]
    return Position.at(batch + 1, 0)


def _after(db: sqlite3.Connection, position: Position, limit: int) -> FeedPage:
    oldest = db.execute("SELECT coalesce(min(batch), 0) FROM journal").fetchone()[0]
    unreadable: list[int] = []
    entries = tuple(islice(_entries(db, position, unreadable), limit))
    return FeedPage(entries, gap=position.place()[0] < oldest or bool(unreadable))


def _entries(db: sqlite3.Connection, after: Position, unreadable: list[int]) -> Iterator[FeedEntry]:
    """It leaves out a batch that cannot be read, and adds its number to `unreadable`."""
    rooms: dict[int, tuple[str, str]] = {}
    place = after.place()
    batches = db.execute(
        "SELECT batch, lines FROM journal WHERE batch >= ? ORDER BY batch", (place[0],)
    )
    for batch, packed in batches:
        number = 0
        try:
            rows = unpack(packed)
        except Unreadable:
            unreadable.append(batch)
            continue
        for row in rows:
            if row.session not in rooms:
                rooms[row.session] = _room(db, row.session)
            for index, entry in enumerate(entries_of((row,))):
                number += 1
                if (batch, number) > place:
                    yield FeedEntry(
                        Position.at(batch, number),
                        *rooms[row.session],
                        entry,
                        str(row.session),
                        row.seq,
                        index,
                    )


def _room(db: sqlite3.Connection, session: int) -> tuple[str, str]:
    row = db.execute("SELECT room, room_sid FROM sessions WHERE session = ?", (session,))
    return row.fetchone() or ("", "")
