"""A person of the SDK who listens: what is heard of one participant, as samples."""

from __future__ import annotations

import array
import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import pairwise
from statistics import median

import trio
import trio_asyncio
from livekit import rtc

from bridge.lab.server import PrivateServer
from bridge.livekit.tokens import ApiKey

RATE = 16_000
LOUD = 1_000
"""A sample beyond it is sound."""


class Listener:
    """Subscribes to everything in its room."""

    def __init__(self) -> None:
        self.room = rtc.Room()
        self.samples = array.array("h")
        self.arrived: list[tuple[str, str, int]] = []
        """Identity, name and kind of those who came."""
        self.left = trio.Event()
        self.speakers: list[set[str]] = []
        self._streams: list[asyncio.Task[None]] = []

    async def enter(self, url: str, token: str) -> None:
        self.room.on("track_subscribed", self._on_track)
        self.room.on("participant_connected", self._on_arrival)
        self.room.on("participant_disconnected", lambda _: self.left.set())
        self.room.on(
            "active_speakers_changed",
            lambda people: self.speakers.append({one.identity for one in people}),
        )
        await self.room.connect(url, token)

    def _on_arrival(self, participant: rtc.RemoteParticipant) -> None:
        self.arrived.append((participant.identity, participant.name, participant.kind))

    def _on_track(self, track: rtc.Track, *_: object) -> None:
        self._streams.append(asyncio.ensure_future(self._listen(track)))

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
        async for event in stream:
            self.samples.frombytes(bytes(event.frame.data))
        await stream.aclose()

    @property
    def loud(self) -> array.array[int]:
        """From the first to the last loud sample."""
        loud = [i for i, sample in enumerate(self.samples) if abs(sample) > LOUD]
        return self.samples[loud[0] : loud[-1] + 1] if loud else array.array("h")

    @property
    def seconds(self) -> float:
        return len(self.loud) / RATE

    @property
    def pitch(self) -> float:
        """Hz, by the median distance of two upward zero crossings: a gap does not change it."""
        crossings = [
            index - before / (after - before)
            for index, (before, after) in enumerate(pairwise(self.loud))
            if before < 0 <= after
        ]
        return RATE / median(after - before for before, after in pairwise(crossings))

    async def leave(self) -> None:
        await self.room.disconnect()
        for stream in self._streams:
            stream.cancel()


@asynccontextmanager
async def listening(
    server: PrivateServer, room: str, identity: str = "ann"
) -> AsyncGenerator[Listener, None]:
    """A listener in a room, for the length of the block."""
    key = ApiKey(server.api_key, server.api_secret)
    grant = {"roomJoin": True, "room": room, "canPublish": False, "canPublishData": True}
    token = key.sign(grant, claims={"sub": identity, "name": identity})
    listener = Listener()
    await trio_asyncio.aio_as_trio(listener.enter)(server.url, token)
    try:
        yield listener
    finally:
        await trio_asyncio.aio_as_trio(listener.leave)()
