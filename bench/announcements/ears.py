"""Listeners of the bench: when each heard something loud first."""

from __future__ import annotations

import array
import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import trio_asyncio
from livekit import rtc

from bridge.lab.server import PrivateServer
from bridge.livekit.tokens import ApiKey

LOUD = 1_000


class Ear:
    """One listener in one room."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.first_loud: float | None = None
        """Unix seconds; set it to None to listen again."""
        self._tasks: list[asyncio.Task[None]] = []

    async def enter(self, url: str, token: str) -> None:
        self.room.on("track_subscribed", self._on_track)
        await self.room.connect(url, token)

    def _on_track(self, track: rtc.Track, *_: object) -> None:
        self._tasks.append(asyncio.ensure_future(self._listen(track)))

    async def _listen(self, track: rtc.Track) -> None:
        async for event in rtc.AudioStream(track, sample_rate=16_000, num_channels=1):
            if self.first_loud is None:
                samples = array.array("h", bytes(event.frame.data))
                if max(samples, default=0) > LOUD:
                    self.first_loud = time.time()

    async def leave(self) -> None:
        await self.room.disconnect()
        for task in self._tasks:
            task.cancel()


@asynccontextmanager
async def listening(
    server: PrivateServer, rooms: Sequence[str]
) -> AsyncGenerator[dict[str, Ear], None]:
    """A listener in each room."""
    key = ApiKey(server.api_key, server.api_secret)
    ears = {room: Ear() for room in rooms}
    for room, ear in ears.items():
        grant = {"roomJoin": True, "room": room, "canPublish": False, "canSubscribe": True}
        token = key.sign(grant, claims={"sub": "listener", "name": "listener"})
        await trio_asyncio.aio_as_trio(ear.enter)(server.url, token)
    try:
        yield ears
    finally:
        for ear in ears.values():
            await trio_asyncio.aio_as_trio(ear.leave)()
