"""The timeline of one session, read piece by piece: it may be larger than memory.

It lies in chunks of at most a megabyte (`bridge.store.journal_rows`).  One of them is in memory
at a time, however many entries somebody goes through, and in whichever direction.  An
entry's place is the number of its line and its own number in that line: it stays the
same while other lines come and go.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias, final

from attrs import frozen

from actors.journal.archive import JournalRow
from actors.session import TimelineEntry, entry_view
from actors.session.codec import Unreadable
from bridge.store.journal_rows import unpack_chunk
from bridge.store.replay import entries_of

Json: TypeAlias = dict[str, Any]

PAGE_BYTES: Final = 4 << 20
"""Of the lines of one page."""


class BadCursor(ValueError):
    """No list has such a `next`."""


@frozen(order=True)
class TimelinePosition:
    """Where an entry is."""

    seq: int
    number: int

    def __str__(self) -> str:
        return f"{self.seq}.{self.number}"


@frozen
class TimelinePage:
    """A part of a timeline."""

    entries: list[Json] | None
    """None where they are not kept any more."""
    next: str | None
    """The cursor of the part after this; None where this is the last."""


@final
class Timeline:
    """Every entry as JSON (`docs/contract.md`), oldest first, as often as somebody iterates.

    Entries that cannot be read are left out.  To be used within the transaction of its reader.
    """

    def __init__(self, db: sqlite3.Connection, session: int, newest: Sequence[JournalRow]) -> None:
        """`newest` are the lines that are in no chunk."""
        self._db = db
        self._session = session
        self._newest = newest
        self._length: int | None = None

    def __iter__(self) -> Iterator[Json]:
        return (entry_view(entry) for _, entry, _ in self._forwards())

    def __len__(self) -> int:
        if self._length is None:
            self._length = sum(1 for _ in self._forwards())
        return self._length

    def backwards(self) -> Iterator[Json]:
        """The newest first."""
        for lines in self._pieces("DESC"):
            for line in reversed(lines):
                for entry in reversed(entries_of((line,))):
                    yield entry_view(entry)

    def page(self, limit: int, cursor: str | None = None) -> TimelinePage:
        """At most so many, and of at most `PAGE_BYTES`.  Raises `BadCursor`."""
        entries, room, last = list[Json](), PAGE_BYTES, None
        for place, entry, size in self._forwards(_place_of(cursor)):
            if len(entries) == limit or (entries and size > room):
                return TimelinePage(entries, str(last))
            entries.append(entry_view(entry))
            room -= size
            last = place
        return TimelinePage(entries, None)

    # ------------------------------------------------------------ inside

    def _forwards(
        self, after: TimelinePosition | None = None
    ) -> Iterator[tuple[TimelinePosition, TimelineEntry, int]]:
        """Each with its place and about its bytes."""
        begin = -1 if after is None else after.seq
        for lines in self._pieces("ASC", begin):
            for line in lines:
                if line.seq < begin:
                    continue
                entries = entries_of((line,))
                for number, entry in enumerate(entries):
                    place = TimelinePosition(line.seq, number)
                    if after is None or place > after:
                        yield place, entry, len(line.told) // len(entries)

    def _pieces(self, order: str, begin: int = -1) -> Iterator[Sequence[JournalRow]]:
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


def _place_of(cursor: str | None) -> TimelinePosition | None:
    if cursor is None:
        return None
    seq, dot, number = cursor.partition(".")
    if not (dot and all(map(_is_number, (seq, number)))):
        raise BadCursor("this is no cursor of a timeline")
    return TimelinePosition(int(seq), int(number))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 16
