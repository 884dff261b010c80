"""The outbox that all workers of a database share (port: `actors.outlets.outbox_port`).

One worker at a time delivers to an endpoint: the holder of the endpoint's lease.  It follows the
entries of all workers, so each event is delivered once, whichever worker recorded it, also after
that worker is gone for good.  The others wait for the lease.  A lease ends by the database's clock;
each call of its holder extends it, and fails where another worker has it meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from math import inf
from typing import Final, TypeVar, final
from uuid import uuid4

import trio
from attrs import frozen

from actors.journal.archive import ArchiveTrouble
from actors.outlets.outbox_port import OutboxTrouble, OutletLost, OutletRow
from actors.outlets.outlet_counts import OutletCounts
from bridge.outlets.outbox_queries import OutboxConnection, read_row
from bridge.outlets.outbox_view import OutletFacts
from bridge.outlets.sql_outbox import SqlOutbox
from bridge.postgres.postgres_calls import PostgresCalls, open_database_for_changes

T = TypeVar("T")

LEASE: Final = 5.0
"""Seconds after its newest call for which a worker delivers to an endpoint."""
RENEW_EVERY: Final = 1.0
"""Seconds between two renewals, and between two tries to get a lease."""

_END: Final = "now() + make_interval(secs => ?)"


@frozen
class LeaseAnswer:
    """The state of an endpoint's lease."""

    is_ours: bool
    worker: str
    """The instance of its holder; empty where it has none."""
    row: OutletRow
    delivered: int
    failed: int
    """Attempts of all workers until now."""


@final
class DatabaseOutbox(SqlOutbox):
    """See the module.  For one process of one worker."""

    def __init__(self, url: str, instance: str, lease: float = LEASE) -> None:
        self._calls = PostgresCalls(url)
        self._instance = instance
        self._holder = uuid4().hex
        self.lease = lease
        self._extended: dict[str, float] = {}
        """By endpoint: trio's time of the newest extension of our lease."""

    async def call(self, work: Callable[[OutboxConnection], T], outlet: str | None = None) -> T:
        """See `SqlOutbox`."""

        asked_at = trio.current_time()

        def run(db: OutboxConnection) -> T:
            if outlet is not None:
                extended = db.execute(
                    f"UPDATE outlets SET expires = {_END} WHERE outlet = ? AND holder = ?",  # noqa: S608
                    (self.lease, outlet, self._holder),
                )
                if extended.rowcount != 1:
                    raise OutletLost(f"another worker delivers to {outlet}")
            return work(db)

        try:
            result = await self._calls.call(run)
        except ArchiveTrouble as trouble:
            raise OutboxTrouble(str(trouble)) from None
        if outlet is not None:
            self._extended[outlet] = asked_at
        return result

    async def confirm(self, outlet: str) -> None:
        """Ask whether the lease is still ours, if it may have ended (this process stood still).

        Raises `OutboxTrouble` and `OutletLost`.
        """
        if trio.current_time() - self._extended.get(outlet, -inf) >= self.lease:
            await self.call(lambda _: None, outlet)

    async def acquire(self, outlet: str, shown_url: str) -> LeaseAnswer:
        """Become the one that delivers to this endpoint, or stay it.  Raises `OutboxTrouble`."""

        def acquire(db: OutboxConnection) -> LeaseAnswer:
            db.execute("INSERT INTO outlets (outlet) VALUES (?) ON CONFLICT DO NOTHING", (outlet,))
            ours = db.execute(
                f"UPDATE outlets SET expires = {_END}, holder = ?, worker = ?, url = ? "  # noqa: S608
                "WHERE outlet = ? AND (holder = ? OR expires <= now())",
                (self.lease, self._holder, self._instance, shown_url, outlet, self._holder),
            ).rowcount
            worker, *counts = db.execute(
                "SELECT worker, delivered, failed FROM outlets WHERE outlet = ?", (outlet,)
            ).fetchone()
            return LeaseAnswer(ours == 1, worker, read_row(db, outlet), *counts)

        asked_at = trio.current_time()
        answer = await self.call(acquire)
        if answer.is_ours:
            self._extended[outlet] = asked_at
        return answer

    async def report(self, outlet: str, delivered: int, failed: int, counts: OutletCounts) -> None:
        """Extend the lease, and store what others show.

        `delivered`, `failed`: of all workers until now.  Raises `OutboxTrouble` and `OutletLost`.
        """
        values = (delivered, failed, counts.last_error, counts.last_delivered_at, outlet)
        await self.call(
            lambda db: db.execute(
                "UPDATE outlets SET delivered = ?, failed = ?, last_error = ?, "
                "last_delivered_at = coalesce(?, last_delivered_at) WHERE outlet = ?",
                values,
            ),
            outlet,
        )

    async def release(self, outlet: str) -> None:
        """Let another worker deliver to this endpoint.  Raises `OutboxTrouble`."""
        await self.call(
            lambda db: db.execute(
                "UPDATE outlets SET expires = '-infinity', worker = '' "
                "WHERE outlet = ? AND holder = ?",
                (outlet, self._holder),
            )
        )

    async def facts(self) -> list[OutletFacts]:
        """All endpoints, as any worker sees them.  Raises `OutboxTrouble`."""
        return await self.call(read_facts)

    async def aclose(self) -> None:
        """Close the connection."""
        await self._calls.aclose()


def read_facts(db: OutboxConnection) -> list[OutletFacts]:
    """All endpoints of a database."""
    rows = db.execute(
        "SELECT outlet, url, CASE WHEN expires > now() THEN worker ELSE '' END, delivered, failed, "
        "waiting, dead, dropped, disabled, last_error, last_delivered_at FROM outlets "
        "ORDER BY outlet"
    )
    return [OutletFacts(*row) for row in rows]


@contextmanager
def changing_database_outbox(url: str) -> Generator[OutboxConnection, None, None]:
    """For a command: the outbox of a database, in one transaction.

    Raises `NoStore`, `StoreRefused` and `ArchiveTrouble`, the last one also from within the block.
    """
    with open_database_for_changes(url) as db:
        yield db
