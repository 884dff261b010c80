"""How a session begins, and how it goes on with another watch."""

from __future__ import annotations

from actors.session.changes import change
from actors.session.state import SessionState


def begin(
    room: str,
    room_sid: str,
    job_ids: tuple[str, ...],
    worker: str,
    agent_name: str,
    at: float,
    created_at: float | None = None,
    person_key: str | None = None,
) -> SessionState:
    """A session before its first event.  An empty `room_sid` is taken from the first roster.

    It has no job if a webhook told of the room, or if its room was found and joined.
    """
    return SessionState(
        room,
        room_sid,
        worker,
        agent_name,
        job_ids,
        at,
        created_at,
        last_at=at,
        person_key=person_key,
    )


def attach_job(state: SessionState, job_id: str | None, worker: str | None = None) -> SessionState:
    """Another watch of the same room instance: the session goes on, ended or not.

    `job_id` is None if the room was found and joined without a dispatch.
    """
    if job_id is not None and job_id not in state.job_ids:
        state = change(state, job_ids=(*state.job_ids, job_id))
    return change(
        state, worker=state.worker if worker is None else worker, ended_at=None, end_reason=None
    )
