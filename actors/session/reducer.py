"""The fold: what a session is, as a function of what was heard of a room.

``state, entries = apply(state, event)`` does no I/O, reads no clock and raises on no
event (but one of another life of the room).  The same events give the same state,
so a session that crashed, or a worker that was killed, is folded again from its
journal.  The table at the end says who handles which event; the rest of this page is
the rules, with the facts they come from (observed on livekit-server 1.13).

**Who.**  A person is an identity, a join is a participant SID.  The same identity
with a new SID is the same person once more, within 5 s of leaving also a reconnect.
Agents, egress and ingress have lines of their own but count nowhere as people;
callers (``sip``) are people.  A kind belongs to a join: an identity is one of the people if one
of its joins is a person's.  A recorder (the old grant) looks like a person in the room; it is
one no more once the server's list or a webhook says so.  Tracks and messages count whoever
they are of.

**Who takes part.**  A join counts once its media connection stands (LiveKit's ACTIVE), and a
call once it was answered.  Until then the participant is in the room and counts nowhere; a join
that ends before is aborted.  Where nobody of ours saw it end (in a gap, or after us) it is
neither, until a webhook says which.  The server's webhooks draw the same line.  A call's presence
begins when it was answered.

**Since when.**  Joins count from the server's own ``joined_at``: people who publish
nothing are announced up to 3 s late, and those who were there before us have been
there longer than we know.  A track that was there before us was published
between the join of its owner and our entry: where these are at most 10 s apart the time is the
middle, give or take half of it; else it is not known.

**How exactly.**  Each leave has its uncertainty: 0 where the server announces it at once (of
people who published), 3 s for people who publish nothing, the length of the gap where nobody
watched, up to a second where a webhook told it.

**Leaves.**  A leave with a reason is final.  One without means nothing yet, because
while our own connection restarts everybody seems to leave, in one case even before
we hear that it does.  It is provisional: nothing is told, and what is measured of
the person stops at the time it was heard.  Then

* the same SID is back: they never left;
* a new SID of theirs: the old join ended when its leave was heard, and this is a rejoin;
* 4 s pass without either: it was true, from the time it was heard.  While
  reconnecting those 4 s begin only after ``Reconnected`` (or the ``Watching`` that follows
  a connection that never came back), since people who publish nothing come up to 3 s later
  than its roster; the end of the session ends them too.  `next_deadline` says when, and any
  event after that time does it as well as a ``Tick``.

A rejoin can come before the leave.  It closes the old join at its own ``joined_at``;
the leave that is still owed is then swallowed, whichever SID it names, if it comes within 5 s.

**Late and doubled events.**  A join whose SID is known and over, a leave of a SID
that is not the open one, a publication that is open: nothing happens but a count of
anomalies.  A join that is older than the one that is open was missed: it is added as
over.  A leave ends all tracks of the leaver that are still open, so none stays open
for ever; tracks of somebody who is gone are counted and over at once.

**Reconnecting.**  Tracks end and come back with the same SID: the same track.  What
names a SID that was never seen, and every message, waits until ``Reconnected``, because a
server that died and came back within 20 s goes on under the same connection with another
life of the room, and those people and messages belong to the next session, which is given
what waited (`SessionState.held`).  Where the connection ends instead, the messages are
this session's.  Speakers are told on change
only, so nobody is held to be speaking across a gap; quality is held.

**Rosters.**  ``Resynced`` is the truth.  ``Reconnected`` and a ``Watching`` that
continues a session are too, but may lack somebody for 4 s.  Whoever went missing
while nobody watched left when the watching stopped: later was not observed.

**Gaps.**  `actors.session.gaps` has them, and what a suspended process hears when it runs
again.  Watched is what lies between ``Watching`` and ``Disconnected`` (or the
end) without ``Reconnecting`` to ``Reconnected``.  A ``Watching`` without
``Disconnected`` before it follows a worker that was killed: that watch stopped at its last
event, which is why a worker that starts again records the last sign of life of the one
before, as a ``Tick`` or a ``Disconnected``.

**The end** closes everything, at the time it was last watched, without telling of
leaves that did not happen.  After it events are ignored, until `attach_job` opens the
session again for another watch of the same life of the room.

**Webhooks** of LiveKit correct all this, also after the end: `actors.session.webhooks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, Final, TypeAlias

from attrs import evolve

from actors.session import activity, gaps, presence, recordings, tracks
from actors.session.ends import FOUND_ENDED, SEEN_ENDS, SERVER_LOST, gap_after
from actors.session.events import (
    AttachmentReceived,
    AttributesChanged,
    ClockCompared,
    DataReceived,
    DataTrackPublished,
    DataTrackUnpublished,
    Disconnected,
    GapReason,
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
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackUnmuted,
    TrackUnpublished,
    Watching,
)
from actors.session.intervals import OFF, stretch
from actors.session.pending import anomaly, with_all_due, with_leaving
from actors.session.roster import RoomInstanceChanged, apply_roster, check_instance
from actors.session.state import CONFIRM_AFTER, Gap, SessionState, change
from actors.session.timeline_entry import TimelineEntry
from actors.session.webhooks import CORRECTIONS, true_end

__all__ = ["RoomInstanceChanged", "apply", "attach_job", "begin", "end", "next_deadline"]

Result: TypeAlias = tuple[SessionState, tuple[TimelineEntry, ...]]


def begin(
    room: str,
    room_sid: str,
    job_ids: tuple[str, ...],
    worker: str,
    agent_name: str,
    at: float,
    created_at: float | None = None,
    person_key: str | None = None,
) -> SessionState:
    """A session that has seen nothing yet.  An empty `room_sid` is taken from the first roster.

    Without jobs where we only heard of the room: from a webhook, or from an earlier worker.
    """
    return SessionState(
        room,
        room_sid,
        worker,
        agent_name,
        job_ids,
        at,
        created_at,
        last_at=at,
        person_key=person_key,
    )


def apply(state: SessionState, event: RoomEvent) -> Result:
    """The state after `event`, and what there is to tell of it, in order.

    An entry's `at` can be earlier than the event: a provisional leave is told when it
    is believed and counts from when it was heard.  Raises `RoomInstanceChanged` (a ValueError)
    for a roster of another room SID; the state is then what it was.
    """
    out = list[TimelineEntry]()
    at, correct = event.at, CORRECTIONS.get(type(event))
    if correct is not None:
        state = correct(state, event, out)
    elif state.ended_at is None:
        if state.due is not None and at >= state.due and type(event) is not Suspended:
            state = presence.confirm_due(state, at, out)
        state = _HANDLERS[type(event)](state, event, out)
    if at > state.last_at and state.ended_at is None and (correct is None or not state.watching):
        state = change(state, last_at=at)
    return state, tuple(out)


def end(state: SessionState, at: float, reason: str) -> Result:
    """The session is over: everything that is open is closed.

    For the reason ``found_ended`` nothing after the last event counts as watched.  Where a
    webhook told when the room ended, that is the end, unless we saw it ourselves.
    Ending an ended session changes nothing.
    """
    if state.ended_at is not None:
        return state, ()
    out = list[TimelineEntry]()
    if state.gap_since is not None and state.gap_reason is None:
        at = min(at, state.gap_since)  # Our own goodbye, or the room's end: no gap.
    seen_until = state.last_at if reason == FOUND_ENDED else at
    because = gap_after(reason)
    if reason != SERVER_LOST:
        state = _with_messages(state, out)
    state = _unwatched(state, seen_until, because, out)
    if state.gap_since is not None and state.gap_reason is None:
        state = change(state, gap_reason=because)
    ended_at, reason = true_end(state, max(at, state.started_at), reason)
    last_seen = ended_at if state.gap_since is None else state.gap_since
    for sid in state.tracks:
        state, _ = tracks.close(state, sid, last_seen)
    state = recordings.close_interval(change(state, data_tracks={}), last_seen)
    for identity in state.present:
        within = 0.0 if reason in SEEN_ENDS else None
        state = presence.close_without_leave(state, identity, last_seen, within)
    out.append(TimelineEntry(ended_at, "session_ended", {"reason": reason}))
    return change(state, ended_at=ended_at, end_reason=reason), tuple(out)


def attach_job(state: SessionState, job_id: str | None, worker: str | None = None) -> SessionState:
    """Another watch of the same life of the room: the session goes on, ended or not.

    `job_id` is None where nobody dispatched it: the room was found, and joined.
    """
    if job_id is not None and job_id not in state.job_ids:
        state = change(state, job_ids=(*state.job_ids, job_id))
    return change(
        state, worker=state.worker if worker is None else worker, ended_at=None, end_reason=None
    )


def next_deadline(state: SessionState) -> float | None:
    """Unix seconds when a `Tick` is wanted, None while nothing waits for time to pass."""
    return state.due if state.ended_at is None else None


def _watching(
    state: SessionState, event: Watching | Resynced, out: list[TimelineEntry]
) -> SessionState:
    at, roster = event.at, event.roster
    state = check_instance(state, roster)
    if isinstance(event, Watching):
        state = change(state, clock_offset=event.clock_offset)
    if state.watched_from is None:
        out.append(TimelineEntry(at, "session_started", {"existing": len(roster.participants)}))
        since = state.started_at
        unseen = stretch(since, at)
        state = apply_roster(state, roster, at, "found", since, unseen, at + CONFIRM_AFTER, out)
        return change(state, watched_from=at, watched=OFF.on(at), reconnecting=False, deferred=())
    gap_since = state.last_at if state.gap_since is None else state.gap_since
    state = _blind(state, gap_since, "worker_failed")
    state = activity.clear_quality(state, gap_since)
    leaving = {one: evolve(leave, quality=None) for one, leave in state.provisional_leaves.items()}
    return _seeing_again(with_leaving(state, leaving), event, "found", out)


def _resynced(state: SessionState, event: Resynced, out: list[TimelineEntry]) -> SessionState:
    if state.watched_from is None or (state.gap_since is not None and not state.reconnecting):
        return _watching(state, event, out)
    if state.reconnecting and event.connected:
        return _reconnected(state, event, out)
    state = check_instance(state, event.roster)
    at = event.at
    due = (
        inf
        if state.reconnecting
        else state.roster_complete_at
        if at < state.roster_complete_at
        else None
    )
    unseen = stretch(state.last_at, at)
    return apply_roster(state, event.roster, at, "missed", at, unseen, due, out)


def _reconnecting(
    state: SessionState, event: Reconnecting, out: list[TimelineEntry]
) -> SessionState:
    if state.reconnecting or state.gap_since is not None:
        return anomaly(state)
    out.append(TimelineEntry(event.at, "reconnecting"))
    state = with_all_due(_blind(state, event.at, "reconnecting"), inf)
    return change(state, reconnecting=True)


def _reconnected(
    state: SessionState, event: Reconnected | Resynced, out: list[TimelineEntry]
) -> SessionState:
    state = check_instance(state, event.roster)
    if state.watched_from is None:
        state = change(state, watched_from=event.at)
    return _seeing_again(state, event, "missed", out)


def _seeing_again(
    state: SessionState,
    event: Watching | Resynced | Reconnected,
    how: presence.SightingSource,
    out: list[TimelineEntry],
) -> SessionState:
    """The end of a gap: what waited is taken, and the roster compared."""
    at, roster = event.at, event.roster
    since = at if state.gap_since is None else state.gap_since
    out.append(TimelineEntry(at, "reconnected", {"gap": round(stretch(since, at), 3)}))
    held = state.deferred  # of this life of the room, as the roster's SID says
    state = change(state, reconnecting=False, deferred=())
    for waiting in held:
        state = _HANDLERS[type(waiting)](state, waiting, out)
    due = at + CONFIRM_AFTER
    state = with_all_due(state, due)
    state = apply_roster(state, roster, at, how, since, stretch(since, at), due, out)
    state = gaps.end_gap(state, at)
    return change(state, watched=state.watched.on(at), roster_complete_at=due)


def _disconnected(
    state: SessionState, event: Disconnected, out: list[TimelineEntry]
) -> SessionState:
    # That we left by ourselves says nothing yet: the end that follows knows why.  The end of
    # the room is the end of the session: what is between the two is no time without a view.
    because: GapReason | None = event.gap
    if event.reason == "client_initiated" or (event.reason in SEEN_ENDS and not state.reconnecting):
        because = None
    elif event.reason == "participant_removed":
        because = "removed"
    return _out_of_the_room(_with_messages(state, out), event.at, because)


def _suspended(state: SessionState, event: Suspended, out: list[TimelineEntry]) -> SessionState:
    """Before what was queued meanwhile.  We are still connected, as far as anybody knows."""
    if not state.watching or state.watched.since is None:
        return change(state, suspended=Gap(event.since, event.at, "suspended"))
    since, at = max(event.since, state.watched.since), event.at
    if at <= since:
        return state
    if state.due is not None and state.due <= since:
        state = presence.confirm_due(state, since, out)
    state = with_all_due(state, at + CONFIRM_AFTER)
    state = activity.pause_quality(activity.clear_speakers(state, since), since, at)
    gap = Gap(since, at, "suspended")
    out.append(TimelineEntry(at, "suspended", {"gap": round(at - since, 3)}))
    state = gaps.add_gap(change(state, watched=state.watched.off(since).on(at)), gap)
    return change(state, suspended=gap, roster_complete_at=at + CONFIRM_AFTER)


def _clock_compared(
    state: SessionState, event: ClockCompared, _: list[TimelineEntry]
) -> SessionState:
    return change(state, clock_offset=event.offset)


def _unwatched(
    state: SessionState, at: float, because: GapReason, out: list[TimelineEntry]
) -> SessionState:
    """It is over: what was doubted is believed, nothing more is known."""
    return _out_of_the_room(presence.confirm_due(state, inf, out), at, because)


def _with_messages(state: SessionState, out: list[TimelineEntry]) -> SessionState:
    """It will not be known to which life the messages belong that waited: to this one then."""
    for waiting in state.deferred:
        if isinstance(waiting, DataReceived):
            state = activity.count_data(state, waiting, out)
        elif isinstance(waiting, AttachmentReceived):
            state = activity.count_attachment(state, waiting, out)
    return change(state, deferred=())


def _out_of_the_room(state: SessionState, at: float, because: GapReason | None) -> SessionState:
    """Nobody watches any more; the next watch, or the end, decides what is in doubt."""
    if state.reconnecting:
        state = change(state, gap_reason=because)
    state = _blind(state, at, because)
    state = activity.clear_quality(state, at if state.gap_since is None else state.gap_since)
    return change(state, reconnecting=False, deferred=())


def _blind(state: SessionState, at: float, because: GapReason | None) -> SessionState:
    """The view of the room stops, if it had not already."""
    if state.watched.since is None:
        return state
    state = gaps.begin_gap(state, at, because)
    # LiveKit tells leaves before a reconnect too: those may have been in it.
    leaving = {
        who: evolve(leave, observed=False) for who, leave in state.provisional_leaves.items()
    }
    return activity.clear_speakers(change(state, provisional_leaves=leaving), at)


def _ticked(state: SessionState, _event: Tick, _out: list[TimelineEntry]) -> SessionState:
    return state  # what was due is settled before any event


_Handler: TypeAlias = Callable[[SessionState, Any, list[TimelineEntry]], SessionState]

_HANDLERS: Final[Mapping[type[RoomEvent], _Handler]] = {
    Watching: _watching,
    Resynced: _resynced,
    Reconnecting: _reconnecting,
    Reconnected: _reconnected,
    Disconnected: _disconnected,
    Suspended: _suspended,
    ClockCompared: _clock_compared,
    ParticipantJoined: presence.on_joined,
    ParticipantActive: presence.on_active,
    RecorderDetected: presence.on_recorder,
    ParticipantLeft: presence.on_left,
    NameChanged: activity.on_name,
    MetadataChanged: presence.on_metadata,
    AttributesChanged: presence.on_attributes,
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
    Tick: _ticked,
}
"""Who handles what that is heard in the room.  One row an event of `RoomEvent`; what webhooks
say is in `CORRECTIONS`."""
