"""The manager's book: which rooms are held, and which sessions ended in this run.

It outlives an incarnation of the manager.  While actors run, only the manager touches
it; when none runs any more (also after a hurried end) it still has every session.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final, final

from attrs import define, field

from actors.rooms.journal import Journal
from actors.rooms.messages import Leave, RosterWanted
from actors.rooms.port import RoomJob
from actors.rooms.summary import Summary, summarise
from actors.runtime import Ref

ENDED_KEPT: Final = 1_000
"""Sessions that ended and are kept whole in memory; older ones are only added up."""
DECLINED_KEPT: Final = 10_000
"""Rooms out of which we were sent by a deleted dispatch and which we remember."""


@define(eq=False)
class Held:
    """One room that we are in, or on the way into or out of."""

    key: str
    """The room's SID as its first job named it; the name of the supervisor group."""
    job: RoomJob
    """The job whose participant we are."""
    journal: Journal
    jobs: dict[str, RoomJob] = field(factory=dict[str, RoomJob])
    """Every job of ours for this room that has not ended, `job` among them."""
    session: Ref[Any] | None = None
    connection: Ref[Leave | RosterWanted] | None = None
    entered: bool = False
    leaving: Leave | None = None
    """The order to go, once there is one."""


@final
class Book:
    """See the module."""

    def __init__(self) -> None:
        self.draining = False
        """No job is taken any more, and every room is being left."""
        self.given: dict[str, RoomJob] = {}
        """Jobs by id that LiveKit gave us and the manager has not looked at yet."""
        self.held: dict[str, Held] = {}
        """By key."""
        self.declined: OrderedDict[str, None] = OrderedDict()
        """SIDs of rooms whose dispatch was deleted: watching them again is not wanted."""
        self._ended: OrderedDict[str, Journal] = OrderedDict()
        self._older = Summary()

    @property
    def rooms(self) -> frozenset[str]:
        """Names of the rooms that are held."""
        return frozenset(held.job.room for held in self.held.values())

    @property
    def ended(self) -> tuple[Journal, ...]:
        """The journals of sessions that ended, oldest first."""
        return tuple(self._ended.values())

    def find_job(self, job_id: str) -> Held | None:
        """The room that a job of ours is for."""
        return next((held for held in self.held.values() if job_id in held.jobs), None)

    def find_room(self, room_sid: str) -> Held | None:
        """The room with this SID, which can differ from its key after another life."""
        return next(
            (held for held in self.held.values() if held.journal.state.room_sid == room_sid), None
        )

    def decline(self, room_sid: str) -> None:
        """Remember that we were sent out of this life of a room."""
        self.declined[room_sid] = None
        if len(self.declined) > DECLINED_KEPT:
            self.declined.popitem(last=False)

    def close(self, journal: Journal) -> None:
        """File a session that ended."""
        self._ended[journal.state.room_sid] = journal
        if len(self._ended) > ENDED_KEPT:
            _, oldest = self._ended.popitem(last=False)
            self._older += summarise([oldest.state], 0.0)

    def reopen(self, room_sid: str) -> Journal | None:
        """Take back a session whose room is watched again."""
        return self._ended.pop(room_sid, None)

    def summary(self, now: float, *, live: bool) -> Summary:
        """All sessions of this run; with `live` also those that have not ended."""
        states = [journal.state for journal in self._ended.values()]
        if live:
            states += [held.journal.state for held in self.held.values()]
        return self._older + summarise(states, now)
