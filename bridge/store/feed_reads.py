"""Reads of a feed in threads: a few at a time, each with a transaction of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, Generic, TypeVar, final

import trio

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import NoStore, StoreRefused

T = TypeVar("T")
Db = TypeVar("Db")

READS: Final = 2
"""Reads at the same time; others wait."""


@final
class FeedReads(Generic[Db]):
    """A part of a feed, which alone calls it."""

    def __init__(
        self,
        snapshot: Callable[[], AbstractContextManager[Db]],
        unreadable: Callable[[str], object],
    ) -> None:
        """`snapshot` opens the store for one read, in a thread.

        `unreadable` is called in the event loop with the reason of each read that failed.
        """
        self._snapshot = snapshot
        self._unreadable = unreadable
        self._limiter = trio.CapacityLimiter(READS)

    async def read(self, function: Callable[[Db], T]) -> T:
        """The answer of `function` over one snapshot.  Raises `ArchiveTrouble`."""

        def call() -> T:
            with self._snapshot() as db:
                return function(db)

        try:
            return await trio.to_thread.run_sync(
                call, limiter=self._limiter, abandon_on_cancel=True
            )
        except (NoStore, StoreRefused, ArchiveTrouble) as error:
            self._unreadable(str(error))
            raise ArchiveTrouble(str(error)) from None
