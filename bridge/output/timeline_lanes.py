"""A session as lanes, one a person: what the page and the terminal draw its timeline from.

Made from a `SessionView` with its `timeline`.  Presence and publications come from `participants`
and `tracks`, which have the corrections and outlive the timeline.  Talk, quality, mutes and
messages come from the timeline; they are missing where it is not kept any more.  Talk and quality
end where a gap begins, and where their person leaves.  A telephone call that rings is no presence:
its lane begins when it was answered, as its seconds do.

All times are seconds since the session started, within 0 and `length(session)`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Final, TypeAlias, TypeVar, get_args

from attrs import field, frozen
from msgspec import UnsetType

from actors.session import QUALITIES, EntryView, ParticipantView, SessionView, TrackView
from actors.session.end_reasons import FOUND_ENDED
from actors.session.track_stats import AudioLevel
from actors.session.view_types import TrackStatsView

T = TypeVar("T")

MOST_TEXTS: Final = 3
"""Measured tracks of one person whose numbers are shown in words."""


@frozen(order=True)
class LaneSpan:
    """From `start` to `end`, never longer than the session and never empty."""

    start: float
    end: float


Spans: TypeAlias = tuple[LaneSpan, ...]
"""In order."""


@frozen
class TimelineLane:
    """One person.  Texts are as they were typed: not yet harmless."""

    identity: str
    name: str
    kind: str
    seconds: float
    """Present in all, also in joins that are not kept one by one."""
    present: Spans
    talk: Spans
    published: Mapping[str, Spans]
    """By source: `microphone`, `camera`, `screen`, ..."""
    muted: Mapping[str, Spans]
    """By source, within `published`."""
    quality: Mapping[str, Spans]
    """By level: `excellent`, `good`, `poor`, `lost`."""
    data: tuple[float, ...]
    """When this person sent a message."""
    audio: Mapping[str, Spans] = field(factory=dict[str, Spans])
    """Measured microphones, by level: `clear`, `impaired`, `poor`, or `measured` where there is no
    level."""
    audio_text: str = ""
    """What was measured of them, in words."""


def length(session: SessionView) -> float:
    """Seconds that the timeline is long; of a live session until now."""
    return session.duration or 0.0


def gaps(session: SessionView) -> Spans:
    """The times when nobody watched, from the timeline."""
    clock = _Clock(session)
    unwatched = list[_Pair]()
    since: float | None = None
    previous = 0.0
    for entry in session.timeline or ():
        event, at = entry.event, clock.at(entry.at)
        if event == "reconnecting":
            since = at
        elif event == "suspended":
            unwatched.append((at - given(entry.gap, 0.0), at))
        elif event == "reconnected":
            unwatched.append((at - given(entry.gap, 0.0), at))
            since = None
        elif event == "session_ended":
            last_seen = previous if entry.reason == FOUND_ENDED else at
            unwatched.append((last_seen if since is None else since, at))
            since = None
        previous = max(previous, at)
    if since is not None:
        unwatched.append((since, clock.length))
    return clock.spans(unwatched)


def lanes(session: SessionView) -> list[TimelineLane]:
    """One for everyone who is kept one by one, in the order of first sight."""
    clock = _Clock(session)
    observed, tracks = _observed(session, clock), _by_identity(session.tracks)
    return [
        _lane(one, tracks.get(one.identity, ()), clock, observed) for one in session.participants
    ]


def starts_late(session: SessionView) -> bool:
    """True if the beginning of the timeline, or all of it, was dropped."""
    timeline = session.timeline
    if timeline is None:
        return True
    watched = bool(session.coverage)
    return watched and all(entry.event != "session_started" for entry in timeline)


def stats_text(stats: TrackStatsView) -> str:
    """`loss 1.2 %, concealment 0.1 %, jitter 3 ms, MOS 4.4`: what is known of it."""
    return ", ".join(
        text
        for value, text in (
            (stats.loss, f"loss {100 * (stats.loss or 0.0):.1f} %"),
            (stats.concealment, f"concealment {100 * (stats.concealment or 0.0):.1f} %"),
            (stats.jitter, f"jitter {1000 * (stats.jitter or 0.0):.0f} ms"),
            (stats.frames_per_second, f"{stats.frames_per_second or 0.0:.0f} frames/s"),
            (stats.mos, f"MOS {stats.mos or 0.0:.1f}"),
        )
        if value is not None
    )


# ---------------------------------------------------------------- inside


def given(value: T | UnsetType, otherwise: T) -> T:
    """The value of a key of an entry; `otherwise` where the entry lacks the key."""
    return otherwise if isinstance(value, UnsetType) else value


_Pair: TypeAlias = tuple[float, float]
_Pairs: TypeAlias = Iterable[_Pair]


class _Clock:
    """The session's own time."""

    def __init__(self, session: SessionView) -> None:
        self.length: Final = length(session)
        self._start = datetime.fromisoformat(session.started_at).timestamp()

    def at(self, rfc3339: str) -> float:
        return round(datetime.fromisoformat(rfc3339).timestamp() - self._start, 3)

    def span(self, start: str | None, end: str | None) -> _Pair:
        """A span in seconds.  None: it began before the session, or has not ended."""
        return (
            0.0 if start is None else self.at(start),
            self.length if end is None else self.at(end),
        )

    def spans(self, pairs: _Pairs) -> Spans:
        """Cut to the session, in order, those that touch made one."""
        return _merged(_cut(pairs, 0.0, self.length))


