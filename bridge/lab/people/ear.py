"""What one person of the laboratory hears: the sound of everybody who is subscribed, as samples."""

from __future__ import annotations

import array
import asyncio
from typing import Final

from livekit import rtc

from bridge.lab.people.sound_measures import SoundMeasure, measure_sound

RATE: Final = 16_000
LONGEST: Final = 60
"""Seconds that are remembered."""


class Ear:
    """Listens in a room from now on."""

    def __init__(self, room: rtc.Room) -> None:
        self._samples = array.array("h")
        self._streams = set[asyncio.Task[None]]()
        room.on("track_subscribed", self._on_track)

    def _on_track(self, track: rtc.Track, *_: object) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            stream = asyncio.ensure_future(self._listen(track))
            self._streams.add(stream)
            stream.add_done_callback(self._streams.discard)

    async def _listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
        async for event in stream:
            if len(self._samples) < LONGEST * RATE:
                self._samples.frombytes(bytes(event.frame.data))
        await stream.aclose()

    def measure(self) -> SoundMeasure | None:
        """The measure of everything that was heard."""
        return measure_sound(self._samples, RATE)

    async def close(self) -> None:
        """Listen no more."""
        for stream in tuple(self._streams):
            stream.cancel()
