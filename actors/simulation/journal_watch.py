"""Keeps what every journal was told and when: a snapshot, and what the disk has, is its fold."""

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
    """One journal, and what it accepted."""

    journal: Journal
    before: SessionState | None
    """None of a new session, of which even the beginning is a record."""
    seq: int
    """Of the last record in `before`."""
    records: list[Record] = field(factory=list[Record])
    times: list[float] = field(factory=list[float])
    """Virtual seconds of each."""

    def seq_before(self, time: float) -> int:
        """Of the last record that was accepted before `time`."""
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
    """All journals that are made while `kept` is entered."""

    def __init__(self) -> None:
        self.all: list[WatchedJournal] = []
        self.gave_up: set[str] = set()
        """SIDs of lives of which records were given up before it was known that they were
        recorded before: not even a checkpoint has those."""

    @contextmanager
    def kept(self) -> Generator[None, None, None]:
        """Note what is accepted by every journal that is made from here on."""
        real_init, real_append = Journal.__init__, Journal._append  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        real_adopt = Journal.adopt
        by_id: dict[int, WatchedJournal] = {}

        def init(journal: Journal, number: int, state: SessionState, *args: Any, **more: Any):
            real_init(journal, number, state, *args, **more)
            told = WatchedJournal(journal, None if journal.seq < 0 else state, journal.seq)
            by_id[id(journal)] = told
            self.all.append(told)

        def append(journal: Journal, record: Record, *args: Any) -> None:
            real_append(journal, record, *args)
            told = by_id[id(journal)]
            told.records.append(record)
            told.times.append(trio.current_time())

        def adopt(journal: Journal, kept: StoredSession, seen_until: float) -> None:
            told = by_id[id(journal)]
            if journal.lost:
                self.gave_up.add(journal.state.room_sid)
            told.before, told.seq = kept.state, kept.seq + journal.lost
            told.records.clear()
            told.times.clear()
            real_adopt(journal, kept, seen_until)

        with patch.multiple(Journal, __init__=init, _append=append, adopt=adopt):
            yield

    def of(self, backlog: Backlog) -> list[WatchedJournal]:
        """The journals of one run of the program."""
        return [
            told
            for told in self.all
            if told.journal._backlog is backlog  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        ]

    def differing(self, disk: SimulatedDisk) -> list[str]:
        """Journals whose state is not the fold of what they accepted, and sessions that are on
        the disk as they never were."""
        found: list[str] = []
        kept = {number: disk.session(number) for number in disk.numbers}
        known: set[int] = set()
        for told in self.all:
            one, last = kept.get(told.journal.number), told.before
            for seq, state in told.states():
                last = state
                if one is not None and seq == one.seq and state == one.state:
                    known.add(one.session)
            if last != told.journal.state:
                found.append(f"{told.journal.state.room_sid}: not the fold of what it accepted")
        return found + [
            f"{one.state.room_sid} was never as it is on the disk, as of {one.seq}"
            for one in kept.values()
            if one.session not in known
        ]
