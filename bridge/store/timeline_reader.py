"""The timeline of one session, read in pieces: it may be larger than memory.

It is in chunks of at most a megabyte (`bridge.store.journal_rows`).  One chunk is in memory at a
time, in either direction.  The cursor of an entry is the number of its journal row and its own
number in that row, so it stays valid while rows are added and dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, final

from attrs import frozen

from actors.journal.archive import JournalRow
from actors.journal.session_reader import BadCursor, TimelinePage
from actors.session import EntryView, TimelineEntry, entry_view
from actors.session.codec import Unreadable
from bridge.store.journal_rows import unpack_chunk
from bridge.store.read_connection import ReadConnection
from bridge.store.replay import entries_of

PAGE_BYTES: Final = 4 << 20
"""The most bytes of the rows of one page."""


@frozen(order=True)
class TimelinePosition:
    """An entry's place in the timeline of its session."""

    seq: int
    number: int

    def __str__(self) -> str:
        return f"{self.seq}.{self.number}"


@final
class StoredTimeline:
    """See `Timeline`.  Use it within the transaction of its reader."""

    def __init__(self, db: ReadConnection, session: int, newest: Sequence[JournalRow]) -> None:
        """`newest` are the rows that are in no chunk."""
        self._db = db
        self._session = session
        self._newest = newest
        self._length: int | None = None

    def __iter__(self) -> Iterator[EntryView]:
        return (entry_view(entry) for _, entry, _ in self._forwards())

    def __contains__(self, entry: object) -> bool:
        return any(entry == one for one in self)

    def __len__(self) -> int:
        if self._length is None:
            self._length = sum(1 for _ in self._forwards())
        return self._length

    def backwards(self) -> Iterator[EntryView]:
        """See `Timeline`."""
        for rows in self._pieces("DESC"):
            for row in reversed(rows):
                for entry in reversed(entries_of((row,))):
                    yield entry_view(entry)

    def page(self, limit: int, cursor: str | None = None) -> TimelinePage:
        """See `Timeline`.  A page has at most `PAGE_BYTES`."""
        entries, room, last = list[EntryView](), PAGE_BYTES, None
        for position, entry, size in self._forwards(_read_cursor(cursor)):
            if len(entries) == limit or (entries and size > room):
                return TimelinePage(entries, str(last))
            entries.append(entry_view(entry))
            room -= size
            last = position
        return TimelinePage(entries, None)

    # ------------------------------------------------------------ inside

    def _forwards(
        self, after: TimelinePosition | None = None
    ) -> Iterator[tuple[TimelinePosition, TimelineEntry, int]]:
        """Each entry with its position and about its bytes."""
        begin = -1 if after is None else after.seq
        for rows in self._pieces("ASC", begin):
            for row in rows:
                if row.seq < begin:
                    continue
                entries = entries_of((row,))
                for number, entry in enumerate(entries):
                    position = TimelinePosition(row.seq, number)
                    if after is None or position > after:
                        yield position, entry, len(row.entries) // len(entries)

    def _pieces(self, order: str, begin: int = -1) -> Iterator[Sequence[JournalRow]]:
        """The chunks in this order, from the one with row `begin` on, and the newest rows."""
        if order == "DESC":
            yield self._newest
        chunks: Iterable[tuple[bytes]] = self._db.execute(
            "SELECT lines FROM chunks WHERE session = :session AND first >= coalesce(("  # noqa: S608
            "SELECT max(first) FROM chunks WHERE session = :session AND first <= :begin"
            f"), -1) ORDER BY first {order}",
            {"session": self._session, "begin": begin},
        )
        for (chunk,) in chunks:
            try:
                yield unpack_chunk(chunk)
            except Unreadable:
                continue
        if order == "ASC":
            yield self._newest


def _read_cursor(cursor: str | None) -> TimelinePosition | None:
    if cursor is None:
        return None
    seq, dot, number = cursor.partition(".")
    if not (dot and all(map(_is_number, (seq, number)))):
        raise BadCursor("this is not a cursor of a timeline")
    return TimelinePosition(int(seq), int(number))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16
