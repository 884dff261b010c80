"""The border between workers of one database: which worker watches and writes which room.

A worker has an *epoch* and a *lease* with an end.  Each batch that it writes, and each `renew`,
moves the end to `LEASE` seconds from now.  All times are those of the database's clock.  A worker
whose lease is over is as good as dead: another worker ends its epoch, and all its rooms are free.
Nothing that belongs to an epoch that is over can be written any more, however late it comes.

A room has at most one *owner*, an epoch of a worker.  The owner alone writes the room's session.
There is one session for each room SID, and its number is the same for all owners.  So an owner
goes on where the one before stopped:

1. `acquire` gives the room's session with its state, as of the former owner's last batch.
2. The owner resumes a journal from it, records `Disconnected(seen_until, ...)`, and enters.
3. To give a room away it calls `Backlog.release`: the lease ends with the last batch.

A room that nobody acquired before its session began is acquired by the first batch of the session,
if nobody else owns it.  Otherwise `Archive.write` raises `Fenced`: see there.

PostgreSQL fills this port (`bridge.postgres.postgres_leases`), and a simulated database
(`actors.simulation.simulated_database`).  One contract suite in the tests runs over both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, Protocol

from attrs import frozen

from actors.journal.archive import StoredSession
from actors.journal.session_reader import WorkerRow

LEASE: Final = 4.5
"""Seconds after its newest batch or renewal for which a worker owns its rooms.  A killed worker's
rooms can be acquired that much later, and are watched within 6 s.  A worker whose database is
slower than that loses them."""
RENEW_EVERY: Final = 1.0
"""Seconds between two renewals.  The heartbeat of the store's actor is one too."""
UNWATCHED_AFTER: Final = 20.0
"""Seconds for which an owner may be outside its room, before it has to give the room away."""
EVENT_SECONDS: Final = 600.0
"""Seconds for which the id of a webhook event is remembered: LiveKit sends it again for less."""


@frozen
class WorkerStatus:
    """The facts about this worker that others may know."""

    name: str
    """As users know it: --worker-name, or else the host's name."""
    version: str
    """Version of the program."""
    url: str = ""
    """Where its page is; empty where it has none."""
    rooms: int = 0
    """Rooms that it is in, or on the way into."""
    max_rooms: int = 0
    """0: no limit."""
    load: float = 0.0
    """From 0 to 1."""
    draining: bool = False
    """It takes no room any more."""


@frozen
class Renewal:
    """The leases of this worker as they are now."""

    epoch: int
    """Another one than before: this worker lost all rooms that are not in `rooms`."""
    rooms: frozenset[str]
    """SIDs of all rooms that it owns."""
    overdue: frozenset[str]
    """Those that it has not watched for `UNWATCHED_AFTER` seconds: release them."""
    ready: frozenset[str]
    """Those that it hands over and whose successor is inside: release them and leave."""


@frozen
class RoomLease:
    """A room that this worker owns now, and what is stored of its session."""

    room: str
    room_sid: str
    session: int
    """The number for the journal: that of the stored session, or of a new one.  The number of a
    new one is that of `acquire`, or an even one: see `Backlog.number`."""
    stored: StoredSession | None
    """The session as of the former owner's last batch, also if it ended.  None: it is new."""
    former: str | None = None
    """The instance of the worker that wrote the session before; this one's after a restart."""
    seen_until: float | None = None
    """Unix seconds of the former owner's clock until which everything that it saw is stored."""
    silent_for: float | None = None
    """The same as seconds before now, by the database's clock."""


@frozen
class UnownedRoom:
    """A room that no worker owns."""

    room: str
    room_sid: str
    has_session: bool
    """There is an open session of it: somebody has to go on with it, or to end it."""


@frozen
class OfferedRoom:
    """A room that its draining owner hands over to this worker."""

    room: str
    room_sid: str


@frozen
class OfferedEvent:
    """A webhook event that reached another worker than the owner of the room."""

    id: str
    """LiveKit's."""
    room: str
    room_sid: str
    body: bytes
    """The verified event in our words (`actors.rooms.webhook_relay.event_body`)."""


