"""What outlives a crash of a session's actor: its state so far, and what it had to tell.

The actor of a room's session owns its journal; nobody else writes it while that actor
lives.  An event is recorded before anything is done about it, and the state is
immutable, so whatever crashes afterwards, the next incarnation goes on from a state in
which the event is either wholly in or wholly not.
"""

from __future__ import annotations

from collections import deque
from typing import Final, final

from attrs import frozen

from actors.session import Entry, RoomEvent, SessionState, apply, attach_job, begin, end

TIMELINE: Final = 10_000
"""Entries of one session that are kept in memory, the newest."""


@frozen
class Told:
    """A session at one moment, and its timeline, oldest entry first."""

    state: SessionState
    timeline: tuple[Entry, ...]


@final
class Journal:
    """One session: begun when made, ended by `end`, begun again by `attach`."""

    def __init__(self, state: SessionState) -> None:
        self.state = state
        self.timeline: deque[Entry] = deque(maxlen=TIMELINE)
        self.untold: deque[Entry] = deque()
        """Entries that were recorded and not published yet: a crash in between keeps them."""
        self.lost_events = 0
        """Events that crashed the fold itself; each was followed by a comparison."""

    @classmethod
    def begin(
        cls,
        *,
        room: str,
        room_sid: str,
        job_ids: tuple[str, ...],
        worker: str,
        agent_name: str,
        at: float,
        created_at: float | None,
    ) -> Journal:
        """The journal of a new session.  `at` and `created_at` are Unix seconds."""
        state = begin(room, room_sid, job_ids[0], worker, agent_name, at, created_at)
        for job_id in job_ids[1:]:
            state = attach_job(state, job_id)
        return cls(state)

    @property
    def ended(self) -> bool:
        """The session is over, for now."""
        return self.state.ended_at is not None

    def record(self, event: RoomEvent) -> None:
        """Fold `event`.  Raises `AnotherLife` for a roster of another room SID."""
        self.state, entries = apply(self.state, event)
        self._keep(entries)

    def end(self, at: float, reason: str) -> None:
        """Close everything; harmless where it is closed already."""
        self.state, entries = end(self.state, at, reason)
        self._keep(entries)

    def attach(self, job_id: str, worker: str | None = None) -> None:
        """Another job for the same life of the room; an ended session is active again."""
        self.state = attach_job(self.state, job_id, worker)

    def told(self) -> Told:
        """The session as it is now."""
        return Told(self.state, tuple(self.timeline))

    def _keep(self, entries: tuple[Entry, ...]) -> None:
        self.timeline.extend(entries)
        self.untold.extend(entries)
