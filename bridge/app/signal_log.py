"""How the log reports the runtime: crashes, restarts, failures.  Starts, ends and dead letters are
counted, not logged.

The path of a room's actor has the room's SID.  A line of the log names the room, so that a search
for the room finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, final

import structlog

from actors.rooms.room_table_view import RoomTableView
from actors.runtime import Crashed, Failed, GroupEscalated, Overran, Restarting, Signal

log = structlog.get_logger()


@final
class SignalLog:
    """Takes the signals of one system of actors."""

    def __init__(self) -> None:
        self.table: RoomTableView | None = None
        """The rooms, once there are any."""

    def __call__(self, signal: Signal) -> None:
        """Log what the runtime reports."""
        entry = _ENTRIES.get(type(signal))
        if entry is not None:
            level, event, fields = entry
            values = fields(signal)
            path = str(values.get("actor", ""))
            getattr(log, level)(event, **values, **self._room_of(path))

    def _room_of(self, path: str) -> Mapping[str, str]:
        first, _, rest = path.removeprefix("/").partition("/")
        key = rest.partition("/")[0]
        record = None if self.table is None or first != "rooms" else self.table.records.get(key)
        return {} if record is None else {"room": record.journal.state.room}


_ENTRIES: Final[Mapping[type[Signal], tuple[str, str, Callable[[Any], dict[str, Any]]]]] = {
    Crashed: (
        "error",
        "actor_crashed",
        lambda s: {
            "actor": s.actor,
            "generation": s.generation,
            "message": type(s.message).__name__ if s.message is not None else None,
            "error": s.error,
            "exc_info": s.error,
        },
    ),
    Restarting: (
        "warning",
        "actor_restarting",
        lambda s: {"actor": s.actor, "attempt": s.attempt, "after": round(s.delay, 3)},
    ),
    Failed: (
        "error",
        "actor_failed",
        lambda s: {"actor": s.actor, "restarts": s.restarts, "error": s.error},
    ),
    GroupEscalated: (
        "error",
        "supervisor_escalated",
        lambda s: {"actor": s.supervisor, "child": s.child, "error": s.error},
    ),
    Overran: (
        "warning",
        "actor_overran",
        lambda s: {"actor": s.actor, "after": s.after, "awaiting": s.awaiting},
    ),
}
