"""A receiver of webhooks that is refusing, silent, dying or lying, and the rules that it checks.

It sees what a receiver can see: requests and their times.  So it can tell whether a sender waits as
it promised.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, final

import trio
from attrs import define

from actors.outlets.breaker import FAILURES, FIRST_PAUSE
from actors.outlets.outlet_port import Attempt, AttemptResult, Delivery
from actors.runtime import sleep

ANSWERS_AFTER: Final = 0.01
"""Seconds."""
TIMEOUT: Final = 15.0
"""Seconds after which a sender gives up on an answer."""
STATUSES: Final = {
    "receiver_refuses": 500,
    "receiver_redirects": 302,
    "receiver_busy": 429,
    "receiver_gone": 410,
}
OK: Final = 200
DISABLES, ONE_AT_A_TIME, ONE_PROBE = "a 410 disables", "one request at a time", "one probe"
RECEIVER_LAWS: Final = (DISABLES, ONE_AT_A_TIME, ONE_PROBE)
"""What the receiver checks at each request."""
GONE: Final = 410


@define
class ReceiverFault:
    """What happens to one request."""

    kind: str
    n: int
    """A number that makes it longer."""
    taken: bool
    """The receiver took the request, although the sender cannot know."""


@final
class SimulatedReceiver:
    """Outlives the programs that send to it."""

    def __init__(
        self, disabled: Callable[[], bool], injected: Callable[[str], object] = lambda _: None
    ) -> None:
        """`disabled`: whether the endpoint is stored as one that nothing is sent to."""
        self.faults: deque[ReceiverFault] = deque()
        """Of the next requests."""
        self.down_until = 0.0
        """Virtual seconds until which nobody listens."""
        self.taken: list[Delivery] = []
        """Each request that it took, also those that it threw away or did not answer."""
        self.unanswered = 0
        """Requests that were taken and whose answer did not arrive."""
        self.senders = 0
        self.enabled = 0
        """How often somebody has enabled the endpoint."""
        self.violations: list[tuple[str, str]] = []
        """Law and what broke it."""
        self.on_gone: Callable[[], object] = lambda: None
        """Called when it has answered 410."""
        self.disabled = disabled
        self.injected = injected

    def heal(self) -> None:
        self.faults.clear()
        self.down_until = 0.0


@final
class SimulatedSender:
    """Fills `actors.outlets.outlet_port.Sender`: the way of one outbox to the receiver."""

    def __init__(self, receiver: SimulatedReceiver) -> None:
        self._receiver = receiver
        receiver.senders += 1
        self._busy = False
        self._failures = 0
        """In a row."""
        self._not_before = 0.0
        """Virtual seconds."""
        self._enabled = receiver.enabled
        self._gone_in: int | None = None
        """The number of the time between two enablings in which a 410 was answered."""

    async def send(self, delivery: Delivery) -> Attempt:
        await trio.lowlevel.checkpoint()
        self._check(delivery)
        self._busy = True
        try:
            attempt = await self._attempt(delivery)
        finally:
            self._busy = False
        self._note(attempt)
        return attempt

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def _check(self, delivery: Delivery) -> None:
        receiver, now = self._receiver, trio.current_time()
        if self._enabled != receiver.enabled:  # It is tried at once.
            self._enabled, self._failures, self._not_before = receiver.enabled, 0, 0.0
        if receiver.enabled == self._gone_in or receiver.disabled():
            receiver.violations.append((DISABLES, f"{delivery.id} was sent at {now:g}"))
        if self._busy:
            receiver.violations.append((ONE_AT_A_TIME, f"{delivery.id} at {now:g}"))
        if now < self._not_before:
            early = self._not_before - now
            receiver.violations.append((ONE_PROBE, f"{delivery.id} came {early:g} s too early"))

    async def _attempt(self, delivery: Delivery) -> Attempt:
        receiver = self._receiver
        if trio.current_time() < receiver.down_until:
            return Attempt(AttemptResult.FAILED, "nobody listens there")
        if not receiver.faults:
            return await self._take(delivery)
        fault = receiver.faults.popleft()
        receiver.injected(fault.kind)
        if fault.kind == "receiver_lies":
            return await self._take(delivery)
        if fault.kind in STATUSES:
            await sleep(ANSWERS_AFTER)
            return self._refusal(fault)
        if fault.taken:
            receiver.taken.append(delivery)
            receiver.unanswered += 1
        if fault.kind == "receiver_hangs":
            await sleep(TIMEOUT)
            return Attempt(AttemptResult.FAILED, "no answer within 15 s")
        await sleep(ANSWERS_AFTER)  # receiver_dies
        receiver.down_until = trio.current_time() + 2.0 * fault.n
        return Attempt(AttemptResult.FAILED, "it closed the connection without an answer")

    async def _take(self, delivery: Delivery) -> Attempt:
        self._receiver.taken.append(delivery)
        await sleep(ANSWERS_AFTER)
        return Attempt(AttemptResult.DELIVERED, status=OK)

    def _refusal(self, fault: ReceiverFault) -> Attempt:
        status = STATUSES[fault.kind]
        if status == GONE:
            self._gone_in = self._receiver.enabled
            self._receiver.on_gone()
            return Attempt(AttemptResult.GONE, "410: it wants no more webhooks", status)
        wait = 3.0 * fault.n if fault.kind == "receiver_busy" else None
        return Attempt(AttemptResult.FAILED, f"status {status}", status, wait)

    def _note(self, attempt: Attempt) -> None:
        now = trio.current_time()
        if attempt.delivered:
            self._failures, self._not_before = 0, 0.0
            return
        self._failures += 1
        if attempt.retry_after is not None:
            self._not_before = now + attempt.retry_after
        elif self._failures >= FAILURES:
            self._not_before = max(self._not_before, now + FIRST_PAUSE)
