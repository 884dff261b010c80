"""Sounds that are computed: a second of each, which is repeated.  Pure.

Every frequency is a whole number of Hz, so a second of it joins the next without a click.
"""

from __future__ import annotations

import array
import random
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from math import pi, sin
from typing import Final, Literal, TypeAlias, get_args

from actors.publishing.sound import AudioClip, SoundFormat

GeneratedSound: TypeAlias = Literal["tone", "chord", "sweep", "noise", "silence"]
GENERATED_SOUNDS: Final[tuple[GeneratedSound, ...]] = get_args(GeneratedSound)

RATE: Final = 48_000
FORMAT: Final = SoundFormat(RATE)
LOUDNESS: Final = 9_830
"""Peak of a tone: 0.3 of full scale."""
LOWEST: Final = 20
HIGHEST: Final = 20_000
"""Hz."""


@lru_cache(maxsize=8)
def generated_second(sound: GeneratedSound, frequency: int) -> AudioClip:
    """A second of a sound at full volume.  Takes some 30 ms."""
    value = _VALUES[sound](frequency)
    samples = array.array("h", (int(LOUDNESS * value(place)) for place in range(RATE)))
    return AudioClip(FORMAT, _little_endian(samples))


def with_volume(samples: bytes, volume: float) -> bytes:
    """Samples at a volume from 0 to 1."""
    if volume == 1.0:
        return samples
    values = array.array("h", _little_endian(array.array("h", samples)))
    return _little_endian(array.array("h", (int(value * volume) for value in values)))


def _little_endian(samples: array.array[int]) -> bytes:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _tone(frequency: int) -> Callable[[int], float]:
    return lambda place: sin(2 * pi * frequency * place / RATE)


def _chord(frequency: int) -> Callable[[int], float]:
    tones = [_tone(round(frequency * part)) for part in (1, 1.25, 1.5)]
    return lambda place: sum(tone(place) for tone in tones) / 3


def _sweep(frequency: int) -> Callable[[int], float]:
    """From the frequency to its double and back, in a second."""
    half = RATE // 2

    def value(place: int) -> float:
        near = place if place < half else RATE - place
        phase = frequency * (near + near * near / (2 * half)) / RATE
        return sin(2 * pi * phase)

    return value


def _noise(_: int) -> Callable[[int], float]:
    rng = random.Random(1)
    return lambda _: rng.uniform(-1, 1)


_VALUES: Final[Mapping[GeneratedSound, Callable[[int], Callable[[int], float]]]] = {
    "tone": _tone,
    "chord": _chord,
    "sweep": _sweep,
    "noise": _noise,
    "silence": lambda _: lambda _: 0.0,
}
