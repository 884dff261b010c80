"""The entries of sessions in the log: one line each, unless a room floods the log.

Where a room has more than `MOST_LINES` lines of messages in a second, or of changes, the rest of
that second is one line with their number.  It is written when the second is over and the room has
another entry.  All entries are counted, and the session's timeline has them.  Only the log is
shortened, so that other rooms' lines can be read in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

import msgspec
import structlog
from attrs import Factory, define

from actors.session import SessionState, TimelineEntry, session_row
from bridge.log.structured_log import log_entry

log = structlog.get_logger()

MOST_LINES: Final = 200
"""Lines of messages in a second and room, and as many of changes."""

_CHANGES: Final = "changes_not_logged"
_BOUNDED: Final[Mapping[str, str]] = {
    "data_message": "messages_not_logged",
    "data_track_published": _CHANGES,
    "data_track_unpublished": _CHANGES,
    "participant_attributes": _CHANGES,
    "participant_metadata": _CHANGES,
    "participant_name": _CHANGES,
    "quality_changed": _CHANGES,
    "room_metadata": _CHANGES,
    "track_muted": _CHANGES,
    "track_unmuted": _CHANGES,
}
"""Entries whose lines are bounded, and the line that has the number of the rest."""


@define(eq=False)
class _Second:
    number: int
    """Unix seconds."""
    entries: dict[str, int] = Factory(dict[str, int])
    """How many there were, by the line that has the number of those beyond `MOST_LINES`."""


@final
class SessionLog:
    """Takes every entry of every session (`actors.rooms.subscriber.Subscriber`)."""

    def __init__(self) -> None:
        self._log: Final = log.bind()
        """Bound once, because binding costs as much as a line."""
        self._seconds: dict[str, _Second] = {}
        """By room SID: open sessions that have bounded entries."""

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        """Log an entry; the last one of a session carries all its numbers (in the JSON log)."""
        if self._is_too_much(state, entry):
            return
        about = _about(state)
        if entry.event == "session_ended":
            about["session"] = msgspec.to_builtins(session_row(state, entry.at))
        log_entry(self._log, entry, **about)

    def _is_too_much(self, state: SessionState, entry: TimelineEntry) -> bool:
        second = self._seconds.get(state.room_sid)
        ended = entry.event == "session_ended"
        if second is not None and (ended or int(entry.at) != second.number):
            del self._seconds[state.room_sid]
            for line, count in second.entries.items():
                if count > MOST_LINES:
                    self._log.info(line, count=count - MOST_LINES, **_about(state))
            second = None
        line = _BOUNDED.get(entry.event)
        if line is None:
            return False
        if second is None:
            second = self._seconds[state.room_sid] = _Second(int(entry.at))
        second.entries[line] = second.entries.get(line, 0) + 1
        return second.entries[line] > MOST_LINES


def _about(state: SessionState) -> dict[str, Any]:
    return {
        "room": state.room,
        "room_sid": state.room_sid or None,
        "job_id": state.job_ids[-1] if state.job_ids else None,
    }
