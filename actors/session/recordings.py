"""Recordings: two sources tell of them, the room and LiveKit's webhooks.

The room itself says only whether a recorder is inside (``active_recording``).  Webhooks of egress
say which recording it is, how it went and where its file is.  Without such webhooks a session
still shows the intervals in which the room was recorded.  An interval that belongs to a reported
recording is not shown a second time.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from actors.session.bounds import MAX_RECORDINGS
from actors.session.changes import change
from actors.session.events import RecordingChanged
from actors.session.pending import defer
from actors.session.state import RecordedInterval, Recording, SessionState
from actors.session.timeline_entry import EntryList
from actors.session.webhook_reports import WebhookEgress

OVER: Final = frozenset({"complete", "failed", "aborted", "limit_reached"})
"""Statuses after which a recording does not change any more."""

NEAR: Final = 5.0
"""Seconds by which an interval may lie beside the recording that it belongs to: a room announces
its recorder up to 3 s late, and an egress starts before its recorder joins."""


def on_recording(state: SessionState, event: RecordingChanged, entries: EntryList) -> SessionState:
    if state.reconnecting:
        return defer(state, event)
    return set_recorded(state, event.active, event.at, entries)


def set_recorded(
    state: SessionState, active: bool | None, at: float, entries: EntryList
) -> SessionState:
    """The room says whether it is recorded; None if it does not say."""
    if active is None or active == state.recorded_now:
        return state
    entries.add(at, "room_recording", active=active)
    stretches = state.recorded_intervals
    if active:
        stretches = (*stretches[1 - MAX_RECORDINGS :], RecordedInterval(at))
    else:
        stretches = (*stretches[:-1], change(stretches[-1], ended_at=at))
    return change(state, recorded_intervals=stretches)


def close_interval(state: SessionState, at: float) -> SessionState:
    """End the open interval, since the session ends."""
    if not state.recorded_now:
        return state
    last = change(state.recorded_intervals[-1], ended_at=at)
    return change(state, recorded_intervals=(*state.recorded_intervals[:-1], last))


def on_egress(state: SessionState, event: WebhookEgress, entries: EntryList) -> SessionState:
    state = change(state, webhook_received=True)
    before = state.recordings.get(event.egress_id)
    if before is None and len(state.recordings) >= MAX_RECORDINGS:
        return state
    if before is not None and (event.updated_at < before.updated_at or before.status in OVER):
        return state  # late, or doubled
    now = Recording(
        event.egress_id,
        event.kind,
        event.status,
        event.started_at,
        event.ended_at,
        event.error,
        event.file,
        event.updated_at,
    )
    data = {"id": now.id, "kind": now.kind}
    if before is None:
        started_at = event.sent_at if now.started_at is None else now.started_at
        entries.add(started_at, "recording_started", **data)
    if now.status in OVER:
        how = {"status": now.status, "error": now.error, "file": now.file}
        ended_at = event.sent_at if now.ended_at is None else now.ended_at
        entries.add(ended_at, "recording_ended", **data, **how)
    return change(state, recordings={**state.recordings, now.id: now})


def intervals_without_recording(state: SessionState) -> Iterable[RecordedInterval]:
    """Intervals in which the room was recorded and that belong to no reported recording."""
    for one in state.recorded_intervals:
        if not any(_overlap(one, other) for other in state.recordings.values()):
            yield one


def _overlap(one: RecordedInterval, other: Recording) -> bool:
    begins_before_its_end = (
        one.ended_at is None or other.started_at is None or other.started_at <= one.ended_at + NEAR
    )
    ends_after_its_start = other.ended_at is None or other.ended_at >= one.started_at - NEAR
    return begins_before_its_end and ends_after_its_start
