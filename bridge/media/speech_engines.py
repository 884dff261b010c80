"""Engines that speak a text, on this machine and without a network: one row each.

An engine is imported or started when something is spoken for the first time.  espeak-ng is under
the GPL, so it runs as a process of its own.
"""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Awaitable, Callable, Mapping
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import trio
from attrs import frozen

from actors.publishing.publishing_port import SoundError, Speech
from actors.publishing.sound import SAMPLE_BYTES, AudioClip, SoundFormat
from bridge.media.wav_files import check_length, is_wav, read_wav
from bridge.output.harmless import harmless

SPEAK_DEADLINE: Final = 20.0
"""Seconds for one text."""
VOICE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+_-]{0,39}")
"""A voice or language of espeak-ng: `en-us`, `de`, `mb-en1`, `en+f3`."""
ESPEAK: Final = "espeak-ng"
HIBARI_RATE: Final = 24_000


@frozen
class SpeechEngine:
    """One engine."""

    name: str
    is_installed: Callable[[], bool]
    speak: Callable[[Speech], Awaitable[AudioClip]]
    """Raises `SoundError`."""
    install: str
    """How it is installed."""


async def _espeak(speech: Speech) -> AudioClip:
    voice = speech.voice or "en"
    if not VOICE.fullmatch(voice):
        raise SoundError(f"{harmless(voice, 40)!r} is no voice of espeak-ng; give one like en-us")
    program = shutil.which(ESPEAK)
    if program is None:
        raise SoundError(NO_ENGINE)
    # The text comes by stdin, so no part of it is an option.  Without -m markup is only text.
    command = [program, "--stdin", "--stdout", "-b", "1", "-v", voice]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    try:
        with trio.fail_after(SPEAK_DEADLINE):
            done = await trio.run_process(
                command,
                stdin=speech.text.encode(errors="replace"),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=environment,
            )
    except trio.TooSlowError:
        raise SoundError(f"espeak-ng did not answer within {SPEAK_DEADLINE:g} s") from None
    except OSError as error:
        raise SoundError(f"espeak-ng cannot be started: {error.strerror}") from None
    if done.returncode or not is_wav(done.stdout):
        first = done.stderr.decode(errors="replace").strip().partition("\n")[0]
        raise SoundError(f"espeak-ng failed: {harmless(first, 200) or done.returncode}")
    return read_wav(done.stdout)


_hibari_lock: Final = threading.Lock()


@cache
def _hibari_voice() -> Callable[[str], Any]:
    """The one voice that is in the package.  Others would be downloaded."""
    return import_module("hibari").Hibari()


def _hibari_samples(text: str) -> bytes:
    with _hibari_lock:
        samples = _hibari_voice()(text)
    numpy: Any = import_module("numpy")
    return (samples.clip(-1.0, 1.0) * 32_767).astype(numpy.dtype("<i2")).tobytes()


async def _hibari(speech: Speech) -> AudioClip:
    if speech.voice:
        raise SoundError("hibari has one voice; leave the voice out")
    try:
        with trio.fail_after(SPEAK_DEADLINE):
            samples = await trio.to_thread.run_sync(
                partial(_hibari_samples, speech.text), abandon_on_cancel=True
            )
    except trio.TooSlowError:
        raise SoundError(f"hibari did not answer within {SPEAK_DEADLINE:g} s") from None
    except Exception as error:  # noqa: BLE001  any error of the engine is that of this text
        raise SoundError(f"hibari failed: {type(error).__name__}") from None
    return AudioClip(SoundFormat(HIBARI_RATE), samples)


ENGINES: Final[Mapping[str, SpeechEngine]] = {
    engine.name: engine
    for engine in (
        SpeechEngine(
            ESPEAK,
            lambda: shutil.which(ESPEAK) is not None,
            _espeak,
            "apt-get install espeak-ng, or brew install espeak-ng",
        ),
        SpeechEngine(
            "hibari",
            lambda: find_spec("hibari") is not None,
            _hibari,
            "pip install hibari-tts (docs/announcements.md says how)",
        ),
    )
}
"""By name, the first that is installed being the default."""

NO_ENGINE: Final = "no speech engine is installed: " + "; or ".join(
    f"{engine.name} ({engine.install})" for engine in ENGINES.values()
)


def choose_engine(wanted: str | None) -> SpeechEngine:
    """The wanted engine, or the first that is installed.  Raises `SoundError`."""
    if wanted is not None:
        engine = ENGINES[wanted]
        if not engine.is_installed():
            raise SoundError(
                f"--speech-engine {wanted} is not installed: {engine.install}; or leave the "
                "setting out to take the first engine that is installed"
            )
        return engine
    for engine in ENGINES.values():
        if engine.is_installed():
            return engine
    raise SoundError(NO_ENGINE)


async def speak(wanted: str | None, speech: Speech) -> AudioClip:
    """Speak a text.  Raises `SoundError`."""
    clip = await choose_engine(wanted).speak(speech)
    check_length(len(clip.samples) // (clip.format.channels * SAMPLE_BYTES), clip.format)
    return clip
