"""One monitor of one person, as a pure function: the session's state in, notes out.

`observe` compares the session's newest state with what the monitor knows.  It does not depend on
single entries, so an entry that was dropped, or a crash, costs nothing but the time.  `pass_time`
does what is due, and `check` is the health check of every 30 s.

**Speech** comes from LiveKit's list of speakers.  Both ends are received about `SPEECH_DELAY`
late and are dated back by it.  Speech ends once they were out of the list for `SPEECH_HOLD`, so
the short pauses of a sentence do not split it.

**Quality.**  A level is a value from 0 to 1 (`QUALITY_VALUE`).  Below the threshold the person is
warned of at once, and again at each health check.

**Activity** is everything that the person does: speech, tracks, mutes, messages, a new name,
metadata or attributes.

All times are Unix seconds, on LiveKit's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final, TypeAlias

from attrs import evolve

from actors.monitoring.monitor_notes import LogNote, MonitorEnd, Note, PersonMessage
from actors.monitoring.monitor_state import Activity, Monitor, QualityChange
from actors.session import Quality, SessionState
from actors.session.end_reasons import SEEN_ENDS
from actors.session.participant import Participant
from actors.session.state import Track

SPEECH_DELAY: Final = 0.6
"""Seconds from when speech begins or ends until LiveKit's list of speakers has it."""
SPEECH_HOLD: Final = 1.0
"""Seconds without speech after which a person has stopped to speak."""
LONG_SESSION: Final = 4 * 3600.0
"""Seconds of presence after which the health check says so, once."""
ROOM_TIMEOUT: Final = 30.0
"""Seconds in which the room of a job must be watched."""
MOST_CHANGES: Final = 20
"""Changes of the quality that a monitor remembers: the newest."""

QUALITY_VALUE: Final[Mapping[Quality, float]] = {
    "excellent": 1.0, "good": 0.75, "poor": 0.25, "lost": 0.0,
}  # fmt: skip

WELCOME_FEATURES: Final = ("connection_quality", "speaking_detection", "activity_tracking")
"""The features that the welcome names, where they are on."""


class _Notes(list[Note]):
    def log(self, event: str, /, **fields: Any) -> None:
        self.append(LogNote(event, fields))


Observation: TypeAlias = tuple[Monitor, tuple[Note, ...]]


def observe(monitor: Monitor, state: SessionState, at: float) -> Observation:
    """The session has a new state, at `at`."""
    notes = _Notes()
    if monitor.over:
        return monitor, ()
    if not monitor.watched:
        if state.ended_at is not None and state.end_reason in SEEN_ENDS:
            return _end(monitor, notes, "the session ended"), tuple(notes)
        if state.ended_at is not None or not state.watching:
            return monitor, ()  # A session of before: the room is to be entered.
        monitor = evolve(monitor, watched=True)
    person = state.present.get(monitor.identity)
    here = person is not None and _is_here(monitor, person)
    if here and not monitor.present:
        monitor = _arrived(monitor, at, notes)
    if person is not None and here:
        tracks = {sid: one for sid, one in state.tracks.items() if one.identity == monitor.identity}
        monitor = _with_tracks(monitor, tracks, notes)
        monitor = _with_speech(monitor, monitor.identity in state.speaking, at, notes)
        monitor = _with_quality(monitor, person.quality.level, at, notes)
        monitor = _with_activity(monitor, _activity_of(person, tracks), at, notes)
    elif monitor.present:
        monitor = _left(monitor, at, notes)
    if state.ended_at is not None and not monitor.over:
        monitor = _end(_absent(monitor, at, notes), notes, "the session ended")
    return monitor, tuple(notes)


def pass_time(monitor: Monitor, at: float) -> Observation:
    """Do what is due at `at`."""
    notes = _Notes()
    if monitor.over:
        return monitor, ()
    if monitor.speaking and at >= _speech_due(monitor):
        monitor = _stop_speaking(monitor, at, notes)
    if monitor.present and not monitor.inactive and at >= _inactive_due(monitor):
        monitor = evolve(monitor, inactive=True)
        notes.log("monitored_inactive", seconds=round(at - monitor.active_at, 1))
    if not monitor.present and at >= _absence_due(monitor):
        if monitor.left_at is not None:
            monitor = _end(monitor, notes, "the participant did not come back")
        elif monitor.watched:
            error = f"the participant did not come within {monitor.inactivity_timeout:g} s"
            monitor = _end(monitor, notes, error, error)
        else:
            error = f"the room is not watched, and was not within {ROOM_TIMEOUT:g} s"
            monitor = _end(monitor, notes, error, error)
    return monitor, tuple(notes)


