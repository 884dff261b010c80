"""Long work on the loop's thread, cut into slices; other tasks run between them."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Final, TypeVar, final

import trio

T = TypeVar("T")

SLICE: Final = 0.002
"""Seconds of the loop's thread before other tasks run."""


@final
class TimeSlices:
    """Lets other tasks run after each `SLICE`."""

    def __init__(self) -> None:
        self._until = time.perf_counter() + SLICE

    async def may_pass(self) -> None:
        """Call it between two steps.  A checkpoint only when the slice is used up."""
        if time.perf_counter() > self._until:
            await trio.lowlevel.checkpoint()
            self._until = time.perf_counter() + SLICE


async def in_slices(steps: Generator[None, None, T]) -> T:
    """The return value of `steps`; other tasks run between them."""
    turns = TimeSlices()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        await turns.may_pass()
