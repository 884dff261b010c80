"""The corrections that LiveKit's webhooks bring.

While we watch they are no witness of their own: a webhook can be lost, doubled or late by half a
minute, and its clock has whole seconds.  But the server knows exactly what an agent cannot see:
joins that were too short to be announced, when somebody who publishes nothing left, why an
identity was replaced, and everything that happened while nobody watched.

**Times.**  A webhook's event happened in [sent_at, sent_at + 1).  If we received it within that
second, it happened when we received it, less a few milliseconds.  Else its time is the middle
of that second, which is wrong by half a second at most.

**Joins** with a known SID change nothing.  While we watch, the room itself announces a newcomer
within 3 s.  So we expect that; a join that is not announced after 4 s (`CONFIRM_AFTER`) is over.
Its length is unknown, 0 s, unless a webhook reports its leave.  While we do not watch, a
participant is in the room from their ``joined_at`` on.

**Leaves** are final: if the server says that a SID left, it does not come back by a late event or
a late roster.  The time is that of the join with this SID, whether it is open, over or was
never observed.  It is never after the moment when we received the leave ourselves, never after
the next join of the same identity and never before the join.  A leave without a reason was
not received but concluded, so the webhook's time may be later than ours.  The server's reason is
the reason.

**Tracks** count only if we could not see them: before, between and after watches.

**The end** of the room is the end of a session that ended without having seen it, but not before
the moment until which the session saw the room.  If the room went on after our watch, the
session has the reason ``found_ended``.

So the order of room and webhooks does not matter, nor how often a webhook comes.  Ended
sessions are corrected too.  A webhook is no sign that the room was watched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final, TypeAlias

from attrs import evolve

from actors.session import recordings, tracks
from actors.session.arrivals import arrive
from actors.session.bounds import CONFIRM_AFTER, MAX_ABORTED_SIDS
from actors.session.changes import change
from actors.session.end_reasons import FOUND_ENDED, SEEN_ENDS
from actors.session.estimate import Estimate
from actors.session.events import RoomEvent
from actors.session.joins import correct_join
from actors.session.leaves import JoinEnd, correct_leave, record_leave
from actors.session.participant_maps import find_known_join
from actors.session.pending import anomaly, expect, stop_expecting
from actors.session.room_info import ParticipantInfo
from actors.session.rule_state import resolve_all
from actors.session.sighting import Sighting, ended_join, join_of
from actors.session.state import SessionState
from actors.session.timeline_entry import EntryList
from actors.session.unobserved_joins import add_unobserved_join
from actors.session.webhook_reports import (
    WebhookEgress,
    WebhookJoinAborted,
    WebhookJoined,
    WebhookLeft,
    WebhookReport,
    WebhookRoomFinished,
    WebhookRoomStarted,
    WebhookTrack,
)


def happened_at(event: WebhookReport) -> float:
    """Unix seconds of what the webhook reports: the best guess."""
    return estimate(event).at


def estimate(event: WebhookReport) -> Estimate:
    """The time of what the webhook reports.  The server's clock has whole seconds here."""
    at, sent_at = event.at, event.sent_at
    if sent_at <= at < sent_at + 1.0:
        return Estimate(at, sent_at, at)
    return Estimate(sent_at + 0.5, sent_at, sent_at + 1.0)


def true_end(state: SessionState, ended_at: float, reason: str) -> tuple[float, str]:
    """When and why the session ended, given what the server reported of the room's end."""
    if state.closed_at is None or reason in SEEN_ENDS:
        return ended_at, reason
    seen_until = state.started_at if state.gap_since is None else state.gap_since
    closed_at = max(state.closed_at, seen_until)
    return closed_at, FOUND_ENDED if closed_at > ended_at else reason


def _on_room_started(
    state: SessionState, event: WebhookRoomStarted, _entries: EntryList
) -> SessionState:
    return change(
        state,
        webhook_received=True,
        created_at=event.created_at if state.created_at is None else state.created_at,
        metadata=event.metadata if state.metadata is None else state.metadata,
    )


def _on_joined(state: SessionState, event: WebhookJoined, entries: EntryList) -> SessionState:
    state = change(state, webhook_received=True)
    info = _info_of(event)
    known = find_known_join(state, info.identity, info.sid)
    if known is not None:
        return correct_join(state, known, event.at, entries, kind=info.kind, active=True)
    if not info.sid:
        return state
    if state.ended:
        joined_at = info.joined_at
        join = ended_join(join_of(info, joined_at, answer_observed=True), joined_at)
        return add_unobserved_join(state, info, join, joined_at, entries)
    if not state.watching and not state.reconnecting:
        return arrive(state, Sighting(info, info.joined_at, "webhook"), entries)
    if info.sid in state.expected:
        return state
    return expect(state, info, inf if state.reconnecting else event.at + CONFIRM_AFTER)