class _Switches:
    """Things that go on and off, or from one value to the next, by key."""

    def __init__(self) -> None:
        self.pairs: Final = defaultdict[Hashable, list[_Pair]](list)
        self._since: dict[Hashable, float] = {}

    def on(self, key: Hashable, at: float) -> None:
        self._since.setdefault(key, at)

    def off(self, key: Hashable, at: float) -> None:
        since = self._since.pop(key, None)
        if since is not None:
            self.pairs[key].append((since, at))

    def only(self, keys: Iterable[Hashable], at: float) -> None:
        """These are on, all others off."""
        keys = set(keys)
        for key in self._since.keys() - keys:
            self.off(key, at)
        for key in keys:
            self.on(key, at)


class _Observed:
    """Talk, quality, mutes and messages, from the entries of a session read once, in order."""

    def __init__(self) -> None:
        self.talk: Final = _Switches()
        """By identity."""
        self.quality: Final = _Switches()
        """By identity and level."""
        self.audio: Final = _Switches()
        """By the track's SID and level."""
        self.muted: Final = _Switches()
        """By the track's SID."""
        self.data: Final = defaultdict[Hashable, list[float]](list)
        """When messages came, by the identity of their sender."""
        self.answered: Final = dict[Hashable, float]()
        """When a telephone call was answered, by the SID of its join."""
        self._levels: dict[Hashable, Hashable] = {}
        self._audio_levels: dict[Hashable, Hashable] = {}
        self._reconnecting = False

    def on_speakers(self, entry: EntryView, at: float) -> None:
        self.talk.only(given(entry.identities, ()), at)

    def on_quality(self, entry: EntryView, at: float) -> None:
        self.on_leave(entry, at)
        self._levels[entry.identity] = entry.quality
        self.quality.on((entry.identity, entry.quality), at)

    def on_audio(self, entry: EntryView, at: float) -> None:
        self._end_audio(entry, at)
        self._audio_levels[entry.sid] = entry.audio
        self.audio.on((entry.sid, entry.audio), at)

    def _end_audio(self, entry: EntryView, at: float) -> None:
        self.audio.off((entry.sid, self._audio_levels.pop(entry.sid, None)), at)

    def on_unpublish(self, entry: EntryView, at: float) -> None:
        self.on_unmute(entry, at)
        self._end_audio(entry, at)

    def on_join(self, entry: EntryView, at: float) -> None:
        if entry.kind == "sip":  # This event comes once the call was answered.
            self.answered.setdefault(entry.sid, at)

    def on_leave(self, entry: EntryView, at: float) -> None:
        self.quality.off((entry.identity, self._levels.pop(entry.identity, None)), at)

    def on_mute(self, entry: EntryView, at: float) -> None:
        self.muted.on(entry.sid, at)

    def on_unmute(self, entry: EntryView, at: float) -> None:
        self.muted.off(entry.sid, at)

    def on_publish(self, entry: EntryView, at: float) -> None:
        (self.on_mute if given(entry.muted, False) else self.on_unmute)(entry, at)

    def on_message(self, entry: EntryView, at: float) -> None:
        if entry.identity is not None:
            self.data[entry.identity].append(at)

    def on_reconnecting(self, _entry: EntryView, at: float) -> None:
        self.talk.only((), at)
        self._reconnecting = True

    def on_reconnected(self, entry: EntryView, at: float) -> None:
        if not self._reconnecting:
            self._clear(at - given(entry.gap, 0.0))
        self._reconnecting = False

    def on_suspended(self, entry: EntryView, at: float) -> None:
        self.talk.only((), at - given(entry.gap, 0.0))

    def on_end(self, _entry: EntryView, at: float) -> None:
        self.end(at)

    def end(self, at: float) -> None:
        """Nothing goes on after `at`."""
        self._clear(at)
        self.muted.only((), at)
        self._reconnecting = False

    def _clear(self, at: float) -> None:
        self.talk.only((), at)
        self.quality.only((), at)
        self.audio.only((), at)
        self._levels.clear()
        self._audio_levels.clear()


