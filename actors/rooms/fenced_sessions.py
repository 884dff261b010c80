"""Sessions that the database refused, and what is dropped of those that another worker writes.

A room has one session, and its owner alone writes it.  So of a room that another worker owns,
everything that this worker recorded and that is not stored is dropped, also after a long outage:
the owner numbered its own records in the meantime, from its own connection to the room.  Records of
two connections cannot be joined to one session.  What is dropped is counted and logged.

Nothing else is dropped.  A session stays in memory until the archive has it
(`RoomTable.add_idle`), so that a refused session of a room that nobody owns gets its lease however
long ago it ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final, final

from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.journal.process_ports import Announce
from actors.rooms.room_table import RoomTable


@final
class FencedSessions:
    """A part of the keeper of leases, which alone calls it."""

    def __init__(self, table: RoomTable, backlog: Backlog, announce: Announce) -> None:
        self._table: Final = table
        self._backlog: Final = backlog
        self._announce: Final = announce
        self._numbers: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._numbers)

    def __contains__(self, number: int) -> bool:
        return number in self._numbers

    def add(self, numbers: Iterable[int]) -> None:
        """The database refused these sessions."""
        self._numbers.update(numbers)

    def remove(self, number: int) -> None:
        """It is known what becomes of this session."""
        self._numbers.discard(number)

    def journals(self) -> list[Journal]:
        """The sessions of which it is not known yet.

        One without a journal was given away, and another worker acquired its room before its last
        batch: what waits of it is dropped.
        """
        journals = {one.number: one for one in self._table.journals}
        if without := self._numbers - journals.keys():
            self._numbers -= without
            self._report(self._backlog.drop(without), len(without))
        return [journals[number] for number in sorted(self._numbers)]

    def refuse(self, journals: Collection[Journal]) -> None:
        """Another worker writes these sessions: drop what waits of them."""
        self._numbers.difference_update(one.number for one in journals)
        self._report(self._backlog.discard(journals), len(journals))

    def _report(self, rows: int, sessions: int) -> None:
        if rows:
            self._announce("rows_refused", rows=rows, sessions=sessions)