def terminate(monitor: Monitor, at: float) -> Observation:
    """LiveKit ended the job: its dispatch was deleted."""
    notes = _Notes()
    if monitor.over:
        return monitor, ()
    return _end(_absent(monitor, at, notes), notes, "the dispatch was deleted"), tuple(notes)


def check(monitor: Monitor, at: float) -> Observation:
    """The health check."""
    notes = _Notes()
    if monitor.over or not monitor.present:
        return monitor, ()
    if monitor.warned:
        notes.log("monitored_quality_poor", quality=monitor.quality)
    for video in monitor.watched_videos.values():
        if video.still:
            notes.log("monitored_video_still", seconds=round(at - video.moved_at, 1))
        elif video.fps is not None:
            notes.log("monitored_video_rate", fps=video.fps)
    if not monitor.long_reported and monitor.duration(at) > LONG_SESSION:
        monitor = evolve(monitor, long_reported=True)
        notes.log("monitored_long_session", seconds=round(monitor.duration(at)))
    return monitor, tuple(notes)


def next_deadline(monitor: Monitor) -> float:
    """Unix seconds when `pass_time` has something to do; infinite if never."""
    if monitor.over:
        return inf
    if not monitor.present:
        return _absence_due(monitor)
    return min(_speech_due(monitor), _inactive_due(monitor))


def _speech_due(monitor: Monitor) -> float:
    silent = monitor.silent_since
    # `silent_since` is dated back; the hold is counted from when it was received.
    return inf if silent is None or not monitor.speaking else silent + SPEECH_DELAY + SPEECH_HOLD


def _inactive_due(monitor: Monitor) -> float:
    wanted = monitor.wants("activity_tracking") and not monitor.inactive and not monitor.speaking
    return monitor.active_at + monitor.inactivity_timeout if wanted else inf


def _absence_due(monitor: Monitor) -> float:
    since = monitor.began_at if monitor.left_at is None else monitor.left_at
    limit = monitor.inactivity_timeout
    return since + (limit if monitor.watched or limit < ROOM_TIMEOUT else ROOM_TIMEOUT)


# ---------------------------------------------------------------- coming and going


def _is_here(monitor: Monitor, person: Participant) -> bool:
    join = person.joins[-1]
    return join.effective and (not monitor.request.end_on_disconnect or join.sid == monitor.sid)


def _arrived(monitor: Monitor, at: float, notes: _Notes) -> Monitor:
    notes.log("monitored_connected")
    if not monitor.welcomed and monitor.settings.notify_people:
        features = [one for one in WELCOME_FEATURES if monitor.wants(one)]
        hello = f"Hello {monitor.identity}! Your connection is being monitored."
        notes.append(
            PersonMessage(
                "person",
                {
                    "type": "participant_monitoring",
                    "action": "welcome",
                    "message": hello,
                    "features": features,
                },
            )
        )
    return evolve(
        monitor,
        present=True,
        joined_at=at,
        welcomed=True,
        active_at=at,
        inactive=False,
        activity=(),
        quality=None,
        warned=False,
    )


def _left(monitor: Monitor, at: float, notes: _Notes) -> Monitor:
    monitor = _absent(monitor, at, notes)
    notes.log("monitored_disconnected")
    if monitor.request.end_on_disconnect:
        return _end(monitor, notes, "the participant left")
    return monitor


def _absent(monitor: Monitor, at: float, notes: _Notes) -> Monitor:
    """Nothing is measured of them any more."""
    if monitor.speaking:
        if monitor.silent_since is None:
            monitor = evolve(monitor, silent_since=at)
        monitor = _stop_speaking(monitor, at, notes)
    if not monitor.present:
        return monitor
    return evolve(
        monitor,
        present=False,
        present_seconds=monitor.duration(at),
        left_at=at,
        listed=False,
        tracks=frozenset(),
        videos=frozenset(),
        watched_videos={},
        warned=False,
        inactive=False,
    )


def _end(monitor: Monitor, notes: _Notes, reason: str, error: str | None = None) -> Monitor:
    notes.append(MonitorEnd(reason, error))
    return evolve(monitor, over=True)


# ---------------------------------------------------------------- what they do