class RoomLeases(Protocol):
    """The leases of all workers, as one of them sees them.

    Every method may raise `ArchiveTrouble`, and may be cancelled: then it is not known what became
    of it, and the same call again is harmless.  The first call begins this process's epoch.
    A worker whose epoch was ended by others begins another one with its next call or batch.  It
    owns its rooms again that nobody else has acquired meanwhile.
    """

    # ------------------------------------------------------------ workers

    async def renew(self, status: WorkerStatus, unwatched: Collection[str] = ()) -> Renewal:
        """Move the end of the lease, and store what others may know.  Every `RENEW_EVERY` seconds.

        `unwatched`: SIDs of own rooms that this worker is not inside now (not yet, reconnecting).
        A lease needs a room that is really watched: see `Renewal.overdue`.
        """
        ...

    async def workers(self) -> tuple[WorkerRow, ...]:
        """All workers that wrote to the database; those that run first."""
        ...

    async def lead(self) -> bool:
        """Become the leader or stay it; False where another worker is it.

        The leader looks for rooms (`register`) and ends sessions whose rooms are over.  Call it as
        often as `renew`: leadership ends with the lease of the worker.
        """
        ...

    async def resign(self) -> None:
        """Be the leader no longer, if this worker is it."""
        ...

    # ------------------------------------------------------------ rooms

    async def acquire(
        self, room: str, room_sid: str, number: int | None = None
    ) -> RoomLease | None:
        """Own this room.  None: another worker owns it, or is about to (`reserve`).

        `number` is that of a session which began here without a lease (the database was away).
        Where the lease has another number, `Journal.adopt` a stored session, and `Journal.renumber`
        a new one.  Then `Backlog.unfence` it.  A room that this worker owns already is given again.
        """
        ...

    async def acquire_unowned(self, most: int) -> tuple[RoomLease, ...]:
        """Own up to `most` rooms that nobody owns, in random order.

        Several workers that do this at once do not wait for each other, and get different rooms.
        """
        ...

    async def release(self, room_sids: Collection[str]) -> None:
        """Own these rooms no longer.

        For rooms of which nothing waits to be written: where there is a journal, use
        `Backlog.release`.  A room whose session ended is not known any more then.
        """
        ...

    async def unowned(self) -> tuple[UnownedRoom, ...]:
        """All known rooms that nobody owns."""
        ...

    async def register(self, rooms: Mapping[str, str]) -> None:
        """Make rooms known (name by SID), so that a worker acquires them.  For the leader."""
        ...

    async def remove(self, room_sids: Collection[str]) -> None:
        """Forget rooms that LiveKit does not have any more, where nobody owns them.

        An open session of such a room must be acquired and ended.
        """
        ...

    async def owners(self, room_sids: Collection[str]) -> Mapping[str, str]:
        """The instances of the workers that own these rooms, by room SID."""
        ...

    # ------------------------------------------------------------ handing over

    async def offer(self, room_sids: Collection[str]) -> None:
        """Ask other workers to take over these rooms, which this worker owns and goes on to watch.

        The steps of a hand-over: `offer` here; `reserve`, entering the room, and `mark_ready` at
        the successor; `Renewal.ready`, `Backlog.release` and leaving here; `acquire` there.
        """
        ...

    async def reserve(self, most: int) -> tuple[OfferedRoom, ...]:
        """Become the successor in up to `most` offered rooms, in random order.

        Until it acquires them, or its lease is over, nobody else can.
        """
        ...

    async def mark_ready(self, room_sids: Collection[str]) -> None:
        """This successor is inside these rooms: their owner may leave."""
        ...

    # ------------------------------------------------------------ webhooks

    async def offer_event(self, event: OfferedEvent) -> bool:
        """Store a webhook event for the room's owner.  False: it is stored already."""
        ...

    async def take_events(self, most: int, *, unowned: bool = False) -> tuple[OfferedEvent, ...]:
        """Events of rooms that this worker owns, the oldest first; each is given once to it.

        An event is given again to the room's next owner, unless `drop_events` followed.
        With `unowned` also those of rooms that nobody owns: for the leader.
        """
        ...

    async def drop_events(self, ids: Collection[str]) -> None:
        """These events are in batches that were written: give them to nobody any more."""
        ...
