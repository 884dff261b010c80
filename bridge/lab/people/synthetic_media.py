"""Synthetic media of a person's microphone, camera and screen.

They are cheap on purpose, because sixty people must fit beside the watcher on two cores.  A
microphone sends only while somebody speaks.  The server announces the track all the same, detects
the speech, and rates the connection excellent.  A native source that fills pauses with silence
costs 25 thousandths of a core each for the encoder alone.  A source that sends only a few packets
is rated as a bad connection.  Video is a small flat picture a few times a second.

Sources must be stopped before the process ends: the native library once aborted in a
running source.
"""

from __future__ import annotations

import array
import asyncio
import math
import time
from typing import Final, Protocol

from livekit import rtc

SAMPLE_RATE: Final = 16_000
FRAME_SECONDS: Final = 0.01
"""The only length that a source without a queue takes."""
BURST_SECONDS: Final = 0.1
QUEUE_MILLISECONDS: Final = 300
"""Of a steady microphone."""
WIDTH: Final = 160
HEIGHT: Final = 120
PICTURES_PER_SECOND: Final = 4

_SAMPLES: Final = int(SAMPLE_RATE * FRAME_SECONDS)


def _tone() -> rtc.AudioFrame:
    """500 Hz at half of full scale: loud enough to count as speech at the server.  A whole
    number of periods, so that frames join without a click."""
    samples = array.array(
        "h",
        (int(16_000 * math.sin(2 * math.pi * 500 * i / SAMPLE_RATE)) for i in range(_SAMPLES)),
    )
    return rtc.AudioFrame(samples.tobytes(), SAMPLE_RATE, 1, _SAMPLES)


def _picture(luma: int) -> rtc.VideoFrame:
    data = bytes([luma]) * (WIDTH * HEIGHT) + bytes([128]) * (WIDTH * HEIGHT // 2)
    return rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, data)


class Media(Protocol):
    """One synthetic source and the local track made of it."""

    track: rtc.LocalTrack

    async def stop(self) -> None: ...


class Sound:
    """A microphone, or the sound of a shared screen.  Silent until `speak`."""

    def __init__(self, name: str, *, steady: bool = False) -> None:
        # Without a queue the native source does not tick by itself.  With one it sends evenly.
        self._steady = steady
        queue = QUEUE_MILLISECONDS if steady else 0
        self._source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=queue)
        self.track: rtc.LocalTrack = rtc.LocalAudioTrack.create_audio_track(name, self._source)
        self._pump: asyncio.Task[None] | None = None

    def speak(self, on: bool) -> None:
        """Begin or end.  Raises the exception that ended the sound too early, if any."""
        pump, self._pump = self._pump, None
        if pump is not None:
            if pump.done():
                pump.result()
            pump.cancel()
        if on:
            self._pump = asyncio.create_task(self._push())

    async def _push(self) -> None:
        tone = _tone()
        due = time.monotonic()
        while True:
            for _ in range(round(BURST_SECONDS / FRAME_SECONDS)):
                await self._source.capture_frame(tone)
            due += BURST_SECONDS
            if not self._steady:  # A queue that is full makes us wait.
                await asyncio.sleep(max(0.0, due - time.monotonic()))

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


def make_media(source: str, *, steady: bool = False) -> Media:
    """The synthetic source for one of `process_protocol.SOURCES`."""
    if source in ("microphone", "screen_audio"):
        return Sound(source, steady=steady)
    return Picture(source, screen=source == "screen")
