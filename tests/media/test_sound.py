"""Sound out of files and texts: what is read, what is refused, and with which words."""

from __future__ import annotations

import io
import shlex
import stat
import struct
import sys
import wave
from pathlib import Path
from types import ModuleType

import pytest
from trio.testing import MockClock

from actors.publishing.announcement_bounds import FILE_SIZE
from actors.publishing.publishing_port import SoundData, SoundError, SoundFile, Speech
from actors.publishing.sound import AudioClip
from bridge.livekit.publishing.resampling import resample
from bridge.media import speech_engines
from bridge.media.sound_files import decode
from bridge.media.speech_engines import SPEAK_DEADLINE, choose_engine, speak
from bridge.media.studio import RATE, Studio
from bridge.media.wav_files import read_wav
from tests.publishing.tones import tone

SAMPLES = (0, 256, -256, 0x7F00, -0x8000)


def wav_of(clip: AudioClip) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(clip.format.channels)
        writer.setsampwidth(2)
        writer.setframerate(clip.format.sample_rate)
        writer.writeframes(clip.samples)
    return file.getvalue()


def wav(data: bytes, bits: int, *, code: int = 1, channels: int = 1, rate: int = 8_000) -> bytes:
    width = bits // 8
    form = struct.pack("<HHIIHH", code, channels, rate, 0, width * channels, bits)
    if code == 0xFFFE:
        form += struct.pack("<HHIH14s", 22, bits, 0, 1, b"\0" * 14)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form
    chunks += b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WAVE" + chunks


@pytest.mark.parametrize(
    "content",
    [
        wav(bytes((value >> 8) + 128 for value in SAMPLES), 8),
        wav(struct.pack("<5h", *SAMPLES), 16),
        wav(struct.pack("<5h", *SAMPLES), 16, code=0xFFFE),
        wav(b"".join((value << 8).to_bytes(3, "little", signed=True) for value in SAMPLES), 24),
        wav(struct.pack("<5i", *(value << 16 for value in SAMPLES)), 32),
    ],
)
def test_pcm_of_every_width_gives_the_same_samples(content: bytes) -> None:
    clip = read_wav(content)
    assert struct.unpack("<5h", clip.samples) == SAMPLES
    assert (clip.format.sample_rate, clip.format.channels) == (8_000, 1)


@pytest.mark.parametrize(
    "content, error",
    [
        (wav(b"\0" * 8, 32, code=3), "floating-point"),
        (wav(b"", 16), "no samples"),
        (wav(b"\0" * 12, 16, channels=6), "6 channels"),
        (wav(b"\0" * 12, 16, rate=0), "0 Hz"),
        (wav(b"\0" * 12, 16, rate=2**31 - 1), "Hz"),
        (wav(b"\0" * (8_000 * 2 * 301), 16), "at most 300 s"),
        (wav(b"\0" * (192_000 * 4 * 80), 16, channels=2, rate=192_000), "too big"),
        (wav(b"\0" * 12, 16)[:30], "damaged"),
        (b"RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\xff", "damaged"),
        (b"RIFF1234WAVE", "damaged"),
    ],
)
def test_what_is_no_sound_is_refused_with_the_reason(content: bytes, error: str) -> None:
    with pytest.raises(SoundError, match=error):
        decode(content)


def test_other_files_need_soundfile_and_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(SoundError, match="install soundfile"):
        decode(b"OggS\0\0\0\0")


def test_other_files_are_read_by_soundfile_where_it_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class File:
        samplerate, channels, frames = 48_000, 1, 5

        def __init__(self, file: io.BytesIO) -> None:
            if not file.read().startswith(b"OggS"):
                raise RuntimeError("unknown format")

        def __enter__(self) -> File:
            return self

        def __exit__(self, *_: object) -> None: ...

        def buffer_read(self, *, dtype: str) -> memoryview:
            assert dtype == "int16"
            return memoryview(struct.pack("<5h", *SAMPLES))

    module = ModuleType("soundfile")
    module.__dict__.update(SoundFile=File, SoundFileError=ValueError)
    monkeypatch.setitem(sys.modules, "soundfile", module)
    assert struct.unpack("<5h", decode(b"OggS").samples) == SAMPLES
    with pytest.raises(SoundError, match="no sound file"):
        decode(b"nothing")


