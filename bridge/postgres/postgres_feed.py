"""The feed over a database of several workers (port: `actors.journal.feed`).

A position has a place for each worker, under the number of its row in `workers`; not for those that
are over for long.  A follower wakes
after each batch of this program's own worker, if there is one, and looks for the batches of others
every `LOOK_EVERY` seconds.  Entries of several workers are merged by the numbers of their batches,
which are microseconds of the workers' clocks.

Each read connects anew, in a thread, as the feed over SQLite opens its file anew.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from heapq import merge
from itertools import islice
from typing import Any, Final, final

import trio
from attrs import frozen

from actors.journal.feed import FeedEntry, FeedPage, Place, Position
from actors.session.codec import Unreadable
from bridge.postgres.postgres_connection import PostgresConnection
from bridge.postgres.postgres_reader import open_database_for_reading
from bridge.postgres.postgres_statements import RETIRED_AFTER
from bridge.store.feed_reads import FeedReads
from bridge.store.journal_rows import unpack
from bridge.store.replay import entries_of

LOOK_EVERY: Final = 0.5
"""Seconds between two looks for the batches of other workers."""
_AT_ONCE: Final = 50
"""Batches that one query reads."""


@final
class PostgresFeed:
    """See `Feed`."""

    def __init__(
        self,
        url: str,
        batch_written: Callable[[], trio.Event] = trio.Event,
        unreadable: Callable[[str], object] = lambda _: None,
        *,
        look_every: float = LOOK_EVERY,
    ) -> None:
        """`batch_written` gives the event of the next batch of this program's own worker.

        `unreadable` is called in the event loop with the reason of each read that failed.
        """
        self._batch_written = batch_written
        self._look_every = look_every
        self._changed: trio.Event | None = None
        self._reads = FeedReads[PostgresConnection](lambda: _snapshot(url), unreadable)

    @property
    def changed(self) -> trio.Event:
        """See `Feed`.  Also set when it is time to look for the batches of other workers."""
        if self._changed is None or self._changed.is_set():
            self._changed = trio.Event()
            trio.lowlevel.spawn_system_task(self._wake, self._changed, self._batch_written())
        return self._changed

    async def _wake(self, changed: trio.Event, batch_written: trio.Event) -> None:
        with trio.move_on_after(self._look_every):
            await batch_written.wait()
        changed.set()

    async def newest(self) -> Position:
        """See `Feed`."""

        def newest(db: PostgresConnection) -> Position:
            workers = _workers(db)
            return Position(
                {str(one.worker): (one.newest + 1, 0) for one in workers if not one.is_retired}
            )

        return await self._reads.read(newest)

    async def after(self, position: Position, limit: int) -> FeedPage:
        """See `Feed`.

        The journal goes back at least `bridge.store.retention.REPLAY` seconds.
        """
        return await self._reads.read(lambda db: _after(db, position, limit))


@contextmanager
def _snapshot(url: str) -> Generator[PostgresConnection, None, None]:
    with open_database_for_reading(url) as db, db.snapshot():
        yield db


@frozen
class _Worker:
    worker: int
    """Its number."""
    dropped: int
    """Its newest batch that was dropped."""
    newest: int
    """Its newest batch."""
    is_retired: bool
    """It is over for long, and has no batch any more.  A position needs no place for it."""


def _workers(db: PostgresConnection) -> list[_Worker]:
    rows = db.execute(
        "SELECT worker, dropped, greatest(0, dropped, newest), newest IS NULL AND "
        "expires <= now() - make_interval(secs => ?) FROM (SELECT worker, dropped, expires, "
        "(SELECT max(batch) FROM journal WHERE journal.worker = workers.worker) AS newest "
        "FROM workers) AS workers ORDER BY worker",
        (RETIRED_AFTER,),
    )
    return [_Worker(*row) for row in rows]


def _after(db: PostgresConnection, position: Position, limit: int) -> FeedPage:
    unreadable: list[int] = []
    rooms: dict[int, tuple[str, str]] = {}
    gap, writers = False, list[Iterator[FeedEntry]]()
    # Numbers of batches are microseconds.  A follower that has an entry of a later time had all of
    # a worker that is over since.
    latest = max((batch for batch, _ in position.places.values()), default=0)
    for one in _workers(db):
        place = position.place(str(one.worker))
        gap = gap or one.dropped >= (latest + 1 if one.is_retired else place[0])
        if one.newest >= place[0] and not one.is_retired:
            writers.append(_entries(db, one.worker, place, rooms, unreadable))
    merged = merge(*writers, key=_batch_of)
    return FeedPage(tuple(islice(merged, limit)), gap=gap or bool(unreadable))


def _batch_of(entry: FeedEntry) -> int:
    return next(iter(entry.position.places.values()))[0]


def _entries(
    db: PostgresConnection,
    worker: int,
    after: Place,
    rooms: dict[int, tuple[str, str]],
    unreadable: list[int],
) -> Iterator[FeedEntry]:
    """The entries of one worker.  It leaves out a batch that cannot be read, and adds its number to
    `unreadable`."""
    name, begin = str(worker), after[0]
    while True:
        batches: list[Any] = db.execute(
            "SELECT batch, lines FROM journal WHERE worker = ? AND batch >= ? "
            "ORDER BY batch LIMIT ?",
            (worker, begin, _AT_ONCE),
        ).fetchall()
        for batch, packed in batches:
            number = 0
            try:
                rows = unpack(packed)
            except Unreadable:
                unreadable.append(batch)
                continue
            for row in rows:
                entries = entries_of((row,))
                if entries and row.session not in rooms:
                    rooms[row.session] = _room(db, row.session)
                for index, entry in enumerate(entries):
                    number += 1
                    if (batch, number) > after:
                        yield FeedEntry(
                            Position.at(batch, number, name),
                            *rooms[row.session],
                            entry,
                            str(row.session),
                            row.seq,
                            index,
                        )
        if len(batches) < _AT_ONCE:
            return
        begin = batches[-1][0] + 1


def _room(db: PostgresConnection, session: int) -> tuple[str, str]:
    row = db.execute("SELECT room, room_sid FROM sessions WHERE session = ?", (session,))
    return row.fetchone() or ("", "")
