"""What a job of the media publisher may ask for, and the commands that change it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.publishing.generated_sounds import (
    GENERATED_SOUNDS,
    LOUDNESS,
    RATE,
    GeneratedSound,
    generated_second,
    with_volume,
)
from actors.publishing.media_commands import (
    MAX_COMMAND,
    Answered,
    MediaState,
    carry_out,
    parse_command,
)
from actors.publishing.media_request import (
    MAX_ERROR,
    BadMediaRequest,
    MediaRequest,
    parse_media_request,
)


@pytest.mark.parametrize(
    "metadata, request_",
    [
        (None, MediaRequest()),
        ({}, MediaRequest()),
        ({"mode": "tts", "text": "Hi"}, MediaRequest("tts", text="Hi")),
        (
            {"mode": "audio_file", "audio_file": "a.wav", "loop": True, "volume": 0.5},
            MediaRequest("audio_file", file="a.wav", loop=True, volume=0.5),
        ),
        (
            {"mode": "video_with_audio", "video_type": "gradient", "text": "Hi"},
            MediaRequest("video_with_audio", text="Hi", pattern="gradient"),
        ),
        (
            {"mode": "video_with_audio"},
            MediaRequest("video_with_audio", sound="tone", pattern="color_bars"),
        ),
        (
            {"mode": "audio_tone", "tone_frequency": 660.4, "volume": 0},
            MediaRequest("audio_tone", sound="tone", frequency=660),
        ),
        ({"mode": "audio_tone", "audio_type": "noise"}, MediaRequest("audio_tone", sound="noise")),
        (
            {"mode": "video_pattern", "video_pattern": "checkerboard"},
            MediaRequest("video_pattern", pattern="checkerboard"),
        ),
        ({"mode": "both"}, MediaRequest("both", sound="tone", pattern="color_bars")),
        (
            {"welcome_message": "Hello!"},
            MediaRequest("interactive", welcome="Hello!"),
        ),
    ],
    ids=range(11),
)
def test_each_mode_asks_for_its_sound_and_its_picture(
    metadata: dict[str, Any] | None, request_: MediaRequest
) -> None:
    assert parse_media_request("" if metadata is None else json.dumps(metadata)) == request_


def test_a_text_or_a_file_ends_a_job_unless_it_is_repeated() -> None:
    assert MediaRequest("tts", text="Hi").ends
    assert not MediaRequest("audio_file", file="a", loop=True).ends
    assert not MediaRequest("interactive").ends


@pytest.mark.parametrize(
    "metadata, reason",
    [
        ("{", "is wrong"),
        ("[]", "is wrong"),
        ('{"mode": "loud"}', "mode"),
        ('{"mode": "tts"}', "needs text"),
        ('{"mode": "audio_file"}', "needs audio_file"),
        ('{"mode": "both", "video_type": "cats\\u001b"}', "cats[?] is none of color_bars"),
        ('{"volume": 1.5}', "volume"),
        ('{"volumn": 1}', "volumn"),
        ('{"tone_frequency": 5}', "tone_frequency"),
        (" " * 70_000, "characters"),
        ("[" * 60_000, "is wrong"),
    ],
    ids=range(11),
)
def test_wrong_metadata_says_what_is_wrong(metadata: str, reason: str) -> None:
    with pytest.raises(BadMediaRequest, match=reason) as error:
        parse_media_request(metadata)
    assert len(str(error.value)) <= MAX_ERROR


PLAYING = MediaState(volume=0.5, frequency=440, pattern="color_bars")


def carried_out(state: MediaState = PLAYING, /, **command: Any) -> Answered:
    return carry_out(state, command, lambda: "audio_frames 7")


@pytest.mark.parametrize(
    "command, volume",
    [
        ({"type": "set_volume", "volume": 0.25}, 0.25),
        ({"type": "set_volume", "volume": 1}, 1.0),
        ({"type": "set_volume", "volume": 2}, 0.5),
        ({"type": "set_volume", "volume": True}, 0.5),
        ({"type": "set_volume", "volume": "loud"}, 0.5),
        ({"type": "command", "command": "volume_up"}, 0.6),
        ({"type": "command", "command": "volume_down"}, 0.4),
    ],
    ids=range(7),
)
def test_the_volume_is_set_and_stepped_within_its_range(
    command: dict[str, Any], volume: float
) -> None:
    assert carried_out(**command).state.volume == volume


def test_steps_of_the_volume_end_at_silence_and_at_full_volume() -> None:
    for name, end in (("volume_up", 1.0), ("volume_down", 0.0)):
        state = PLAYING
        for _ in range(20):
            state = carried_out(state, type="command", command=name).state
        assert state.volume == end


def test_frequency_and_pattern_change_and_what_is_wrong_changes_nothing() -> None:
    assert carried_out(type="set_tone_frequency", frequency=660.2).state.frequency == 660
    assert carried_out(type="set_tone_frequency", frequency=5).state == PLAYING
    assert carried_out(type="change_pattern", pattern="gradient").state.pattern == "gradient"
    assert carried_out(type="change_pattern", pattern="cats").state == PLAYING
    following = carried_out(type="command", command="next_pattern").state.pattern
    assert following == "moving_circle"
    none = carried_out(MediaState(), type="command", command="next_pattern")
    assert (none.state, none.message) == (MediaState(), "no video is published")


def test_texts_and_files_are_asked_for_and_the_rest_is_answered() -> None:
    assert carried_out(type="speak_text", text="Hi").speak == "Hi"
    assert carried_out(type="speak_text", text="\x00!").speak == ""
    assert carried_out(type="speak_text", text="a" * 5_000).speak == ""
    assert carried_out(type="play_audio", file="a.wav").play == "a.wav"
    assert carried_out(type="play_audio").play == ""
    hello = carried_out(type="command", command="hello")
    assert hello.speak == hello.message != ""
    assert carried_out(type="command", command="status").message == "audio_frames 7"
    assert carried_out(type="command", command="dan\x1bce").message == "Unknown command: dan?ce"
    assert carried_out(type="jump").message == "Unknown command: jump"


@pytest.mark.parametrize(
    "payload",
    [b"", b"hello", b"[]", b"{}", b'{"type": 5}', b'{"type": "x"', b"[" * 5_000, b"\xff",
     b'{"type": "' + b"a" * MAX_COMMAND + b'"}'],
    ids=range(9),
)  # fmt: skip
def test_other_data_is_no_command(payload: bytes) -> None:
    assert parse_command(payload) is None


@pytest.mark.parametrize("sound", GENERATED_SOUNDS)
def test_a_second_of_each_sound_is_bounded_and_joins_the_next(sound: GeneratedSound) -> None:
    clip = generated_second(sound, 441)
    samples = memoryview(clip.samples).cast("h")
    assert len(samples) == RATE
    assert max(map(abs, samples)) <= LOUDNESS
    if sound != "noise":
        assert abs(samples[0] - samples[-1]) < LOUDNESS / 10
    half = memoryview(with_volume(clip.samples, 0.5)).cast("h")
    assert [int(value * 0.5) for value in samples[:100]] == list(half[:100])
