"""Bytes of finished answers that their clients have not read yet.

A client that does not read costs what it was answered, for `http1_stream.STALL_SECONDS`.  All of
them together cost `MOST` bytes: beyond that an answer is refused with 503, and a stream
waits.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final, final

import trio

MOST: Final = 64 << 20
"""Bytes of all answers together.  Three of the largest measured sessions fit."""


@final
class AnswerBudget:
    """Counts the bytes under way.  Used within one event loop."""

    def __init__(self, most: int = MOST) -> None:
        self.used = 0
        self.peak = 0
        """The largest value of `used`."""
        self._most = most
        self._freed = trio.Event()

    @property
    def full(self) -> bool:
        """True if no further answer should be made."""
        return self.used >= self._most

    def take(self, size: int) -> bool:
        """Count `size` bytes as under way; False, and nothing is counted, where they do not fit.

        An answer larger than all of the budget fits while nothing else is under way.
        """
        if self.used and self.used + size > self._most:
            return False
        self.used += size
        self.peak = max(self.peak, self.used)
        return True

    def give_back(self, size: int) -> None:
        """The client read them, or they were dropped."""
        self.used -= size
        freed, self._freed = self._freed, trio.Event()
        freed.set()

    @asynccontextmanager
    async def room(self, size: int) -> AsyncGenerator[None, None]:
        """Wait until `size` bytes fit; they are under way for the length of the block."""
        while not self.take(size):
            await self._freed.wait()
        try:
            yield
        finally:
            self.give_back(size)
