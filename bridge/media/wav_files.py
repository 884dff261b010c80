"""WAV files to samples.  The standard library's `wave` knows no WAVE_FORMAT_EXTENSIBLE before
Python 3.12, and many programs write it."""

from __future__ import annotations

import struct
from typing import Final

from actors.publishing.publishing_port import SoundError
from actors.publishing.sound import LONGEST, AudioClip, SoundFormat

PCM: Final = 1
EXTENSIBLE: Final = 0xFFFE
RATES: Final = range(8_000, 192_001)
MOST_BYTES: Final = 60_000_000
"""Of a decoded sound: five minutes of stereo at 48 kHz."""
_FORMAT: Final = struct.Struct("<HHIIHH")


def is_wav(content: bytes) -> bool:
    return content[:4] == b"RIFF" and content[8:12] == b"WAVE"


def read_wav(content: bytes) -> AudioClip:
    """The samples of a WAV file with 8, 16, 24 or 32 bits of PCM.  Raises `SoundError`."""
    chunks = _chunks(content)
    if b"fmt " not in chunks or b"data" not in chunks or len(chunks[b"fmt "]) < _FORMAT.size:
        raise SoundError("the WAV file is damaged: it has no format or no samples")
    form = chunks[b"fmt "]
    code, channels, rate, _, _, bits = _FORMAT.unpack_from(form)
    if code == EXTENSIBLE and len(form) >= 26:
        code = int.from_bytes(form[24:26], "little")
    if code != PCM or bits not in (8, 16, 24, 32):
        raise SoundError(
            "the WAV file has compressed or floating-point samples; save it as 16-bit PCM"
        )
    check_format(rate, channels)
    width = bits // 8
    data = chunks[b"data"]
    data = data[: len(data) - len(data) % (width * channels)]
    form_of_samples = SoundFormat(rate, channels)
    check_length(len(data) // (width * channels), form_of_samples)
    return AudioClip(form_of_samples, _as_16_bits(data, width))


def check_format(rate: int, channels: int) -> None:
    """Raises `SoundError`."""
    if channels not in (1, 2) or rate not in RATES:
        raise SoundError(
            f"the file has {channels} channels at {rate} Hz; 1 or 2 channels at 8,000 to "
            "192,000 Hz can be played"
        )


def check_length(frames: int, form: SoundFormat) -> None:
    """For so many samples of each channel.  Raises `SoundError`."""
    seconds = frames / form.sample_rate
    if not seconds:
        raise SoundError("the file has no samples")
    if seconds > LONGEST:
        raise SoundError(f"the sound is {seconds:.0f} s long; at most {LONGEST:.0f} s are played")
    if seconds * form.bytes_a_second > MOST_BYTES:
        raise SoundError("the sound is too big; save it with 48,000 Hz")


def _chunks(content: bytes) -> dict[bytes, bytes]:
    """The first chunk of each name.  A program that writes to a pipe cannot know the sizes, so the
    last chunk may end with the file."""
    chunks: dict[bytes, bytes] = {}
    position = 12
    while position + 8 <= len(content):
        size = int.from_bytes(content[position + 4 : position + 8], "little")
        begin = position + 8
        chunks.setdefault(content[position : position + 4], content[begin : begin + size])
        position = begin + size + size % 2
    return chunks


def _as_16_bits(data: bytes, width: int) -> bytes:
    """The upper 16 bits of each sample, little-endian."""
    if width == 2:
        return data
    samples = bytearray(len(data) // width * 2)
    if width == 1:  # Eight bits are unsigned in WAV.
        samples[1::2] = data.translate(bytes(value ^ 0x80 for value in range(256)))
    else:
        samples[0::2] = data[width - 2 :: width]
        samples[1::2] = data[width - 1 :: width]
    return bytes(samples)
