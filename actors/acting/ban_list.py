"""The people who are banned, by room, over sessions of that name and over restarts.

A session's state has the bans that it imposed.  This list has those of all rooms, since a room
that ends and is made anew is another session.  It is bounded, and what is over is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias, final

from actors.session.bounds import MAX_BANS
from actors.session.rule_state import Ban

MOST_ROOMS: Final = 10_000

BansByRoom: TypeAlias = Mapping[str, Mapping[str, Ban]]
"""Room name, identity."""


@final
class BanList:
    """See the module."""

    def __init__(
        self, bans: BansByRoom | None = None, changed: Callable[[], object] = lambda: None
    ) -> None:
        """`changed` is called when something was added, that it be stored."""
        self._rooms: dict[str, dict[str, Ban]] = {
            room: dict(of) for room, of in (bans or {}).items()
        }
        self._changed = changed

    @property
    def bans(self) -> BansByRoom:
        return self._rooms

    def has_room(self, room: str) -> bool:
        """Somebody may be banned from this room."""
        return room in self._rooms

    def find(self, room: str, identity: str, now: float) -> Ban | None:
        """The ban of somebody that is not over at `now` (Unix seconds)."""
        of = self._rooms.get(room)
        ban = None if of is None else of.get(identity)
        return ban if ban is not None and ban.until > now else None

    def learn(self, room: str, bans: Mapping[str, Ban]) -> None:
        """Add the bans that a session imposed.  Of two bans of somebody the longer one holds."""
        of = self._rooms.get(room, {})
        new = {one: ban for one, ban in bans.items() if one not in of or of[one].until < ban.until}
        if not new:
            return
        if room not in self._rooms and len(self._rooms) >= MOST_ROOMS:
            return
        merged = {**of, **new}
        self._rooms[room] = dict(list(merged.items())[-MAX_BANS:])
        self._changed()

    def forget_past(self, now: float) -> None:
        """Drop the bans that are over."""
        rooms = dict[str, dict[str, Ban]]()
        for room, of in self._rooms.items():
            current = {identity: ban for identity, ban in of.items() if ban.until > now}
            if current:
                rooms[room] = current
        self._rooms = rooms
