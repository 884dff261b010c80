"""The live sessions of a store, followed: for pages that show what other programs watch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from typing import Final, final

import structlog
import trio

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import (
    NoStore,
    OpenReader,
    SessionReader,
    StoreRefused,
    WorkerRow,
)
from actors.session import SessionState

log = structlog.get_logger()

LOOK_EVERY: Final = 1.0
"""Seconds from one look at the store to the next."""
ANSWER_SECONDS: Final = 30.0
"""The longest time of a look."""


@final
class FollowedSessions:
    """The states of all live sessions as of the last look.  `run` must run."""

    def __init__(self, open_reader: OpenReader, look_every: float = LOOK_EVERY) -> None:
        self.states: Sequence[SessionState] = ()
        """The newest session first."""
        self.workers: Sequence[WorkerRow] = ()
        self.trouble: str | None = "the store was not read yet"
        """Why the last look failed; None after one that did not."""
        self.looked = trio.Event()
        """Set after the next look; then another event."""
        self._open_reader = open_reader
        self._look_every = look_every
        self._opened: tuple[ExitStack, SessionReader] | None = None

    async def run(self) -> None:
        """Look at the store, for ever."""
        try:
            while True:
                await self._try_to_look()
                looked, self.looked = self.looked, trio.Event()
                looked.set()
                await trio.sleep(self._look_every)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 1.0):
                await trio.to_thread.run_sync(self._close, abandon_on_cancel=True)

    async def _try_to_look(self) -> None:
        trouble = f"the store did not answer for {ANSWER_SECONDS:g} s"
        try:
            with trio.move_on_after(ANSWER_SECONDS):
                self.states, self.workers = await trio.to_thread.run_sync(
                    self._look, abandon_on_cancel=True
                )
                self.trouble = None
                return
            self._opened = None  # The thread has it.
        except (NoStore, StoreRefused, ArchiveTrouble) as error:
            trouble = str(error)
        if trouble != self.trouble:
            log.warning("store_unreadable_for_http", error=trouble)
        self.trouble = trouble

    def _look(self) -> tuple[Sequence[SessionState], Sequence[WorkerRow]]:
        try:
            if self._opened is None:
                stack = ExitStack()
                self._opened = stack, stack.enter_context(self._open_reader())
            stack, reader = self._opened
            return self._read(stack, reader)
        except BaseException:
            self._close()
            raise

    def _read(
        self, stack: ExitStack, reader: SessionReader
    ) -> tuple[Sequence[SessionState], Sequence[WorkerRow]]:
        try:
            return [one.state for one in reader.live()], reader.workers()
        except Exception as error:
            # The reader's context says what the driver's error means.
            self._opened = None
            if stack.__exit__(type(error), error, error.__traceback__):
                return (), ()
            raise

    def _close(self) -> None:
        if self._opened is not None:
            (stack, _), self._opened = self._opened, None
            with suppress(ArchiveTrouble):
                stack.close()


def joined(
    own: Callable[[], Iterable[SessionState]], followed: FollowedSessions
) -> Sequence[SessionState]:
    """This program's own sessions as they are now, and those of others as of the last look."""
    ours = list(own())
    sids = {state.room_sid for state in ours}
    return [*ours, *(state for state in followed.states if state.room_sid not in sids)]
