"""What LiveKit's webhooks correct.  They are no witness of their own while we watch.

A webhook can be lost, doubled, late by half a minute, and its clock has whole seconds.
But the server's word is exact about what an agent cannot see: visits that were too short
to be announced, when somebody who publishes nothing left, why an identity was replaced,
and whatever happened while nobody watched.

**When.**  What is said happened in [said_at, said_at + 1).  If the webhook was received
within that second, it happened when it was received, less a few milliseconds; else in
the middle of that second, which is wrong by half a second at most.

**Joins** of a SID that is known change nothing.  While we watch, the room itself will
announce the newcomer within 3 s: so we wait for that, and whoever was not announced
after 4 s (`CONFIRM_AFTER`) has been and gone.  That is a visit of unknown length, 0 s, unless
their leave is told.  While we do not watch they are in the room from their ``joined_at`` on.

**Leaves** are final: a SID that the server says left does not come back, whatever an
event or a roster that is late says.  The time told is the time of that join, whether it is open, is
over, or was never seen; but never later than the moment we heard the leave ourselves,
never later than the next join of the same person and never before the join.  A leave
without a reason was not heard but concluded, so it may be told later than we thought.
The server's reason is the reason.

**Tracks** count only where we could not see them: before, between and after watches.

**The end** of the room is the end of a session that ended without having seen it, not
before the moment until which it saw the room.  If the room went on after us, the session is
one that was ``found_ended``.

So the order in which room and webhooks speak does not matter, nor how often.  Ended
sessions are corrected too.  A webhook is no sign that the room was watched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final, TypeAlias

from attrs import evolve

from actors.session import presence, recordings, tracks
from actors.session.ends import FOUND_ENDED, SEEN_ENDS
from actors.session.estimate import Estimate
from actors.session.events import (
    ParticipantInfo,
    RoomEvent,
    WebhookEgress,
    WebhookJoinAborted,
    WebhookJoined,
    WebhookLeft,
    WebhookReport,
    WebhookRoomFinished,
    WebhookRoomStarted,
    WebhookTrack,
)
from actors.session.pending import anomaly, expect, stop_expecting
from actors.session.state import CONFIRM_AFTER, MAX_ABORTED_SIDS, Participant, SessionState, change
from actors.session.timeline_entry import TimelineEntry


def happened_at(event: WebhookReport) -> float:
    """When it happened, as near as can be told."""
    return estimate(event).at


def estimate(event: WebhookReport) -> Estimate:
    """When it happened.  The server's clock has whole seconds here."""
    at, said_at = event.at, event.sent_at
    if said_at <= at < said_at + 1.0:
        return Estimate(at, said_at, at)
    return Estimate(said_at + 0.5, said_at, said_at + 1.0)


def true_end(state: SessionState, ended_at: float, reason: str) -> tuple[float, str]:
    """When and why the session ended, given what the server told of the room's end."""
    if state.closed_at is None or reason in SEEN_ENDS:
        return ended_at, reason
    seen_until = state.started_at if state.gap_since is None else state.gap_since
    closed_at = max(state.closed_at, seen_until)
    return closed_at, FOUND_ENDED if closed_at > ended_at else reason


def _room(
    state: SessionState, event: WebhookRoomStarted, _out: list[TimelineEntry]
) -> SessionState:
    return change(
        state,
        webhook_received=True,
        created_at=event.created_at if state.created_at is None else state.created_at,
        metadata=event.metadata if state.metadata is None else state.metadata,
    )


def _join(state: SessionState, event: WebhookJoined, out: list[TimelineEntry]) -> SessionState:
    state = change(state, webhook_received=True)
    info = _bare(event)
    person, index = _known(state, info)
    if person is not None and index is not None:
        return presence.correct_join(state, person, index, info.kind, event.at, out, active=True)
    if not info.sid:
        return state
    if state.ended:
        joined_at = info.joined_at
        join = change(presence.join_of(info, joined_at, "told"), left_at=joined_at)
        return presence.add_unobserved_join(state, info, join, joined_at, out)
    if not state.watching and not state.reconnecting:
        return presence.arrive(state, info, info.joined_at, "told", out)
    if info.sid in state.expected:
        return state
    return expect(state, info, inf if state.reconnecting else event.at + CONFIRM_AFTER)


def _leave(state: SessionState, event: WebhookLeft, out: list[TimelineEntry]) -> SessionState:
    state = stop_expecting(change(state, webhook_received=True), event.participant.sid)
    return _over(state, event, True, out)


