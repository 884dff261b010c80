"""The records of a session's journal, and the function that folds them.

A journal is a list of records: `SessionBegan`, then each event of the room, `SessionContinued`
for every further watch of it and `SessionEnded` for the end of each watch.  A running worker
folds them as they come.  A worker that starts after a kill folds them again from the store and
has the same state, because nothing else goes into it.
"""

from __future__ import annotations

from typing import TypeAlias

from attrs import frozen

from actors.session.events import RoomEvent
from actors.session.reducer import apply, attach_job, begin, end
from actors.session.state import SessionState
from actors.session.timeline_entry import TimelineEntry


@frozen
class SessionBegan:
    """The first record of every journal."""

    at: float
    """Unix seconds; so in every record."""
    room: str
    room_sid: str
    """Empty until a roster has it."""
    job_ids: tuple[str, ...]
    """Empty if the room was not dispatched: it is known from webhooks only, or was found."""
    worker: str
    agent_name: str
    created_at: float | None
    """Unix seconds of the room's creation at the server, None if unknown."""
    person_key: str | None = None
    """See `actors.session.person_key`."""


@frozen
class SessionContinued:
    """Another watch of the same room instance, by `worker` (None: the one before)."""

    at: float
    job_id: str | None
    worker: str | None


@frozen
class SessionEnded:
    """Nobody watches any more, or the room ended."""

    at: float
    reason: str


Record: TypeAlias = RoomEvent | SessionBegan | SessionContinued | SessionEnded


def fold(
    state: SessionState | None, record: Record
) -> tuple[SessionState, tuple[TimelineEntry, ...]]:
    """The state after `record`, and the entries that it leads to.

    `state` is None for the first record, which is `SessionBegan`, and for no other: anything
    else is no journal (ValueError).  Raises `RoomInstanceChanged` (a ValueError too) for a roster
    of another room SID.
    """
    if isinstance(record, SessionBegan):
        return _begun(state, record), ()
    if state is None:
        raise ValueError(f"a journal begins with SessionBegan, not with {type(record).__name__}")
    if isinstance(record, SessionContinued):
        return attach_job(state, record.job_id, record.worker), ()
    if isinstance(record, SessionEnded):
        return end(state, record.at, record.reason)
    return apply(state, record)


def _begun(state: SessionState | None, record: SessionBegan) -> SessionState:
    if state is not None:
        raise ValueError(f"the session of room {state.room_sid!r} began already")
    return begin(
        record.room,
        record.room_sid,
        record.job_ids,
        record.worker,
        record.agent_name,
        record.at,
        record.created_at,
        record.person_key,
    )
