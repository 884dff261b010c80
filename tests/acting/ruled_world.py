"""A simulated program with rules, in virtual time: the test does what happens in the rooms."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, final

from actors.rooms.room_control import RoomControlError
from actors.rooms.room_port import SendOutcome
from actors.rules.rule_config import read_rules
from actors.session import SessionState, TimelineEntry
from actors.session.rule_state import RuleState
from actors.session.timeline_entry import ENTRY_KEYS
from actors.simulation.plan import Plan
from actors.simulation.simulated_rooms import SimulatedRoom
from actors.simulation.world import World


@final
class RuledWorld:
    """The world, one room in it, and what the rules did there."""

    def __init__(self, *rules: Mapping[str, Any]) -> None:
        self.world = World(Plan(0, (), rooms=0))
        self.world.acting.rules = read_rules([dict(rule) for rule in rules])
        self.world.subscribers["rules"] = self
        self.timeline: list[dict[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        """Acts that the server was asked for, with the room."""
        self.faults: dict[str, list[RoomControlError]] = {}
        """The errors that the next requests of an act raise."""
        self.world.acting.control.inner.fault = self._fault
        self.streams = True
        """Texts can be sent from our connection to the room."""
        self.world.rooms.stream_outcome = self._stream_outcome

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        if entry.event.startswith(("alert_", "act_")):
            assert set(entry.data) == set(ENTRY_KEYS[entry.event])
            self.timeline.append({"event": entry.event, "room": state.room, **entry.data})

    async def _stream_outcome(self, room: SimulatedRoom) -> SendOutcome:
        if not self.streams or self.faults.get("send"):
            return "not sent"
        self.requests.append(("send", room.name))
        return await self.world.acting.control.stream_outcome(room)

    def _fault(self, act: str, room: str) -> RoomControlError | None:
        self.requests.append((act, room))
        waiting = self.faults.get(act)
        return waiting.pop(0) if waiting else None

    @property
    def done(self) -> list[tuple[str, str, str | None, str]]:
        """Event, act (or rule of an alert), on whom, result."""
        return [
            (one["event"], one.get("act", one["rule"]), one["on"], one.get("result", ""))
            for one in self.timeline
        ]

    def room(self, name: str = "team-1", *people: str) -> SimulatedRoom:
        """A watched room."""
        room = self.world.rooms.room(name)
        for identity in people:
            room.join(identity)
        self.world.assign(room)
        return room

    def state(self, room: SimulatedRoom) -> SessionState:
        table = self.world.program.table
        record = table.find_room(room.sid)
        if record is not None:
            return record.journal.state
        return next(one.state for one in table.journals if one.state.room_sid == room.sid)

    def rules(self, room: SimulatedRoom) -> RuleState:
        rules = self.state(room).rules
        assert rules is not None
        return rules

    def requested(self, act: str) -> int:
        return sum(one == act for one, _ in self.requests)

    async def restart(self, *, seconds: float = 1.0) -> None:
        """Kill the program, and start it again after `seconds`."""
        killed = self.world.program
        assert self.world.kill()
        await killed.over.wait()
        await self.world.run_again(seconds)
        await self.world.program.ready.wait()
        for room in self.world.rooms.live:
            self.world.assign(room)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[RuledWorld, None]:
        async with self.world.running():
            yield self
        assert self.world.violations == []
