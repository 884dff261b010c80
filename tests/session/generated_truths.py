"""Generated truths: the true acts of people in a room, and the events of these acts.

A truth is drawn first.  Then the session of its events, in any order and with doubles, is compared
with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attrs import frozen
from hypothesis import strategies as st

from actors.session import (
    QUALITIES,
    DataReceived,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantKind,
    ParticipantLeft,
    Quality,
    QualityChanged,
    RoomEvent,
    TrackInfo,
    TrackMuted,
    TrackPublished,
    TrackUnmuted,
    TrackUnpublished,
)
from tests.session.session_story import LEFT, T0

STEP: Final = 100
"""Seconds between two things that happen: a reconnect fits between them."""

HORIZON: Final = 40 * STEP
"""The time after which nothing happens."""

KINDS: Final[tuple[ParticipantKind, ...]] = ("standard", "standard", "sip", "agent", "egress")


@frozen
class Published:
    """One track of one visit; `end` is that of the visit where nobody unpublished it."""

    sid: str
    source: str
    start: int
    end: int | None
    unpublished: bool
    muted: tuple[int, ...]
    """Times when it was muted, unmuted, muted, ..."""

    def is_muted(self, at: int) -> bool:
        return sum(time <= at for time in self.muted) % 2 == 1

    def info(self, at: int) -> TrackInfo:
        muted = self.is_muted(at)
        if self.source == "microphone":
            return TrackInfo(self.sid, "audio", "microphone", muted)
        return TrackInfo(self.sid, "video", "camera", muted)

    def muted_seconds(self) -> int:
        end = HORIZON if self.end is None else self.end
        times = [*self.muted, end] if len(self.muted) % 2 else list(self.muted)
        return sum(off - on for on, off in zip(times[::2], times[1::2], strict=True))


@frozen
class Visit:
    """One join of one person; `end` is None if it is still open."""

    identity: str
    sid: str
    kind: ParticipantKind
    start: int
    end: int | None
    tracks: tuple[Published, ...]
    messages: tuple[int, ...]
    qualities: tuple[tuple[int, Quality], ...]

    def there(self, at: int) -> bool:
        return self.start <= at and (self.end is None or at < self.end)

    def info(self, at: int) -> ParticipantInfo:
        """The participant as a roster shows it at `at`."""
        tracks = tuple(
            track.info(at)
            for track in self.tracks
            if track.start <= at and (track.end is None or at < track.end)
        )
        return ParticipantInfo(self.identity, self.sid, T0 + self.start, self.kind, tracks=tracks)

    def quality_seconds(self) -> dict[str, int]:
        seconds: dict[str, int] = dict.fromkeys(QUALITIES, 0)
        end = HORIZON if self.end is None else self.end
        times = [at for at, _ in self.qualities]
        for (at, quality), until in zip(self.qualities, [*times, end][1:], strict=True):
            seconds[quality] += until - at
        return seconds

    def events(self) -> Iterator[RoomEvent]:
        """Its events, in order for each subject but not sorted by time."""
        identity = self.identity
        bare = ParticipantInfo(identity, self.sid, T0 + self.start, self.kind)
        yield ParticipantJoined(T0 + self.start, bare)
        for track in self.tracks:
            yield TrackPublished(T0 + track.start, identity, track.info(track.start))
            for index, at in enumerate(track.muted):
                kind = TrackUnmuted if index % 2 else TrackMuted
                yield kind(T0 + at, identity, track.sid)
            if track.unpublished and track.end is not None:
                yield TrackUnpublished(T0 + track.end, identity, track.sid)
        for at in self.messages:
            yield DataReceived(T0 + at, identity, "t", 1, "text")
        for at, quality in self.qualities:
            yield QualityChanged(T0 + at, identity, self.sid, quality)
        if self.end is not None:
            yield ParticipantLeft(T0 + self.end, identity, self.sid, LEFT)


@frozen
class Truth:
    visits: tuple[Visit, ...]

    def events(self) -> list[RoomEvent]:
        """All events, in the order of their times."""
        events = [event for visit in self.visits for event in visit.events()]
        return sorted(events, key=lambda event: event.at)

    def there(self, at: int) -> list[ParticipantInfo]:
        return [visit.info(at) for visit in self.visits if visit.there(at)]

    def people(self) -> set[str]:
        counted = ("standard", "sip")
        return {visit.identity for visit in self.visits if visit.kind in counted}

    def of(self, identity: str) -> list[Visit]:
        return [visit for visit in self.visits if visit.identity == identity]

    def tracks(self) -> list[Published]:
        return [track for visit in self.visits for track in visit.tracks]


def _times(draw: st.DrawFn, low: int, high: int, most: int) -> list[int]:
    """Different times strictly between `low` and `high`, sorted."""
    steps = range(low // STEP + 1, -(-high // STEP))
    if not steps:
        return []
    chosen = draw(st.lists(st.sampled_from(steps), unique=True, max_size=most))
    return sorted(step * STEP for step in chosen)


@st.composite
def truths(draw: st.DrawFn) -> Truth:
    visits: list[Visit] = []
    for number in range(draw(st.integers(1, 4))):
        identity, kind = f"p{number}", draw(st.sampled_from(KINDS))
        times = _times(draw, 0, HORIZON, 6) or [STEP]
        bounds: list[int | None] = [*times, None] if len(times) % 2 else list(times)
        for start, end in zip(bounds[::2], bounds[1::2], strict=True):
            assert start is not None
            visits.append(_visit(draw, identity, kind, start, end))
    return Truth(tuple(visits))


def _visit(
    draw: st.DrawFn, identity: str, kind: ParticipantKind, start: int, end: int | None
) -> Visit:
    sid, last = f"PA_{identity}_{start}", HORIZON if end is None else end
    tracks: list[Published] = []
    for number, begun in enumerate(_times(draw, start, last, 2)):
        unpublished = draw(st.booleans())
        ends = _times(draw, begun, last, 1) if unpublished else []
        over = ends[0] if ends else end
        muted = _times(draw, begun, HORIZON if over is None else over, 3)
        source = draw(st.sampled_from(["microphone", "camera"]))
        tracks.append(
            Published(f"TR_{sid}_{number}", source, begun, over, bool(ends), tuple(muted))
        )
    qualities: list[tuple[int, Quality]] = [
        (at, draw(st.sampled_from(QUALITIES))) for at in _times(draw, start, last, 3)
    ]
    messages = _times(draw, start, last, 2)
    return Visit(identity, sid, kind, start, end, tuple(tracks), tuple(messages), tuple(qualities))
