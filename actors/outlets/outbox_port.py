"""The border between an outbox and the disk: what must survive a crash of the worker.

Two things do: the **cursor**, up to which the feed of entries was seen to, and the **parked**
deliveries, which failed or wait behind one that did.  Everything that was delivered at once is
nowhere here, so a receiver that is well costs a cursor a batch.

The store of the sessions stays as it is: `bridge.outlets.sqlite_outbox` is a file of its own beside
it, made when the first endpoint is configured.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from attrs import frozen

from actors.outlets.outlet_port import Delivery


class OutboxTrouble(Exception):
    """The disk cannot take or give it now; the text says why.  Tried again."""


class OutletLost(Exception):
    """Another worker delivers to this endpoint: this one must send nothing more to it."""


@frozen
class Parked:
    """A delivery that waits on the disk."""

    delivery: Delivery
    attempts: int
    """Failed ones, those that count: a probe of an endpoint that is down does not."""
    due: float
    """Unix seconds."""
    parked_at: float
    """Unix seconds of the first failure, or of when it got behind one."""
    error: str = ""
    """The last attempt's detail."""
    dead: bool = False
    """Given up: it stays until somebody sends it again or it is too old."""

    @property
    def session(self) -> str:
        return self.delivery.session


@frozen
class OutletRow:
    """The stored state of one endpoint."""

    cursor: str | None
    """A position of the feed, as text; None of an endpoint that is new."""
    disabled: str | None = None
    """Why nothing is sent; None where it is."""
    waiting: int = 0
    dead: int = 0
    dropped: int = 0
    """Deliveries that were given up for want of room on the disk."""


class OutboxStore(Protocol):
    """Every method raises `OutboxTrouble`, and `OutletLost` where several workers share an outbox.

    Each is one transaction.
    """

    async def open(self, outlet: str) -> OutletRow:
        """The stored state of this endpoint."""
        ...

    async def blocked(self, outlet: str, among: Collection[str] | None = None) -> frozenset[str]:
        """Sessions of which a delivery waits: what comes later must get behind it.  `among`: only
        these are looked up, which costs nothing for the others."""
        ...

    async def save(
        self,
        outlet: str,
        *,
        cursor: str | None = None,
        parked: Sequence[Parked] = (),
        delivered: Collection[str] = (),
    ) -> OutletRow:
        """Store all of it at once: the cursor, what is new or has changed (by its id), and what is
        over (ids).  A full outbox drops what is new; the row counts that.
        """
        ...

    async def heads(self, outlet: str, due: float, limit: int) -> list[Parked]:
        """Deliveries to make now: of each session those from its first on, in order, where that
        first one is due at `due` (Unix seconds).  The longest due sessions first."""
        ...

    async def next_due(self, outlet: str) -> float | None:
        """Unix seconds when the first head is due; None where none waits."""
        ...

    async def hasten(self, outlet: str, now: float) -> None:
        """Everything that waits is due now: the endpoint is well again."""
        ...

    async def disable(self, outlet: str, why: str | None) -> None:
        """Nothing is sent any more, or with None again."""
        ...
