"""A simulated disk under the archive's port, for faults that a real one shows rarely.

A session that is read from it has passed the codec and the fold, row by row.  It notes up to
which time all records are stored (`durable_until`); the laws compare the program's promises
with that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Final, final

import trio

from actors.journal.archive import (
    RECENT,
    ArchiveLost,
    ArchiveTrouble,
    Batch,
    Checkpoint,
    JournalRow,
    PruneStep,
    RecoveredSessions,
    StoredSession,
)
from actors.runtime import sleep
from actors.session import SessionState, fold
from actors.session.codec import decode_record, decode_state, encode_state
from actors.session.end_reasons import CONTINUABLE

BATCHES_A_STEP: Final = 4
"""One of so many batches takes a step of the scheduler, in which others run; each costs a pass."""
REFUSALS: Final[Mapping[str, str]] = {
    "disk_full": "disk full",
    "disk_locked": "database is locked",
    "disk_readonly": "read-only directory",
}
"""Fault to the error text of the archive."""
UNREADABLE: Final = "database is locked"
"""The one of them that keeps readers out too."""


@final
class SimulatedDisk:
    """An `Archive` in memory.  It outlives the program that writes to it."""

    def __init__(self, injected: Callable[[str], object] = lambda _: None) -> None:
        self.refusal: str | None = None
        """Why nothing can be written now."""
        self.slow = 0.0
        """Seconds that a batch takes."""
        self.torn = 0
        """So many batches will be stored, and the writer gets an error all the same."""
        self.damaged = False
        """Whether `verify` finds damage."""
        self.bug: Callable[[], Exception] | None = None
        """Makes the exception of the next write: one that the program does not expect."""
        self.stepwise_at = -inf
        """Virtual seconds at which every batch takes a step, so that a fault can come inside it."""
        self.keeps_interrupted_batch = False
        """Whether a batch is stored whose writer is cancelled in between."""
        self.pruned_at: float | None = None
        """The `now` of the last `prune`."""
        self.durable_until = -inf
        """Virtual seconds: all records of this run before that time are stored."""
        self.troubled_at = -inf
        """Virtual seconds of the last fault."""
        self.rows: dict[int, dict[int, JournalRow]] = {}
        """By session and number."""
        self._saved: dict[int, Checkpoint] = {}
        self._read: dict[int, tuple[Checkpoint, StoredSession]] = {}
        """Sessions as they were read last, and from which checkpoint: a dozen laws read each, and
        only rows that came since are folded."""
        self._run = 0
        self._alive_at: dict[int, float] = {}
        """By run."""
        self._of_run: set[int] = set()
        """Sessions of this run, until those of earlier ones were loaded."""
        self._batches = 0
        self._offered: tuple[Batch | None, float] = (None, -inf)
        """The batch that was to be written last, and since when."""
        self.on_row: Callable[[JournalRow], object] | None = None
        """Called for each row that is stored, after the checkpoints of its batch."""
        self._injected = injected

    def new_run(self) -> None:
        """Another run of the program opens it."""
        self._run += 1
        self._of_run = set()
        self.bug = None
        self.durable_until = -inf

    async def load(self) -> RecoveredSessions:
        await sleep(self.slow)
        if self.refusal == UNREADABLE:
            self._refuse()
        earlier = [run for run in self._alive_at if run != self._run]
        alive_at = self._alive_at[max(earlier)] if earlier else None
        numbers = sorted(self._saved.keys() - self._of_run)
        sessions = [
            self.session(number) for number in numbers if self._may_matter(number, alive_at)
        ]
        return RecoveredSessions(
            tuple(one for one in sessions if _matters(one.state, alive_at)), alive_at
        )

    async def write(self, batch: Batch) -> None:
        if self._offered[0] is not batch:
            self._offered = batch, trio.current_time()
        if self.bug is not None:
            bug, self.bug = self.bug, None
            self.troubled_at = trio.current_time()
            raise bug()
        if self.slow:
            self.troubled_at = trio.current_time()
        try:
            await self._take_time()
        except trio.Cancelled:
            if self.keeps_interrupted_batch and self.refusal is None:
                self.append(batch)
            raise
        if self.slow:
            self._injected("disk_slow")
        if self.refusal is not None:
            self._refuse()
        self.append(batch)
        if self.torn:
            self.torn -= 1
            self.troubled_at = trio.current_time()
            self._injected("disk_torn")
            raise ArchiveTrouble("input/output error")

    async def _take_time(self) -> None:
        self._batches += 1
        if self.slow:
            await sleep(self.slow)
        elif self._batches % BATCHES_A_STEP == 0 or self.stepwise_at == trio.current_time():
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()

    async def verify(self, most: float = inf) -> None:  # noqa: ARG002
        await sleep(self.slow)
        if self.refusal == UNREADABLE:
            self._refuse()
        if self.damaged:
            self.damaged = False
            self.rows, self._saved, self._read = {}, {}, {}
            raise ArchiveLost("damaged: a new one begins")

    async def prune(self, now: float | None) -> PruneStep:
        await trio.lowlevel.checkpoint()
        self.pruned_at = now
        return PruneStep()

    def heal(self) -> None:
        self.refusal, self.slow, self.torn, self.bug = None, 0.0, 0, None

    def _may_matter(self, number: int, alive_at: float | None) -> bool:
        """False if a session is over by its checkpoint alone: it need not be read."""
        saved = self._saved[number]
        has_more = saved.seq + 1 in self.rows.get(number, {})
        return has_more or _matters(saved.state, alive_at)

    # -- what is stored

    @property
    def numbers(self) -> list[int]:
        """The number of every stored session."""
        return sorted(self._saved)

    def has(self, number: int) -> bool:
        """True if there is a checkpoint of this session."""
        return number in self._saved

    @property
    def sessions(self) -> list[SessionState]:
        """Every stored session."""
        return [self.session(number).state for number in self.numbers]

    def session(self, number: int) -> StoredSession:
        """A session as it can be read now: replayed from its checkpoint, through the codec."""
        saved, rows = self._saved[number], self.rows.get(number, {})
        known, stored = self._read.get(number, (None, None))
        if known is not saved or stored is None:
            state = decode_state(encode_state(saved.state))
            stored = StoredSession(number, saved.seq, state, saved.lost)
        if stored.seq + 1 in rows:
            state, seq = stored.state, stored.seq
            while (row := rows.get(seq + 1)) is not None:
                state, _ = fold(state, decode_record(row.kind, row.body))
                seq += 1
            stored = StoredSession(number, seq, state, saved.lost)
        self._read[number] = saved, stored
        return stored

    def room_of(self, number: int) -> tuple[str, str]:
        """The name and the SID of a session's room; empty where its checkpoint is not there."""
        saved = self._saved.get(number)
        return ("", "") if saved is None else (saved.state.room, saved.state.room_sid)

    def seq(self, number: int) -> int:
        """Number of the last record of a session that can be read; -1 if none can."""
        if number not in self._saved:
            return -1
        seq, rows = self._saved[number].seq, self.rows.get(number, {})
        while seq + 1 in rows:
            seq += 1
        return seq

    def append(self, batch: Batch) -> None:
        """Store a batch at once."""
        for row in batch.rows:
            self.rows.setdefault(row.session, {})[row.seq] = row
        for one in batch.checkpoints:
            self._saved[one.session] = one
            self._of_run.add(one.session)
        if self.on_row is not None:
            for row in batch.rows:
                self.on_row(row)
        self._alive_at[self._run] = batch.alive_at
        self.durable_until = self._offered[1]

    def _refuse(self) -> None:
        self.troubled_at = trio.current_time()
        for fault, refusal in REFUSALS.items():
            if refusal == self.refusal:
                self._injected(fault)
        raise ArchiveTrouble(self.refusal or "")


def _matters(state: SessionState, alive_at: float | None) -> bool:
    """True if a later run has to recover this session."""
    if state.ended_at is None or state.end_reason in CONTINUABLE:
        return True
    return alive_at is None or state.ended_at > alive_at - RECENT
