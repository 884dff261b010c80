"""Questions to a session's state about the recordings that are ours.  Pure."""

from __future__ import annotations

from typing import Final

from actors.recording.egress_port import EgressState
from actors.session import SessionState
from actors.session.recordings import OVER
from actors.session.state import Recording

ROOM_OVER: Final = 60.0
"""Seconds after the end of its room for which a recording may go on: it uploads its file."""
_ROOM_ENDS: Final = frozenset({"room_closed", "room_deleted", "found_ended"})


def recording_of(state: SessionState, intent: str) -> Recording | None:
    return next((one for one in state.recordings.values() if one.intent == intent), None)


def id_of_ours(state: SessionState | None) -> str:
    """The id of a recording of ours that is not over; empty where LiveKit has not taken it yet."""
    recordings = () if state is None else state.recordings.values()
    return next((one.id for one in recordings if one.is_ours and one.status not in OVER), "")


def differs(newest: EgressState, known: Recording) -> bool:
    return (newest.status, newest.started_at, newest.ended_at, newest.error, newest.file) != (
        known.status,
        known.started_at,
        known.ended_at,
        known.error,
        known.file,
    )


def outlives_its_room(state: SessionState | None, now: float) -> bool:
    """True if its recordings should have ended with the room: a worker may have died."""
    if state is None or not state.ended or state.end_reason not in _ROOM_ENDS:
        return False
    over_at = state.closed_at or state.ended_at
    return over_at is not None and now - over_at >= ROOM_OVER
