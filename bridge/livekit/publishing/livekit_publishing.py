"""The port of publishing, filled by rooms of real LiveKit servers.

A participant has a connection and a token of its own.  It is of kind agent, so nobody counts it
among the people, and its token makes no room.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
)
from typing import Final

import structlog
import trio
from livekit import rtc

from actors.pictures.image_files import KeyFrame
from actors.publishing.publishing_port import (
    Entry,
    PublishingParticipant,
    PublishingPort,
    SoundSource,
    StillSource,
    VideoSource,
)
from actors.publishing.sound import SAMPLE_BYTES, SoundFormat
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.publishing.picture_sources import LiveKitStill, LiveKitVideo
from bridge.livekit.publishing.room_participant import RoomParticipant
from bridge.livekit.rooms import seams, sound_capture
from bridge.livekit.rooms.native_memory import Trimmer
from bridge.livekit.tokens import AGENT_NAME_ATTRIBUTE, ApiKey, RoomGrants, room_token
from bridge.output.redact import redact

log = structlog.get_logger()

AGENT_NAME: Final = "room-actors-publisher"
"""Our second participants say this as their agent's name.  It is never the watcher's: another
worker would take them for its own."""
AT_ONCE: Final = 32
"""Connections that are made at the same time."""


class LiveKitSound(SoundSource):
    """A source of the SDK."""

    def __init__(
        self, sound_format: SoundFormat, queue: float, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._format = sound_format
        self._loop = loop
        self._frame_bytes = sound_format.frame_bytes
        if not queue:
            self._frame_bytes //= 10  # A source without a queue takes frames of 10 ms only.
        self._captures: set[asyncio.Task[None]] = set()
        self.native: Final = rtc.AudioSource(
            sound_format.sample_rate,
            sound_format.channels,
            queue_size_ms=round(queue * 1000),
            loop=loop,
        )

    def capture(self, frame: bytes) -> None:
        for start in range(0, len(frame), self._frame_bytes):
            self._capture(frame[start : start + self._frame_bytes])

    def _capture(self, piece: bytes) -> None:
        rate, channels = self._format.sample_rate, self._format.channels
        count = len(piece) // (channels * SAMPLE_BYTES)
        frame = rtc.AudioFrame(piece, rate, channels, count)
        if seams.fits("capture_sound"):
            sound_capture.capture(self.native, frame)
            return
        task = self._loop.create_task(self.native.capture_frame(frame))
        self._captures.add(task)
        task.add_done_callback(self._captures.discard)

    def make_track(self, name: str) -> rtc.LocalTrack:
        return rtc.LocalAudioTrack.create_audio_track(name, self.native)

    def close(self) -> None:
        seams.release(self.native)


class LiveKitPublishing(PublishingPort):
    """Publishes in rooms of one LiveKit server.  `loop` is that of `trio_asyncio.open_loop()`."""

    def __init__(
        self, endpoint: Endpoint, api_key: ApiKey, loop: asyncio.AbstractEventLoop
    ) -> None:
        seams.initialize()
        self.loop: Final = loop
        self.url: Final = endpoint.room_url
        self._api_key = api_key
        self.slots: Final = trio.Semaphore(AT_ONCE)
        self.participants: Final[set[RoomParticipant]] = set()
        """Those that exist at the server or still may.  Strong references: the SDK loses events
        when a live room is collected."""
        self.faults: Final[Counter[str]] = Counter()
        """Failures that no caller gets, by name."""
        self._trimmer = Trimmer()

    @contextmanager
    def _open_sound(
        self, sound_format: SoundFormat, queue: float
    ) -> Generator[LiveKitSound, None, None]:
        source = LiveKitSound(sound_format, queue, self.loop)
        try:
            yield source
        finally:
            source.close()

    def open_sound(
        self, sound_format: SoundFormat, *, queue: float
    ) -> AbstractContextManager[SoundSource]:
        return self._open_sound(sound_format, queue)

    def open_still(self, frame: KeyFrame) -> AbstractContextManager[StillSource]:
        return closing(LiveKitStill(frame))

    def open_video(self) -> AbstractContextManager[VideoSource]:
        return closing(LiveKitVideo())

    def enter(self, entry: Entry) -> AbstractAsyncContextManager[PublishingParticipant]:
        return self._enter(entry)

    @asynccontextmanager
    async def _enter(self, entry: Entry) -> AsyncGenerator[RoomParticipant, None]:
        participant = RoomParticipant(self, entry, self._token(entry))
        self.participants.add(participant)
        try:
            await participant.enter()
            yield participant
        finally:
            await participant.leave()

    def _token(self, entry: Entry) -> str:
        attributes: Mapping[str, str] = {**entry.attributes, AGENT_NAME_ATTRIBUTE: AGENT_NAME}
        return room_token(
            self._api_key,
            room=entry.room,
            identity=entry.identity,
            agent_name=entry.name,
            visible=True,
            attributes=attributes,
            may_make=False,
            grants=RoomGrants(
                publish=True, publish_data=entry.takes_data, subscribe=entry.takes_data
            ),
        )

    # ---------------------------------------------------------------- for participants

    def release(self, participant: RoomParticipant) -> None:
        """Nothing of it is left at the server."""
        self.participants.discard(participant)
        self._trimmer.soon()

    def fault(self, name: str, error: BaseException) -> None:
        """Count a failure that no caller can get, and log the first of each name."""
        self.faults[name] += 1
        if self.faults[name] == 1:
            text = redact(f"{type(error).__name__}: {error}")[:300]
            log.warning("publishing_fault", call=name, error=text)