def _on_left(state: SessionState, event: WebhookLeft, entries: EntryList) -> SessionState:
    state = stop_expecting(change(state, webhook_received=True), event.participant.sid)
    return _end_join(state, event, True, entries)


def _on_join_aborted(
    state: SessionState, event: WebhookJoinAborted, entries: EntryList
) -> SessionState:
    sid = event.participant.sid
    if sid in state.aborted_sids:
        return state
    state = change(state, aborted_sids=(*state.aborted_sids[1 - MAX_ABORTED_SIDS :], sid))
    return _end_join(state, event, False, entries)


def _end_join(
    state: SessionState,
    event: WebhookLeft | WebhookJoinAborted,
    active: bool,
    entries: EntryList,
) -> SessionState:
    """A join ended; it was `active` before, or never."""
    info, reported = _info_of(event), estimate(event)
    known = find_known_join(state, info.identity, info.sid)
    if known is None:
        if not info.sid:
            return anomaly(state)
        # Attributes are as they were at the end: they do not say when a call was answered.
        join = join_of(evolve(info, active=active), info.joined_at, answer_observed=False)
        join = change(
            join,
            left_at=reported.at,
            left_within=reported.within,
            reason=event.reason,
            end_from_webhook=True,
        )
        return add_unobserved_join(state, info, join, info.joined_at, entries)
    if known.join.end_from_webhook:
        return state
    state = correct_join(state, known, reported.at, entries, kind=info.kind, active=active)
    known = find_known_join(state, info.identity, info.sid)
    if known is None:
        return state
    if known.join.left_at is None:
        end = JoinEnd(reported.at, reported.within, event.reason, from_webhook=True)
        return record_leave(state, info.identity, end, entries)
    return correct_leave(state, known, reported, event.reason, entries)


def _on_track(state: SessionState, event: WebhookTrack, entries: EntryList) -> SessionState:
    state, reported, info = change(state, webhook_received=True), estimate(event), event.track
    track = state.tracks.get(info.sid) or state.past_tracks.get(info.sid)
    if track is not None and event.published:
        return tracks.correct_published_at(state, track, reported)
    seen_since = state.watched.since
    if seen_since is not None and reported.at >= seen_since:
        if track is None or track.unpublished_at is None or track.unpublished_at >= seen_since:
            return state  # The room itself has an event of it.
        # It was over when we came, within the half second by which a webhook may be wrong.
        return tracks.correct_unpublished_at(state, track, seen_since)
    over = state.ended or seen_since is not None
    if track is None:
        if state.truncated.tracks:
            return anomaly(state)  # The track may be one of those that were truncated.
        info = evolve(info, muted=False)  # Webhooks do not report mutes.
        published_at, within = (reported.at, reported.within) if event.published else (None, None)
        sighting = tracks.TrackSighting(event.identity, info, reported.at, published_at, within)
        state = tracks.ensure_published(state, sighting, entries)
        over = over or not event.published
        return tracks.finish(state, info.sid, reported.at, entries) if over else state
    if info.sid not in state.tracks:
        return tracks.correct_unpublished_at(state, track, reported.at)
    if over and info.sid not in state.provisional_unpublishes:
        return state  # We saw it since.
    return tracks.finish(state, info.sid, reported.at, entries)


def _on_room_finished(
    state: SessionState, event: WebhookRoomFinished, entries: EntryList
) -> SessionState:
    if state.closed_at is not None:
        return state
    state = change(state, closed_at=happened_at(event))
    if state.ended_at is None or state.end_reason is None:
        return state
    ended_at, reason = true_end(state, state.ended_at, state.end_reason)
    state = change(state, rules=resolve_all(state.rules, ended_at, entries))
    if (ended_at, reason) != (state.ended_at, state.end_reason):
        entries.add(ended_at, "room_ended", reason=reason)
    return change(state, ended_at=ended_at, end_reason=reason)


def _info_of(event: WebhookJoined | WebhookLeft | WebhookJoinAborted) -> ParticipantInfo:
    """The participant without tracks, which have webhooks of their own, and with a join time."""
    info = event.participant
    joined_at = info.joined_at if info.joined_at > 0 else happened_at(event)
    return evolve(info, joined_at=joined_at, tracks=())


_Correction: TypeAlias = Callable[[SessionState, Any, EntryList], SessionState]

CORRECTIONS: Final[Mapping[type[RoomEvent], _Correction]] = {
    WebhookRoomStarted: _on_room_started,
    WebhookJoined: _on_joined,
    WebhookLeft: _on_left,
    WebhookJoinAborted: _on_join_aborted,
    WebhookTrack: _on_track,
    WebhookRoomFinished: _on_room_finished,
    WebhookEgress: recordings.on_egress,
}
"""The handler of each class of `WebhookReport`."""
