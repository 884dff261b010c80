"""Recordings: three sources tell of them, the room, LiveKit's webhooks and our own questions.

The room itself says only whether a recorder is inside (``active_recording``).  Webhooks of egress
say which recording it is, how it went and where its file is; LiveKit's answers to our questions
say the same.  Without either a session still shows the intervals in which the room was recorded.
An interval that belongs to a reported recording is not shown a second time.

**Ours.**  A rule's wish is an intent first (`actors.session.recording_reports`).  A session has at
most one recording of ours at a time: an intent beside another one, or beside a recording of ours
that is not over, changes nothing.  The intent is over with the first report of its egress, or
with `RecordingNotStarted`.

**Lost.**  LiveKit calls a recording active for ever if its worker died.  But then no recorder is in
the room.  So a recording that is active while we see for `LOST_AFTER` that nobody records is lost,
until a recorder comes back or LiveKit says how it ended.  Where two record, the room does not say
which of them is inside.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from actors.session.bounds import MAX_RECORDINGS
from actors.session.changes import change
from actors.session.events import RecordingChanged
from actors.session.pending import defer
from actors.session.recording_reports import (
    EgressListed,
    RecorderSilent,
    RecordingIntended,
    RecordingNotStarted,
    RecordingStopIntended,
)
from actors.session.state import RecordedInterval, Recording, RecordingIntent, SessionState
from actors.session.timeline_entry import EntryList
from actors.session.webhook_reports import WebhookEgress

OVER: Final = frozenset({"complete", "failed", "aborted", "limit_reached"})
"""Statuses after which a recording does not change any more."""

NEAR: Final = 5.0
"""Seconds by which an interval may lie beside the recording that it belongs to: a room announces
its recorder up to 3 s late, and an egress starts before its recorder joins."""

LOST_AFTER: Final = 20.0
"""Seconds for which an active recording may be without a recorder in the room.  A room announces
its recorder up to 3 s late, and a recorder that lost its connection needs a while."""


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
        state = _resume_lost(state, at, entries)
    else:
        stretches = (*stretches[:-1], change(stretches[-1], ended_at=at))
    return change(state, recorded_intervals=stretches)


def close_interval(state: SessionState, at: float) -> SessionState:
    """End the open interval, since the session ends."""
    if not state.recorded_now:
        return state
    last = change(state.recorded_intervals[-1], ended_at=at)
    return change(state, recorded_intervals=(*state.recorded_intervals[:-1], last))


# ---------------------------------------------------------------- of LiveKit


def on_egress(state: SessionState, event: WebhookEgress, entries: EntryList) -> SessionState:
    return _on_report(change(state, webhook_received=True), event, event.sent_at, entries)


def on_listed(state: SessionState, event: EgressListed, entries: EntryList) -> SessionState:
    return _on_report(state, event, event.at, entries)


def _on_report(
    state: SessionState, event: WebhookEgress | EgressListed, sent_at: float, entries: EntryList
) -> SessionState:
    before = state.recordings.get(event.egress_id)
    if before is None and len(state.recordings) >= MAX_RECORDINGS and not event.intent:
        return state
    intent = event.intent or ("" if before is None else before.intent)
    state, rule = _fulfil(state, event.intent, None if before is None else before.rule)
    if before is not None and (event.updated_at < before.updated_at or before.status in OVER):
        # Late, or doubled; but it may be the first that says whose it is.
        return _with(state, change(before, intent=intent, rule=rule))
    now = Recording(
        event.egress_id,
        event.kind,
        event.status,
        event.started_at,
        event.ended_at,
        event.error,
        event.file,
        event.updated_at,
        intent=intent,
        rule=rule,
        stop_wanted=before is not None and before.stop_wanted,
        lost_at=None if before is None or event.status in OVER else before.lost_at,
    )
    data = {"id": now.id, "kind": now.kind}
    if before is None:
        started_at = sent_at if now.started_at is None else now.started_at
        entries.add(started_at, "recording_started", **data)
    if now.status in OVER:
        how = {"status": now.status, "error": now.error, "file": now.file}
        ended_at = sent_at if now.ended_at is None else now.ended_at
        entries.add(ended_at, "recording_ended", **data, **how)
    return _with(state, now)


def _fulfil(state: SessionState, intent: str, rule: str | None) -> tuple[SessionState, str | None]:
    """The intent has its egress.  Also gives the rule that wanted it."""
    wanted = state.recording_intents.get(intent)
    if wanted is None:
        return state, rule
    return _without_intent(state, intent), wanted.rule


def _with(state: SessionState, recording: Recording) -> SessionState:
    if state.recordings.get(recording.id) == recording:
        return state
    return change(state, recordings={**state.recordings, recording.id: recording})


# ---------------------------------------------------------------- of ours


def on_intended(state: SessionState, event: RecordingIntended, entries: EntryList) -> SessionState:
    before = state.recording_intents.get(event.intent)
    if before is not None:  # LiveKit is asked once more.
        again = change(before, asked_at=event.at)
        return change(state, recording_intents={**state.recording_intents, event.intent: again})
    if is_ours_open(state) or any(one.intent == event.intent for one in state.recordings.values()):
        return state
    intent = RecordingIntent(event.intent, event.rule, event.at, event.request, event.at)
    entries.add(event.at, "recording_requested", rule=event.rule)
    return change(state, recording_intents={**state.recording_intents, event.intent: intent})


def on_not_started(
    state: SessionState, event: RecordingNotStarted, entries: EntryList
) -> SessionState:
    intent = state.recording_intents.get(event.intent)
    if intent is None:
        return state
    entries.add(event.at, "recording_failed", rule=intent.rule, error=event.error)
    return _without_intent(state, event.intent)


def on_stop_intended(
    state: SessionState, event: RecordingStopIntended, _entries: EntryList
) -> SessionState:
    recording = state.recordings.get(event.egress_id)
    if recording is None or recording.status in OVER:
        return state
    return _with(state, change(recording, stop_wanted=True))


def is_ours_open(state: SessionState) -> bool:
    """True if a recording of ours is wanted or under way.  One that is lost does not count."""
    return bool(state.recording_intents) or any(
        one.is_ours and one.status not in OVER and one.lost_at is None
        for one in state.recordings.values()
    )


def _without_intent(state: SessionState, intent: str) -> SessionState:
    left = {key: one for key, one in state.recording_intents.items() if key != intent}
    return change(state, recording_intents=left)


# ---------------------------------------------------------------- lost


def lost_deadline(state: SessionState) -> float | None:
    """Unix seconds when an active recording counts as lost, if nothing comes until then."""
    since = state.watched.since
    if not state.recordings or since is None or state.ended or state.reconnecting:
        return None
    if state.recorded_now:
        return None
    if state.recorded_intervals:
        since = max(since, state.recorded_intervals[-1].ended_at or since)
    active = [
        max(since, one.updated_at if one.started_at is None else one.started_at) + LOST_AFTER
        for one in state.recordings.values()
        if one.status == "active" and one.lost_at is None
    ]
    return min(active, default=None)


def find_lost(state: SessionState, at: float, entries: EntryList) -> SessionState:
    """Note the recordings that are lost by now."""
    while (due := lost_deadline(state)) is not None and due <= at:
        for one in state.recordings.values():
            if one.status == "active" and one.lost_at is None:
                state = _lose(state, one, due, entries)
    return state


def on_silent(state: SessionState, event: RecorderSilent, entries: EntryList) -> SessionState:
    one = state.recordings.get(event.egress_id)
    if one is None or one.status in OVER or one.lost_at is not None:
        return state
    return _lose(state, one, event.at, entries)


def _lose(state: SessionState, one: Recording, at: float, entries: EntryList) -> SessionState:
    entries.add(at, "recording_lost", id=one.id, kind=one.kind)
    return _with(state, change(one, lost_at=at))


def _resume_lost(state: SessionState, at: float, entries: EntryList) -> SessionState:
    for one in state.recordings.values():
        if one.lost_at is not None:
            entries.add(at, "recording_resumed", id=one.id, kind=one.kind)
            state = _with(state, change(one, lost_at=None))
    return state


# ---------------------------------------------------------------- for views


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
