"""A simulated database of several workers: what they share, and the archive of each.

The time is that of trio, so with virtual time all is deterministic.  Stored sessions lie in a
`SimulatedDisk`, whose rows have passed the codec.  Each process of a worker has a
`SimulatedDatabaseArchive` with its leases (`actors.simulation.simulated_leases`).  A process may be
cut off, and the database may be slow or away.  The protocol and its refusals are those of
PostgreSQL (`bridge.postgres`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from random import Random
from typing import Final, TypeAlias, final

import trio
from attrs import define, field

from actors.journal.archive import (
    RECENT,
    ArchiveTrouble,
    Batch,
    Fenced,
    PruneStep,
    RecoveredSessions,
)
from actors.journal.room_leases import LEASE, OfferedEvent, WorkerStatus
from actors.runtime import sleep
from actors.session import SessionState
from actors.session.end_reasons import CONTINUABLE
from actors.simulation.simulated_disk import SimulatedDisk

Owner: TypeAlias = tuple[str, int]
"""A worker's instance and one epoch of it."""
T0: Final = 1_790_000_000.0
"""Unix seconds of the database's clock at the begin of trio's."""


@define(eq=False)
class SharedWorker:
    """The row of a worker."""

    process: object
    started_at: float
    epoch: int = 0
    expires: float = -inf
    """By the database's clock; -inf once another worker ended the epoch."""
    alive_at: float | None = None
    written_at: float = -inf
    """Seconds of the database at its newest batch."""
    status: WorkerStatus = field(factory=lambda: WorkerStatus("", ""))


@define(eq=False)
class SharedRoom:
    """The row of a room."""

    name: str
    sid: str
    session: int | None = None
    owner: Owner | None = None
    """The newest one.  Its epoch may be over: then nobody owns the room."""
    unwatched_since: float | None = None
    seen_until: float | None = None
    """Set by a release: the former owner's clock, and the database's."""
    released_at: float | None = None
    offered: bool = False
    successor: Owner | None = None
    successor_is_ready: bool = False


@define(eq=False)
class SharedEvent:
    """The row of a webhook event."""

    event: OfferedEvent
    at: float
    taker: Owner | None = None
    dropped: bool = False


