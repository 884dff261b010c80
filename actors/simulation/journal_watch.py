"""Notes each journal's records, states and times: every state must be the fold of them.

The journal's own folds are watched, so that checking them costs no second fold.  Some journals are
folded again at the end all the same: that shows that a fold depends on its arguments alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final, final
from unittest.mock import patch

import trio
from attrs import define, field

from actors.journal import journal as journal_module
from actors.journal.archive import StoredSession
from actors.journal.backlog import Backlog
from actors.journal.journal import Journal
from actors.session import Record, SessionState, fold
from actors.session.reducer import FoldResult
from actors.simulation.simulated_disk import SimulatedDisk

FOLDED_AGAIN: Final = 4
"""One of so many journals is folded again at the end."""


@define(eq=False)
class WatchedJournal:
    """One journal and the records that it accepted."""

    journal: Journal
    before: SessionState | None
    """None for a new session: its beginning is a record too."""
    seq: int
    """Number of the last record in `before`."""
    records: list[Record] = field(factory=list[Record])
    states: list[SessionState] = field(factory=list[SessionState])
    """The state after each."""
    times: list[float] = field(factory=list[float])
    """Virtual seconds of each."""
    correct: bool = True
    """Each state is what the fold made of the state before it and its record."""

    def seq_before(self, time: float) -> int:
        """Number of the last record that was accepted before `time`."""
        return self.seq + bisect_left(self.times, time)

    @property
    def newest(self) -> SessionState | None:
        """The state after the last record."""
        return self.states[-1] if self.states else self.before

    def state_at(self, seq: int) -> SessionState | None:
        """The state after record `seq`; None if this is another journal's record."""
        n = seq - self.seq
        if n == 0:
            return self.before
        return self.states[n - 1] if 0 < n <= len(self.states) else None

    def folded_again(self) -> SessionState | None:
        """The fold of all records."""
        state = self.before
        for record in self.records:
            state, _ = fold(state, record)
        return state


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
        newest_fold: tuple[Any, ...] = ()

        def watched_fold(state: SessionState | None, record: Record) -> FoldResult:
            nonlocal newest_fold
            result = fold(state, record)
            newest_fold = (state, record, result[0])
            return result

        def init(journal: Journal, number: int, state: SessionState, *args: Any, **more: Any):
            real_init(journal, number, state, *args, **more)
            watched = WatchedJournal(journal, None if journal.seq < 0 else state, journal.seq)
            by_id[id(journal)] = watched
            self.all.append(watched)

        def append(journal: Journal, record: Record, *args: Any) -> None:
            real_append(journal, record, *args)
            watched = by_id[id(journal)]
            before, folded, after = newest_fold
            if not (before is watched.newest and folded is record and after is journal.state):
                watched.correct = False
            watched.records.append(record)
            watched.states.append(journal.state)
            watched.times.append(trio.current_time())

        def adopt(journal: Journal, stored: StoredSession, seen_until: float) -> None:
            watched = by_id[id(journal)]
            if journal.lost:
                self.gave_up.add(journal.state.room_sid)
            watched.before, watched.seq = stored.state, stored.seq + journal.lost
            watched.records.clear()
            watched.states.clear()
            watched.times.clear()
            real_adopt(journal, stored, seen_until)

        with (
            patch.object(journal_module, "fold", watched_fold),
            patch.multiple(Journal, __init__=init, _append=append, adopt=adopt),
        ):
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
        for n, watched in enumerate(self.all):
            one, state = stored.get(watched.journal.number), watched.journal.state
            if one is not None and watched.state_at(one.seq) == one.state:
                known.add(one.session)
            correct = watched.correct and watched.newest is state
            if not correct or (n % FOLDED_AGAIN == 0 and watched.folded_again() != state):
                broken.append(f"{state.room_sid}: not the fold of what it accepted")
        return broken + [
            f"{one.state.room_sid} was never as it is on the disk, as of {one.seq}"
            for one in stored.values()
            if one.session not in known
        ]
