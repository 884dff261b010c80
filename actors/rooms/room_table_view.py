"""The room table as everybody but the manager sees it: read-only.

The reconciler, HTTP, recovery and the program's start read the table through this.  All of it
is for the trio thread, where nothing changes between two checkpoints.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from actors.journal.journal import JournalView
from actors.rooms.final_summary import Summary
from actors.rooms.messages import LeaveRoom
from actors.rooms.room_port import RoomJob
from actors.runtime import Ref


class RoomRecordView(Protocol):
    """One room that we are in, or on the way into or out of."""

    @property
    def key(self) -> str: ...
    @property
    def job(self) -> RoomJob: ...
    @property
    def jobs(self) -> Mapping[str, RoomJob]: ...
    @property
    def journal(self) -> JournalView: ...
    @property
    def session(self) -> Ref[Any] | None: ...
    @property
    def connection(self) -> Ref[Any] | None: ...
    @property
    def entered(self) -> bool: ...
    @property
    def leaving(self) -> LeaveRoom | None: ...


class RoomTableView(Protocol):
    """The watched rooms and the sessions in memory, to be read."""

    @property
    def draining(self) -> bool:
        """No job is taken any more, and every room is being left."""
        ...

    @property
    def records(self) -> Mapping[str, RoomRecordView]:
        """Every room that we are in, or on the way into or out of, by key."""
        ...

    @property
    def unwatched(self) -> Mapping[str, JournalView]:
        """Open sessions in which no actor of ours is, by room SID."""
        ...

    @property
    def declined(self) -> Collection[str]:
        """SIDs of rooms whose dispatch was deleted: they are not to be watched again."""
        ...

    @property
    def loaded(self) -> bool:
        """The archive was read."""
        ...

    @property
    def names(self) -> frozenset[str]:
        """Names of the rooms in `records`."""
        ...

    @property
    def watched_names(self) -> frozenset[str]:
        """Names of the rooms in `records` that are not being left."""
        ...

    @property
    def connected_sids(self) -> frozenset[str]:
        """SIDs of the rooms that we are in, with a connection that is up."""
        ...

    @property
    def disconnected_sids(self) -> frozenset[str]:
        """SIDs of the rooms that we were in, and whose connection is down."""
        ...

    @property
    def sessions(self) -> tuple[Ref[Any], ...]:
        """The actors of the sessions in `records`."""
        ...

    @property
    def vacant_rooms(self) -> tuple[tuple[str, str], ...]:
        """SID and name of the rooms that we only watch and that are empty, newest first."""
        ...

    @property
    def interrupted_sids(self) -> frozenset[str]:
        """SIDs of the rooms that we were in and did not want to leave."""
        ...

    @property
    def journals(self) -> tuple[JournalView, ...]:
        """Every session that is in memory."""
        ...

    @property
    def ended(self) -> tuple[JournalView, ...]:
        """Sessions that ended in this run and are in memory, in the order of their ends."""
        ...

    def find_room(self, room_sid: str) -> RoomRecordView | None:
        """The room with this SID, which differs from its key after another instance began."""
        ...

    def find_idle(self, room_sid: str) -> JournalView | None:
        """A session in which no actor of ours is, open or ended."""
        ...

    def knows(self, room_sid: str) -> bool:
        """True if there is a session of this room instance."""
        ...

    def is_over(self, room_sid: str) -> bool:
        """True if we saw this room instance end: its SID never comes back."""
        ...

    def summary(self, now: float) -> Summary:
        """The numbers of all sessions of this run, at `now` (Unix seconds)."""
        ...
