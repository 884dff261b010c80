"""The mean opinion score (MOS) of a track: how good people would find its sound or picture.

It is the formula of LiveKit's own score (livekit-server 1.13.5, `pkg/sfu/connectionquality/
scorer.go` and `connectionstats.go`), a simple form of the E-model of ITU-T G.107:

    R   = 100 - delay / 40 - weight x loss in percent       from 0 to 100
    MOS = 1 + 0.035 R + 0.000007 R (R - 60) (100 - R)       from 1 to 4.5

`delay` is twice the jitter, in milliseconds; above 160 ms the term is (delay - 120) / 10.  LiveKit
has the terms of delay and jitter in its source and leaves them off; here the one of jitter is on.
The round trip is left out: an observer does not know the one of the person who speaks.

LiveKit makes its level of quality of such a score, with smoothing, and of what all people receive.
So the level and this number differ, and have different names.
"""

from __future__ import annotations

from typing import Final

BEST: Final = 4.5
WORST: Final = 1.0

OPUS: Final = 8.0 / 1.5
"""Points of R for each percent of lost packets.  LiveKit counts Opus as with forward error
correction, which takes a third off."""
RED: Final = OPUS / 2
"""Each packet repeats the ones before it."""
OTHER_SOUND: Final = 8.0
PICTURE: Final = 10.0


def loss_weight(codec: str) -> float:
    """Points of R for each percent of loss.  `codec` is a MIME type, as `audio/red`."""
    kind = codec.lower()
    if kind.startswith("video/"):
        return PICTURE
    if kind == "audio/red":
        return RED
    return OPUS if kind in ("audio/opus", "") else OTHER_SOUND


def rating(loss: float, jitter: float, codec: str) -> float:
    """The transmission rating R, 0 to 100.  `loss` is a share of 1, `jitter` in seconds."""
    delay = 2000.0 * jitter
    effect = (delay - 120.0) / 10.0 if delay > 160.0 else delay / 40.0
    return min(100.0, max(0.0, 100.0 - effect - loss_weight(codec) * loss * 100.0))


def opinion_score(loss: float, jitter: float, codec: str) -> float:
    """The MOS, 1 to 4.5.  `loss` is a share of 1, `jitter` in seconds, `codec` a MIME type."""
    r = rating(loss, jitter, codec)
    return min(BEST, max(WORST, 1.0 + 0.035 * r + 0.000007 * r * (r - 60.0) * (100.0 - r)))
