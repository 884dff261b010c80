"""Turns of talk: one person's speech from its begin until a pause ends it.

LiveKit's speakers come in windows of 0.4 s, and its list of speakers splits speech at short
pauses.  A turn therefore goes on over a pause of up to `LONGEST_PAUSE`.  Begin and end of speech
are received late by about the same time (0.4 to 0.9 s, 0.4 to 0.6 s), so a turn's length is right.

An interruption is a turn that begins while another person talks, if both then talk at the same
time for at least `SHORTEST_OVERLAP`.  A shorter overlap is also seen when one person stops and the
next begins: half of a window on each side.  Agents neither interrupt nor are interrupted here.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from actors.session.intervals import stretch

LONGEST_PAUSE: Final = 1.0
"""Seconds without speech after which a turn is over."""
SHORTEST_OVERLAP: Final = 0.5
"""Seconds in which two people talk at once, from which on the second one interrupts the first."""


@frozen
class Turns:
    """The turns of one participant.  All times are Unix seconds."""

    count: int
    """Turns so far, with the one that goes on."""
    since: float
    """When the newest turn began."""
    until: float | None = None
    """When its speech last ended; None while they talk."""
    longest: float = 0.0
    """Seconds of the longest turn, with its pauses, without speech that goes on."""
    interruptions: int = 0
    overlap_since: float | None = None
    """When the newest turn began, while another person still talks into it."""

    def longest_turn(self, now: float) -> float:
        """Seconds of the longest turn until `now`."""
        if self.until is not None:
            return self.longest
        return max(self.longest, stretch(self.since, now))


def begin_speech(turns: Turns | None, at: float, *, others_talk: bool) -> Turns:
    """Somebody begins to talk.  `others_talk`: another person talks already."""
    since = at if others_talk else None
    if turns is None:
        return Turns(1, at, overlap_since=since)
    if turns.until is None:
        return turns
    longest, interruptions = turns.longest, turns.interruptions
    if at - turns.until <= LONGEST_PAUSE and at >= turns.since:
        return Turns(turns.count, turns.since, None, longest, interruptions, turns.overlap_since)
    return Turns(turns.count + 1, at, None, longest, interruptions, since)


def end_speech(turns: Turns | None, at: float) -> Turns | None:
    """They stop to talk, or it is not known any more whether they do."""
    if turns is None or turns.until is not None:
        return turns
    longest = max(turns.longest, at - turns.since)
    return Turns(turns.count, turns.since, at, longest, _interruptions(turns, at))


def end_overlap(turns: Turns, at: float) -> Turns:
    """Nobody else talks into the newest turn any more."""
    if turns.overlap_since is None:
        return turns
    return Turns(turns.count, turns.since, turns.until, turns.longest, _interruptions(turns, at))


def _interruptions(turns: Turns, at: float) -> int:
    """With the newest turn, whose overlap ends at `at`."""
    since = turns.overlap_since
    return turns.interruptions + (since is not None and at - since >= SHORTEST_OVERLAP)
