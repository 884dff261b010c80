"""A sound is measured by its samples: tones, gaps and words that are known."""

from __future__ import annotations

import pytest

from bridge.lab.people.sound_measures import measure_sound
from tests.publishing.tones import tone

RATE = 48_000


def samples(seconds: float) -> list[int]:
    return list(memoryview(tone(seconds).samples).cast("h"))


def test_a_tone_has_its_pitch_its_length_and_one_word() -> None:
    measure = measure_sound([0] * 4_800 + samples(1.0) + [0] * 9_600, RATE)
    assert measure is not None
    assert measure.pitch == pytest.approx(440, abs=2)
    assert measure.seconds == pytest.approx(1.0, abs=0.011)
    assert (measure.gaps, measure.words) == (0, 1)


def test_gaps_are_counted_and_words_are_what_pauses_part() -> None:
    """A gap of 30 ms is within a word, a pause of 100 ms is between two."""
    word, gap, pause = samples(0.2), [0] * 1_440, [0] * 4_800
    measure = measure_sound(word + gap + word + pause + word, RATE)
    assert measure is not None
    assert (measure.gaps, measure.words) == (13, 2)


def test_silence_is_no_sound() -> None:
    assert measure_sound([5] * RATE, RATE) is None