def _aborted(
    state: SessionState, event: WebhookJoinAborted, out: list[TimelineEntry]
) -> SessionState:
    sid = event.participant.sid
    if sid in state.aborted_sids:
        return state
    state = change(state, aborted_sids=(*state.aborted_sids[1 - MAX_ABORTED_SIDS :], sid))
    return _over(state, event, False, out)


def _over(
    state: SessionState,
    event: WebhookLeft | WebhookJoinAborted,
    active: bool,
    out: list[TimelineEntry],
) -> SessionState:
    """A join ended, which was `active` before or never."""
    info, told = _bare(event), estimate(event)
    identity, sid = info.identity, info.sid
    person, index = _known(state, info)
    if person is None or index is None:
        if not sid:
            return anomaly(state)
        join = change(
            presence.join_of(evolve(info, active=active), info.joined_at, "found"),
            left_at=told.at,
            left_within=told.within,
            reason=event.reason,
            end_from_webhook=True,
        )
        return presence.add_unobserved_join(state, info, join, info.joined_at, out)
    if person.joins[index].end_from_webhook:
        return state
    state = presence.correct_join(state, person, index, info.kind, told.at, out, active=active)
    person, index = _known(state, info)
    if person is None or index is None:
        return state
    if person.joins[index].left_at is None:
        return presence.record_leave(
            state, identity, told.at, event.reason, told.within, out, told=True
        )
    return presence.correct_leave(state, person, index, told, event.reason, out)


def _track(state: SessionState, event: WebhookTrack, out: list[TimelineEntry]) -> SessionState:
    state, at, info = change(state, webhook_received=True), happened_at(event), event.track
    within = estimate(event).within
    track = state.tracks.get(info.sid) or state.past_tracks.get(info.sid)
    if track is not None and event.published:
        return tracks.correct_published_at(state, track, estimate(event))
    seen_since = state.watched.since
    if seen_since is not None and at >= seen_since:
        return state  # the room itself tells, or told
    over = state.ended or seen_since is not None
    if track is None:
        if state.truncated.tracks:
            return anomaly(state)  # it may be one of those that are not kept
        info = evolve(info, muted=False)  # of mutes webhooks tell nothing
        published_at = at if event.published else None
        known = within if event.published else None
        state = tracks.ensure_published(
            state, event.identity, info, at, published_at, False, out, known
        )
        over = over or not event.published
        return tracks.finish(state, info.sid, at, out) if over else state
    if info.sid not in state.tracks:
        return tracks.correct_unpublished_at(state, track, at)
    if over and info.sid not in state.provisional_unpublishes:
        return state  # it was seen since
    return tracks.finish(state, info.sid, at, out)


def _room_end(
    state: SessionState, event: WebhookRoomFinished, out: list[TimelineEntry]
) -> SessionState:
    if state.closed_at is not None:
        return state
    state = change(state, closed_at=happened_at(event))
    if state.ended_at is None or state.end_reason is None:
        return state
    ended_at, reason = true_end(state, state.ended_at, state.end_reason)
    if (ended_at, reason) != (state.ended_at, state.end_reason):
        out.append(TimelineEntry(ended_at, "room_ended", {"reason": reason}))
    return change(state, ended_at=ended_at, end_reason=reason)


def _known(state: SessionState, info: ParticipantInfo) -> tuple[Participant | None, int | None]:
    """Whose join this is, and which of them."""
    person = state.present.get(info.identity) or state.past.get(info.identity)
    return person, None if person is None else presence.find_join(person, info.sid)


def _bare(event: WebhookJoined | WebhookLeft | WebhookJoinAborted) -> ParticipantInfo:
    """Who it is.  Tracks are told by events of their own."""
    info = event.participant
    joined_at = info.joined_at if info.joined_at > 0 else happened_at(event)
    return evolve(info, joined_at=joined_at, tracks=())


_Correction: TypeAlias = Callable[[SessionState, Any, list[TimelineEntry]], SessionState]

CORRECTIONS: Final[Mapping[type[RoomEvent], _Correction]] = {
    WebhookRoomStarted: _room,
    WebhookJoined: _join,
    WebhookLeft: _leave,
    WebhookJoinAborted: _aborted,
    WebhookTrack: _track,
    WebhookRoomFinished: _room_end,
    WebhookEgress: recordings.on_egress,
}
"""One row a word of `WebhookReport`."""
