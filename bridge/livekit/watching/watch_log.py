"""The log lines of the reconciler: each trouble when it begins, changes and ends, not each pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import structlog
from attrs import define, field

from bridge.livekit.api_errors import ApiError

log = structlog.get_logger()

MAX_NAMESAKES: Final = 20
"""Rooms for which the log says that another agent has our name."""

MAX_GHOSTS: Final = 100
"""Agents of which the log says that LiveKit lists them although they are not there."""


@define(eq=False)
class WatchLog:
    """The newest state of each trouble, as the log has it."""

    agent_name: str
    instance: str
    namesake_rooms: int = field(default=0, init=False)
    """Rooms in which agents with our name were seen that are not ours."""
    _error: str = field(default="", init=False)
    _unplaced: int = field(default=0, init=False)
    _faults: int = field(default=0, init=False)
    """Errors that were no `ApiError`."""
    _ghosts: int = field(default=0, init=False)
    _instance_shared: bool = field(default=False, init=False)

    def text_of(self, error: Exception) -> str:
        """The text for the log: an `ApiError` explains itself, any other is a fault of ours."""
        if isinstance(error, ApiError):
            return str(error)
        self._faults += 1
        if self._faults & (self._faults - 1) == 0:  # the 1st, 2nd, 4th, 8th ...
            log.error("reconciler_fault", count=self._faults, exc_info=error)
        return f"a fault in this program: {type(error).__name__}"

    def error(self, text: str, rooms: int | None = None) -> None:
        """Log the error of a pass when it begins, changes and ends; "" for no error."""
        if text == self._error:
            return
        if text:
            log.warning("reconcile_failed", error=text, rooms=rooms)
        else:
            log.info("reconcile_recovered")
        self._error = text

    def unplaced(self, rooms: Sequence[str]) -> None:
        """Log the rooms that have no place: the first time, when they are twice as many as in the
        last line, and when there are none any more."""
        if rooms and len(rooms) >= 2 * self._unplaced:
            log.warning("rooms_not_watched", rooms=len(rooms), first=sorted(rooms)[:5])
            self._unplaced = len(rooms)
        elif not rooms and self._unplaced:
            log.info("rooms_all_watched")
            self._unplaced = 0

    def namesake(self, room: str, room_sid: str, identity: str) -> None:
        """Another agent has our name.  Call it once for each room."""
        self.namesake_rooms += 1
        if self.namesake_rooms <= MAX_NAMESAKES:
            log.warning(
                "agent_name_shared",
                agent_name=self.agent_name,
                room=room,
                room_sid=room_sid,
                identity=identity,
                last=self.namesake_rooms == MAX_NAMESAKES,
            )

    def ghost(self, room: str, room_sid: str, identity: str, instance: str) -> None:
        """LiveKit lists an agent that is not there.  Call it once for each agent."""
        self._ghosts += 1
        if self._ghosts <= MAX_GHOSTS:
            log.warning(
                "ghost_listed",
                room=room,
                room_sid=room_sid,
                identity=identity,
                instance=instance,
                last=self._ghosts == MAX_GHOSTS,
            )

    def instance_shared(self) -> None:
        """Another worker uses our instance id.  Logged once."""
        if not self._instance_shared:
            self._instance_shared = True
            log.error("instance_shared", instance=self.instance)
