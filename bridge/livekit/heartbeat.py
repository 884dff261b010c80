"""Notices that this process did not run: SIGSTOP, a closed laptop.

Nothing tells a process that it was suspended.  It notices by itself, because trio's loop
comes by at least every `BEAT` seconds and looks at a clock that runs on meanwhile (`steady`:
it also runs while the machine sleeps; `bridge.livekit.server_clock` says what happens where
a hypervisor stops it too).  The look comes first after a pause: before the loop
runs any task, so before anything that came meanwhile is taken out of a queue.

A loop that is only busy is no suspension: the time that this thread spent on a processor is
subtracted.  The native library stamps events on threads of its own, so a busy loop makes
them late but not wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, final

import trio

from bridge.livekit.server_clock import steady

BEAT: Final = 0.5
"""Seconds between two looks at the most."""
SUSPENDED: Final = 2.0
"""Seconds without a look, and without work, that are a suspension.

A crowded machine or a long garbage collection takes some hundred milliseconds.  LiveKit
itself announces who publishes nothing up to 3 s late, so a shorter pause loses nothing."""


def _ignore(_seconds: float) -> None:
    pass


@final
class Heartbeat(trio.abc.Instrument):
    """`on_suspended` gets the seconds for which nothing ran, up to now.

    It is called between two tasks of the loop: it must neither wait nor raise.
    """

    def __init__(
        self,
        on_suspended: Callable[[float], object] = _ignore,
        *,
        steady: Callable[[], float] = steady,
        worked: Callable[[], float] = time.thread_time,
    ) -> None:
        self.count = 0
        """Suspensions so far."""
        self.seconds = 0.0
        """Of all of them."""
        self._on_suspended = on_suspended
        self._steady = steady
        self._worked = worked
        self._looked_at = steady()
        self._worked_before = worked()

    def start(self) -> None:
        """Look from now on, until the end of trio's run."""
        trio.lowlevel.add_instrument(self)
        self._looked_at, self._worked_before = self._steady(), self._worked()

    async def run(self) -> None:
        """Have the loop come by."""
        while True:  # noqa: ASYNC110 (the sleep is what is wanted)
            await trio.sleep(BEAT)

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 (trio's signature)
        self._look()
        self._worked_before = self._worked()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        self._look()

    def _look(self) -> None:
        now = self._steady()
        since, self._looked_at = self._looked_at, now
        if now - since > SUSPENDED:
            worked = self._worked() - self._worked_before
            if now - since - worked > SUSPENDED:
                self.count += 1
                self.seconds += now - since
                self._on_suspended(now - since)
