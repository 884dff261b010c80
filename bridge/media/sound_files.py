"""Sound files to samples: WAV always, OGG, MP3 and FLAC where soundfile is installed."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Any, Final

from actors.publishing.publishing_port import SoundError
from actors.publishing.sound import AudioClip, SoundFormat
from bridge.media.wav_files import check_format, check_length, is_wav, read_wav

INSTALL: Final = (
    "WAV files are played; for OGG, MP3 and FLAC install soundfile beside room-actors "
    "(docs/announcements.md says how)"
)


def decode(content: bytes) -> AudioClip:
    """The samples of a file.  Takes a while: to be called in a thread.  Raises `SoundError`."""
    if is_wav(content):
        return read_wav(content)
    try:
        soundfile: Any = import_module("soundfile")
    except (ImportError, OSError):  # OSError: its native library does not load.
        raise SoundError(INSTALL) from None
    try:
        with soundfile.SoundFile(io.BytesIO(content)) as file:
            rate, channels = int(file.samplerate), int(file.channels)
            check_format(rate, channels)
            check_length(int(file.frames), SoundFormat(rate, channels))
            samples = bytes(file.buffer_read(dtype="int16"))
    except (soundfile.SoundFileError, ValueError, TypeError, RuntimeError):
        raise SoundError("the file is no sound file that can be played, or it is damaged") from None
    return AudioClip(SoundFormat(rate, channels), samples)
