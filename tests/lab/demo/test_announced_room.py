"""The announcement's chapter: what was heard is compared with what was played."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from typing import Any, cast

import pytest
from attrs import evolve

from bridge.lab.demo.announced_room import (
    PITCH,
    SECONDS,
    AnnouncedRoom,
    play_announcement,
    sound_file,
)
from bridge.lab.people import PeopleError
from bridge.lab.people.sound_measures import SoundMeasure, measure_sound

RIGHT = SoundMeasure(pitch=PITCH, seconds=SECONDS, level=5_000.0, gaps=0, words=1)


class Listener:
    """Hears what a test chose."""

    def __init__(self, sound: SoundMeasure | None) -> None:
        self._sound = sound

    async def join(self, *_: object, **_options: object) -> Listener:
        if self._sound is None:
            raise PeopleError("nobody is there")
        return self

    async def listen(self) -> None: ...

    async def leave(self) -> None: ...

    async def sound(self) -> SoundMeasure | None:
        return self._sound


class Player:
    async def announce(self, room: str, sound: bytes) -> str:
        return ""


def test_the_file_has_the_pitch_and_the_length_that_are_compared() -> None:
    with wave.open(io.BytesIO(sound_file())) as file:
        samples = memoryview(file.readframes(file.getnframes())).cast("h")
        measure = measure_sound(list(samples), file.getframerate())
    assert measure is not None
    assert measure.pitch == pytest.approx(PITCH, abs=2)
    assert measure.seconds == pytest.approx(SECONDS, abs=0.02)


@pytest.mark.parametrize(
    "sound, wrong",
    [
        (RIGHT, []),
        (evolve(RIGHT, pitch=440.0), ["pitch"]),
        (evolve(RIGHT, seconds=0.7), ["seconds"]),
        (None, ["error", "heard", "pitch", "seconds"]),
    ],
    ids=["right", "another pitch", "cut off", "nobody"],
)
async def test_another_pitch_or_length_is_found_out(
    sound: SoundMeasure | None, wrong: Sequence[str]
) -> None:
    room = AnnouncedRoom(cast("Any", Listener(sound)))
    await play_announcement(room, Player())
    comparison = room.compare([])
    fields = {one.path for one in comparison.differences}
    assert fields - {"people", "agents", "tracks"} == set(wrong)
    assert {"people", "agents", "tracks"} <= fields, "no session is a difference"
