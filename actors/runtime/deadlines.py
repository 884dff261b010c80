"""The deadlines of all questions of a system, kept by one task.

A cancel scope for each question costs more than the question.  Questions with the same
timeout run out in the order in which they were asked, so a queue for each timeout needs
no sorting, and what was answered meanwhile is thrown away at its head.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Protocol, final

import trio


class Expiring(Protocol):
    """Something that waits, but not for ever."""

    @property
    def over(self) -> bool:
        """It does not wait any more."""
        ...

    def expire(self) -> None:
        """Its time is over."""
        ...


@final
class Deadlines:
    """See the module.  `run` has to run for as long as anybody may wait."""

    def __init__(self) -> None:
        self._queues: dict[float, deque[tuple[float, Expiring]]] = {}
        self._sleep = trio.CancelScope()

    def add(self, timeout: float, what: Expiring) -> None:
        """Have `what` expire after `timeout` seconds, unless it is over by then."""
        if timeout == inf:
            return
        deadline = trio.current_time() + timeout
        queue = self._queues.get(timeout)
        if queue is None:
            queue = self._queues[timeout] = deque()
        while queue and queue[0][1].over:
            queue.popleft()
        queue.append((deadline, what))
        if deadline < self._sleep.deadline:
            self._sleep.deadline = deadline

    async def run(self) -> None:
        """Keep the deadlines until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._expire()) as self._sleep:
                await trio.sleep_forever()

    def _expire(self) -> float:
        """Let everything that is due expire; the time of what is due next."""
        now, following = trio.current_time(), inf
        for timeout, queue in tuple(self._queues.items()):
            while queue and (queue[0][1].over or queue[0][0] <= now):
                queue.popleft()[1].expire()
            if queue:
                following = min(following, queue[0][0])
            else:
                del self._queues[timeout]
        return following
