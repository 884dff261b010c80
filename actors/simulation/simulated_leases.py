"""The leases of a simulated database, as one process of a worker sees them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import final

from attrs import evolve

from actors.journal.room_leases import (
    EVENT_SECONDS,
    LEASE,
    UNWATCHED_AFTER,
    OfferedEvent,
    OfferedRoom,
    Renewal,
    RoomLease,
    UnownedRoom,
    WorkerStatus,
)
from actors.journal.session_reader import WorkerRow
from actors.simulation.simulated_database import (
    SharedEvent,
    SharedRoom,
    SimulatedDatabase,
    SimulatedDatabaseArchive,
)


@final
class SimulatedLeases:
    """See `RoomLeases`."""

    def __init__(self, archive: SimulatedDatabaseArchive) -> None:
        self._archive = archive

    async def _call(self) -> SimulatedDatabase:
        await self._archive.begin_call()
        self._archive.database.end_epochs(self._archive.instance)
        return self._archive.database

    def _own_rooms(self, room_sids: Collection[str]) -> list[SharedRoom]:
        mine = self._archive.database.owned.get(self._archive.me, {})
        return [mine[sid] for sid in room_sids if sid in mine]

    # ------------------------------------------------------------ workers

    async def renew(self, status: WorkerStatus, unwatched: Collection[str] = ()) -> Renewal:
        """See `RoomLeases`."""
        database, me = await self._call(), self._archive.me
        now, worker = database.now(), database.workers[me[0]]
        worker.status, worker.expires = status, now + LEASE
        mine, overdue, ready = database.owned.get(me, {}), set[str](), set[str]()
        for sid, room in mine.items():
            if sid not in unwatched:
                room.unwatched_since = None
            elif room.unwatched_since is None:
                room.unwatched_since = now
            elif now - room.unwatched_since >= UNWATCHED_AFTER:
                overdue.add(sid)
            if room.successor_is_ready and database.is_valid(room.successor):
                ready.add(sid)
        return Renewal(me[1], frozenset(mine), frozenset(overdue), frozenset(ready))

    async def workers(self) -> tuple[WorkerRow, ...]:
        """See `RoomLeases`."""
        database = await self._call()
        rows = [
            WorkerRow(
                instance, 0, worker.started_at, worker.alive_at or worker.started_at,
                running=database.now() < worker.expires,
                name=worker.status.name, version=worker.status.version, url=worker.status.url,
                rooms=worker.status.rooms, max_rooms=worker.status.max_rooms,
                load=worker.status.load, draining=worker.status.draining,
            )
            for instance, worker in database.workers.items()
        ]  # fmt: skip
        return tuple(sorted(rows, key=lambda row: (not row.running, -row.started_at)))

    async def lead(self) -> bool:
        """See `RoomLeases`."""
        database = await self._call()
        if database.leader != self._archive.me and database.is_valid(database.leader):
            return False
        database.leader = self._archive.me
        return True

    async def resign(self) -> None:
        """See `RoomLeases`."""
        database = await self._call()
        if database.leader == self._archive.me:
            database.leader = None

    # ------------------------------------------------------------ rooms

    async def acquire(
        self, room: str, room_sid: str, number: int | None = None
    ) -> RoomLease | None:
        """See `RoomLeases`."""
        database = await self._call()
        return self._acquire(database.add_room(room_sid, room), number)

    def _acquire(self, room: SharedRoom, number: int | None = None) -> RoomLease | None:
        database, me = self._archive.database, self._archive.me
        if not database.is_free(room, me):
            return None
        if room.session is None:
            stored = database.sessions.get(room.sid)
            room.session = database.number(number) if stored is None else stored
        session, former = room.session, database.authors.get(room.session)
        seen_until, seen_at = room.seen_until, room.released_at
        if former is not None and seen_at is None:
            worker = database.workers[former]
            seen_until, seen_at = worker.alive_at, worker.written_at
        database.set_owner(room, me)
        has_state = database.disk.has(session)
        if has_state:
            database.authors[session] = me[0]
        return RoomLease(
            room.name,
            room.sid,
            session,
            database.disk.session(session) if has_state else None,
            former if has_state else None,
            seen_until if has_state else None,
            None if seen_at is None or not has_state else database.now() - seen_at,
        )

    async def acquire_unowned(self, most: int) -> tuple[RoomLease, ...]:
        """See `RoomLeases`."""
        database = await self._call()
        free = [one for one in database.free.values() if database.is_free(one, self._archive.me)]
        chosen = database.random.sample(free, min(most, len(free)))
        leases = (self._acquire(room) for room in chosen)
        return tuple(lease for lease in leases if lease is not None)

    async def release(self, room_sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        database = await self._call()
        for room in self._own_rooms(room_sids):
            stored = room.session is not None and database.disk.has(room.session)
            database.release(room)
            if stored and database.open_session(room) is None:
                database.remove_room(room)

    async def unowned(self) -> tuple[UnownedRoom, ...]:
        """See `RoomLeases`."""
        database = await self._call()
        return tuple(
            UnownedRoom(room.name, sid, database.open_session(room) is not None)
            for sid, room in database.free.items()
        )

    async def register(self, rooms: Mapping[str, str]) -> None:
        """See `RoomLeases`."""
        database = await self._call()
        for sid, name in rooms.items():
            database.add_room(sid, name)

    async def remove(self, room_sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        database = await self._call()
        for sid in room_sids:
            room = database.free.get(sid)
            if room is not None and database.open_session(room) is None:
                database.remove_room(room)

    async def owners(self, room_sids: Collection[str]) -> Mapping[str, str]:
        """See `RoomLeases`."""
        database = await self._call()
        rooms = (database.rooms.get(sid) for sid in room_sids)
        valid = (one for one in rooms if one is not None and database.is_valid(one.owner))
        return {one.sid: one.owner[0] for one in valid if one.owner is not None}

    # ------------------------------------------------------------ handing over

    async def offer(self, room_sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        database = await self._call()
        for room in self._own_rooms(room_sids):
            room.offered = True
            database.offers[room.sid] = room

    async def reserve(self, most: int) -> tuple[OfferedRoom, ...]:
        """See `RoomLeases`."""
        database, me = await self._call(), self._archive.me
        offered = [
            room
            for room in database.offers.values()
            if database.is_valid(room.owner)
            and room.owner != me
            and not database.is_valid(room.successor)
        ]
        chosen = database.random.sample(offered, min(most, len(offered)))
        for room in chosen:
            room.successor, room.successor_is_ready = me, False
        return tuple(OfferedRoom(room.name, room.sid) for room in chosen)

    async def mark_ready(self, room_sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        database = await self._call()
        for sid in room_sids:
            room = database.rooms.get(sid)
            if room is not None and room.successor == self._archive.me:
                room.successor_is_ready = True

    # ------------------------------------------------------------ webhooks

    async def offer_event(self, event: OfferedEvent) -> bool:
        """See `RoomLeases`."""
        database = await self._call()
        now, events = database.now(), database.events
        for one in [one for one, stored in events.items() if now - stored.at > EVENT_SECONDS]:
            del events[one]
        if event.id in events:
            return False
        events[event.id] = SharedEvent(event, now)
        return True

    async def take_events(self, most: int, *, unowned: bool = False) -> tuple[OfferedEvent, ...]:
        """See `RoomLeases`."""
        database, me = await self._call(), self._archive.me
        taken = list[OfferedEvent]()
        for one in database.events.values():
            room = database.rooms.get(one.event.room_sid)
            owner = room.owner if room is not None and database.is_valid(room.owner) else None
            is_ours = owner == me or (owner is None and unowned)
            if len(taken) < most and is_ours and not one.dropped and one.taker != me:
                one.taker = me
                taken.append(one.event)
        return tuple(taken)

    async def drop_events(self, ids: Collection[str]) -> None:
        """See `RoomLeases`."""
        database = await self._call()
        for one in ids:
            if one in database.events:
                stored = database.events[one]
                stored.dropped, stored.event = True, evolve(stored.event, body=b"")
