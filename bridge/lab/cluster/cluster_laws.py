"""The laws of a cluster, whatever fails.

* **one owner**: nobody is given a room, and nobody writes its session, that another worker owns by
  a lease that is not over (`lease_witness`);
* **owned**: outside of outages of the database, each room is owned again within `OWNED_WITHIN`;
* **watched once**: at the end of each calm time one agent is in each room, that of its owner;
* **even**: at the end of each calm time no worker has many more rooms than the mean;
* **numbers**: each room has one session, and its rows are numbered without a gap.
"""

from __future__ import annotations

from collections import Counter
from math import ceil
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field

from actors.journal.archive import Batch
from actors.journal.room_leases import LEASE
from actors.simulation.simulated_database import Owner, SharedRoom

if TYPE_CHECKING:
    from bridge.lab.cluster.cluster_world import ClusterWorld

OWNED_WITHIN: Final = LEASE + 3.0
"""Seconds for which a room may have no owner."""
LOOK_EVERY: Final = 0.5
SETTLED_AFTER: Final = 12.0
"""Seconds after which a new room must be watched."""
UNEVEN: Final = 1.25
"""How many times the mean a worker may have, and `UNEVEN_ROOMS` more."""
UNEVEN_ROOMS: Final = 10
MOST_VIOLATIONS: Final = 20


@define(eq=False)
class ClusterLaws:
    """Looks at a running world."""

    world: ClusterWorld
    checked: Counter[str] = field(factory=Counter[str])
    longest_unowned: float = 0.0
    """Seconds, outside of outages."""
    violations: list[str] = field(factory=list[str])
    _owned_at: dict[str, float] = field(factory=dict[str, float])
    """By room SID: when it was owned last, on trio's clock."""

    def broken(self, text: str) -> None:
        """A law does not hold."""
        if len(self.violations) < MOST_VIOLATIONS:
            self.violations.append(text)

    # ------------------------------------------------- while it runs

    def on_batch(self, batch: Batch, owner: Owner) -> None:
        """A batch is stored."""
        disk = self.world.database.disk
        for session in {row.session for row in batch.rows}:
            self.checked["one owner"] += 1
            self.world.witness.on_write(owner[0], disk.room_of(session)[1])

    async def watch(self) -> None:
        """Look for rooms without an owner, until cancelled."""
        while True:
            self.look()
            await trio.sleep(LOOK_EVERY)

    def look(self) -> None:
        """One look at all rooms."""
        world, now, owned_at = self.world, trio.current_time(), self._owned_at
        excused = now if world.outage else world.outage_ended_at
        live = dict[str, float]()
        for room in world.server.by_name.values():
            sid, row = room.sid, world.database.rooms.get(room.sid)
            since = max(owned_at.get(sid, now), excused)
            if row is not None and self._is_owned(row):
                since = now
            elif now - since > OWNED_WITHIN:
                self.broken(f"owned: {sid} has no owner for {now - since:.1f} s at {now:.1f} s")
                since = now
            self.longest_unowned = max(self.longest_unowned, now - since)
            live[sid] = since
        self.checked["owned"] += len(live)
        self._owned_at = live

    def _is_owned(self, row: SharedRoom) -> bool:
        database = self.world.database
        owner = row.owner
        return (
            owner is not None
            and database.is_valid(owner)
            and database.now() < database.workers[owner[0]].expires
        )

    # ------------------------------------------------- at the end of a calm time

    def check_calm(self, after: str) -> None:
        """Nothing has failed for a while."""
        self._check_watchers(after)
        self._check_spread(after)

    def _check_watchers(self, after: str) -> None:
        world = self.world
        for room in world.server.by_name.values():
            if world.now() - room.created_at < SETTLED_AFTER:
                continue
            self.checked["watched once"] += 1
            row = world.database.rooms.get(room.sid)
            inside = [stay.worker for stay in world.server.stays.get(room.sid, ())]
            owner = row.owner[0] if row is not None and row.owner is not None else None
            if inside != [owner]:
                self.broken(
                    f"watched once: after {after} {room.sid} has agents of {inside} and the "
                    f"owner {owner}"
                )

    def _check_spread(self, after: str) -> None:
        rooms = {
            worker.name: len(worker.table.records)
            for worker in self.world.workers.values()
            if not worker.draining
        }
        self.checked["even"] += 1

        mean = sum(rooms.values()) / len(rooms)
        most = max(rooms, key=lambda name: rooms[name])
        if rooms[most] > ceil(mean * UNEVEN) + UNEVEN_ROOMS:
            self.broken(f"even: after {after} {most} has {rooms[most]} rooms, the mean is {mean:g}")

    # ------------------------------------------------- at the end

    def check_store(self) -> None:
        """The stored rows, one by one."""
        disk = self.world.database.disk
        sessions = Counter[str]()
        for number in disk.numbers:
            sid = disk.room_of(number)[1]
            sessions[sid] += 1
            self.checked["numbers"] += 1
            rows = disk.rows.get(number, {})
            if sorted(rows) != list(range(len(rows))):
                self.broken(f"numbers: the rows of session {number} of {sid} have a gap")
        for sid, count in sessions.items():
            if count > 1:
                self.broken(f"numbers: {sid} has {count} sessions")
