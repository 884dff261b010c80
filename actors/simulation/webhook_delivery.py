"""LiveKit's webhooks: late, doubled, lost, and sent again for a while if no program answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

import trio

from actors.rooms.messages import WebhookReceived
from actors.runtime import sleep
from actors.session import WebhookReport
from actors.simulation.simulated_rooms import SimulatedRoom

DELAY: Final = 0.1
"""Seconds from an event to its webhook."""
RETRY_AFTER: Final = 2.0
"""Seconds until one that nobody took is sent again."""
GIVE_UP_AFTER: Final = 20.0
"""Seconds after which it is given up."""


@final
class WebhookDelivery:
    """The faults of the next webhooks."""

    def __init__(
        self,
        nursery: trio.Nursery,
        deliver: Callable[[WebhookReceived], bool],
        missed: Callable[[WebhookReceived], object],
        done: Callable[[str], object],
    ) -> None:
        """`deliver` returns whether a program took it.  `missed` gets each one that is given up."""
        self._nursery = nursery
        self._deliver = deliver
        self._missed = missed
        self._on_fault = done
        self._next: list[WebhookReceived] = []
        self.lost = 0
        """So many will be lost."""
        self.doubled = 0
        """So many will come twice, the second time seconds later."""
        self.late = 0
        """So many will be seconds late."""

    def send(self, room: SimulatedRoom, event: WebhookReport) -> None:
        """Send the webhook of an event."""
        webhook = WebhookReceived(room.name, room.sid, event)
        if self.lost:
            self.lost -= 1
            self._on_fault("webhook_lost")
            self._missed(webhook)
        elif self.late:
            self._nursery.start_soon(self._send_later, webhook, 3.0 * self.late)
            self.late -= 1
            self._on_fault("webhook_late")
        else:
            if not self._next:
                self._nursery.start_soon(self._send_soon)
            self._next.append(webhook)
            if self.doubled:
                self._nursery.start_soon(self._send_later, webhook, 2.5 * self.doubled)
                self.doubled -= 1
                self._on_fault("webhook_doubled")

    def heal(self) -> None:
        self.lost = self.doubled = self.late = 0

    async def _send_soon(self) -> None:
        await sleep(DELAY)
        now, self._next = self._next, []
        refused = [webhook for webhook in now if not self._deliver(webhook)]
        if refused:
            await self._retry(refused)

    async def _send_later(self, webhook: WebhookReceived, seconds: float) -> None:
        await sleep(seconds)
        if not self._deliver(webhook):
            await self._retry([webhook])

    async def _retry(self, refused: list[WebhookReceived]) -> None:
        began = trio.current_time()
        while refused and trio.current_time() < began + GIVE_UP_AFTER:
            await sleep(RETRY_AFTER)
            refused = [webhook for webhook in refused if not self._deliver(webhook)]
        for webhook in refused:
            self._missed(webhook)
