"""Gaps: the times in which we did not see the room, between our first entry and the end.

A gap is open while `gap_since` is set, and ends with the next view of the room.  Watched time
and gaps add up to the time since the first entry.  Coverage is the watched share of it.

**Suspended.**  A process that is stopped for a while stays connected.  When it runs again it
receives all queued events in a burst, as if they happened now.  So the gap ends at once, and
everything that is received in the first `BURST` seconds after it counts from the beginning of the
gap, since no later time was observed.
"""

from __future__ import annotations

from typing import Final

from actors.session.bounds import MAX_GAPS
from actors.session.changes import change
from actors.session.events import GapReason
from actors.session.intervals import stretch
from actors.session.state import Gap, SessionState

BURST: Final = 1.0
"""Seconds after a suspension in which queued events still arrive."""


def end_gap(state: SessionState, at: float) -> SessionState:
    """The room is seen again from `at` on."""
    since = state.gap_since
    if since is None:
        return state
    gap = Gap(since, at, state.gap_reason or "connection_lost")
    return add_gap(change(state, gap_since=None, gap_reason=None), gap)


def add_gap(state: SessionState, gap: Gap) -> SessionState:
    """Add a gap; beyond `MAX_GAPS` their seconds are only added up."""
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
    """True if an event that was received at `at` may have happened while we were suspended.

    A thread of the SDK may run again some milliseconds before the suspension is noticed: its
    events have a time just before the end of the gap.
    """
    gap = state.suspended
    return gap is not None and gap.since <= at <= gap.until + BURST


def counts_from(state: SessionState, at: float) -> float:
    """The time from which an end that was received at `at` counts."""
    gap = state.suspended
    return gap.since if gap is not None and in_burst(state, at) else at


def was_suspended(state: SessionState, at: float) -> bool:
    """True if `at` is within a suspension."""
    return any(gap.reason == "suspended" and gap.since <= at <= gap.until for gap in state.gaps)


def begin_gap(state: SessionState, at: float, because: GapReason | None) -> SessionState:
    """We do not see the room from `at` on.

    If the watch ends right after a suspension, it ended during the suspension.  The two are then
    one gap.
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