@final
class SimulatedDatabase:
    """The rows that all workers share, and the steps on them."""

    def __init__(
        self, random: Random, now: Callable[[], float] = lambda: T0 + trio.current_time()
    ) -> None:
        """`now` is the database's clock; `random` decides the order of rooms."""
        self.refusal: str | None = None
        """Why no worker can use the database now."""
        self.slow = 0.0
        """Seconds that every call takes."""
        self.calls = 0
        """How often a process asked it for something."""
        self.disk: Final = SimulatedDisk()
        """The stored sessions."""
        self.writers: dict[int, list[tuple[int, Owner]]] = {}
        """Of each session: the first row that each owner wrote, in the order of writing."""
        self.on_batch: Callable[[Batch, Owner], object] = lambda _, __: None
        """Called for each batch that is stored, and with its owner."""
        self.random: Final = random
        self.now: Final = now
        self.workers: dict[str, SharedWorker] = {}
        self.rooms: dict[str, SharedRoom] = {}
        self.owned: dict[Owner, dict[str, SharedRoom]] = {}
        """The rooms of each epoch that is not over."""
        self.free: dict[str, SharedRoom] = {}
        """The other rooms."""
        self.offers: dict[str, SharedRoom] = {}
        self.sessions: dict[str, int] = {}
        """The newest session of each room SID."""
        self.authors: dict[int, str] = {}
        """The instance of the newest owner of each session."""
        self.leader: Owner | None = None
        self.events: dict[str, SharedEvent] = {}
        self._numbers: set[int] = set()

    def connect(self, instance: str, started_at: float) -> SimulatedDatabaseArchive:
        """The side of a process of this worker.  `started_at` is Unix seconds by its clock."""
        return SimulatedDatabaseArchive(self, instance, started_at)

    def expire(self, instance: str) -> None:
        """The lease of this worker is over now."""
        self.workers[instance].expires = self.now()

    # ------------------------------------------------------------ epochs

    def is_valid(self, owner: Owner | None) -> bool:
        """True if that epoch is not over."""
        return owner is not None and self.workers[owner[0]].epoch == owner[1]

    def begin_epoch(self, instance: str) -> Owner:
        """End the worker's epoch and begin another.  It owns its rooms that nobody acquired."""
        self._end_epoch(instance)
        worker = self.workers[instance]
        worker.expires = self.now() + LEASE
        owner = (instance, worker.epoch)
        for room in [one for one in self.free.values() if one.owner and one.owner[0] == instance]:
            self.set_owner(room, owner)
        return owner

    def end_epochs(self, but: str) -> None:
        """End the epochs of all workers whose lease is over, except one worker's."""
        for instance, worker in self.workers.items():
            if -inf < worker.expires <= self.now() and instance != but:
                self._end_epoch(instance)

    def _end_epoch(self, instance: str) -> None:
        worker = self.workers[instance]
        self.free |= self.owned.pop((instance, worker.epoch), {})
        worker.epoch = max(worker.epoch + 1, int(self.now() * 1e6))
        worker.expires = -inf

    # ------------------------------------------------------------ rooms

    def add_room(self, sid: str, name: str) -> SharedRoom:
        """The room, which is free if it is new."""
        if sid not in self.rooms:
            self.rooms[sid] = self.free[sid] = SharedRoom(name, sid)
        return self.rooms[sid]

    def remove_room(self, room: SharedRoom) -> None:
        """Forget the room and its lease."""
        self.release(room)
        del self.free[room.sid], self.rooms[room.sid]

    def set_owner(self, room: SharedRoom, owner: Owner) -> None:
        """Give the lease of a free room to this owner."""
        if not self.is_valid(room.owner) or room.owner != owner:
            self.release(room)
            del self.free[room.sid]
            self.owned.setdefault(owner, {})[room.sid] = room
            room.owner, room.unwatched_since = owner, self.now()
            room.seen_until = room.released_at = None
            room.successor, room.successor_is_ready = None, False

    def release(self, room: SharedRoom) -> None:
        """Nobody owns the room any more.  Its successor may acquire it."""
        if room.owner is not None and self.is_valid(room.owner):
            del self.owned[room.owner][room.sid]
        room.owner, room.offered = None, False
        self.offers.pop(room.sid, None)
        self.free[room.sid] = room

    def is_free(self, room: SharedRoom, me: Owner) -> bool:
        """True if this worker may own the room: nobody else does, or is about to."""
        if self.is_valid(room.owner):
            return room.owner == me
        return room.successor == me or not self.is_valid(room.successor)

    # ------------------------------------------------------------ sessions

    def number(self, wanted: int | None) -> int:
        """A number for a new session."""
        number = wanted
        if number is None or number in self._numbers:
            number = int(self.now() * 1e6) & ~1  # Even: see `Backlog.number`.
        while number in self._numbers:
            number += 2
        self._numbers.add(number)
        return number

    def open_session(self, room: SharedRoom) -> SessionState | None:
        """The room's session, if one is stored and has not ended."""
        if room.session is None or not self.disk.has(room.session):
            return None
        state = self.disk.session(room.session).state
        return None if state.ended else state

    def store(self, batch: Batch, owner: Owner, states: Iterable[SessionState]) -> None:
        """Store a batch of this owner at once."""
        for row in batch.rows:
            writers = self.writers.setdefault(row.session, [])
            is_new = row.seq not in self.disk.rows.get(row.session, {})
            if is_new and (not writers or writers[-1][1] != owner):
                writers.append((row.seq, owner))
        self._numbers.update(one.session for one in batch.checkpoints)
        self.disk.append(batch)
        self.on_batch(batch, owner)
        worker = self.workers[owner[0]]
        worker.alive_at, worker.written_at = batch.alive_at, self.now()
        worker.expires = self.now() + LEASE
        for state in states:
            if state.ended and state.room_sid in self.rooms:
                self.remove_room(self.rooms[state.room_sid])


