"""The state that the parts of the reconciler share: the worker, the memory, and one pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from attrs import define, field, frozen

from bridge.livekit.server_api import ServerApi
from bridge.livekit.watching.claim_order import KnownWorkers
from bridge.livekit.watching.room_candidates import ListedRoom, RoomMemory
from bridge.livekit.watching.watch_log import WatchLog


class WorkerPort(Protocol):
    """The worker, as the reconciler uses it."""

    @property
    def registered(self) -> bool: ...
    @property
    def draining(self) -> bool: ...
    @property
    def free(self) -> int: ...
    @property
    def rooms(self) -> frozenset[str]: ...
    @property
    def identities(self) -> frozenset[str]: ...
    @property
    def pending_entries(self) -> int: ...
    @property
    def places_for_people(self) -> int: ...
    def reserved_from(self, room: str) -> int: ...
    def reserved_for(self, room: str) -> bool: ...
    async def wait_registered(self) -> None: ...
    async def wait_pending_entries(self, most: int) -> None: ...
    def claim(self, room: str, room_sid: str, created_at: float | None) -> None: ...


def _no_names() -> Collection[str]:
    return ()


def _no_rooms() -> Sequence[tuple[str, str]]:
    return ()


def _do_nothing(_sid: str) -> None:
    return None


def _never(_room: str, _sid: str) -> bool:
    return False


@frozen
class OurRooms:
    """The program's view of its rooms, which the reconciler asks in each pass."""

    occupied: Callable[[], Collection[str]] = _no_names
    """Names of rooms in which we are, or to which a connection of ours may come back.  A new
    instance of such a room is left to that connection.  A room that is only being left is not
    among them."""
    excluded: Callable[[str, str], bool] = _never
    """From a room's name and SID: whether it must be left alone (the user deleted our dispatch)."""
    resumable: Callable[[], Collection[str]] = _no_names
    """SIDs of rooms that are watched whatever the patterns say, because their sessions were open
    when this worker died.  A room that another worker watches by now is left to that worker."""
    vacant: Callable[[], Sequence[tuple[str, str]]] = _no_rooms
    """SID and name of the rooms that we are in, for watching only, and that have no people; the
    newest first."""
    disconnected: Callable[[], Collection[str]] = _no_names
    """SIDs of the rooms of which our connection is down.  Another worker may come into them."""
    give_up: Callable[[str], object] = _do_nothing
    """Leave a vacant room, by its SID, for a room with people."""


@define(eq=False)
class WatchState:
    """The reconciler's knowledge.  The pass sets it up, inspections use and change it."""

    api: ServerApi
    worker: WorkerPort
    agent_name: str
    rooms: OurRooms
    log: WatchLog
    others: KnownWorkers
    memory: dict[str, RoomMemory] | None = None
    """By room SID; None before the first pass, when no room is new."""
    resumable: frozenset[str] = frozenset()
    """As of this pass."""
    places: int = 0
    """Places left in this pass."""
    burst: int = 0
    """Rooms that are to be got in this pass, and were in the last seconds."""
    claims: int = 0
    """Rooms that can still be claimed in this pass."""
    first_look: bool = False
    """Every room is inspected in this pass, to learn of other workers, and few are claimed."""
    backlog: bool = field(default=False)
    """Rooms wait until others are entered."""

    def ours(self) -> frozenset[str]:
        """The SIDs of the rooms that are ours, and names where no SID is known."""
        return self.worker.rooms | frozenset(self.rooms.occupied())

    def is_settled(self, room: ListedRoom) -> bool:
        """True if a room became ours, or is not to be ours any more, during its inspection."""
        ours = self.ours()
        return (
            room.sid in ours
            or room.name in ours
            or self.rooms.excluded(room.name, room.sid)
            or self.worker.draining
            or not self.worker.registered
        )
