"""What people really did, room by room and life by life."""

from __future__ import annotations

from typing import final

from attrs import define, field

from actors.rooms.simulated import SimulatedRoom


@define(eq=False)
class Truth:
    """One life of one room."""

    people: set[str] = field(factory=set[str])
    tracks: set[str] = field(factory=set[str])
    messages: int = 0
    exact: bool = True
    """No fault has cost us anything: every number must be right to the last one."""


@final
class Truths:
    """By the SID of the life."""

    def __init__(self) -> None:
        self.by_sid: dict[str, Truth] = {}

    def begin(self, room: SimulatedRoom) -> Truth:
        return self.by_sid.setdefault(room.sid, Truth())

    def of(self, room: SimulatedRoom) -> Truth:
        return self.begin(room)

    def inexact(self, room: SimulatedRoom) -> None:
        """Something was, or may have been, lost on us."""
        self.of(room).exact = False
