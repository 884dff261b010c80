"""Notes each journal's records and their times: every state must be the fold of them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, final
from unittest.mock import patch

import trio
from attrs import define, field

from actors.journal.archive import StoredSession
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.session import Record, SessionState, fold
from actors.simulation.simulated_disk import SimulatedDisk


@define(eq=False)
class WatchedJournal:
    """One journal and the records that it accepted."""

    journal: Journal
    before: SessionState | None
    """None for a new session: its beginning is a record too."""
    seq: int
    """Number of the last record in `before`."""
    records: list[Record] = field(factory=list[Record])
    times: list[float] = field(factory=list[float])
    """Virtual seconds of each."""

    def seq_before(self, time: float) -> int:
        """Number of the last record that was accepted before `time`."""
        return self.seq + bisect_left(self.times, time)

    def states(self) -> Iterator[tuple[int, SessionState | None]]:
        """The state after each record."""
        state = self.before
        yield self.seq, state
        for seq, record in enumerate(self.records, self.seq + 1):
            state, _ = fold(state, record)
            yield seq, state


@final
class JournalWatch:
    """All journals that are made during `watching`."""

    def __init__(self) -> None:
        self.all: list[WatchedJournal] = []
        self.gave_up: set[str] = set()
        """SIDs of room instances with records that were dropped before an earlier session of theirs
        was recovered: no checkpoint has those records."""

    @contextmanager
    def watching(self) -> Generator[None, None, None]:
        """Note the records of every journal that is made in the block."""
        real_init, real_append = Journal.__init__, Journal._append  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        real_adopt = Journal.adopt
        by_id: dict[int, WatchedJournal] = {}

        def init(journal: Journal, number: int, state: SessionState, *args: Any, **more: Any):
            real_init(journal, number, state, *args, **more)
            watched = WatchedJournal(journal, None if journal.seq < 0 else state, journal.seq)
            by_id[id(journal)] = watched
            self.all.append(watched)

        def append(journal: Journal, record: Record, *args: Any) -> None:
            real_append(journal, record, *args)
            watched = by_id[id(journal)]
            watched.records.append(record)
            watched.times.append(trio.current_time())

        def adopt(journal: Journal, stored: StoredSession, seen_until: float) -> None:
            watched = by_id[id(journal)]
            if journal.lost:
                self.gave_up.add(journal.state.room_sid)
            watched.before, watched.seq = stored.state, stored.seq + journal.lost
            watched.records.clear()
            watched.times.clear()
            real_adopt(journal, stored, seen_until)

        with patch.multiple(Journal, __init__=init, _append=append, adopt=adopt):
            yield

    def of(self, backlog: Backlog) -> list[WatchedJournal]:
        """The journals of one run of the program."""
        return [
            watched
            for watched in self.all
            if watched.journal._backlog is backlog  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        ]

    def differing(self, disk: SimulatedDisk) -> list[str]:
        """Journals whose state is not the fold of their records, and stored sessions with a state
        that no journal ever had."""
        broken: list[str] = []
        stored = {number: disk.session(number) for number in disk.numbers}
        known: set[int] = set()
        for watched in self.all:
            one, last = stored.get(watched.journal.number), watched.before
            for seq, state in watched.states():
                last = state
                if one is not None and seq == one.seq and state == one.state:
                    known.add(one.session)
            if last != watched.journal.state:
                broken.append(f"{watched.journal.state.room_sid}: not the fold of what it accepted")
        return broken + [
            f"{one.state.room_sid} was never as it is on the disk, as of {one.seq}"
            for one in stored.values()
            if one.session not in known
        ]
