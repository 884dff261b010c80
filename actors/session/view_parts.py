"""The parts of a session's view: one participant, join, call, track or recording."""

from __future__ import annotations

from math import inf
from typing import Final

from actors.session import recordings
from actors.session.agent_run import RoomAgents
from actors.session.agent_views import agent_view
from actors.session.intervals import QualitySeconds, stretch
from actors.session.media_seconds import PublishedMedia
from actors.session.participant import Join, Participant
from actors.session.sighting import CALL_STATUS
from actors.session.state import SessionState, Track
from actors.session.time_text import rfc3339
from actors.session.track_stats import TrackStats
from actors.session.view_base import AFTER_ALL_TIMES
from actors.session.view_types import (
    CallView,
    JoinView,
    ParticipantView,
    QualityView,
    RecordingView,
    TrackStatsView,
    TrackView,
)


def recording_views(state: SessionState) -> tuple[RecordingView, ...]:
    """Every recording that is known, oldest first: as LiveKit has it, else as the room; and those
    that LiveKit has not taken yet."""
    known = [
        (
            one.started_at,
            RecordingView(
                id=one.id,
                kind=one.kind,
                started_at=rfc3339(one.started_at),
                ended_at=rfc3339(one.ended_at),
                status=one.status,
                error=one.error,
                file=one.file,
                rule=one.rule,
                lost_at=rfc3339(one.lost_at),
            ),
        )
        for one in state.recordings.values()
    ]
    known += [
        (
            one.at,
            RecordingView(
                id=None,
                kind=None,
                started_at=None,
                ended_at=None,
                status="requested",
                error=None,
                file=None,
                rule=one.rule,
                lost_at=None,
            ),
        )
        for one in state.recording_intents.values()
    ]
    known += [
        (
            one.started_at,
            RecordingView(
                id=None,
                kind=None,
                started_at=rfc3339(one.started_at),
                ended_at=rfc3339(one.ended_at),
                status=None,
                error=None,
                file=None,
                rule=None,
                lost_at=None,
            ),
        )
        for one in recordings.intervals_without_recording(state)
    ]
    return tuple(view for _, view in sorted(known, key=lambda pair: pair[0] or inf))


def participant_view(
    person: Participant,
    media: PublishedMedia,
    until: float,
    encrypted: bool,
    agents: RoomAgents | None = None,
) -> ParticipantView:
    """`encrypted`: the room is.  Then zero messages are certain only of a participant whose
    tracks are not encrypted.  `agents`: those of the session."""
    unknown = encrypted and person.encrypted is not False and not person.data_messages
    turns, known = person.turns, person.audible
    first_media_after = media.seconds_after(person.joins)
    return ParticipantView(
        identity=person.identity,
        person=person.person,
        name=person.name,
        kind=person.kind,
        sids=tuple(join.sid for join in person.joins),
        joins=tuple(_join(person, join) for join in person.joins),
        seconds=rounded(person.seconds(until)),
        metadata=person.metadata,
        attributes=person.attributes,
        quality=quality_view(person.quality.totals(until)),
        talk_seconds=rounded(person.talk.total(until)) if known else None,
        turns=(turns.count if turns else 0) if known else None,
        longest_turn=rounded(turns.longest_turn(until) if turns else 0.0) if known else None,
        interruptions=(turns.interruptions if turns else 0) if known else None,
        camera_seconds=rounded(media.camera_seconds),
        screen_seconds=rounded(media.screen_seconds),
        first_media_after=None if first_media_after is None else rounded(first_media_after),
        data_messages=None if unknown else person.data_messages,
        agent=agent_view(person, agents, until),
        sip=_call(person, until),
    )


def _join(person: Participant, join: Join) -> JoinView:
    return JoinView(
        sid=join.sid,
        kind=join.kind or person.kind,
        joined_at=time_of(join.joined_at),
        left_at=rfc3339(join.left_at),
        left_within=_within(join.left_within),
        leave_reason=join.reason,
        active=join.effective,
    )


def _call(person: Participant, until: float) -> CallView | None:
    """The newest telephone call of a participant, as LiveKit's SIP service describes it in the
    attributes ``sip.*``; None without any call."""
    join = next((j for j in reversed(person.joins) if (j.kind or person.kind) == "sip"), None)
    if join is None:
        return None
    attributes = person.attributes or {}
    ours, theirs = (
        attributes.get("sip.trunkPhoneNumber"),
        attributes.get("sip.phoneNumber"),
    )
    inbound = "sip.ruleID" in attributes
    rang_until = join.answered_at
    if join.ringing:
        rang_until = until if join.left_at is None else join.left_at
    return CallView(
        call_id=attributes.get("sip.callID"),
        status=attributes.get(CALL_STATUS),
        caller=theirs if inbound else ours,
        callee=ours if inbound else theirs,
        trunk=attributes.get("sip.trunkID"),
        answered_at=rfc3339(join.answered_at),
        ringing_seconds=(
            None if rang_until is None else rounded(stretch(join.joined_at, rang_until))
        ),
        hangup_cause=join.reason,
    )


def track_view(track: Track, until: float, stats: TrackStats | None = None) -> TrackView:
    """One publication, until `until`, with what was measured of it."""
    return TrackView(
        sid=track.sid,
        identity=track.identity,
        kind=track.kind,
        source=track.source,
        published_at=rfc3339(track.published_at),
        published_within=_within(track.published_within),
        unpublished_at=rfc3339(track.unpublished_at),
        muted_seconds=rounded(track.muted.total(until)),
        encrypted=track.encrypted,
        stats=None if stats is None else _stats(stats, video=track.kind == "video"),
    )


def _stats(stats: TrackStats, *, video: bool) -> TrackStatsView:
    seconds, score = stats.seconds, stats.score
    return TrackStatsView(
        measured_seconds=rounded(seconds),
        packets=stats.packets,
        packets_lost=stats.lost,
        loss=_ratio(stats.loss),
        jitter=_ratio(stats.jitter),
        jitter_max=round(stats.jitter_max, 5),
        concealment=None if video else _ratio(stats.concealment),
        bitrate=round(8 * stats.bytes / seconds, 1) if seconds else None,
        mos=None if score is None else round(score, 2),
        audio=stats.audio,
        codec=stats.codec or None,
        frames_per_second=round(stats.frames / seconds, 2) if video and seconds else None,
        width=stats.width or None,
        height=stats.height or None,
        freezes=stats.freezes if video else None,
    )


def _ratio(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


UNKNOWN_QUALITY: Final = QualityView(excellent=None, good=None, poor=None, lost=None)


def quality_view(seconds: QualitySeconds | None) -> QualityView:
    """Seconds by quality; of None nothing is known."""
    if seconds is None:
        return UNKNOWN_QUALITY
    excellent, good, poor, lost = map(rounded, seconds)
    return QualityView(excellent=excellent, good=good, poor=poor, lost=lost)


def _within(seconds: float | None) -> float | None:
    return None if seconds is None else rounded(seconds)


def rounded(duration: float) -> float:
    """Seconds, to the millisecond."""
    return round(duration, 3) if duration else 0.0


def time_of(at: float) -> str:
    """The time of Unix seconds, where a time is required."""
    return rfc3339(at) or AFTER_ALL_TIMES
