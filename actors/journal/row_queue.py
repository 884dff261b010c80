"""The rows that wait for the archive, in order and bounded.

Overload is charged to its source: if one session has most of what waits, its newest rows are given
up first.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final, final

from attrs import define, field

from actors.journal.archive import JournalRow

ROW_COST: Final = 300
"""Bytes that a row takes beside its body."""


@define(eq=False)
class _SessionShare:
    """The waiting rows of one session."""

    places: list[int] = field(factory=list[int])
    """Of its rows among all, the oldest first."""
    bytes: int = 0


@final
class RowQueue:
    """A part of the backlog, which alone calls it."""

    def __init__(self, most_bytes: int, most_rows: int) -> None:
        self._most_bytes = most_bytes
        self._most_rows = most_rows
        self._rows: dict[int, JournalRow] = {}
        """Rows by the order in which they came, so that one can be given up without a search."""
        self._came = 0
        self._bytes = 0
        self._shares: dict[int, _SessionShare] = {}
        """The share of each session."""
        self._largest_session: int | None = None
        """The session that has most bytes of them."""

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> tuple[JournalRow, ...]:
        """All of them, the oldest first."""
        return tuple(self._rows.values())

    def count(self, session: int) -> int:
        """The number of rows of this session."""
        share = self._shares.get(session)
        return 0 if share is None else len(share.places)

    def first_seq(self, session: int) -> int | None:
        """The number of this session's oldest row; None where it has none."""
        share = self._shares.get(session)
        return self._rows[share.places[0]].seq if share is not None and share.places else None

    def has_others(self, sessions: Container[int]) -> bool:
        """True if a session that is not among these has rows."""
        return any(one not in sessions for one in self._shares)

    def is_full(self, cost: int) -> bool:
        """True if a row of this cost has no room."""
        return self._bytes + cost > self._most_bytes or len(self._rows) >= self._most_rows

    def append(self, row: JournalRow, cost: int) -> None:
        """Add a row."""
        share = self._shares.get(row.session)
        if share is None:
            share = self._shares[row.session] = _SessionShare()
        self._came += 1
        self._rows[self._came] = row
        share.places.append(self._came)
        share.bytes += cost
        self._bytes += cost
        largest = self._largest_session
        if largest is None or share.bytes > self._shares[largest].bytes:
            self._largest_session = row.session

    def make_room(self, number: int, cost: int) -> tuple[int, int]:
        """Give up the newest rows, as few as possible, of another session than `number` that has
        half of all.  Gives that session, and how many rows."""
        largest, rows = self._largest_session, 0
        if largest is None or largest == number:
            return number, 0
        share = self._shares[largest]
        while self.is_full(cost) and share.places and 2 * share.bytes >= self._bytes:
            freed = cost_of(self._rows.pop(share.places.pop()))
            share.bytes -= freed
            self._bytes -= freed
            rows += 1
        return largest, rows

    def withdraw(self, session: int) -> list[JournalRow]:
        """Take out the rows of one session."""
        share = self._shares.pop(session, _SessionShare())
        rows = [self._rows.pop(place) for place in share.places]
        self._bytes -= share.bytes
        if self._largest_session == session:
            shares = self._shares
            self._largest_session = max(shares, key=lambda one: shares[one].bytes, default=None)
        return rows

    def replace(self, rows: Iterable[JournalRow]) -> None:
        """Have these rows in place of all."""
        rows = tuple(rows)
        self._rows, self._shares, self._bytes, self._largest_session = {}, {}, 0, None
        for row in rows:
            self.append(row, cost_of(row))


def cost_of(row: JournalRow) -> int:
    """Bytes that a row takes."""
    return ROW_COST + len(row.body) + len(row.entries)
