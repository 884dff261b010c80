"""Measures of a sound that somebody heard: how long, how high, how loud, with which gaps.  Pure.

Samples are 16-bit, of one channel.  A window is 10 ms, the smallest frame of WebRTC.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from math import sqrt
from typing import Final

from attrs import frozen

WINDOW: Final = 0.01
"""Seconds."""
QUIET: Final = 300.0
"""Level below which a window is silent: -40 dB of full scale."""
PAUSE: Final = 6
"""Silent windows between two words."""
SHORTEST_WORD: Final = 4
"""Loud windows."""


@frozen
class SoundMeasure:
    """A sound from its first to its last loud window."""

    seconds: float
    pitch: float
    """Hz: rising zero crossings a second, in the middle half."""
    level: float
    """Mean level (root mean square) of the loud windows."""
    gaps: int
    """Silent windows within."""
    words: int
    """Loud parts with pauses between them."""


def window_levels(samples: Sequence[int], rate: int) -> list[float]:
    """The level of each window."""
    size = int(rate * WINDOW)
    return [
        sqrt(sum(value * value for value in samples[start : start + size]) / size)
        for start in range(0, len(samples) - size + 1, size)
    ]


def measure_sound(samples: Sequence[int], rate: int) -> SoundMeasure | None:
    """The measure of what is loud in the samples; None where nothing is."""
    levels = window_levels(samples, rate)
    loud = [index for index, level in enumerate(levels) if level >= QUIET]
    if not loud:
        return None
    within = levels[loud[0] : loud[-1] + 1]
    size = int(rate * WINDOW)
    sound = samples[loud[0] * size : (loud[-1] + 1) * size]
    middle = sound[len(sound) // 4 : 3 * len(sound) // 4]
    rising = sum(before < 0 <= after for before, after in pairwise(middle))
    return SoundMeasure(
        seconds=len(within) * WINDOW,
        pitch=rising * rate / max(1, len(middle)),
        level=sum(levels[index] for index in loud) / len(loud),
        gaps=len(within) - len(loud),
        words=_words(within),
    )


def _words(levels: Sequence[float]) -> int:
    """Loud parts, where short pauses are within a word and short noises are none."""
    words, length, pause = 0, 0, PAUSE
    for loud, run in groupby(level >= QUIET for level in levels):
        count = len(list(run))
        if not loud:
            pause = count
            continue
        length = count if pause >= PAUSE else length + count
        words += length >= SHORTEST_WORD > length - count
    return words
