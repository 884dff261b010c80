"""Tracks: published, muted, subscribed, ended.

A track's SID is the track.  LiveKit keeps the SID when our own connection restarts and all
tracks seem to end and come back.  So a SID that returns is the same track: it is counted once
and keeps its time of publication.  Tracks of participants of every kind count.

Functions take a state and return the next.  They add entries to `entries`.
"""

from __future__ import annotations

from math import inf

from attrs import frozen

from actors.session.bounds import MAX_DATA_TRACKS, MAX_PAST_TRACKS
from actors.session.changes import change
from actors.session.estimate import Estimate
from actors.session.events import (
    DataTrackPublished,
    DataTrackUnpublished,
    TrackMuted,
    TrackPublished,
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackUnmuted,
    TrackUnpublished,
)
from actors.session.gaps import counts_from, in_burst
from actors.session.pending import anomaly, defer, with_provisional_unpublishes
from actors.session.room_info import TrackInfo
from actors.session.state import ProvisionalEnd, SessionState, Track
from actors.session.texts import MAX_ENTRY_TEXT, cut_text
from actors.session.timeline_entry import EntryList


def on_published(state: SessionState, event: TrackPublished, entries: EntryList) -> SessionState:
    track, at = event.track, event.at
    if track.sid in state.tracks:
        if track.sid not in state.provisional_unpublishes:
            return anomaly(state)
        return confirm_open(state, track, at, entries)
    if state.past_tracks.get(track.sid) is None and state.reconnecting:
        return defer(state, event)
    if event.identity not in state.present and state.past.get(event.identity) is not None:
        return _too_late(state, event, entries)
    sighting = TrackSighting(event.identity, track, at, at)
    if in_burst(state, at):
        sighting = TrackSighting(event.identity, track, at, None, None)
    return ensure_published(state, sighting, entries)


def on_unpublished(
    state: SessionState, event: TrackUnpublished, entries: EntryList
) -> SessionState:
    sid, at = event.track_sid, counts_from(state, event.at)
    if sid not in state.tracks:
        return defer(state, event) if state.deferred else anomaly(state)
    leave = state.provisional_unpublishes.get(sid)
    if state.reconnecting:
        return anomaly(state) if leave else mark_provisional_unpublish(state, sid, at, inf)
    return finish(state, sid, leave.at if leave else at, entries)


def on_muted(state: SessionState, event: TrackMuted, entries: EntryList) -> SessionState:
    return _set_muted(state, event, True, entries)


def on_unmuted(state: SessionState, event: TrackUnmuted, entries: EntryList) -> SessionState:
    return _set_muted(state, event, False, entries)


def on_subscribed(state: SessionState, event: TrackSubscribed, entries: EntryList) -> SessionState:
    track = state.tracks.get(event.track_sid)
    if track is None or track.subscribed:
        return anomaly(state)
    entries.add(event.at, "track_subscribed", identity=track.identity, sid=track.sid)
    state = _put(state, change(track, subscribed=True))
    person = state.present.get(track.identity)
    if track.kind == "audio" and person is not None and not person.audible:
        audible = change(person, audible=True)
        state = change(state, present={**state.present, person.identity: audible})
    return state


def on_subscription_failed(
    state: SessionState, event: TrackSubscriptionFailed, entries: EntryList
) -> SessionState:
    entries.add(
        event.at,
        "track_subscription_failed",
        identity=event.identity,
        sid=event.track_sid,
        error=cut_text(event.error, MAX_ENTRY_TEXT),
    )
    return state


@frozen
class TrackSighting:
    """A track is published."""

    identity: str
    """Of its publisher."""
    info: TrackInfo
    at: float
    """Unix seconds when we saw it."""
    published_at: float | None
    """Unix seconds; None if nobody knows."""
    published_within: float | None = 0.0
    """Seconds by which `published_at` may be wrong; None if nobody knows."""
    existing: bool = False
    """It was there before us."""


