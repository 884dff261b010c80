"""What the log has of a session: a line an entry, unless a room floods it.

Where a room has more than `MOST_MESSAGES` lines of messages in a second, the rest of
that second is one line with their number, written once the second is over and something
else is told of the room.  They are counted, and the session's timeline has them all the
same: only the log is spared, and whoever looks for another room's lines in it.
"""

from __future__ import annotations

from typing import Any, Final, final

import structlog
from attrs import define

from actors.session import Entry, SessionState, session_row
from bridge.cli.log import log_entry

log = structlog.get_logger()

MOST_MESSAGES: Final = 200
"""Lines of messages in a second and room.  A line costs as much as all the rest that is
done about a message."""


@define(eq=False)
class _Second:
    number: int
    """Unix seconds."""
    lines: int = 0
    spared: int = 0


@final
class SessionLog:
    """Takes every entry of every session (`actors.rooms.session.Publish`)."""

    def __init__(self) -> None:
        self._log: Final = log.bind()
        """Made once: making one costs as much as a line's text."""
        self._seconds: dict[str, _Second] = {}
        """By room SID, of open sessions in which something was said."""

    def __call__(self, state: SessionState, entry: Entry) -> None:
        """Log an entry; the last one of a session carries all its numbers (in the JSON log)."""
        if self._is_too_much(state, entry):
            return
        about = _about(state)
        if entry.event == "session_ended":
            about["session"] = session_row(state, entry.at)
        log_entry(self._log, entry, **about)

    def _is_too_much(self, state: SessionState, entry: Entry) -> bool:
        second = self._seconds.get(state.room_sid)
        ended = entry.event == "session_ended"
        if second is not None and (ended or int(entry.at) != second.number):
            del self._seconds[state.room_sid]
            if second.spared:
                self._log.info("messages_not_logged", count=second.spared, **_about(state))
            second = None
        if entry.event != "data_message":
            return False
        if second is None:
            second = self._seconds[state.room_sid] = _Second(int(entry.at))
        if second.lines < MOST_MESSAGES:
            second.lines += 1
            return False
        second.spared += 1
        return True


def _about(state: SessionState) -> dict[str, Any]:
    return {
        "room": state.room,
        "room_sid": state.room_sid or None,
        "job_id": state.job_ids[-1] if state.job_ids else None,
    }