@final
class SimulatedDatabaseArchive:
    """The archive of one process of a worker, with what its leases need too."""

    def __init__(self, database: SimulatedDatabase, instance: str, started_at: float) -> None:
        self.refusal: str | None = None
        """Why this process cannot reach the database now."""
        self.database: Final = database
        self.instance: Final = instance
        self.me: Owner = (instance, 0)
        """This process's epoch."""
        self._started_at = started_at
        self._alive_before: float | None = None
        self._written: set[int] | None = set()

    async def begin_call(self) -> None:
        """Wait as a call does, then see that this process has a valid epoch."""
        database = self.database
        database.calls += 1
        if database.slow:
            await sleep(database.slow)
        await trio.lowlevel.checkpoint()
        refusal = database.refusal or self.refusal
        if refusal is not None:
            raise ArchiveTrouble(refusal)
        worker = database.workers.get(self.instance)
        if worker is None:
            worker = database.workers[self.instance] = SharedWorker(self, self._started_at)
        if self.me[1] == 0:
            self._alive_before = worker.alive_at
            worker.process, worker.started_at = self, self._started_at
            self.me = database.begin_epoch(self.instance)
        elif worker.process is not self:
            raise ArchiveTrouble(f"another process writes as worker {self.instance}")
        elif not database.is_valid(self.me):
            self.me = database.begin_epoch(self.instance)

    async def load(self) -> RecoveredSessions:
        """See `Archive`."""
        await self.begin_call()
        database, alive_at, written = self.database, self._alive_before, self._written or set()
        mine = [one for one, author in database.authors.items() if author == self.instance]
        sessions = [database.disk.session(one) for one in sorted(mine) if one not in written]
        self._written = None
        return RecoveredSessions(
            tuple(one for one in sessions if _matters(one.state, alive_at)), alive_at
        )

    async def write(self, batch: Batch) -> None:
        """See `Archive`."""
        await self.begin_call()
        database = self.database
        database.end_epochs(self.instance)
        states = {one.session: one.state for one in batch.checkpoints}
        rooms = {session: (state.room, state.room_sid) for session, state in states.items()}
        for row in batch.rows:
            rooms.setdefault(row.session, database.disk.room_of(row.session))
        fenced = [session for session, (_, sid) in rooms.items() if not self._admits(sid, session)]
        if fenced:
            raise Fenced("another worker owns the room", frozenset(fenced))
        for session, (name, sid) in rooms.items():
            room = database.add_room(sid, name)
            database.set_owner(room, self.me)
            room.session = database.sessions[sid] = session
            database.authors[session] = self.instance
        database.store(batch, self.me, states.values())
        if self._written is not None:
            self._written.update(states)
        for session in batch.released:
            released = database.rooms.get(rooms[session][1])
            if released is not None:
                database.release(released)
                released.seen_until, released.released_at = batch.alive_at, database.now()

    def _admits(self, sid: str, session: int) -> bool:
        """True if this worker owns the room of the session, or may own it from now on."""
        database, ours = self.database, self.instance
        room, stored = database.rooms.get(sid), database.sessions.get(sid)
        if room is not None and not database.is_free(room, self.me):
            return False
        if room is not None and room.session is not None:
            return room.session == session and (
                room.owner == self.me or database.authors.get(session, ours) == ours
            )
        if stored in (None, session):
            return database.authors.get(session, ours) == ours
        # A second session of the room: only after one of this worker that ended.
        return database.authors[stored] == ours and database.disk.session(stored).state.ended

    async def verify(self, most: float = inf) -> None:  # noqa: ARG002 (the port's)
        """See `Archive`."""
        await self.begin_call()

    async def prune(self, now: float | None) -> PruneStep:  # noqa: ARG002 (the port's)
        """See `Archive`."""
        await self.begin_call()
        return PruneStep()


def _matters(state: SessionState, alive_at: float | None) -> bool:
    """True if a later run has to recover this session."""
    if state.ended_at is None or state.end_reason in CONTINUABLE:
        return True
    return alive_at is None or state.ended_at > alive_at - RECENT
