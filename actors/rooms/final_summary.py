"""The sums over all sessions of a run: the numbers of the Final Summary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, final

from attrs import asdict, evolve, frozen

from actors.session import SessionState, totals
from actors.session.view import everyone

REMEMBERED: Final = 100_000
"""People of sessions that are not in memory any more, who are known again in another room
(7 MB).  Those beyond count once a session."""


@frozen
class Summary:
    """Sums over sessions.

    A room is one session, that is one room instance: a name that was opened twice counts
    twice.  A person is one identity, in any number of rooms and sessions.
    """

    rooms: int = 0
    participants: int = 0
    tracks: int = 0
    messages: int | None = 0
    """None if there were rooms and all of them hide their messages from us."""
    duration: float = 0.0
    """Seconds from the beginning of each session to its end or now, added up."""

    def as_dict(self) -> dict[str, float | None]:
        """Field to number, in the order of the printed summary."""
        return asdict(self)


@final
class RunningSummary:
    """Sums over the sessions that are removed from memory."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._sum = Summary()
        """Its `participants` are the people who cannot be recognized again."""
        self._people = set[int]()

    @property
    def rooms(self) -> int:
        """Sessions that were added."""
        return self._sum.rooms

    def add(self, state: SessionState, now: float) -> None:
        """Add a session for good."""
        people = _people(state)
        self._sum = _plus(self._sum, state, now, len(people))
        for person in people:
            if person in self._people:
                continue
            if len(self._people) < self._remembered:
                self._people.add(person)
            else:
                self._sum = evolve(self._sum, participants=self._sum.participants + 1)

    def with_sessions(self, states: Iterable[SessionState], now: float) -> Summary:
        """The summary of what was added and of these, at `now` (Unix seconds)."""
        summary, people = self._sum, set[int]()
        for state in states:
            known = _people(state)
            summary = _plus(summary, state, now, len(known))
            people |= known
        unique = len(self._people) + len(people - self._people)
        return evolve(summary, participants=summary.participants + unique)


def _plus(summary: Summary, state: SessionState, now: float, known: int) -> Summary:
    """The summary with a session, without the `known` people whom `_people` gives."""
    one = totals(state, now)
    return Summary(
        summary.rooms + 1,
        summary.participants + max(0, one.participants_total - known),
        summary.tracks + one.tracks_total,
        _messages(summary, one.messages),
        summary.duration + one.duration,
    )


def _messages(summary: Summary, more: int | None) -> int | None:
    if more is None:
        return summary.messages if summary.rooms else None
    return (summary.messages or 0) + more


def _people(state: SessionState) -> set[int]:
    """The people of a session who are known one by one, each as 64 bits of a hash."""
    return {hash(person.person) for person in everyone(state) if person.counted}
