"""Events after which we do not see the room: reconnecting, disconnected, suspended."""

from __future__ import annotations

from math import inf

from attrs import evolve

from actors.session import activity, gaps
from actors.session.bounds import CONFIRM_AFTER
from actors.session.changes import change
from actors.session.due import confirm_due
from actors.session.end_reasons import SEEN_ENDS
from actors.session.events import (
    AttachmentReceived,
    DataReceived,
    Disconnected,
    GapReason,
    Reconnecting,
    Suspended,
)
from actors.session.pending import anomaly, with_all_due
from actors.session.state import Gap, SessionState
from actors.session.timeline_entry import EntryList


def on_reconnecting(state: SessionState, event: Reconnecting, entries: EntryList) -> SessionState:
    if state.reconnecting or state.gap_since is not None:
        return anomaly(state)
    entries.add(event.at, "reconnecting")
    state = with_all_due(lose_view(state, event.at, "reconnecting"), inf)
    return change(state, reconnecting=True)


def on_disconnected(state: SessionState, event: Disconnected, entries: EntryList) -> SessionState:
    # If we left by ourselves, the end that follows knows why.  The end of the room is the end of
    # the session: the time between the two is no gap.
    reason: GapReason | None = event.gap
    if event.reason == "client_initiated" or (event.reason in SEEN_ENDS and not state.reconnecting):
        reason = None
    elif event.reason == "participant_removed":
        reason = "removed"
    if event.gap == "worker_stopped" and state.gap_since is not None and state.gap_reason is None:
        # We left so that another worker goes on.
        state = change(state, gap_reason=reason)
    return stop_watching(count_deferred_messages(state, entries), event.at, reason)


def on_suspended(state: SessionState, event: Suspended, entries: EntryList) -> SessionState:
    """It comes before the events that were queued meanwhile.  We are still connected, as far as
    we know."""
    if not state.watching or state.watched.since is None:
        return change(state, suspended=Gap(event.since, event.at, "suspended"))
    since, at = max(event.since, state.watched.since), event.at
    if at <= since:
        return state
    if state.due is not None and state.due <= since:
        state = confirm_due(state, since, entries)
    state = with_all_due(state, at + CONFIRM_AFTER)
    state = activity.pause_quality(activity.clear_speakers(state, since), since, at)
    gap = Gap(since, at, "suspended")
    entries.add(at, "suspended", gap=round(at - since, 3))
    state = gaps.add_gap(change(state, watched=state.watched.off(since).on(at)), gap)
    return change(state, suspended=gap, roster_complete_at=at + CONFIRM_AFTER)


def count_deferred_messages(state: SessionState, entries: EntryList) -> SessionState:
    """The connection ends, so no roster will say which room instance the deferred messages
    belong to.  They count for this one."""
    for event in state.deferred:
        if isinstance(event, DataReceived):
            state = activity.count_data(state, event, entries)
        elif isinstance(event, AttachmentReceived):
            state = activity.count_attachment(state, event, entries)
    return change(state, deferred=())


def stop_watching(state: SessionState, at: float, reason: GapReason | None) -> SessionState:
    """The watch is over.  The next watch, or the end, decides about provisional leaves."""
    if state.reconnecting:
        state = change(state, gap_reason=reason)
    state = lose_view(state, at, reason)
    state = activity.clear_quality(state, at if state.gap_since is None else state.gap_since)
    return change(state, reconnecting=False, deferred=())


def lose_view(state: SessionState, at: float, reason: GapReason | None) -> SessionState:
    """We do not see the room from `at` on, if we saw it until then."""
    if state.watched.since is None:
        return state
    state = gaps.begin_gap(state, at, reason)
    # LiveKit announces leaves before a reconnect too, so those may be of the gap.
    leaves = {who: evolve(end, observed=False) for who, end in state.provisional_leaves.items()}
    return activity.clear_speakers(change(state, provisional_leaves=leaves), at)
