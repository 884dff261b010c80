"""Long work on the loop's thread, cut into slices between which the actors have their turn."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Final, TypeVar, final

import trio

T = TypeVar("T")

SLICE: Final = 0.002
"""Seconds of the loop's thread before others get their turn."""


@final
class TimeSlices:
    """Gives others their turn after each `SLICE`."""

    def __init__(self) -> None:
        self._until = time.perf_counter() + SLICE

    async def may_pass(self) -> None:
        """Between two steps; a checkpoint only where the slice is over."""
        if time.perf_counter() > self._until:
            await trio.lowlevel.checkpoint()
            self._until = time.perf_counter() + SLICE


async def in_slices(steps: Generator[None, None, T]) -> T:
    """What `steps` return, with others at work between them."""
    turns = TimeSlices()
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value
        await turns.may_pass()
