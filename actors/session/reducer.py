"""The fold: a session as a function of the events of a room.

``state, entries = apply(state, event)`` does no input or output and reads no clock.  It raises on
no event but one of another room instance.  The same events give the same state.  So a session
whose actor crashed, or whose worker was killed, is folded again from its journal.  The table at
the end has the handler of each event.  The rest of this page has the rules, and the facts they
come from (observed on livekit-server 1.13).

**People.**  A person is an identity, a join is a participant SID.  The same identity with a new
SID is the same person once more; within 5 s of leaving it is also a reconnect.  Agents, egress
and ingress have entries of their own but are not counted as people.  Callers (``sip``) are people.
A kind belongs to a join: an identity is one of the people if one of its joins is a person's.
A recorder with the old grant looks like a person in the room, until the server's list or a
webhook says that it is none.  Tracks and messages count for participants of every kind.

**Taking part.**  A join counts once its media connection is established (LiveKit's ACTIVE), and a
call once it was answered.  Until then the participant is in the room and is not counted.  A join
that ends before is aborted.  If its end was in a gap or after our watch, it is neither counted nor
aborted until a webhook says which.  The server's webhooks draw the same line.  A call's presence
begins when it was answered.

**Begin of a join.**  Joins count from the server's own ``joined_at``: people who publish nothing
are announced up to 3 s late, and those who were in the room before us joined before our
entry.  A track that was there before us was published between the join of its participant
and our entry.  If these are at most 10 s apart, its time is the middle, give or take half of
the distance; else it has no time.

**Uncertainty.**  Each leave has one: 0 if the server announces it at once (of people who
published), 3 s for people who publish nothing, the length of the gap if nobody watched, up to a
second if a webhook reported it.

**Leaves.**  A leave with a reason is final.  One without a reason is provisional: while our own
connection restarts everybody seems to leave, in one case even before we learn of the restart.
A provisional leave has no entry, and all that is measured of the person stops at its time.  Then

* the same SID is seen again: they never left;
* a new SID of theirs is seen: the old join ended at the time of its leave, and this is a rejoin;
* 4 s pass without either: the leave is confirmed and counts from its time.  While reconnecting
  those 4 s begin only after ``Reconnected`` (or the ``Watching`` that follows a connection that
  never came back), since people who publish nothing come up to 3 s later than its roster.  The
  end of the session confirms it too.  `next_deadline` says when it is due; any event after that
  time confirms it, as a ``Tick`` does.

A rejoin can come before the leave.  It closes the old join at its own ``joined_at``.  The leave
that is still pending changes nothing if it comes within 5 s, with either SID.

**Late and doubled events.**  A join whose SID is known and over, a leave of a SID that is not the
open one, a publication that is open: each counts as an anomaly and changes nothing else.  A join
that is older than the open one was missed: it is added as over.  A leave ends all open tracks of
its participant.  Tracks of somebody who left are counted and over at once.

**Reconnecting.**  Tracks end and come back with the same SID: each is the same track.  An event
with an unknown SID, and every message, is deferred until ``Reconnected``.  The reason: a server
that died and came back within 20 s goes on under the same connection with another room instance,
and those people and messages belong to the next session, which gets the deferred events.  If the
connection ends instead, the messages count for this session.  LiveKit sends speakers on change
only, so nobody counts as speaking across a gap; quality continues.

**Rosters.**  ``Resynced`` is the truth.  ``Reconnected`` and a ``Watching`` that continues a
session are too, but may lack somebody for 4 s.  A participant who went missing while nobody
watched left when the watch stopped, since nothing later was observed.

**Gaps.**  `actors.session.gaps` has them, and the rules for a suspended process.  Watched is the
time between ``Watching`` and ``Disconnected`` (or the end) without ``Reconnecting`` to
``Reconnected``.  A ``Watching`` without ``Disconnected`` before it follows a worker that was
killed.  That watch stopped at its last event, so a worker that starts again records the last
sign of life of the one before, as a ``Tick`` or a ``Disconnected``.

**The end** closes everything, at the time it was last watched, without entries of leaves that did
not happen.  After it events are ignored, until `attach_job` opens the session again for another
watch of the same room instance.

**Agents** have runs besides, made of what they report (`actors.session.agents`).  What is wrong
with them is found by time (`actors.session.agent_problems`), so they may want a ``Tick`` too.

**Webhooks** of LiveKit correct all this, also after the end: `actors.session.webhooks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final, TypeAlias

from attrs import evolve

from actors.session import (
    activity,
    agents,
    gap_events,
    gaps,
    joins,
    measurement,
    recordings,
    tracks,
)
from actors.session.agent_problems import find_due
from actors.session.agent_reports import AgentReport
from actors.session.agent_uploads import on_report
from actors.session.arrivals import on_joined
from actors.session.beginnings import attach_job, begin
from actors.session.bounds import CONFIRM_AFTER
from actors.session.changes import change
from actors.session.due import confirm_due
from actors.session.end_reasons import CONTINUABLE, FOUND_ENDED, SEEN_ENDS, SERVER_LOST, gap_after
from actors.session.events import (
    AttachmentReceived,
    AttributesChanged,
    ClockCompared,
    DataReceived,
    DataTrackPublished,
    DataTrackUnpublished,
    Disconnected,
    MessagesDropped,
    MetadataChanged,
    NameChanged,
    ParticipantActive,
    ParticipantJoined,
    ParticipantLeft,
    PermissionsChanged,
    QualityChanged,
    Reconnected,
    Reconnecting,
    RecorderDetected,
    RecordingChanged,
    Resynced,
    RoomEvent,
    RoomMetadataChanged,
    SpeakersChanged,
    Suspended,
    Tick,
    TrackMuted,
    TrackPublished,
    TracksMeasured,
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackUnmuted,
    TrackUnpublished,
    Watching,
)
from actors.session.intervals import OFF, stretch
from actors.session.leaves import bound_unobserved_leaves, close_without_entry
from actors.session.pending import with_all_due, with_provisional_leaves
from actors.session.provisional_leaves import on_left
from actors.session.recording_reports import (
    EgressListed,
    RecorderSilent,
    RecordingIntended,
    RecordingNotStarted,
    RecordingStopIntended,
)
from actors.session.roster import (
    RoomInstanceChanged,
    RosterSighting,
    apply_roster,
    check_instance,
)
from actors.session.rule_records import (
    ActReported,
    RuleFired,
    RulePending,
    RuleRecord,
    RuleResolved,
)
from actors.session.rule_state import fold_rule_record, resolve_all
from actors.session.sighting import SightingSource
from actors.session.state import SessionState
from actors.session.timeline_entry import EntryList, TimelineEntry
from actors.session.webhooks import CORRECTIONS, true_end

__all__ = ["RoomInstanceChanged", "apply", "attach_job", "begin", "end", "next_deadline"]

FoldResult: TypeAlias = tuple[SessionState, tuple[TimelineEntry, ...]]


def apply(state: SessionState, event: RoomEvent) -> FoldResult:
    """The state after `event`, and the entries that it leads to, in order.

    An entry's `at` can be earlier than the event: a provisional leave gets its entry when it is
    confirmed, with the time when it was received.  Raises `RoomInstanceChanged` (a ValueError)
    for a roster of another room SID; the state then stays what it was.
    """
    entries = EntryList()
    at, correct = event.at, _AT_ANY_TIME.get(type(event))
    if correct is not None:
        state = correct(state, event, entries)
    elif state.ended_at is None:
        if state.due is not None and at >= state.due and type(event) is not Suspended:
            state = confirm_due(state, at, entries)
        state = state if state.agents is None else find_due(state, event, entries)
        state = _HANDLERS[type(event)](state, event, entries)
    if state.recordings and type(event) is not Suspended:
        state = recordings.find_lost(state, at, entries)
    if entries:
        state = agents.follow(state, at, entries)
    if at > state.last_at and state.ended_at is None and (correct is None or not state.watching):
        state = change(state, last_at=at)
    return state, tuple(entries)


def end(state: SessionState, at: float, reason: str) -> FoldResult:
    """The session is over: everything that is open is closed.

    For the reason ``found_ended`` nothing after the last event counts as watched.  If a webhook
    told when the room ended, that is the end, unless we saw the end ourselves.
    Ending an ended session changes nothing.
    """
    if state.ended_at is not None:
        return state, ()
    entries = EntryList()
    if state.gap_since is not None and state.gap_reason is None:
        at = min(at, state.gap_since)  # We left by ourselves, or the room ended: no gap.
    watched_until = state.last_at if reason == FOUND_ENDED else at
    gap_reason = gap_after(reason)
    if reason != SERVER_LOST:
        state = gap_events.count_deferred_messages(state, entries)
    state = confirm_due(state, inf, entries)
    state = gap_events.stop_watching(state, watched_until, gap_reason)
    if state.gap_since is not None and state.gap_reason is None:
        state = change(state, gap_reason=gap_reason)
    ended_at, reason = true_end(state, max(at, state.started_at), reason)
    last_seen = ended_at if state.gap_since is None else state.gap_since
    for sid in state.tracks:
        state, _ = tracks.close(state, sid, last_seen)
    state = recordings.close_interval(change(state, data_tracks={}), last_seen)
    for identity in state.present:
        within = 0.0 if reason in SEEN_ENDS else None
        state = close_without_entry(state, identity, last_seen, within)
    state = agents.close_runs(state, last_seen, room_ended=reason in SEEN_ENDS)
    if reason not in CONTINUABLE:
        state = change(state, rules=resolve_all(state.rules, ended_at, entries))
    entries.add(ended_at, "session_ended", reason=reason)
    return change(state, ended_at=ended_at, end_reason=reason), tuple(entries)


def next_deadline(state: SessionState) -> float | None:
    """Unix seconds when a `Tick` is wanted, None while nothing waits for time to pass."""
    return state.due if state.ended_at is None else None


def _on_watching(
    state: SessionState, event: Watching | Resynced, entries: EntryList
) -> SessionState:
    at, roster = event.at, event.roster
    state = check_instance(state, roster)
    if isinstance(event, Watching):
        state = change(state, clock_offset=event.clock_offset)
    if state.watched_from is None:
        entries.add(at, "session_started", existing=len(roster.participants))
        since = state.started_at
        sighting = RosterSighting(
            roster, at, "initial_roster", since, stretch(since, at), at + CONFIRM_AFTER
        )
        state = apply_roster(state, sighting, entries)
        return change(state, watched_from=at, watched=OFF.on(at), reconnecting=False, deferred=())
    gap_since = state.last_at if state.gap_since is None else state.gap_since
    state = gap_events.lose_view(state, gap_since, "worker_failed")
    state = activity.clear_quality(state, gap_since)
    leaves = {one: evolve(leave, quality=None) for one, leave in state.provisional_leaves.items()}
    state = with_provisional_leaves(state, leaves)
    return _resume_view(state, event, "initial_roster", entries)


def _on_resynced(state: SessionState, event: Resynced, entries: EntryList) -> SessionState:
    if state.watched_from is None or (state.gap_since is not None and not state.reconnecting):
        return _on_watching(state, event, entries)
    if state.reconnecting and event.connected:
        return _on_reconnected(state, event, entries)
    state = check_instance(state, event.roster)
    at, due = event.at, None
    if state.reconnecting:
        due = inf
    elif at < state.roster_complete_at:
        due = state.roster_complete_at
    unseen = stretch(state.last_at, at)
    sighting = RosterSighting(event.roster, at, "resync", at, unseen, due)
    return apply_roster(state, sighting, entries)


def _on_reconnected(
    state: SessionState, event: Reconnected | Resynced, entries: EntryList
) -> SessionState:
    state = check_instance(state, event.roster)
    if state.watched_from is None:
        state = change(state, watched_from=event.at)
    return _resume_view(state, event, "resync", entries)


def _resume_view(
    state: SessionState,
    event: Watching | Resynced | Reconnected,
    source: SightingSource,
    entries: EntryList,
) -> SessionState:
    """We see the room again: deferred events are applied, then the roster is."""
    at = event.at
    since = at if state.gap_since is None else state.gap_since
    unseen, due = stretch(since, at), at + CONFIRM_AFTER
    entries.add(at, "reconnected", gap=round(unseen, 3))
    deferred = state.deferred  # They are of this room instance, as the roster's SID says.
    state = change(state, reconnecting=False, deferred=())
    for one in deferred:
        state = _HANDLERS[type(one)](state, one, entries)
    state = with_all_due(state, due)
    sighting = RosterSighting(event.roster, at, source, since, unseen, due)
    state = bound_unobserved_leaves(apply_roster(state, sighting, entries), at)
    state = gaps.end_gap(state, at)
    return change(state, watched=state.watched.on(at), roster_complete_at=due)


def _on_clock_compared(
    state: SessionState, event: ClockCompared, _entries: EntryList
) -> SessionState:
    return change(state, clock_offset=event.offset)


def _on_tick(state: SessionState, _event: Tick, _entries: EntryList) -> SessionState:
    return state  # `apply` confirms everything that is due before any event.


def _on_rule_record(state: SessionState, record: RuleRecord, entries: EntryList) -> SessionState:
    rules = fold_rule_record(state.rules, record, state.ended, entries)
    return state if rules is state.rules else change(state, rules=rules)


_Handler: TypeAlias = Callable[[SessionState, Any, EntryList], SessionState]

_HANDLERS: Final[Mapping[type[RoomEvent], _Handler]] = {
    Watching: _on_watching,
    Resynced: _on_resynced,
    Reconnecting: gap_events.on_reconnecting,
    Reconnected: _on_reconnected,
    Disconnected: gap_events.on_disconnected,
    Suspended: gap_events.on_suspended,
    ClockCompared: _on_clock_compared,
    ParticipantJoined: on_joined,
    ParticipantActive: joins.on_active,
    RecorderDetected: joins.on_recorder,
    ParticipantLeft: on_left,
    NameChanged: activity.on_name,
    MetadataChanged: joins.on_metadata,
    AttributesChanged: joins.on_attributes,
    PermissionsChanged: activity.on_permissions,
    TrackPublished: tracks.on_published,
    TrackUnpublished: tracks.on_unpublished,
    TrackMuted: tracks.on_muted,
    TrackUnmuted: tracks.on_unmuted,
    TrackSubscribed: tracks.on_subscribed,
    TrackSubscriptionFailed: tracks.on_subscription_failed,
    DataTrackPublished: tracks.on_data_published,
    DataTrackUnpublished: tracks.on_data_unpublished,
    SpeakersChanged: activity.on_speakers,
    QualityChanged: activity.on_quality,
    DataReceived: activity.on_data,
    AttachmentReceived: activity.on_attachment,
    MessagesDropped: activity.on_messages_dropped,
    RoomMetadataChanged: activity.on_room_metadata,
    RecordingChanged: recordings.on_recording,
    TracksMeasured: measurement.on_measured,
    **agents.HANDLERS,
    Tick: _on_tick,
}
"""The handler of each event of the room.  Reports of webhooks have theirs in `CORRECTIONS`."""

_AT_ANY_TIME: Final[Mapping[type[RoomEvent], _Handler]] = {
    **CORRECTIONS,
    RulePending: _on_rule_record,
    RuleFired: _on_rule_record,
    RuleResolved: _on_rule_record,
    ActReported: _on_rule_record,
    RecordingIntended: recordings.on_intended,
    RecordingNotStarted: recordings.on_not_started,
    EgressListed: recordings.on_listed,
    RecordingStopIntended: recordings.on_stop_intended,
    RecorderSilent: recordings.on_silent,
    AgentReport: on_report,
}
"""Handlers of what is no event of the room itself, and may come when the session has ended."""
