"""The leases of rooms in PostgreSQL (port: `actors.journal.room_leases`).

They use the connection of the archive, in its thread: a worker's batches and leases are of one
epoch, and come one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar, final

from actors.journal.room_leases import (
    EVENT_SECONDS,
    OfferedEvent,
    OfferedRoom,
    Renewal,
    RoomLease,
    UnownedRoom,
    WorkerStatus,
)
from actors.journal.session_reader import WorkerRow
from bridge.postgres.lease_table import LeaseTable
from bridge.postgres.postgres_archive import PostgresArchive
from bridge.postgres.postgres_connection import Database, PostgresConnection
from bridge.postgres.postgres_run import PostgresRun

T = TypeVar("T")

_OFFER: Final = """
    INSERT INTO webhook_events (id, room, room_sid, at, body) VALUES (%s, %s, %s, now(), %s)
    ON CONFLICT DO NOTHING
    """
_FORGET: Final = "DELETE FROM webhook_events WHERE at < now() - make_interval(secs => %s)"
_TAKE: Final = """
    WITH events AS (
        SELECT id FROM webhook_events LEFT JOIN room_leases USING (room_sid)
            LEFT JOIN workers ON worker = owner AND workers.epoch = room_leases.epoch
        WHERE NOT webhook_events.dropped
            AND (worker = %(worker)s OR (%(unowned)s AND worker IS NULL))
            AND (taker, taker_epoch) IS DISTINCT FROM (%(worker)s, %(epoch)s::bigint)
        ORDER BY at, id LIMIT %(most)s FOR UPDATE OF webhook_events SKIP LOCKED)
    UPDATE webhook_events SET taker = %(worker)s, taker_epoch = %(epoch)s FROM events
    WHERE webhook_events.id = events.id
    RETURNING webhook_events.id, webhook_events.room, webhook_events.room_sid, body, at
    """


@final
class PostgresLeases:
    """See `RoomLeases`."""

    def __init__(self, archive: PostgresArchive) -> None:
        self._archive = archive

    async def _call(self, function: Callable[[LeaseTable], T]) -> T:
        return await self._archive.call_leases(
            lambda writer, run: function(LeaseTable(writer, run))
        )

    async def _ask(self, function: Callable[[Database, PostgresRun], T]) -> T:
        return await self._archive.call_leases(lambda writer, run: function(writer.db, run))

    async def renew(self, status: WorkerStatus, unwatched: Collection[str] = ()) -> Renewal:
        """See `RoomLeases`."""
        outside = tuple(unwatched)
        return await self._call(lambda table: table.renew(status, outside))

    async def workers(self) -> tuple[WorkerRow, ...]:
        """See `RoomLeases`."""
        return await self._ask(lambda db, _: tuple(PostgresConnection(db).workers()))

    async def lead(self) -> bool:
        """See `RoomLeases`."""
        return await self._call(LeaseTable.lead)

    async def resign(self) -> None:
        """See `RoomLeases`."""
        await self._call(LeaseTable.resign)

    async def acquire(
        self, room: str, room_sid: str, number: int | None = None
    ) -> RoomLease | None:
        """See `RoomLeases`."""
        return await self._call(lambda table: table.acquire(room, room_sid, number))

    async def acquire_unowned(self, most: int) -> tuple[RoomLease, ...]:
        """See `RoomLeases`."""
        return await self._call(lambda table: table.acquire_unowned(most))

    async def release(self, room_sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        sids = tuple(room_sids)
        await self._call(lambda table: table.release(sids))

    async def unowned(self) -> tuple[UnownedRoom, ...]:
        """See `RoomLeases`."""
        return await self._call(LeaseTable.unowned)

    async def register(self, rooms: Mapping[str, str]) -> None:
        """See `RoomLeases`."""
        new = dict(rooms)
        await self._call(lambda table: table.register(new))

    async def remove(self, room_sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        sids = tuple(room_sids)
        await self._call(lambda table: table.remove(sids))

    async def owners(self, room_sids: Collection[str]) -> Mapping[str, str]:
        """See `RoomLeases`."""
        sids = tuple(room_sids)
        return await self._call(lambda table: table.owners(sids))

    async def offer(self, room_sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        sids = tuple(room_sids)
        await self._call(lambda table: table.offer(sids))

    async def reserve(self, most: int) -> tuple[OfferedRoom, ...]:
        """See `RoomLeases`."""
        return await self._call(lambda table: table.reserve(most))

    async def mark_ready(self, room_sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        sids = tuple(room_sids)
        await self._call(lambda table: table.mark_ready(sids))

    # ------------------------------------------------------------ webhooks

    async def offer_event(self, event: OfferedEvent) -> bool:
        """See `RoomLeases`."""

        def offer(db: Database, _: PostgresRun) -> bool:
            db.execute(_FORGET, (EVENT_SECONDS,))
            values = (event.id, event.room, event.room_sid, event.body)
            return db.execute(_OFFER, values).rowcount == 1

        return await self._ask(offer)

    async def take_events(self, most: int, *, unowned: bool = False) -> tuple[OfferedEvent, ...]:
        """See `RoomLeases`."""

        def take(db: Database, run: PostgresRun) -> tuple[OfferedEvent, ...]:
            values = {
                "worker": run.worker, "epoch": run.epoch, "unowned": unowned, "most": most,
            }  # fmt: skip
            db.execute(_FORGET, (EVENT_SECONDS,))
            rows = db.execute(_TAKE, values, binary=True).fetchall()
            rows.sort(key=lambda row: (row[4], row[0]))
            return tuple(OfferedEvent(*row[:4]) for row in rows)

        return await self._ask(take)

    async def drop_events(self, ids: Collection[str]) -> None:
        """See `RoomLeases`."""
        dropped = list(ids)
        await self._ask(
            lambda db, _: db.execute(
                "UPDATE webhook_events SET dropped = true, body = '' WHERE id = ANY(%s)", (dropped,)
            )
        )
