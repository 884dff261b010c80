"""The log lines of the worker protocol's events, bounded in a flood."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
import structlog
from attrs import define, field

from bridge.livekit.worker import protocol_events
from bridge.livekit.worker.protocol_events import Event

log = structlog.get_logger()

LOGGED: Final[Mapping[type[Event], tuple[str, str]]] = {
    protocol_events.JobAccepted: ("debug", "job_accepted"),
    protocol_events.JobRefused: ("warning", "job_refused"),
    protocol_events.AssignmentRejected: ("error", "job_assignment_rejected"),
    protocol_events.AssignmentOverdue: ("warning", "job_assignment_overdue"),
    protocol_events.JobTerminated: ("info", "job_terminated"),
    protocol_events.Malformed: ("error", "worker_frame_malformed"),
    protocol_events.Unexpected: ("warning", "worker_message_unexpected"),
    protocol_events.GoingAway: ("info", "server_going_away"),
}
"""Level and name of the line of each event.  The line has the fields of the event."""

MAX_LINES: Final = 10
"""Lines with one name within `WINDOW`.  The others are counted, and the count is one line."""

WINDOW: Final = 10.0
"""Seconds."""


@define(eq=False)
class EventLog:
    """Logs events.  Of a flood (refused offers, assignments that never come) the log has the
    first lines and then the number of the others."""

    _began_at: dict[str, float] = field(factory=dict[str, float], init=False)
    _count: dict[str, int] = field(factory=dict[str, int], init=False)

    def add(self, event: Event, now: float) -> None:
        """Log an event if it has a row in `LOGGED`.  `now`: seconds on trio's clock."""
        row = LOGGED.get(type(event))
        if row is None:
            return
        level, name = row
        self.log_left_out(now)
        self._began_at.setdefault(name, now)
        self._count[name] = self._count.get(name, 0) + 1
        if self._count[name] <= MAX_LINES:
            getattr(log, level)(name, **attrs.asdict(event))

    def log_left_out(self, now: float) -> None:
        """Log how many lines of each name were left out, once their window is over."""
        for name in [name for name, at in self._began_at.items() if now - at >= WINDOW]:
            left_out = self._count.pop(name) - MAX_LINES
            seconds = round(now - self._began_at.pop(name), 1)
            if left_out > 0:
                log.warning("worker_lines_left_out", of=name, lines=left_out, seconds=seconds)
