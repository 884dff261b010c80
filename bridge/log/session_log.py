"""What the log has of a session: a line an entry, unless a room floods it.

Where a room has more than `MOST_MESSAGES` lines of messages in a second, or of changes,
the rest of that second is one line with their number, written once the second is over and
something else is told of the room.  They are counted, and the session's timeline has them
all the same: only the log is spared, and whoever looks for another room's lines in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, final

import structlog
from attrs import Factory, define

from actors.session import SessionState, TimelineEntry, session_row
from bridge.log.structured_log import log_entry

log = structlog.get_logger()

MOST_MESSAGES: Final = 200
"""Lines of messages in a second and room, and as many of changes.  A line costs as much as
all the rest that is done about a message."""

_CHANGES: Final = "changes_not_logged"
_SPARED: Final[Mapping[str, str]] = {
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
"""What may be too much, and the line that then has its number."""


@define(eq=False)
class _Second:
    number: int
    """Unix seconds."""
    came: dict[str, int] = Factory(dict[str, int])
    """Entries, by the line that has the number of those beyond `MOST_MESSAGES`."""


@final
class SessionLog:
    """Takes every entry of every session (`actors.rooms.subscriber.Subscriber`)."""

    def __init__(self) -> None:
        self._log: Final = log.bind()
        """Made once: making one costs as much as a line's text."""
        self._seconds: dict[str, _Second] = {}
        """By room SID, of open sessions in which something was said or changed."""

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        """Log an entry; the last one of a session carries all its numbers (in the JSON log)."""
        if self._is_too_much(state, entry):
            return
        about = _about(state)
        if entry.event == "session_ended":
            about["session"] = session_row(state, entry.at)
        log_entry(self._log, entry, **about)

    def _is_too_much(self, state: SessionState, entry: TimelineEntry) -> bool:
        second = self._seconds.get(state.room_sid)
        ended = entry.event == "session_ended"
        if second is not None and (ended or int(entry.at) != second.number):
            del self._seconds[state.room_sid]
            for line, came in second.came.items():
                if came > MOST_MESSAGES:
                    self._log.info(line, count=came - MOST_MESSAGES, **_about(state))
            second = None
        line = _SPARED.get(entry.event)
        if line is None:
            return False
        if second is None:
            second = self._seconds[state.room_sid] = _Second(int(entry.at))
        second.came[line] = second.came.get(line, 0) + 1
        return second.came[line] > MOST_MESSAGES


def _about(state: SessionState) -> dict[str, Any]:
    return {
        "room": state.room,
        "room_sid": state.room_sid or None,
        "job_id": state.job_ids[-1] if state.job_ids else None,
    }
