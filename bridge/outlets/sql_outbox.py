"""An outbox over a database (port: `actors.outlets.outbox_port.OutboxStore`).

How a connection is opened and how its errors are named differs between the databases; each has a
`call` of its own.  The queries are in `bridge.outlets.outbox_queries`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from actors.outlets.outbox_port import OutletRow, Parked
from bridge.outlets import outbox_queries as queries
from bridge.outlets.outbox_queries import OutboxConnection

T = TypeVar("T")


class SqlOutbox(ABC):
    """See `OutboxStore`."""

    @abstractmethod
    async def call(self, work: Callable[[OutboxConnection], T], outlet: str | None = None) -> T:
        """Run this in a thread, as one transaction.

        `outlet`: the endpoint that it is about, which the caller delivers to; None where it only
        reads.  Raises `OutboxTrouble`.
        """

    async def open(self, outlet: str) -> OutletRow:
        """See `OutboxStore`."""
        return await self.call(lambda db: queries.read_row(db, outlet), outlet)

    async def blocked(self, outlet: str, among: Collection[str] | None = None) -> frozenset[str]:
        """See `OutboxStore`."""
        return await self.call(lambda db: queries.blocked_sessions(db, outlet, among), outlet)

    async def save(
        self,
        outlet: str,
        *,
        cursor: str | None = None,
        parked: Sequence[Parked] = (),
        delivered: Collection[str] = (),
    ) -> OutletRow:
        """See `OutboxStore`."""
        return await self.call(
            lambda db: queries.save_deliveries(db, outlet, cursor, parked, delivered), outlet
        )

    async def heads(self, outlet: str, due: float, limit: int) -> list[Parked]:
        """See `OutboxStore`."""
        return await self.call(lambda db: queries.read_heads(db, outlet, due, limit), outlet)

    async def next_due(self, outlet: str) -> float | None:
        """See `OutboxStore`."""
        return await self.call(lambda db: queries.next_due(db, outlet), outlet)

    async def hasten(self, outlet: str, now: float) -> None:
        """See `OutboxStore`."""
        await self.call(lambda db: queries.hasten(db, outlet, now), outlet)

    async def disable(self, outlet: str, why: str | None) -> None:
        """See `OutboxStore`."""
        await self.call(lambda db: queries.set_disabled(db, outlet, why), outlet)

    async def listed(self, limit: int) -> list[tuple[str, Parked]]:
        """Deliveries that wait or were given up, each with its endpoint: the dead ones first."""
        return await self.call(lambda db: queries.listed(db, None, limit))
