"""Decoded sound: 16-bit samples, and the frames in which they are published.  Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, final

from attrs import field, frozen

FRAME_SECONDS: Final = 0.1
"""Length of a frame.  Frames of 10 ms cost three times as much CPU
(docs/livekit-facts.md#frame-length)."""
LONGEST: Final = 300.0
"""Seconds of one sound: 28 MB at 48 kHz."""
SAMPLE_BYTES: Final = 2


@frozen
class SoundFormat:
    """How samples are to be read."""

    sample_rate: int
    """Samples a second of one channel.  A multiple of 100, so that 10 ms are whole samples."""
    channels: int = 1
    """1 or 2."""

    @property
    def bytes_a_second(self) -> int:
        return self.sample_rate * self.channels * SAMPLE_BYTES

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame."""
        return self.sample_rate // 10 * self.channels * SAMPLE_BYTES


@final
@frozen
class AudioClip:
    """A whole sound in memory.  Several rooms play the same bytes."""

    format: SoundFormat
    samples: bytes = field(repr=False)
    """Signed 16-bit little-endian samples, channels interleaved."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.format.bytes_a_second

    @property
    def frame_count(self) -> int:
        return -(-len(self.samples) // self.format.frame_bytes)

    def frames(self) -> Iterator[bytes]:
        """The frames in order.  The last one is filled up with silence."""
        size = self.format.frame_bytes
        for start in range(0, len(self.samples), size):
            yield self.samples[start : start + size].ljust(size, b"\0")
