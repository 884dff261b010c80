"""The fold of what was measured of tracks.

A window of a track that the session does not know changes nothing: it may be of an instance of the
room that is over.  A track that has ended still gets its last window.
"""

from __future__ import annotations

from collections.abc import Iterator

from actors.session.bounds import MAX_PAST_TRACKS
from actors.session.changes import change
from actors.session.events import TracksMeasured
from actors.session.persistent_map import PersistentMap
from actors.session.state import SessionState
from actors.session.timeline_entry import EntryList
from actors.session.track_stats import TrackStats


def on_measured(state: SessionState, event: TracksMeasured, entries: EntryList) -> SessionState:
    measured = PersistentMap[TrackStats]() if state.track_stats is None else state.track_stats
    for window in event.windows:
        track = state.tracks.get(window.sid) or state.past_tracks.get(window.sid)
        before = measured.get(window.sid)
        if track is None or (before is None and len(measured) >= MAX_PAST_TRACKS):
            continue
        after = (before or TrackStats()).add(window)
        measured = measured.put(window.sid, after)
        open_track = track.unpublished_at is None
        if open_track and after.audio is not None and after.audio != (before and before.audio):
            entries.add(
                event.at,
                "audio_changed",
                identity=track.identity,
                sid=track.sid,
                audio=after.audio,
            )
    return change(state, track_stats=measured) if measured else state


def stats_of(state: SessionState, sid: str) -> TrackStats | None:
    """What was measured of a track; None where nothing was."""
    return None if state.track_stats is None else state.track_stats.get(sid)


def poor_microphones(state: SessionState) -> frozenset[str]:
    """Identities of those whose audio is poor now."""
    if state.track_stats is None:
        return frozenset()
    return frozenset(
        track.identity
        for track in state.tracks.values()
        if (stats := state.track_stats.get(track.sid)) is not None and stats.audio == "poor"
    )


def stats_until_the_end(state: SessionState) -> Iterator[TrackStats]:
    """Statistics of the tracks that were open when the session ended."""
    if state.track_stats is None or state.ended_at is None:
        return
    last_seen = state.ended_at if state.gap_since is None else state.gap_since
    for track in state.past_tracks.values():
        stats = state.track_stats.get(track.sid)
        if stats is not None and track.unpublished_at == last_seen:
            yield stats