def _with_tracks(monitor: Monitor, tracks: Mapping[str, Track], notes: _Notes) -> Monitor:
    now = frozenset(tracks)
    videos = frozenset[str]()
    if monitor.wants("video_activity"):
        moving = (one for one in tracks.values() if one.kind == "video")
        videos = frozenset(one.sid for one in moving if one.muted.since is None)
    if videos != monitor.videos:
        monitor = evolve(monitor, videos=videos)
    if now == monitor.tracks:
        return monitor
    new = now - monitor.tracks
    for track in sorted((tracks[sid] for sid in new), key=lambda track: track.number):
        notes.log("monitored_track_published", sid=track.sid, kind=track.kind)
        spoken = track.kind == "audio" and track.source != "screen_audio"
        if spoken and monitor.wants("speaking_detection"):
            notes.log("monitored_audio_started")
        elif track.kind == "video" and monitor.wants("video_activity"):
            notes.log("monitored_video_started")
    for sid in sorted(monitor.tracks - now):
        notes.log("monitored_track_unpublished", sid=sid)
    return evolve(monitor, tracks=now, tracks_total=monitor.tracks_total + len(new))


def _with_speech(monitor: Monitor, listed: bool, at: float, notes: _Notes) -> Monitor:
    if not monitor.wants("speaking_detection") or listed == monitor.listed:
        return monitor
    if not listed:
        since = monitor.speaking_since or at
        return evolve(monitor, listed=False, silent_since=max(since, at - SPEECH_DELAY))
    if monitor.speaking and at < _speech_due(monitor):
        return evolve(monitor, listed=True, silent_since=None)
    if monitor.speaking:
        monitor = _stop_speaking(monitor, at, notes)
    since = max(at - SPEECH_DELAY, monitor.joined_at or 0.0)
    notes.log("monitored_speaking", since=since)
    _inform_others(monitor, True, since, notes)
    return evolve(
        monitor,
        listed=True,
        silent_since=None,
        speaking_since=since,
        speeches=monitor.speeches + 1,
    )


def _stop_speaking(monitor: Monitor, at: float, notes: _Notes) -> Monitor:
    until = at if monitor.silent_since is None else monitor.silent_since
    seconds = max(0.0, until - (monitor.speaking_since or until))
    notes.log("monitored_silent", since=until, seconds=round(seconds, 3))
    _inform_others(monitor, False, until, notes)
    return evolve(
        monitor,
        speaking_since=None,
        speaking_seconds=monitor.speaking_seconds + seconds,
        active_at=max(monitor.active_at, until),
    )


def _inform_others(monitor: Monitor, speaking: bool, at: float, notes: _Notes) -> None:
    if monitor.settings.notify_people and monitor.request.speaking_alerts:
        notes.append(
            PersonMessage(
                "others",
                {
                    "type": "speaking_detection",
                    "participant": monitor.identity,
                    "speaking": speaking,
                    "timestamp": int(at),
                },
            )
        )


def _with_quality(monitor: Monitor, level: Quality | None, at: float, notes: _Notes) -> Monitor:
    if not monitor.wants("connection_quality") or level == monitor.quality:
        return monitor
    reason = "unknown" if level is None else "reported"
    change = QualityChange(monitor.quality, level, at, reason)
    poor = level is not None and QUALITY_VALUE[level] < monitor.quality_threshold
    if poor and not monitor.warned:
        notes.log("monitored_quality_poor", quality=level)
        if monitor.settings.notify_people and monitor.request.quality_alerts:
            payload = {"type": "connection_quality", "quality": level, "timestamp": int(at)}
            notes.append(PersonMessage("person", payload))
    elif monitor.warned and not poor:
        notes.log("monitored_quality_recovered", quality=level)
    return evolve(
        monitor,
        quality=level,
        warned=poor,
        changes=(*monitor.changes, change)[-MOST_CHANGES:],
        quality_changes=monitor.quality_changes + 1,
    )


def _activity_of(person: Participant, tracks: Mapping[str, Track]) -> Activity:
    muted = tuple(sorted(sid for sid, track in tracks.items() if track.muted.since is not None))
    return (
        person.data_messages,
        person.name,
        person.metadata,
        person.attributes,
        muted,
        frozenset(tracks),
    )


def _with_activity(monitor: Monitor, activity: Activity, at: float, notes: _Notes) -> Monitor:
    if activity == monitor.activity and not monitor.speaking:
        return monitor
    if monitor.inactive:
        notes.log("monitored_active_again", seconds=round(at - monitor.active_at, 1))
    return evolve(monitor, activity=activity, active_at=at, inactive=False)
