"""Waiting for a time, without a cancel scope for each wait where the clock can do without.

`trio.sleep` enters a cancel scope, cancels it at its deadline and raises and catches
`trio.Cancelled`: about 30 µs of Python.  Only trio can wait for the time of a real clock, but a
virtual clock decides itself when its time passes.  A `TimerClock` therefore wakes its sleeping
tasks directly, at a fifth of the price.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

import trio


class TimerClock(trio.abc.Clock):
    """A clock that wakes the tasks that sleep on it."""

    sleepers: Sleepers
    """The tasks that sleep on it."""


async def sleep(seconds: float) -> None:
    """As `trio.sleep`."""
    clock = trio.lowlevel.current_clock()
    sleepers = _sleepers_of(clock)
    if sleepers is not None and seconds > 0.0:
        await sleepers.add(clock.current_time() + seconds).wait()
    else:
        await trio.sleep(max(0.0, seconds))


async def sleep_until(deadline: float) -> None:
    """As `trio.sleep_until`: a checkpoint, also if the time has passed."""
    clock = trio.lowlevel.current_clock()
    sleepers = _sleepers_of(clock)
    if sleepers is None:
        await trio.sleep_until(deadline)
    elif deadline > clock.current_time():
        await sleepers.add(deadline).wait()
    else:
        await trio.lowlevel.checkpoint()


def _sleepers_of(clock: trio.abc.Clock) -> Sleepers | None:
    """Those of a `TimerClock`.  `isinstance` of an abstract class costs four times as much."""
    return getattr(clock, "sleepers", None)


class Alarm:
    """A flag for which one task waits, until a deadline at most."""

    __slots__ = ("_event", "_sleeper")

    def __init__(self) -> None:
        self._event = trio.Event()
        self._sleeper: Sleeper | None = None

    @property
    def is_set(self) -> bool:
        """True after `set`, until `clear`."""
        return self._event.is_set()

    def set(self) -> None:
        """Set the flag and wake the task that waits."""
        self._event.set()
        if self._sleeper is not None:
            self._sleeper.wake()

    def clear(self) -> None:
        """Take the flag back."""
        if self._event.is_set():
            self._event = trio.Event()

    async def wait_until(self, deadline: float) -> None:
        """Return when the flag is set or the deadline has come.  A checkpoint."""
        clock = trio.lowlevel.current_clock()
        sleepers = _sleepers_of(clock)
        if sleepers is None:
            with trio.move_on_at(deadline):
                await self._event.wait()
        elif self.is_set or deadline <= clock.current_time():
            await trio.lowlevel.checkpoint()
        else:
            self._sleeper = sleepers.add(deadline)
            try:
                await self._sleeper.wait()
            finally:
                self._sleeper = None


class Sleepers:
    """The tasks that sleep on one clock, by their deadline; equal ones in the order they came."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Sleeper]] = []
        self._numbers = count()

    def add(self, deadline: float) -> Sleeper:
        """The running task is going to wait until `deadline`."""
        sleeper = Sleeper(trio.lowlevel.current_task())
        heappush(self._heap, (deadline, next(self._numbers), sleeper))
        return sleeper

    def next_deadline(self, latest: float) -> float:
        """The deadline of the first sleeper, or `latest` if that is earlier."""
        heap = self._heap
        while heap and heap[0][2].task is None:
            heappop(heap)
        return min(heap[0][0], latest) if heap else latest

    def wake(self, now: float) -> None:
        """Wake all sleepers whose deadline has come."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            heappop(heap)[2].wake()


class Sleeper:
    """A task that sleeps; None after it was woken or cancelled."""

    __slots__ = ("task",)

    def __init__(self, task: trio.lowlevel.Task) -> None:
        self.task: trio.lowlevel.Task | None = task

    async def wait(self) -> None:
        """Wait until `wake` is called."""
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def wake(self) -> None:
        """Wake the task; harmless if it does not wait any more."""
        task, self.task = self.task, None
        if task is not None:
            trio.lowlevel.reschedule(task)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED
