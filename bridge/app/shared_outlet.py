"""One endpoint of webhooks that several workers know: one of them delivers, the others wait.

See `bridge.outlets.database_outbox`.  A worker that loses the lease (it stood still, or its
database was away) stops to deliver at its next call.  A receiver may then get the deliveries of a
moment twice, with the same ids.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final, final

import structlog
import trio
from attrs import define

from actors.outlets.outbox import Outbox
from actors.outlets.outbox_port import OutboxTrouble, OutletLost
from actors.outlets.outlet_port import Attempt, Delivery, Sender
from bridge.app.outlets import Outlet
from bridge.outlets.database_outbox import RENEW_EVERY, DatabaseOutbox

log = structlog.get_logger()

RELEASE_SECONDS: Final = 2.0
"""The longest time by which a database that does not answer may delay the end of the program."""


@final
@define(eq=False)
class LeasedSender:
    """Fills `Sender`: sends only while the lease is ours.  It raises `OutletLost` too."""

    sender: Sender
    outlet: str
    store: DatabaseOutbox

    async def send(self, delivery: Delivery) -> Attempt:
        """See `Sender`."""
        with suppress(OutboxTrouble):  # Nobody else can have acquired it meanwhile either.
            await self.store.confirm(self.outlet)
        return await self.sender.send(delivery)

    async def aclose(self) -> None:
        """See `Sender`."""
        await self.sender.aclose()


@final
@define(eq=False)
class SharedOutlet:
    """Delivers to one endpoint whenever this worker has its lease."""

    outlet: Outlet
    store: DatabaseOutbox
    sender: Callable[[], Sender]
    make_outbox: Callable[[Sender], Outbox]
    renew_every: float = RENEW_EVERY
    _before: tuple[int, int] = (0, 0)
    """Delivered and failed attempts of all workers that are not in this worker's counts."""

    async def run(self) -> None:
        """Until cancelled."""
        self.outlet.is_ours = False
        while True:
            if await self._acquire():
                try:
                    await self._deliver()
                finally:
                    self.outlet.is_ours = False
                    await self._release()
            await trio.sleep(self.renew_every)

    async def _acquire(self) -> bool:
        outlet, counts = self.outlet, self.outlet.counts
        try:
            answer = await self.store.acquire(outlet.name, outlet.shown_url)
        except OutboxTrouble:
            return False  # The store's actor announces that the database is away.
        row = answer.row
        counts.disabled, counts.waiting, counts.dead = row.disabled, row.waiting, row.dead
        counts.dropped = row.dropped
        outlet.worker, outlet.is_ours = answer.worker, answer.is_ours
        self._before = (answer.delivered - counts.delivered, answer.failed - counts.failed)
        return answer.is_ours

    async def _deliver(self) -> None:
        log.info("outlet_acquired", outlet=self.outlet.name)
        sender = LeasedSender(self.sender(), self.outlet.name, self.store)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report, nursery.cancel_scope)
                await self.make_outbox(sender).run()
        except* OutletLost:
            log.warning("outlet_lost", outlet=self.outlet.name)

    async def _report(self, scope: trio.CancelScope) -> None:
        """Extend the lease also while nothing is delivered."""
        while True:
            await trio.sleep(self.renew_every)
            try:
                await self._report_once()
            except OutboxTrouble:
                continue  # The deliveries wait for the database too.
            except OutletLost:
                log.warning("outlet_lost", outlet=self.outlet.name)
                scope.cancel()
                return

    async def _report_once(self) -> None:
        counts, (delivered, failed) = self.outlet.counts, self._before
        delivered, failed = delivered + counts.delivered, failed + counts.failed
        await self.store.report(self.outlet.name, delivered, failed, counts)

    async def _release(self) -> None:
        with trio.move_on_after(RELEASE_SECONDS, shield=True):
            try:
                await self._report_once()
                await self.store.release(self.outlet.name)
            except (OutboxTrouble, OutletLost):
                return