def ensure_published(
    state: SessionState, sighting: TrackSighting, entries: EntryList
) -> SessionState:
    """Make sure that the track is open: it may be new, over, or open already."""
    info, at, identity = sighting.info, sighting.at, sighting.identity
    if info.sid in state.tracks:
        return confirm_open(state, info, at, entries)
    track = state.past_tracks.get(info.sid)
    if track is None:
        by_source = state.by_source
        state = change(
            state,
            next_number=state.next_number + 1,
            tracks_total=state.tracks_total + 1,
            by_source={**by_source, info.source: by_source.get(info.source, 0) + 1},
        )
        track = Track(
            state.next_number,
            info.sid,
            identity,
            info.kind,
            info.source,
            sighting.published_at,
            published_within=sighting.published_within,
        )
        state = _mark_publisher(state, identity)
    state = note_encryption(state, identity, info.encrypted)
    track = change(track, encrypted=track.encrypted or info.encrypted)
    # A track that comes back under the same SID never ended: only our view of it was interrupted.
    muted_from = (
        at if track.unpublished_at is None or not track.muted_at_end else track.unpublished_at
    )
    muted = track.muted.on(muted_from) if info.muted else track.muted
    entries.add(
        at,
        "track_published",
        identity=track.identity,
        sid=track.sid,
        kind=track.kind,
        source=track.source,
        muted=info.muted,
        existing=sighting.existing,
        encrypted=track.encrypted,
    )
    track = change(track, unpublished_at=None, subscribed=False, muted=muted, muted_at_end=False)
    return _put(state, track)


def confirm_open(
    state: SessionState, info: TrackInfo, at: float, entries: EntryList
) -> SessionState:
    """An open track was seen again: a provisional end is withdrawn, and its mute is updated."""
    track = state.tracks[info.sid]
    if info.sid in state.provisional_unpublishes:
        left = {
            sid: leave for sid, leave in state.provisional_unpublishes.items() if sid != info.sid
        }
        state = with_provisional_unpublishes(state, left)
        track = change(track, subscribed=False)
        state = _put(state, track)
    if (track.muted.since is not None) == info.muted:
        return state
    return _mute(state, track, info.muted, at, entries)


def finish(state: SessionState, sid: str, at: float, entries: EntryList) -> SessionState:
    """The track ended: archive it and add an entry."""
    state, track = close(state, sid, at)
    entries.add(track.unpublished_at or at, "track_unpublished", identity=track.identity, sid=sid)
    return state


def finish_all_of(
    state: SessionState, identity: str, at: float, entries: EntryList
) -> SessionState:
    """A leave ends all tracks of the participant."""
    for sid in [sid for sid, track in state.tracks.items() if track.identity == identity]:
        leave = state.provisional_unpublishes.get(sid)
        state = finish(state, sid, min(leave.at, at) if leave else at, entries)
    for sid in [sid for sid, owner in state.data_tracks.items() if owner == identity]:
        state = _finish_data(state, sid, at, entries)
    return state


def note_encryption(state: SessionState, identity: str, encrypted: bool) -> SessionState:
    """One encrypted track makes the room and its publisher count as encrypted, for good.

    Messages of a publisher with encryption do not reach us, so their number is then unknown
    (`actors.session.view`).
    """
    if not state.encrypted and state.encrypted != encrypted:
        state = change(state, encrypted=encrypted)
    person = state.present.get(identity)
    if person is not None:
        if not person.encrypted and person.encrypted != encrypted:
            known = change(person, encrypted=encrypted)
            state = change(state, present={**state.present, identity: known})
        return state
    past = state.past.get(identity)
    if past is not None and not past.encrypted and past.encrypted != encrypted:
        state = change(state, past=state.past.put(identity, change(past, encrypted=encrypted)))
    return state


def on_data_published(
    state: SessionState, event: DataTrackPublished, entries: EntryList
) -> SessionState:
    if state.reconnecting:
        return defer(state, event)
    if event.track_sid in state.data_tracks:
        return anomaly(state)
    state = note_encryption(state, event.identity, event.encrypted)
    entries.add(
        event.at,
        "data_track_published",
        identity=event.identity,
        sid=event.track_sid,
        name=event.name,
        encrypted=event.encrypted,
    )
    if len(state.data_tracks) >= MAX_DATA_TRACKS:
        return state
    return change(state, data_tracks={**state.data_tracks, event.track_sid: event.identity})


def on_data_unpublished(
    state: SessionState, event: DataTrackUnpublished, entries: EntryList
) -> SessionState:
    if state.reconnecting:
        return defer(state, event)
    if event.track_sid not in state.data_tracks:
        return anomaly(state)
    return _finish_data(state, event.track_sid, event.at, entries)


