"""Notices that this process did not run, for example after SIGSTOP or on a closed laptop.

The system does not tell a process that it was suspended.  The process finds out by itself: trio's
loop wakes up at least every `BEAT` seconds and reads a clock that goes on meanwhile (`steady`,
which also runs while the machine sleeps; `bridge.livekit.server_clock` says what happens where a
hypervisor stops it too).  After a pause the clock is read before the loop runs any task, so before
any event of the pause is taken out of a queue.

A busy loop is not a suspension: the time that this thread spent on a processor is subtracted.  The
native library stamps events on threads of its own, so a busy loop makes them late but not wrong.
Reading that time is a system call, twenty times the price of the clock.  So it is read at most
every `WORK_READ_INTERVAL`, and work of up to so many seconds more is subtracted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, final

import trio

from bridge.livekit.server_clock import steady

BEAT: Final = 0.5
"""Seconds between two readings of the clock, at most."""
SUSPENSION_LIMIT: Final = 2.0
"""Seconds without a reading, and without work, that count as a suspension.

A busy machine or a long garbage collection takes some hundred milliseconds.  LiveKit itself
announces people who publish nothing up to 3 s late, so a shorter pause loses nothing."""

WORK_READ_INTERVAL: Final = 0.05
"""Seconds between two readings of the thread's time on a processor, at least."""


def _ignore(_seconds: float) -> None:
    pass


@final
class Heartbeat(trio.abc.Instrument):
    """`on_suspended` gets the seconds for which this process did not run, up to now.

    It is called between two tasks of the loop.  It must neither wait nor raise.
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
        """Length of all suspensions together."""
        self._on_suspended = on_suspended
        self._steady = steady
        self._worked = worked
        self._read_at = steady()
        self._worked_at, self._worked_before = self._read_at, worked()

    def start(self) -> None:
        """Watch from now on, until the end of trio's run."""
        trio.lowlevel.add_instrument(self)
        self._read_at = self._worked_at = self._steady()
        self._worked_before = self._worked()

    async def run(self) -> None:
        """Wake the loop up every `BEAT` seconds."""
        while True:  # noqa: ASYNC110 (the sleep is what is wanted)
            await trio.sleep(BEAT)

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 (trio's signature)
        now = self._steady()
        if now - self._read_at > SUSPENSION_LIMIT:
            self._examine_pause(now)
        self._read_at = now
        if now - self._worked_at > WORK_READ_INTERVAL:
            self._worked_at, self._worked_before = now, self._worked()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        now = self._steady()
        if now - self._read_at > SUSPENSION_LIMIT:
            self._examine_pause(now)
        self._read_at = now

    def _examine_pause(self, now: float) -> None:
        pause = now - self._read_at
        if pause - (self._worked() - self._worked_before) > SUSPENSION_LIMIT:
            self.count += 1
            self.seconds += pause
            self._on_suspended(pause)
