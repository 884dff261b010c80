"""The end of a run: orderly on a signal, at once on a second one or a timeout, always soon.

The first SIGINT, SIGTERM or SIGHUP requests an orderly end.  A second SIGINT hurries it: the work
is cancelled right away.  Programs often send SIGTERM twice (to a process and to its group) and mean
one.  So a second SIGTERM within `REPEAT` seconds changes nothing; a later one hurries too.  SIGHUP
means that the terminal has closed.  If it was ignored before this process began (nohup), it stays
ignored.

After a cancellation the program has `LEAVE_SECONDS` to leave its rooms.  Then the process ends,
even if something hangs.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import structlog
import trio
from attrs import define, field

from bridge.log.sink import Sink
from bridge.log.structured_log import FLUSH_SECONDS

log = structlog.get_logger()

REPEAT: Final = 1.0
"""Seconds in which another SIGTERM or SIGHUP is the same request."""
LEAVE_SECONDS: Final = 1.0
"""Seconds to leave rooms and socket after a cancellation."""
INTERRUPTED: Final = 130


@define(eq=False)
class Shutdown:
    """The end of one run: whether it was requested, whether it is hurried, with which exit code."""

    sink: Sink
    """Where the log goes."""
    log_end: Callable[[], object]
    """Logs what a run says last.  Called once, also when the process is ended by force."""
    requested: trio.Event = field(factory=trio.Event)
    """A first signal has come."""
    hurried: trio.Event = field(factory=trio.Event)
    """A later signal has come, or the time for an orderly end is over."""
    code: int = 0
    _first_at: float = field(default=float("inf"), init=False)
    """When the first signal came, on trio's clock."""
    _interrupts: int = field(default=0, init=False)
    _work: trio.CancelScope = field(factory=trio.CancelScope, init=False)

    async def run(self, work: Callable[[], Awaitable[object]]) -> int:
        """Do the work, which ends when it is done, or soon after it is hurried; the exit code."""
        with trio.open_signal_receiver(*_end_signals()) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.listen, signals)
                nursery.start_soon(self._enforce)
                with self._work:
                    await work()
                nursery.cancel_scope.cancel()
        return self.code

    def hurry(self, code: int) -> None:
        """Cancel the work and end with this exit code."""
        self.code = code
        self.hurried.set()

    async def listen(self, signals: AsyncIterator[int]) -> None:
        """Take signals until cancelled."""
        async for number in signals:
            now = trio.current_time()
            self._first_at = min(self._first_at, now)
            self._interrupts += number == signal.SIGINT
            if self._interrupts > 1 or now - self._first_at > REPEAT:
                log.info("signal_received", signal=signal.Signals(number).name)
                self.hurry(INTERRUPTED)
            elif not self.requested.is_set():
                log.info("signal_received", signal=signal.Signals(number).name)
                self.requested.set()

    async def _enforce(self) -> None:
        await self.hurried.wait()
        self._work.cancel()
        await trio.sleep(LEAVE_SECONDS)
        log.warning("end_forced", after=LEAVE_SECONDS)
        self.log_end()
        self.sink.flush(FLUSH_SECONDS)
        os._exit(self.code)


def _end_signals() -> tuple[signal.Signals, ...]:
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return signal.SIGINT, signal.SIGTERM, *(() if ignored else (signal.SIGHUP,))
