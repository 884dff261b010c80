"""The watching of rooms where several workers share a database: leases decide who gets a room.

LiveKit would give every room to the node that has most workers, and after a crash it shows agents
for a while that are not there.  So neither its choice nor its lists decide.  A worker acquires the
lease of a room and then claims a job for it (`Worker.claim`), which brings it there at once.

A pass comes every `LOOK_EVERY` seconds:

1. One worker is the leader.  It lists the rooms of LiveKit and makes them known in the database.
   Rooms that LiveKit does not have any more are forgotten; their open sessions are ended.  The
   others list them too, but rarely: all together as often as the leader.  So a leader that hangs
   delays a new room by a few seconds at most, whatever the number of workers.
2. Each worker asks for rooms that nobody owns, and acquires its share: as many rooms as the others
   have.  Of rooms that nobody took for `PATIENCE` seconds each takes an equal part, however many
   it has.
3. Each worker becomes the successor in rooms of workers that drain.

As long as the database does not answer, the `Reconciler` looks for rooms as it does for a single
worker.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Sequence
from math import ceil
from typing import Final

import structlog
import trio
from attrs import Factory, define, field

from actors.journal.archive import ArchiveTrouble
from actors.journal.room_leases import RoomLeases, UnownedRoom
from actors.journal.session_reader import WorkerRow
from actors.rooms.lease_keeper import LeaseKeeper
from actors.runtime import Backoff
from bridge.livekit.api_errors import ApiError
from bridge.livekit.tokens import CHECK_PREFIX
from bridge.livekit.watching.reconciler import INTERVAL, MAX_OPEN_CLAIMS, Reconciler
from bridge.livekit.watching.room_acquisition import PLACE_TIMEOUT
from bridge.livekit.watching.room_candidates import has_people, rooms_in, watches
from bridge.livekit.watching.watch_state import OurRooms, WorkerPort

log = structlog.get_logger()

LOOK_EVERY: Final = 0.5
"""Seconds between two looks for rooms that nobody owns."""
PATIENCE: Final = 1.5
"""Seconds for which a room waits for a worker that has its share of rooms not yet."""
SLACK: Final = 2
"""Rooms that a worker may have above the mean of all."""
CLAIM_AGAIN: Final = Backoff(first=2.0, most=30.0)
"""Between two claims of a room that is ours and that no job brought us into."""
CLAIMS_IN_VAIN: Final = 3
"""Claims of a room without a job after which another worker may have it."""
BACK_WITHIN: Final = 2.0
"""Seconds after an outage of the database in which all workers renew their leases: until then
nobody takes a room over."""
ANSWER_WITHIN: Final = 4.0
"""Seconds for the first answer of a pass: a database that hangs counts as away then."""
AWAY_AFTER: Final = 3.0
"""Seconds without an answer of the database after which rooms are looked for without it."""


def share_of(own: int, others: Sequence[int], unowned: int, *, late: bool) -> int:
    """How many of `unowned` rooms a worker with `own` rooms may acquire.  `others` are the rooms
    of the other workers; `late`: nobody took the rooms for `PATIENCE` seconds."""
    mean = (own + sum(others) + unowned) / (len(others) + 1)
    if not late:
        return max(0, ceil(mean) - own)
    # The workers with few rooms cannot enter all of these soon: each worker takes its part.
    return max(int(mean) + SLACK - own, ceil(unowned / (len(others) + 1)))


@define
class _Claim:
    """The claims of a room that is ours."""

    count: int = 0
    at: float = float("-inf")
    """On trio's clock."""


