"""The actors of rooms, run as in production but in simulated rooms and virtual time."""

from __future__ import annotations

from typing import Any

import trio

from actors.rooms.reporter import ListSessions, Sessions
from actors.runtime import Crashed, Ref
from actors.session import SessionState, totals
from actors.simulation.simulated_program import SimulatedProgram
from actors.simulation.simulated_rooms import SimulatedRoom
from actors.simulation.world import World


class RoomsScene:
    """A simulated world without a plan: the test makes everything happen."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.announcements: list[tuple[str, dict[str, Any]]] = []

    @property
    def program(self) -> SimulatedProgram:
        return self.world.program

    def make(self, name: str = "atlas") -> SimulatedRoom:
        """A room with alice and her microphone, and a job for it."""
        room = self.world.rooms.room(name)
        room.join("alice").publish("microphone")
        self.world.assign(room)
        return room

    def delete_dispatch(self, job_id: str) -> None:
        """Somebody deletes the dispatch of a job, and LiveKit ends the job."""
        self.program.delete_dispatch(job_id)

    async def settle(self, seconds: float = 1.0) -> None:
        await trio.sleep(seconds)

    def state(self, room_sid: str) -> SessionState:
        record = self.program.table.find_room(room_sid)
        if record is not None:
            return record.journal.state
        (journal,) = [one for one in self.program.table.ended if one.state.room_sid == room_sid]
        return journal.state

    def numbers(self, room_sid: str) -> tuple[int, int, int, int]:
        """People and tracks: present now, and all there ever were."""
        one = totals(self.state(room_sid), self.world.our_time())
        return (one.participants, one.tracks, one.participants_total, one.tracks_total)

    def session(self, room_sid: str) -> str:
        return f"/rooms/{room_sid}/session"

    def connection(self, room_sid: str) -> Ref[Any]:
        record = self.program.table.records[room_sid]
        assert record.connection is not None
        return record.connection

    def crashes(self) -> list[str]:
        return [signal.actor for signal in self.program.signals if isinstance(signal, Crashed)]

    def announced(self, event: str) -> list[dict[str, Any]]:
        return [fields for name, fields in self.announcements if name == event]

    async def sessions(self) -> Sessions:
        return await self.program.reporter.ask(ListSessions, timeout=5.0)
