"""A timer that any thread sets, and one trio task waits for.

`LinuxTimer` is a timerfd in trio's own epoll.  Setting it is one system call, from any thread,
and it needs no cancel scope, no raised `Cancelled` and no socket pair.  On a busy machine a
`trio.sleep` of 1.2 ms costs 180 to 240 µs of CPU, a timerfd 80 to 100 [measured].

`TrioTimer` does the same with trio's own means, where there is no timerfd.
"""

from __future__ import annotations

import ctypes
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import trio

_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1
_NANOSECONDS: Final = 1_000_000_000


class WakeTimer(Protocol):
    """`arm` may be called on any thread, the rest on the trio thread."""

    def now(self) -> float:
        """Seconds, on the clock of this timer."""
        ...

    def arm(self, at: float) -> None:
        """Let `wait` return at this time, or at once where that is past.

        The newest call counts.  Nothing happens after `close`.
        """
        ...

    async def wait(self) -> None:
        """Wait for the armed time.  One task may wait."""
        ...

    def close(self) -> None: ...


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


def _library() -> Any:
    """The C library, called without releasing Python's lock.  A call takes 1 µs, a release more."""
    return ctypes.PyDLL(None, use_errno=True)


class LinuxTimer(WakeTimer):
    """A timerfd.  Raises `OSError` or `AttributeError` where the system has none."""

    def __init__(self) -> None:
        library = _library()
        self._set = library.timerfd_settime
        self._fd: int = library.timerfd_create(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        # Made once: to make them takes longer than the call.
        setting = _Setting()
        self._due = setting.value
        self._setting = ctypes.byref(setting)
        self._lock = threading.Lock()
        """So that no thread sets a descriptor that is closed, and maybe another file by then."""
        self.now = time.monotonic

    def arm(self, at: float) -> None:
        due = max(1, round(at * _NANOSECONDS))
        with self._lock:
            if self._fd >= 0:
                self._due.seconds, self._due.nanoseconds = divmod(due, _NANOSECONDS)
                self._set(self._fd, _ABSOLUTE, self._setting, None)

    async def wait(self) -> None:
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            with suppress(BlockingIOError):  # set anew since it was due
                os.read(self._fd, 8)
                return

    def close(self) -> None:
        with self._lock:
            fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class TrioTimer(WakeTimer):
    """The same with a wake-up and a sleep of trio's."""

    def __init__(self) -> None:
        self.now = trio.current_time
        self._token = trio.lowlevel.current_trio_token()
        self._at = 0.0
        self._armed = trio.Event()

    def arm(self, at: float) -> None:
        self._at = at
        with suppress(trio.RunFinishedError):
            self._token.run_sync_soon(self._wake)

    def _wake(self) -> None:
        self._armed.set()

    async def wait(self) -> None:
        await self._armed.wait()
        self._armed = trio.Event()
        await trio.sleep(max(0.0, self._at - self.now()))

    def close(self) -> None:
        pass


def timer_fits() -> bool:
    """True if a timerfd can be had and is due when it is set.  True where it is not Linux."""
    if sys.platform != "linux":
        return True
    timer = LinuxTimer()
    try:
        timer.arm(0.0)
        readable, _, _ = select.select([timer._fd], [], [], 1.0)  # noqa: SLF001
    finally:
        timer.close()
    return bool(readable)


def make_timer(*, linux: bool) -> WakeTimer:
    """`linux` says whether the seam `inbox_timer` fits."""
    make: Callable[[], WakeTimer] = LinuxTimer if linux and sys.platform == "linux" else TrioTimer
    return make()