@define(eq=False)
class LeasedWatching:
    """See the module.  Used in place of a `Reconciler`."""

    reconciler: Reconciler
    """For the time without the database."""
    leases: RoomLeases
    keeper: LeaseKeeper
    instance: str
    rng: random.Random = Factory(random.Random)
    is_leader: bool = field(default=False, init=False)
    _listed_at: float = field(default=float("-inf"), init=False)
    _others: int = field(default=1, init=False)
    """How many other workers there are, at least 1."""
    _missing: frozenset[str] = field(default=frozenset(), init=False)
    """SIDs of unowned rooms that the last list did not have."""
    _asked_for: frozenset[str] = field(default=frozenset(), init=False)
    """SIDs of rooms that are wanted although their names fit no pattern."""
    _unowned_since: dict[str, float] = field(factory=dict[str, float], init=False)
    _claims: dict[str, _Claim] = field(factory=dict[str, _Claim], init=False)
    _answered_at: float = field(default=0.0, init=False)
    _back_at: float = field(default=float("-inf"), init=False)
    """When the database answered again after a while."""
    _unplaced: tuple[str, ...] = field(default=(), init=False)
    _place_requested_at: float = field(default=float("-inf"), init=False)
    _requested: trio.Event = field(factory=trio.Event, init=False)
    _failures: int = field(default=0, init=False)

    @property
    def rooms_without_place(self) -> tuple[str, ...]:
        """Names of the rooms that would be watched if there was a place."""
        return self._unplaced or self.reconciler.rooms_without_place

    def inspect_now(self, room_sid: str) -> None:
        """Look for rooms at once: a webhook named this one."""
        self.reconciler.inspect_now(room_sid)
        self._listed_at = float("-inf")
        self._requested.set()

    @property
    def _worker(self) -> WorkerPort:
        return self.reconciler.worker

    @property
    def _rooms(self) -> OurRooms:
        return self.reconciler.rooms

    async def run(self) -> None:
        """Watch until cancelled."""
        self._answered_at = trio.current_time()
        while True:
            await self._worker.wait_registered()
            pause = LOOK_EVERY
            if not self._worker.draining:
                pause = await self._try_pass()
            with trio.move_on_after(pause * self.rng.uniform(0.8, 1.2)):
                await self._requested.wait()
            self._requested = trio.Event()

    async def _try_pass(self) -> float:
        """Seconds until the next one."""
        try:
            await self.look()
        except ArchiveTrouble:
            self.is_leader = False
            if trio.current_time() - self._answered_at < AWAY_AFTER:
                return LOOK_EVERY
            try:
                return await self.reconciler.reconcile()
            except Exception as error:  # noqa: BLE001  must not end the process with all rooms
                return self._failed(error)
        except Exception as error:  # noqa: BLE001  must not end the process with all rooms
            return self._failed(error)
        self._failures = 0
        return LOOK_EVERY

    def _failed(self, error: Exception) -> float:
        self._failures += 1
        if self._failures & (self._failures - 1) == 0:
            level = log.warning if isinstance(error, ApiError) else log.error
            level("watching_failed", error=str(error), exc_info=not isinstance(error, ApiError))
        return CLAIM_AGAIN.delay(self._failures, self.rng)

    # ------------------------------------------------------------------------ a pass

    async def look(self) -> None:
        """One pass.  Raises `ArchiveTrouble` and `ApiError`."""
        self.is_leader = await self._lead()
        unowned = await self.leases.unowned()
        now = trio.current_time()
        if now - self._answered_at >= AWAY_AFTER:
            self._back_at = now
        self._answered_at = now
        stale = frozenset(self._rooms.resumable()) - self.keeper.owned
        interval = INTERVAL if self.is_leader else INTERVAL * self._others
        if stale or now - self._listed_at >= interval:
            unowned = await self._list_rooms(unowned, stale)
        since = self._unowned_since
        self._unowned_since = {one.room_sid: since.get(one.room_sid, now) for one in unowned}
        for sid, room in await self._reserve():
            self._claim(room, sid)
        # After an outage all leases are over, and most owners still watch their rooms.
        all_are_back = now - self._back_at >= BACK_WITHIN
        await self._acquire_share(
            [
                one
                for one in unowned
                if self._is_wanted(one) and (all_are_back or not one.has_session)
            ]
        )
        self._claim_again()

    async def _lead(self) -> bool:
        with trio.move_on_after(ANSWER_WITHIN):
            return await self.leases.lead()
        raise ArchiveTrouble("the database does not answer")

    async def _list_rooms(
        self, unowned: Sequence[UnownedRoom], stale: frozenset[str]
    ) -> Sequence[UnownedRoom]:
        """Make rooms known that nobody owns, and have those forgotten that are over.

        `stale`: rooms that are to be watched whatever the patterns say, because this worker left
        them against its will.  From then on any worker may get them.

        Gives the unowned rooms with the new ones.
        """
        self._listed_at = trio.current_time()
        self._others = max(1, len(self._others_in(await self.leases.workers())))
        listed = {room.sid: room.name for room in rooms_in(await self.reconciler.api.list_rooms())}
        owners = await self.leases.owners(listed.keys())
        known = owners.keys() | {one.room_sid for one in unowned}
        new = {
            sid: name
            for sid, name in listed.items()
            if sid not in known and (self._is_for_us(name) or sid in stale)
        }
        if new:
            await self.leases.register(new)
            unowned = await self.leases.unowned()
        self._asked_for = frozenset(self._asked_for | stale) & listed.keys()
        self.keeper.give_away(stale)
        missing = frozenset(one.room_sid for one in unowned) - listed.keys()
        over = [one for one in unowned if one.room_sid in missing & self._missing]
        self._missing = missing
        for one in over:
            if one.has_session:
                # The recovery ends it: LiveKit does not have the room.
                await self.keeper.acquire(one.room, one.room_sid)
        await self.leases.remove([one.room_sid for one in over if not one.has_session])
        return [one for one in unowned if one.room_sid not in missing]

    def _is_for_us(self, name: str) -> bool:
        return watches(self.reconciler.watch, name) and not name.startswith(CHECK_PREFIX)

    def _is_wanted(self, one: UnownedRoom) -> bool:
        sid = one.room_sid
        wanted = one.has_session or sid in self._asked_for or self._is_for_us(one.room)
        return wanted and not (self.keeper.is_over(sid) or self._rooms.excluded(one.room, sid))

    # ------------------------------------------------------------------------ the share

    async def _acquire_share(self, unowned: list[UnownedRoom]) -> None:
        self._unplaced = ()
        if not unowned:
            return
        wanted = await self._share(unowned)
        people = await self._people_where_scarce(unowned)
        self.rng.shuffle(unowned)
        unowned.sort(key=lambda one: (not people.get(one.room_sid, 1), not one.has_session))
        slots = MAX_OPEN_CLAIMS - self._worker.pending_entries
        unplaced = list[UnownedRoom]()
        places = self._worker.free
        for one in unowned:
            left_free = self._worker.reserved_from(one.room)
            if not people.get(one.room_sid, 1):
                left_free += self._worker.places_for_people
            if places <= left_free:
                unplaced.append(one)
            elif min(wanted, slots) > 0 and await self.keeper.acquire(one.room, one.room_sid):
                wanted, slots, places = wanted - 1, slots - 1, places - 1
                self._unowned_since.pop(one.room_sid, None)
                self._claim(one.room, one.room_sid)
        now = trio.current_time()
        late = [one for one in unplaced if now - self._since(one) >= PATIENCE]
        self._unplaced = tuple(sorted(one.room for one in late))
        if any(people.get(one.room_sid, 0) for one in late):
            await self._free_place(now)

    def _since(self, one: UnownedRoom) -> float:
        return self._unowned_since.get(one.room_sid, float("inf"))

    async def _share(self, unowned: Collection[UnownedRoom]) -> int:
        """How many rooms we may acquire now."""
        own = len(self.keeper.owned)
        others = [
            one for one in self._others_in(await self.leases.workers()) if self._has_place(one)
        ]
        now = trio.current_time()
        late = any(now - self._since(one) >= PATIENCE for one in unowned)
        return share_of(own, [one.rooms for one in others], len(unowned), late=late)

    def _others_in(self, workers: Iterable[WorkerRow]) -> Sequence[WorkerRow]:
        """The other workers that run and do not drain."""
        return [
            one
            for one in workers
            if one.running and not one.draining and one.instance != self.instance
        ]

    def _has_place(self, worker: WorkerRow) -> bool:
        return not worker.max_rooms or worker.rooms < worker.max_rooms

    async def _people_where_scarce(self, unowned: Iterable[UnownedRoom]) -> dict[str, int]:
        """The people in these rooms, by room SID, where there may be no place for all.

        Else nothing: then a room counts as one with people."""
        names = [one.room for one in unowned]
        if self._worker.free >= len(names) + self._worker.places_for_people:
            return {}
        listed = rooms_in(await self.reconciler.api.list_rooms(names))
        people = {room.sid: room.people for room in listed}
        return {one.room_sid: people.get(one.room_sid, 0) for one in unowned}

    async def _free_place(self, now: float) -> None:
        """Give away an empty room of ours, for a room with people that nobody has a place for."""
        if now - self._place_requested_at < PLACE_TIMEOUT:
            return
        for sid, name in self._rooms.vacant():
            # People who publish nothing are announced up to 3 s late; the list has them at once.
            if not has_people(await self.reconciler.api.list_participants(name)):
                self._place_requested_at = now
                log.info("place_given_up", room=name, room_sid=sid)
                self.keeper.give_away([sid])
                return

    async def _reserve(self) -> Sequence[tuple[str, str]]:
        """Become the successor in our share of the rooms of workers that drain."""
        most = min(self._worker.free, MAX_OPEN_CLAIMS - self._worker.pending_entries)
        if most <= 0:
            return ()
        workers = await self.leases.workers()
        offered = sum(one.rooms for one in workers if one.running and one.draining)
        if not offered:
            return ()
        own = max(len(self.keeper.owned), len(self._worker.rooms))
        others = [one.rooms for one in self._others_in(workers) if self._has_place(one)]
        share = ceil((own + sum(others) + offered) / (len(others) + 1)) - own
        return await self.keeper.reserve(min(most, share)) if share > 0 else ()

    # ------------------------------------------------------------------------ claims

    def _claim(self, room: str, room_sid: str) -> None:
        claim = self._claims.setdefault(room_sid, _Claim())
        claim.count, claim.at = claim.count + 1, trio.current_time()
        log.info("room_claimed", room=room, room_sid=room_sid, attempt=claim.count)
        self._worker.claim(room, room_sid, None)

    def _claim_again(self) -> None:
        """Claim the rooms again that are ours and that no job brought us into."""
        now = trio.current_time()
        waiting = self.keeper.without_job
        self._claims = {sid: claim for sid, claim in self._claims.items() if sid in waiting}
        for sid, room in waiting.items():
            claim = self._claims.setdefault(sid, _Claim())
            if now - claim.at < CLAIM_AGAIN.bound(max(1, claim.count)):
                continue
            if claim.count >= CLAIMS_IN_VAIN:
                del self._claims[sid]
                self.keeper.give_away([sid])
            else:
                self._claim(room, sid)
