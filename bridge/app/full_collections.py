"""Python's full garbage collections, at quiet moments.

A full collection looks at every object that a collector knows, and stops all threads meanwhile:
28 ms with 500 rooms (145,000 objects).  Python runs one as soon as the old objects have grown by a
quarter, so on a busy worker every half minute, in the middle of events.

Reference counts free nearly everything of an ended room.  What is left are cycles of some 60
objects a room, 12 KB.  They can wait.  So the collector keeps to young objects, and a full
collection comes at a quiet moment.  Without one it comes after `LONGEST_WAIT`, or as soon as the
process has grown by `GROWTH`.
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio
from attrs import define, field

LOOK_INTERVAL: Final = 5.0
"""Seconds between two looks whether this moment is a quiet one."""
QUIET: Final = 0.1
"""Share of a core that the loop's thread uses at most in a quiet moment, since the last look."""
LEAST_WORK: Final = 10
"""Collections of middle-aged objects before a full one is worth it, as Python has it."""
LONGEST_WAIT: Final = 3600.0
"""Seconds without a quiet moment."""
GROWTH: Final = 64 << 20
"""Bytes of resident memory."""
_NEVER: Final = 1_000_000_000
"""Threshold of the oldest generation."""


def _middle_collections() -> int:
    return int(gc.get_stats()[1]["collections"])


def resident_bytes() -> int:
    """Memory of this process, from `/proc`; 0 where there is none."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


@define(eq=False)
class FullCollections:
    """Decides when a full collection comes.  Used on the loop's thread."""

    collect: Callable[[], object] = gc.collect
    clock: Callable[[], float] = time.monotonic
    worked: Callable[[], float] = time.thread_time
    """Seconds that this thread has spent on a processor."""
    collections: Callable[[], int] = _middle_collections
    resident: Callable[[], int] = resident_bytes
    _looked_at: float = field(init=False)
    _worked_before: float = field(init=False)
    _collected_at: float = field(init=False)
    _collections_before: int = field(init=False)
    _resident_before: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._looked_at, self._worked_before = self.clock(), self.worked()
        self._note_collection()

    def _note_collection(self) -> None:
        self._collected_at = self.clock()
        self._collections_before = self.collections()
        self._resident_before = self.resident()

    def look(self) -> None:
        """Collect if it is worth it, and now is a quiet moment or it has waited too long."""
        now, worked = self.clock(), self.worked()
        share = (worked - self._worked_before) / max(now - self._looked_at, 1e-9)
        self._looked_at, self._worked_before = now, worked
        if self.collections() - self._collections_before < LEAST_WORK:
            return
        if (
            share < QUIET
            or now - self._collected_at > LONGEST_WAIT
            or self.resident() - self._resident_before > GROWTH
        ):
            self.collect()
            self._note_collection()

    async def run(self) -> None:
        """Take the full collections over from Python, until cancelled."""
        before = gc.get_threshold()
        gc.set_threshold(*before[:2], _NEVER)
        try:
            while True:
                await trio.sleep(LOOK_INTERVAL)
                self.look()
        finally:
            gc.set_threshold(*before)
