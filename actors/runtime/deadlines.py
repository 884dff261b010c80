"""The deadlines of all questions of a system, watched by one task.

A cancel scope for each question costs more than the question.  Questions with the same
timeout expire in the order in which they were asked.  So one queue for each timeout needs
no sorting, and answered questions are removed at its head.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Protocol, final

import trio


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
class Deadlines:
    """See the module.  `run` has to run as long as a question may wait."""

    def __init__(self) -> None:
        self._queues: dict[float, deque[tuple[float, Expiring]]] = {}
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

    async def run(self) -> None:
        """Expire each question at its deadline, until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._expire()) as self._sleep:
                await trio.sleep_forever()

    def _expire(self) -> float:
        """Expire all questions that are due.  Returns the time of the next deadline."""
        now, next_deadline = trio.current_time(), inf
        for timeout, queue in tuple(self._queues.items()):
            while queue and (queue[0][1].over or queue[0][0] <= now):
                queue.popleft()[1].expire()
            if queue:
                next_deadline = min(next_deadline, queue[0][0])
            else:
                del self._queues[timeout]
        return next_deadline
