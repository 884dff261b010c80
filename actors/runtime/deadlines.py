"""The deadlines of all questions and timers of a system, watched by one task.

A cancel scope for each question costs more than the question.  Questions with the same
timeout expire in the order in which they were asked.  So one queue for each timeout needs
no sorting, and answered questions are removed at its head.  Timers have any length, so they
are in a heap.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Final, Protocol, final

import trio

FEW: Final = 64
"""Length of the heap below which cancelled timers are not looked for."""


class Expiring(Protocol):
    """A wait with a deadline."""

    @property
    def over(self) -> bool:
        """True if the wait has ended."""
        ...

    def expire(self) -> None:
        """The deadline has come."""
        ...


@final
class Timer:
    """A call that is made at its time, unless it is cancelled before."""

    __slots__ = ("_callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self._callback: Callable[[], object] | None = callback

    @property
    def over(self) -> bool:
        """True if the call was made, or is cancelled."""
        return self._callback is None

    def cancel(self) -> None:
        """Do not make the call.  Harmless if it was made."""
        self._callback = None

    def expire(self) -> None:
        """Make the call."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


@final
class Deadlines:
    """See the module.  `run` has to run as long as a question or a timer may wait."""

    def __init__(self) -> None:
        self._queues: dict[float, deque[tuple[float, Expiring]]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = count()
        self._most_timers = FEW
        """Length of `_timers` at which the cancelled ones are removed."""
        self._sleep = trio.CancelScope()

    def add(self, timeout: float, waiter: Expiring) -> None:
        """Have `waiter` expire after `timeout` seconds, unless it is over by then."""
        if timeout == inf:
            return
        deadline = trio.current_time() + timeout
        queue = self._queues.get(timeout)
        if queue is None:
            queue = self._queues[timeout] = deque()
        while queue and queue[0][1].over:
            queue.popleft()
        queue.append((deadline, waiter))
        if deadline < self._sleep.deadline:
            self._sleep.deadline = deadline

    def after(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call `callback`, which must not raise, after `seconds`."""
        deadline, timer = trio.current_time() + seconds, Timer(callback)
        if len(self._timers) >= self._most_timers:
            self._timers = [waiting for waiting in self._timers if not waiting[2].over]
            heapify(self._timers)
            self._most_timers = max(FEW, 2 * len(self._timers))
        heappush(self._timers, (deadline, next(self._numbers), timer))
        if deadline < self._sleep.deadline:
            self._sleep.deadline = deadline
        return timer

    async def run(self) -> None:
        """Expire each question and timer at its deadline, until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._expire()) as self._sleep:
                await trio.sleep_forever()

    def _expire(self) -> float:
        """Expire all that is due.  Returns the time of the next deadline."""
        now = trio.current_time()
        timers = self._timers
        while timers and (timers[0][2].over or timers[0][0] <= now):
            heappop(timers)[2].expire()
            timers = self._timers  # `after` may have replaced it.
        next_deadline = timers[0][0] if timers else inf
        for timeout, queue in tuple(self._queues.items()):
            while queue and (queue[0][1].over or queue[0][0] <= now):
                queue.popleft()[1].expire()
            if queue:
                next_deadline = min(next_deadline, queue[0][0])
            else:
                del self._queues[timeout]
        return next_deadline
