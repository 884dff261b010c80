"""The leases as each worker of a simulated cluster was told of them: the truth of the laws."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, final

import trio
from attrs import define, field

from actors.journal.archive import Archive, Batch, PruneStep, RecoveredSessions
from actors.journal.room_leases import (
    LEASE,
    OfferedEvent,
    OfferedRoom,
    Renewal,
    RoomLease,
    RoomLeases,
    UnownedRoom,
    WorkerStatus,
)
from actors.journal.session_reader import WorkerRow
from actors.simulation.simulated_database import SimulatedDatabaseArchive
from actors.simulation.simulated_leases import SimulatedLeases


@define(eq=False)
class LeaseGrants:
    """The rooms that one worker may watch and write, as the database told it."""

    rooms: set[str] = field(factory=set[str])
    until: float = float("-inf")
    """On trio's clock.  Afterwards others may have them."""
    epoch: int = 0

    def enter(self, epoch: int) -> None:
        """The process has this epoch now.  With another one it knows of no room before it asks."""
        if epoch != self.epoch:
            self.epoch = epoch
            self.rooms.clear()
            self.until = trio.current_time() + LEASE

    def renew(self) -> None:
        """The lease was moved."""
        self.until = trio.current_time() + LEASE

    def has(self, room_sid: str) -> bool:
        return room_sid in self.rooms and trio.current_time() < self.until


@final
class WitnessedLeases(RoomLeases):
    """The leases of one process, with notes of each answer."""

    def __init__(
        self, archive: SimulatedDatabaseArchive, grants: LeaseGrants, witness: LeaseWitness
    ) -> None:
        self._archive: Final = archive
        self._leases: Final = SimulatedLeases(archive)
        self._grants: Final = grants
        self._witness: Final = witness

    async def renew(self, status: WorkerStatus, unwatched: Collection[str] = ()) -> Renewal:
        renewal = await self._leases.renew(status, unwatched)
        self._grants.enter(renewal.epoch)
        self._grants.rooms = set(renewal.rooms)
        self._grants.renew()
        return renewal

    async def acquire(
        self, room: str, room_sid: str, number: int | None = None
    ) -> RoomLease | None:
        lease = await self._leases.acquire(room, room_sid, number)
        if lease is not None:
            self._granted(room_sid)
        return lease

    async def acquire_unowned(self, most: int) -> tuple[RoomLease, ...]:
        leases = await self._leases.acquire_unowned(most)
        for lease in leases:
            self._granted(lease.room_sid)
        return leases

    def _granted(self, room_sid: str) -> None:
        self._grants.enter(self._archive.me[1])
        self._witness.on_grant(self._grants, room_sid)
        self._grants.rooms.add(room_sid)

    async def release(self, room_sids: Collection[str]) -> None:
        await self._leases.release(room_sids)
        self._grants.rooms.difference_update(room_sids)

    async def workers(self) -> tuple[WorkerRow, ...]:
        return await self._leases.workers()

    async def lead(self) -> bool:
        return await self._leases.lead()

    async def resign(self) -> None:
        await self._leases.resign()

    async def unowned(self) -> tuple[UnownedRoom, ...]:
        return await self._leases.unowned()

    async def register(self, rooms: Mapping[str, str]) -> None:
        await self._leases.register(rooms)

    async def remove(self, room_sids: Collection[str]) -> None:
        await self._leases.remove(room_sids)

    async def owners(self, room_sids: Collection[str]) -> Mapping[str, str]:
        return await self._leases.owners(room_sids)

    async def offer(self, room_sids: Collection[str]) -> None:
        await self._leases.offer(room_sids)

    async def reserve(self, most: int) -> tuple[OfferedRoom, ...]:
        return await self._leases.reserve(most)

    async def mark_ready(self, room_sids: Collection[str]) -> None:
        await self._leases.mark_ready(room_sids)

    async def offer_event(self, event: OfferedEvent) -> bool:
        return await self._leases.offer_event(event)

    async def take_events(self, most: int, *, unowned: bool = False) -> tuple[OfferedEvent, ...]:
        return await self._leases.take_events(most, unowned=unowned)

    async def drop_events(self, ids: Collection[str]) -> None:
        await self._leases.drop_events(ids)


@final
class WitnessedArchive(Archive):
    """The archive of one process.  A batch that is stored renews its leases."""

    def __init__(self, archive: SimulatedDatabaseArchive, grants: LeaseGrants) -> None:
        self._archive: Final = archive
        self._grants: Final = grants

    async def write(self, batch: Batch) -> None:
        await self._archive.write(batch)
        self._grants.enter(self._archive.me[1])
        self._grants.renew()
        for session in batch.released:
            self._grants.rooms.discard(self._archive.database.disk.room_of(session)[1])
        # The lease of a room is over with its session.
        self._grants.rooms.difference_update(
            one.state.room_sid for one in batch.checkpoints if one.state.ended
        )

    async def load(self) -> RecoveredSessions:
        return await self._archive.load()

    async def verify(self, most: float = float("inf")) -> None:
        await self._archive.verify(most)

    async def prune(self, now: float | None) -> PruneStep:
        return await self._archive.prune(now)


@define(eq=False)
class LeaseWitness:
    """The grants of all workers."""

    violations: list[str] = field(factory=list[str])
    grants: dict[str, LeaseGrants] = field(factory=dict[str, LeaseGrants])
    """By worker."""

    def on_grant(self, grants: LeaseGrants, room_sid: str) -> None:
        """A worker was told that it owns this room."""
        self._forbid_others(grants, room_sid, "owns")

    def on_write(self, worker: str, room_sid: str) -> None:
        """Rows of this room's session are stored."""
        self._forbid_others(self.grants[worker], room_sid, "writes")

    def _forbid_others(self, grants: LeaseGrants, room_sid: str, does: str) -> None:
        for worker, other in self.grants.items():
            if other is not grants and other.has(room_sid):
                (name,) = [one for one, mine in self.grants.items() if mine is grants]
                self.violations.append(
                    f"one owner: at {trio.current_time():.1f} s {name} {does} {room_sid}, "
                    f"which {worker} owns until {other.until:.1f} s"
                )
