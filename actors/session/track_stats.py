"""What was measured of a track: windows of packets in, sums out.

The bridge measures a track over windows in which its media are received.  A window has differences
of WebRTC's counters, never totals: the counters of a paused track run on, and those of a track
that was subscribed anew begin at zero.  `TrackStats` adds the windows up.  A level of the sound
comes from the last few windows, so that it follows what happens.

A packet is lost where the sequence of the publisher's packets has a gap at the observer.  The
server passes these gaps on, so this is the loss between the publisher and the server.  Repairs are
not losses: NACK brings video packets again, and RED repeats the ones before.  So the loss of a
video is mostly 0, and the sound of a lossy microphone can be whole.  Concealment says how much of
the sound had to be made up: samples that the decoder invented, without those of silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Final, Literal, TypeAlias

import msgspec
from attrs import frozen

from actors.session.changes import change
from actors.session.opinion_score import opinion_score

AudioLevel: TypeAlias = Literal["clear", "impaired", "poor"]
"""How a microphone sounds.  LiveKit's level of quality is another thing, with other names."""

RECENT: Final = 6
"""Windows of which the level is made: 3 minutes where a track is sampled, 1 where it is measured
all the time."""
FEWEST_WINDOWS: Final = 3
"""Windows before there is a level.  The loss of one window of 2 s is wrong by several points."""
CLEAR_SCORE: Final = 4.0
POOR_SCORE: Final = 3.6
"""MOS of the ratings 80 and 70: below the first some people complain, below the second many
(ITU-T G.107, annex B)."""
IMPAIRED_CONCEALMENT: Final = 0.01
POOR_CONCEALMENT: Final = 0.02
"""Shares of the sound.  RED repairs most of what is lost one by one: at 10 % of lost packets 0.3 to
2.7 % was made up."""
SMALLEST_PICTURE: Final = 16
"""Pixels of a side.  The last picture of a video that ended has 8x8."""
LONGEST_JITTER: Final = 60.0
"""Seconds.  What is above is an error of the counters."""


class TrackWindow(msgspec.Struct, frozen=True, array_like=True):
    """One window of one track: differences over a time in which its media were received.

    Stored as an array, since there are many.  A new field comes last and has a default.
    """

    sid: str
    seconds: float
    packets: int = 0
    """Received."""
    lost: int = 0
    bytes: int = 0
    """Of their payload."""
    jitter: float = 0.0
    """Seconds, at the end of the window."""
    samples: int = 0
    """Of sound, received and concealed."""
    concealed: int = 0
    """Samples that were made up, without silence."""
    frames: int = 0
    """Of video."""
    width: int = 0
    height: int = 0
    """Pixels at the end of the window; 0 where unknown."""
    freezes: int = 0
    codec: str = ""
    """Its MIME type, as `audio/red`."""

    def sane(self) -> TrackWindow:
        """The same without what cannot be.  Counters are WebRTC's, which has had errors."""
        return TrackWindow(
            sid=self.sid,
            seconds=_within(self.seconds, 86_400.0),
            packets=max(0, self.packets),
            lost=max(0, self.lost),
            bytes=max(0, self.bytes),
            jitter=_within(self.jitter, LONGEST_JITTER),
            samples=max(0, self.samples),
            concealed=min(max(0, self.concealed), max(0, self.samples)),
            frames=max(0, self.frames),
            width=self.width if self.width > SMALLEST_PICTURE else 0,
            height=self.height if self.height > SMALLEST_PICTURE else 0,
            freezes=max(0, self.freezes),
            codec=self.codec[:32],
        )


class RecentWindow(msgspec.Struct, frozen=True, array_like=True):
    """The part of a window that the level is made of."""

    packets: int
    lost: int
    jitter: float
    samples: int
    concealed: int


@frozen(slots=False)
class TrackStats:
    """The windows of one track, added up.  No sum ever becomes smaller."""

    windows: int = 0
    seconds: float = 0.0
    """Measured."""
    packets: int = 0
    """Received."""
    lost: int = 0
    bytes: int = 0
    jitter_sum: float = 0.0
    """Jitter of each window times its packets."""
    jitter_max: float = 0.0
    samples: int = 0
    concealed: int = 0
    frames: int = 0
    freezes: int = 0
    width: int = 0
    height: int = 0
    """The last known."""
    codec: str = ""
    recent: tuple[RecentWindow, ...] = ()
    """The newest, oldest first."""
    audio: AudioLevel | None = None
    """None for video, and before there are enough windows."""

    @property
    def loss(self) -> float | None:
        """Share of the packets; None where none came."""
        return share(self.lost, self.packets + self.lost)

    @property
    def jitter(self) -> float | None:
        """Seconds, on average over the packets."""
        return self.jitter_sum / self.packets if self.packets else None

    @property
    def concealment(self) -> float | None:
        """Share of the sound that was made up; None where there was none."""
        return share(self.concealed, self.samples)

    @property
    def score(self) -> float | None:
        """The MOS over all windows; None where no packet came."""
        if self.loss is None:
            return None
        return opinion_score(self.loss, self.jitter or 0.0, self.codec)

    def add(self, window: TrackWindow) -> TrackStats:
        """The sums with another window."""
        one = window.sane()
        recent = self.recent
        if one.codec.startswith("audio/"):
            new = RecentWindow(one.packets, one.lost, one.jitter, one.samples, one.concealed)
            recent = (*recent, new)[-RECENT:]
        codec = one.codec or self.codec
        return change(
            self,
            windows=self.windows + 1,
            seconds=self.seconds + one.seconds,
            packets=self.packets + one.packets,
            lost=self.lost + one.lost,
            bytes=self.bytes + one.bytes,
            jitter_sum=self.jitter_sum + one.jitter * one.packets,
            jitter_max=max(self.jitter_max, one.jitter),
            samples=self.samples + one.samples,
            concealed=self.concealed + one.concealed,
            frames=self.frames + one.frames,
            freezes=self.freezes + one.freezes,
            width=one.width or self.width,
            height=one.height or self.height,
            codec=codec,
            recent=recent,
            audio=level_of(recent, codec),
        )


def level_of(windows: Iterable[RecentWindow], codec: str) -> AudioLevel | None:
    """The level of these windows together; None where they are too few."""
    windows = tuple(windows)
    packets = sum(one.packets for one in windows)
    lost = sum(one.lost for one in windows)
    loss = share(lost, packets + lost)
    if len(windows) < FEWEST_WINDOWS or loss is None:
        return None
    jitter = sum(one.jitter * one.packets for one in windows) / packets if packets else 0.0
    score = opinion_score(loss, jitter, codec)
    concealment = share(sum(w.concealed for w in windows), sum(w.samples for w in windows)) or 0.0
    if score < POOR_SCORE or concealment >= POOR_CONCEALMENT:
        return "poor"
    if score < CLEAR_SCORE or concealment >= IMPAIRED_CONCEALMENT:
        return "impaired"
    return "clear"


def share(part: int, whole: int) -> float | None:
    """A share of 1; None of nothing."""
    return part / whole if whole > 0 else None


def _within(value: float, most: float) -> float:
    return min(max(0.0, value), most) if isfinite(value) else 0.0
