"""A person of the SDK who looks: the newest picture of one participant."""

from __future__ import annotations

import asyncio

import trio
from livekit import rtc


class Viewer:
    """Subscribes to everything in its room, and has the newest frame that was decoded."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.frame: rtc.VideoFrame | None = None
        self.frames = 0
        self._arrived = trio.Event()
        self._streams: list[asyncio.Task[None]] = []

    async def enter(self, url: str, token: str) -> None:
        self.room.on("track_subscribed", self._on_track)
        await self.room.connect(url, token)

    def _on_track(self, track: rtc.Track, *_: object) -> None:
        self._streams.append(asyncio.ensure_future(self._look(track)))

    async def _look(self, track: rtc.Track) -> None:
        stream = rtc.VideoStream(track, format=rtc.VideoBufferType.I420)
        async for event in stream:
            if event.frame.width >= 16:  # A track that ends gives a last one of 8 by 8.
                self.frame = event.frame
                self.frames += 1
                self._arrived.set()
                self._arrived = trio.Event()
        await stream.aclose()

    async def next_frame(self) -> rtc.VideoFrame:
        """The next frame.  Its first `width * height` bytes are the luma."""
        await self._arrived.wait()
        assert self.frame is not None
        return self.frame

    async def leave(self) -> None:
        await self.room.disconnect()
        for stream in self._streams:
            stream.cancel()