def a_program(path: Path, script: str) -> None:
    """The path of an interpreter may have a space in it, which a first line cannot have."""
    module = path.with_name(f"{path.name}.py")
    module.write_text(script)
    path.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(module))} "$@"\n'
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which programs are found, and no other."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(speech_engines, "find_spec", lambda _: None)
    return folder


SPEAKS = """
import sys
text = sys.stdin.buffer.read()
assert sys.argv[1:] == ["--stdin", "--stdout", "-b", "1", "-v", "de"], sys.argv
sys.stdout.buffer.write(bytes.fromhex("%s") + text)
"""


async def test_espeak_gets_the_text_by_stdin_and_the_voice_as_its_option(programs: Path) -> None:
    head = wav(b"", 16)[:-4] + b"\xff\xff\xff\x7f"  # It cannot know how long it will be.
    a_program(programs / "espeak-ng", SPEAKS % head.hex())
    clip = await speak(None, Speech("-x <b>$(id)", "de"))
    assert clip.samples == b"-x <b>$(id)"[:10]


@pytest.mark.parametrize(
    "script, error",
    [
        ("import sys; sys.exit('no such \\x1b[31m voice')", "espeak-ng failed: no such .*voice"),
        ("import sys; sys.stdout.write('hello')", "espeak-ng failed"),
        ("import os; os.abort()", "espeak-ng failed"),
    ],
)
async def test_an_engine_that_fails_says_why(script: str, error: str, programs: Path) -> None:
    a_program(programs / "espeak-ng", script)
    with pytest.raises(SoundError, match=error) as failed:
        await speak("espeak-ng", Speech("Hello."))
    assert "\x1b" not in str(failed.value)


async def test_a_voice_is_never_an_option_of_the_engine(programs: Path) -> None:
    a_program(programs / "espeak-ng", "")
    with pytest.raises(SoundError, match="no voice of espeak-ng"):
        await speak("espeak-ng", Speech("Hello.", "--path=/"))


async def test_without_an_engine_the_error_says_what_to_install(programs: Path) -> None:
    with pytest.raises(SoundError, match=r"apt-get install espeak-ng.*; or hibari \(pip install"):
        await speak(None, Speech("Hello."))
    with pytest.raises(SoundError, match="--speech-engine hibari is not installed"):
        choose_engine("hibari")


async def test_an_engine_that_hangs_is_ended(programs: Path, autojump_clock: MockClock) -> None:
    a_program(programs / "espeak-ng", "import signal; signal.pause()")
    autojump_clock.autojump_threshold = 0.5
    with pytest.raises(SoundError, match=f"within {SPEAK_DEADLINE:g} s"):
        await speak(None, Speech("Hello."))


async def test_the_studio_makes_a_file_once_and_again_when_it_has_changed(tmp_path: Path) -> None:
    rates: list[int] = []

    def counted(clip: AudioClip, rate: int) -> AudioClip:
        rates.append(rate)
        return resample(clip, rate)

    studio, path = Studio(None, "", counted), tmp_path / "gong.wav"
    path.write_bytes(wav(struct.pack("<h", 8_000) * 8_000, 16))
    first = await studio.make(SoundFile(str(path)))
    assert await studio.make(SoundFile(str(path))) is first
    assert first.format.sample_rate == RATE
    assert first.seconds == pytest.approx(1.0, abs=0.01)
    path.write_bytes(wav_of(tone(0.5)))
    second = await studio.make(SoundFile(str(path)))
    assert (second.seconds, rates) == (0.5, [RATE])
    assert (await studio.make(SoundData(wav_of(tone(0.5))))).samples == second.samples


@pytest.mark.parametrize("name", ["missing.wav", "folder", "big.wav", "x\0.wav"])
async def test_a_file_that_cannot_be_read_is_an_error_of_this_sound(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    with (tmp_path / "big.wav").open("wb") as big:
        big.truncate(FILE_SIZE + 1)
    with pytest.raises(SoundError, match=r"cannot be read|more than"):
        await Studio(None, "", resample).make(SoundFile(str(tmp_path / name)))