_ON_EVENT: Final = {
    "speakers_changed": _Observed.on_speakers,
    "quality_changed": _Observed.on_quality,
    "audio_changed": _Observed.on_audio,
    "participant_connected": _Observed.on_join,
    "participant_disconnected": _Observed.on_leave,
    "track_published": _Observed.on_publish,
    "track_muted": _Observed.on_mute,
    "track_unmuted": _Observed.on_unmute,
    "track_unpublished": _Observed.on_unpublish,
    "data_message": _Observed.on_message,
    "reconnecting": _Observed.on_reconnecting,
    "reconnected": _Observed.on_reconnected,
    "suspended": _Observed.on_suspended,
    "session_ended": _Observed.on_end,
}


def _observed(session: SessionView, clock: _Clock) -> _Observed:
    observed = _Observed()
    for entry in session.timeline or ():
        handle = _ON_EVENT.get(entry.event)
        if handle is not None:
            handle(observed, entry, clock.at(entry.at))
    observed.end(clock.length)
    return observed


def _by_identity(tracks: Iterable[TrackView]) -> Mapping[str, Sequence[TrackView]]:
    grouped = defaultdict[str, list[TrackView]](list)
    for track in tracks:
        grouped[track.identity].append(track)
    return grouped


def _lane(
    one: ParticipantView, tracks: Sequence[TrackView], clock: _Clock, observed: _Observed
) -> TimelineLane:
    identity = one.identity
    present = clock.spans(_stays(one, clock, observed))
    published, muted = defaultdict[str, list[_Pair]](list), defaultdict[str, list[_Pair]](list)
    for track in tracks:
        span = clock.span(track.published_at, track.unpublished_at)
        published[track.source].append(span)
        muted[track.source].extend(_cut(observed.muted.pairs[track.sid], *span))
    audio, measured = defaultdict[str, list[_Pair]](list), list[str]()
    for track in tracks:
        if track.stats is not None and track.kind == "audio":
            measured.append(stats_text(track.stats))
            spans = {
                level: observed.audio.pairs[track.sid, level] for level in get_args(AudioLevel)
            }
            if not any(spans.values()):
                spans = {"measured": [clock.span(track.published_at, track.unpublished_at)]}
            for level, pairs in spans.items():
                audio[level].extend(pairs)
    levels = {level: observed.quality.pairs[identity, level] for level in QUALITIES}
    return TimelineLane(
        identity=identity,
        name=one.shown_name,
        kind=one.kind,
        seconds=one.seconds,
        present=present,
        talk=_within(clock.spans(observed.talk.pairs[identity]), present),
        published=_by_key(published, clock, present),
        muted=_by_key(muted, clock, present),
        quality=_by_key(levels, clock, present),
        data=tuple(at for at in observed.data[identity] if 0.0 <= at <= clock.length),
        audio=_by_key(audio, clock, present),
        audio_text="; ".join(measured[:MOST_TEXTS]),
    )


def _stays(one: ParticipantView, clock: _Clock, observed: _Observed) -> Iterator[_Pair]:
    """The joins in which somebody took part.  A call begins when it was answered."""
    calls = [join for join in one.joins if join.kind == "sip"]
    for join in one.joins:
        if join.active:
            start, end = clock.span(join.joined_at, join.left_at)
            answered_at = one.sip.answered_at if one.sip and join is calls[-1] else None
            if answered_at is not None:
                start = clock.at(answered_at)
            elif start <= observed.answered.get(join.sid, -inf) <= end:
                start = observed.answered[join.sid]
            yield start, end


def _by_key(pairs: Mapping[str, _Pairs], clock: _Clock, present: Spans) -> Mapping[str, Spans]:
    """Without the keys that have nothing left."""
    cut = {key: _within(clock.spans(of_key), present) for key, of_key in pairs.items()}
    return {key: spans for key, spans in cut.items() if spans}


def _within(spans: Spans, bounds: Spans) -> Spans:
    """The parts of the spans within the bounds.  Both are in order, so each is read once."""
    inside, index = list[_Pair](), 0
    for span in spans:
        while index < len(bounds) and bounds[index].end <= span.start:
            index += 1
        for bound in bounds[index:]:
            if bound.start >= span.end:
                break
            inside.append((max(span.start, bound.start), min(span.end, bound.end)))
    return _merged(inside)


def _cut(pairs: _Pairs, start: float, end: float) -> _Pairs:
    return ((max(one, start), min(other, end)) for one, other in pairs)


def _merged(pairs: _Pairs) -> Spans:
    merged = list[LaneSpan]()
    for start, end in sorted(pair for pair in pairs if pair[0] < pair[1]):
        if merged and start <= merged[-1].end:
            merged[-1] = LaneSpan(merged[-1].start, max(end, merged[-1].end))
        else:
            merged.append(LaneSpan(start, end))
    return tuple(merged)