def _finish_data(state: SessionState, sid: str, at: float, entries: EntryList) -> SessionState:
    entries.add(at, "data_track_unpublished", identity=state.data_tracks[sid], sid=sid)
    left = {other: owner for other, owner in state.data_tracks.items() if other != sid}
    return change(state, data_tracks=left)


def close(state: SessionState, sid: str, at: float) -> tuple[SessionState, Track]:
    """Archive an open track without an entry."""
    track = state.tracks[sid]
    end = at if track.published_at is None else max(at, track.published_at)
    track = change(
        track,
        unpublished_at=end,
        muted=track.muted.off(end),
        muted_at_end=track.muted.since is not None,
        subscribed=False,
    )
    if sid in state.provisional_unpublishes:
        left = {
            other: leave for other, leave in state.provisional_unpublishes.items() if other != sid
        }
        state = with_provisional_unpublishes(state, left)
    tracks = {other: open_ for other, open_ in state.tracks.items() if other != sid}
    return _archive_track(change(state, tracks=tracks), track), track


def correct_published_at(state: SessionState, track: Track, reported: Estimate) -> SessionState:
    """The server says when it was published; that counts if we did not observe it."""
    if track.published_at is None:
        best = reported
    elif not track.published_within:
        return state
    else:
        at, within = track.published_at, track.published_within
        best = Estimate(at, at - within, at + within).agreeing_with(reported)
        if best is None:
            return state  # our two clocks differ
    return _replace(state, change(track, published_at=best.at, published_within=best.within))


def correct_unpublished_at(state: SessionState, track: Track, at: float) -> SessionState:
    """A webhook says that it ended at `at`, give or take half a second: a time of ours within that
    stays."""
    if track.unpublished_at is None or abs(track.unpublished_at - at) <= 0.5:
        return state
    return _replace(state, change(track, unpublished_at=max(at, track.published_at or at)))


def mark_provisional_unpublish(
    state: SessionState, sid: str, at: float, due: float
) -> SessionState:
    """The track seems to end, maybe only because our own connection did."""
    return with_provisional_unpublishes(
        state, {**state.provisional_unpublishes, sid: ProvisionalEnd(at, due)}
    )


def _too_late(state: SessionState, event: TrackPublished, entries: EntryList) -> SessionState:
    """A late event of somebody who left: the track is counted and over at once."""
    track, at = event.track, event.at
    if state.past_tracks.get(track.sid) is not None:
        return anomaly(state)
    state = ensure_published(state, TrackSighting(event.identity, track, at, at), entries)
    return finish(state, track.sid, at, entries)


def _set_muted(
    state: SessionState, event: TrackMuted | TrackUnmuted, muted: bool, entries: EntryList
) -> SessionState:
    track = state.tracks.get(event.track_sid)
    if track is None:
        return defer(state, event) if state.deferred else anomaly(state)
    if (track.muted.since is not None) == muted:
        return anomaly(state)
    return _mute(state, track, muted, event.at, entries)


def _mute(
    state: SessionState, track: Track, muted: bool, at: float, entries: EntryList
) -> SessionState:
    entries.add(
        at, "track_muted" if muted else "track_unmuted", identity=track.identity, sid=track.sid
    )
    span = track.muted.on(at) if muted else track.muted.off(at)
    return _put(state, change(track, muted=span))


def _put(state: SessionState, track: Track) -> SessionState:
    return change(state, tracks={**state.tracks, track.sid: track})


def _mark_publisher(state: SessionState, identity: str) -> SessionState:
    """From now on the server announces the leave of this join at once."""
    person = state.present.get(identity)
    if person is None or person.joins[-1].publisher:
        return state
    join = change(person.joins[-1], publisher=True)
    person = change(person, joins=(*person.joins[:-1], join))
    return change(state, present={**state.present, identity: person})


def _replace(state: SessionState, track: Track) -> SessionState:
    """Put another version of a track where it is."""
    if track.sid in state.tracks:
        return _put(state, track)
    return change(state, past_tracks=state.past_tracks.put(track.sid, track))


def _archive_track(state: SessionState, track: Track) -> SessionState:
    past = state.past_tracks
    if len(past) >= MAX_PAST_TRACKS and track.sid not in past:
        return change(state, truncated=change(state.truncated, tracks=state.truncated.tracks + 1))
    return change(state, past_tracks=past.put(track.sid, track))
