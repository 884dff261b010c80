"""Synthetic media: what a person's microphone, camera and screen send.

Cheap on purpose, because sixty people must fit beside the watcher on two cores: audio
is pushed only while somebody speaks, in frames of 100 ms (the native source fills the
rest with silence of its own, which is enough for the server to announce the track), and
video is a small flat picture a few times a second.

Sources must be stopped before the process ends: the native library once aborted in a
running source.
"""

from __future__ import annotations

import array
import asyncio
import math
from typing import Final, Protocol

from livekit import rtc

SAMPLE_RATE: Final = 16_000
FRAME_SECONDS: Final = 0.1
WIDTH: Final = 160
HEIGHT: Final = 120
PICTURES_PER_SECOND: Final = 4

_SAMPLES: Final = int(SAMPLE_RATE * FRAME_SECONDS)
_AUDIO_QUEUE_MS: Final = 400


def _tone() -> rtc.AudioFrame:
    """100 ms of 440 Hz at half of full scale: loud enough to count as speech at the server.
    A whole number of periods, so that frames join without a click."""
    samples = array.array(
        "h",
        (int(16_000 * math.sin(2 * math.pi * 440 * i / SAMPLE_RATE)) for i in range(_SAMPLES)),
    )
    return rtc.AudioFrame(samples.tobytes(), SAMPLE_RATE, 1, _SAMPLES)


def _silence() -> rtc.AudioFrame:
    return rtc.AudioFrame(bytes(2 * _SAMPLES), SAMPLE_RATE, 1, _SAMPLES)


def _picture(luma: int) -> rtc.VideoFrame:
    data = bytes([luma]) * (WIDTH * HEIGHT) + bytes([128]) * (WIDTH * HEIGHT // 2)
    return rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, data)


class Media(Protocol):
    """One synthetic source and the local track made of it."""

    track: rtc.LocalTrack

    async def stop(self) -> None: ...


class Sound:
    """A microphone, or the sound of a shared screen.  Silent until told to speak."""

    def __init__(self, name: str) -> None:
        self._source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=_AUDIO_QUEUE_MS)
        self.track: rtc.LocalTrack = rtc.LocalAudioTrack.create_audio_track(name, self._source)
        self._pump: asyncio.Task[None] | None = asyncio.create_task(self._push(_silence(), 1))

    def speak(self, on: bool) -> None:
        if self._pump is not None:
            self._pump.cancel()
        self._pump = asyncio.create_task(self._push(_tone(), None)) if on else None
        if not on:
            self._source.clear_queue()

    async def _push(self, frame: rtc.AudioFrame, times: int | None) -> None:
        """The source's queue is the clock: `capture_frame` waits while it is full."""
        while times is None or times > 0:
            await self._source.capture_frame(frame)
            times = None if times is None else times - 1

    async def stop(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait([self._pump])
            self._pump = None
        await self._source.aclose()


class Picture:
    """A camera or a shared screen."""

    def __init__(self, name: str, *, screen: bool) -> None:
        self._source = rtc.VideoSource(WIDTH, HEIGHT, is_screencast=screen)
        self.track: rtc.LocalTrack = rtc.LocalVideoTrack.create_video_track(name, self._source)
        self._pump = asyncio.create_task(self._push())

    async def _push(self) -> None:
        pictures = [_picture(luma) for luma in (60, 120, 180)]
        while True:
            for picture in pictures:
                self._source.capture_frame(picture)
                await asyncio.sleep(1 / PICTURES_PER_SECOND)

    async def stop(self) -> None:
        self._pump.cancel()
        await asyncio.wait([self._pump])
        await self._source.aclose()


def make_media(source: str) -> Media:
    """The synthetic source for one of `wire.SOURCES`."""
    if source in ("microphone", "screen_audio"):
        return Sound(source)
    return Picture(source, screen=source == "screen")
