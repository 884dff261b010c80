"""What all sessions of a run add up to: the numbers of the Final Summary."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import asdict, frozen

from actors.session import SessionState, totals


@frozen
class Summary:
    """Everyone and everything seen, over sessions.

    A room is one session, one life of a room: a name that was opened twice counts
    twice.  People are unique within a session, not across rooms: identities are chosen
    room by room, two rooms' ``alice`` need not be one person.
    """

    rooms: int = 0
    participants: int = 0
    tracks: int = 0
    messages: int = 0
    duration: float = 0.0
    """Seconds from the beginning of each session to its end or now, added up."""

    def __add__(self, other: Summary) -> Summary:
        return Summary(
            self.rooms + other.rooms,
            self.participants + other.participants,
            self.tracks + other.tracks,
            self.messages + other.messages,
            self.duration + other.duration,
        )

    def as_dict(self) -> dict[str, float]:
        """Field to number, in the order of the printed summary."""
        return asdict(self)


def summarise(states: Iterable[SessionState], now: float) -> Summary:
    """Add up sessions, at `now` (Unix seconds) where they are still active."""
    summary = Summary()
    for state in states:
        one = totals(state, now)
        summary += Summary(1, one.participants_total, one.tracks_total, one.messages, one.duration)
    return summary
