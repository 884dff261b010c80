"""Sounds for tests."""

from __future__ import annotations

import array
import math

from actors.publishing.sound import AudioClip, SoundFormat

FORMAT = SoundFormat(48_000)


def tone(seconds: float, pitch: int = 440, sound_format: SoundFormat = FORMAT) -> AudioClip:
    """A sine at a third of full scale.  `pitch` is whole Hz."""
    rate, channels = sound_format.sample_rate, sound_format.channels
    second = array.array("h")
    for i in range(rate):
        second.extend([int(10_000 * math.sin(2 * math.pi * pitch * i / rate))] * channels)
    whole = second.tobytes() * math.ceil(seconds)
    return AudioClip(sound_format, whole[: round(seconds * rate) * channels * 2])
