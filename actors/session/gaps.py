"""When nobody of ours saw the room, between our first entry and the end.

A gap is open while `blind_since` is set, and closed by the next view of the room.  Watched
time and gaps add up to the time since the first entry: coverage is the one as a share of
the other.

**Suspended.**  A process that is stopped for a while stays connected.  When it runs again
it gets in a burst what happened meanwhile, and all of it seems to happen now.  So the gap
is closed at once, and what is heard in the first `BURST` seconds after it counts from its
beginning: later was not observed.
"""

from __future__ import annotations

from typing import Final

from actors.session.bounds import MAX_GAPS
from actors.session.changes import change
from actors.session.events import GapReason
from actors.session.intervals import stretch
from actors.session.state import Gap, SessionState

BURST: Final = 1.0
"""Seconds after a suspension in which what happened meanwhile is still being taken in."""


def end_gap(state: SessionState, at: float) -> SessionState:
    """The room is seen again from `at` on."""
    since = state.gap_since
    if since is None:
        return state
    gap = Gap(since, at, state.gap_reason or "connection_lost")
    return add_gap(change(state, gap_since=None, gap_reason=None), gap)


def add_gap(state: SessionState, gap: Gap) -> SessionState:
    """Keep one more; beyond `MAX_GAPS` they are only added up."""
    seconds = stretch(gap.since, gap.until)
    if seconds == 0.0:
        return state
    if len(state.gaps) < MAX_GAPS:
        return change(state, gaps=(*state.gaps, gap))
    truncated = state.truncated
    truncated = change(
        truncated, gaps=truncated.gaps + 1, gap_seconds=truncated.gap_seconds + seconds
    )
    return change(state, truncated=truncated)


def in_burst(state: SessionState, at: float) -> bool:
    """Whether what is heard at `at` may have happened while we were suspended.

    A thread of the SDK may run again some milliseconds before the suspension is noticed: what
    it takes in has a time just before the end of the gap.
    """
    gap = state.suspended
    return gap is not None and gap.since <= at <= gap.until + BURST


def counts_from(state: SessionState, at: float) -> float:
    """When an end that was heard at `at` counts from."""
    gap = state.suspended
    return gap.since if gap is not None and in_burst(state, at) else at


def was_suspended(state: SessionState, at: float) -> bool:
    """Whether `at` lies in a suspension: nothing was heard then."""
    return any(gap.reason == "suspended" and gap.since <= at <= gap.until for gap in state.gaps)


def begin_gap(state: SessionState, at: float, because: GapReason | None) -> SessionState:
    """Nobody sees the room from `at` on.

    What ends the watch right after a suspension ended it during that: one gap, not two.
    """
    gap = state.suspended
    if gap is not None and in_burst(state, at) and state.watched.since == gap.until:
        if state.gaps and state.gaps[-1] == gap:
            state = change(state, gaps=state.gaps[:-1])
            at, because = gap.since, gap.reason
        else:
            at = gap.until
    return change(
        state, watched=state.watched.off(at), gap_since=at, gap_reason=because, suspended=None
    )
