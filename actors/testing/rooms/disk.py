"""A simulated disk under the archive's port, for faults that a real one shows rarely.

It keeps bytes, as a file would: a session that is got back from it has gone through the
codec and through the fold, line by line.  `full`, `locked` and the like make it refuse;
`slow` makes it wait; `torn` makes it keep a batch and say that it did not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import trio
from attrs import frozen

from actors.rooms.archive import ArchiveTrouble, Batch, Found, Kept, Line
from actors.rooms.book import CONTINUED
from actors.session import SessionState, fold
from actors.session.codec import decode_record, decode_state, encode_state

REFUSALS: Final = ("disk full", "database is locked", "read-only directory")


@frozen
class _Saved:
    """A checkpoint as it lies on the disk."""

    seq: int
    state: bytes
    lost: int


@final
class SimulatedDisk:
    """An `Archive` in memory.  It outlives the program that writes to it."""

    def __init__(self, injected: Callable[[str], object] = lambda _: None) -> None:
        self.refusal: str | None = None
        """Why nothing can be read or written now."""
        self.slow = 0.0
        """Seconds that a batch takes."""
        self.torn = 0
        """Batches that will be kept although the writer is told that they were not."""
        self.lines: dict[tuple[int, int], Line] = {}
        self._saved: dict[int, _Saved] = {}
        self._alive_at: float | None = None
        self._injected = injected

    async def load(self) -> Found:
        await trio.lowlevel.checkpoint()
        self._refuse()
        sessions = [self.session(number) for number in sorted(self._saved)]
        kept = [one for one in sessions if not one.state.ended or one.state.end_reason in CONTINUED]
        return Found(tuple(kept), self._alive_at)

    async def write(self, batch: Batch) -> None:
        await trio.sleep(self.slow)
        if self.slow:
            self._injected("disk_slow")
        self._refuse()
        for line in batch.lines:
            self.lines[line.session, line.seq] = line
        for one in batch.checkpoints:
            self._saved[one.session] = _Saved(one.seq, encode_state(one.state), one.lost)
        self._alive_at = batch.alive_at
        if self.torn:
            self.torn -= 1
            self._injected("disk_torn")
            raise ArchiveTrouble("input/output error")

    async def prune(self, now: float) -> bool:  # noqa: ARG002
        await trio.lowlevel.checkpoint()
        return False

    def session(self, number: int) -> Kept:
        """A session as it can be got back now."""
        saved = self._saved[number]
        state, seq = decode_state(saved.state), saved.seq
        while (line := self.lines.get((number, seq + 1))) is not None:
            state, _ = fold(state, decode_record(line.kind, line.body))
            seq += 1
        return Kept(number, seq, state, saved.lost)

    @property
    def sessions(self) -> list[SessionState]:
        """Every session on the disk."""
        return [self.session(number).state for number in sorted(self._saved)]

    def _refuse(self) -> None:
        if self.refusal is not None:
            self._injected("disk_refuses")
            raise ArchiveTrouble(self.refusal)
