"""The faults of the next entries into single rooms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from attrs import define, field

from actors.rooms.room_port import RoomError, RoomJob, RoomRefused, RoomUnreachable

ENTRY: Final = 0.02
"""Seconds that an entry takes."""


@define(eq=False)
class EntryFaults:
    """The faults of entries, by the name of a room."""

    _inject: Callable[[str], object]
    refused: Counter[str] = field(factory=Counter[str], init=False)
    """Entries that the server will refuse."""
    unreachable: Counter[str] = field(factory=Counter[str], init=False)
    """Entries that will fail in the network."""
    delays: dict[str, float] = field(factory=dict[str, float], init=False)
    """Seconds that entries take, where it is not `ENTRY`."""

    def delay(self, job: RoomJob) -> float:
        """Seconds that an entry into the room of this job takes."""
        return self.delays.get(job.room, ENTRY)

    def fault(self, job: RoomJob) -> RoomError | None:
        """The fault of this entry, if it has one."""
        if self.unreachable[job.room] > 0:
            self.unreachable[job.room] -= 1
            return RoomUnreachable("the connection could not be made")
        if self.refused[job.room] > 0:
            self.refused[job.room] -= 1
            self._inject("entry_refused")
            return RoomRefused("401")
        return None

    def heal(self) -> None:
        """Remove all faults."""
        self.refused.clear()
        self.unreachable.clear()
        self.delays.clear()
