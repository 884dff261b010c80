"""A rate limiter: each client may make `burst` calls at once, and `rate` calls a second after that.

A caller asks for a permit and waits until there is one.  The actor answers later than it reads:
it keeps the questions in a queue, and skips callers that have given up (`ReplyTo.over`).
"""

from __future__ import annotations

from collections import deque
from functools import partial

import trio
from attrs import frozen
from trio_actors.runtime import (
    Actor,
    ActorDown,
    ChildSpec,
    GroupSpec,
    Ref,
    ReplyTo,
    Restart,
    Supervisor,
    Timer,
    open_system,
    receives,
)

IDLE = 60.0
"""Seconds without a call after which the actor of a client ends."""


@frozen
class Acquire:
    """Wait for a permit."""

    reply_to: ReplyTo[None]


@frozen
class Refill:
    """A permit comes back: the actor tells this to itself."""


@frozen
class Rest:
    """Nobody has called for a while."""


class Limiter(Actor[Acquire | Refill | Rest]):
    """The permits of one client."""

    def __init__(self, rate: float, burst: int) -> None:
        self.rate, self.burst = rate, burst
        self.permits = burst
        self.waiting = deque[Acquire]()
        self.rest: Timer | None = None

    async def started(self) -> None:
        self.context.after(1 / self.rate, Refill())
        self._restart_rest()

    @receives(Acquire)
    def acquire(self, message: Acquire) -> None:
        self.waiting.append(message)
        self._serve()
        self._restart_rest()

    @receives(Refill)
    def refill(self, _: Refill) -> None:
        self.permits = min(self.burst, self.permits + 1)
        self._serve()
        self.context.after(1 / self.rate, Refill())

    @receives(Rest)
    def end(self, _: Rest) -> None:
        self.context.stop()

    def _serve(self) -> None:
        while self.waiting and self.permits:
            call = self.waiting.popleft()
            if not call.reply_to.over:  # A caller that gave up takes no permit.
                self.permits -= 1
                call.reply_to.send(None)

    def _restart_rest(self) -> None:
        if self.rest is not None:
            self.rest.cancel()
        self.rest = self.context.after(IDLE, Rest())


@frozen
class Limits:
    """The limiters of all clients, one actor each, in the group `group`."""

    group: Supervisor
    rate: float = 10.0
    burst: int = 3

    async def acquire(self, client: str, *, timeout: float) -> None:
        """Wait for a permit of `client`; AskTimeout where none comes in time."""
        try:
            await self._ref(client).ask(Acquire, timeout=timeout)
        except ActorDown:  # It ended between our look and our question.
            await self._ref(client).ask(Acquire, timeout=timeout)

    def _ref(self, client: str) -> Ref[Acquire]:
        if client in self.group.children:
            return self.group.ref(client)
        start = partial(Limiter, self.rate, self.burst)
        return self.group.start_child(ChildSpec(client, start, restart=Restart.TRANSIENT))


async def main() -> None:
    async with open_system() as system:
        group = system.supervisor.start_group(GroupSpec("limiters"))
        await group.running()
        limits = Limits(group)
        began = trio.current_time()
        for n in range(6):
            await limits.acquire("ann", timeout=5.0)
            print(f"call {n} after {trio.current_time() - began:.1f} s")


if __name__ == "__main__":
    trio.run(main)
