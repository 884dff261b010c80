"""Publishing in simulated rooms: fills `actors.publishing.publishing_port` in virtual time.

Each room notes who was in it, and which frames its people heard when.  A test chooses the
faults of a room: an entry or a publication that never ends, an error, a lost room.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from math import inf
from typing import Literal, TypeAlias, cast, final

import trio
from attrs import define, field

from actors.pictures.image_files import KeyFrame
from actors.publishing.publishing_port import (
    CommandHandler,
    Entry,
    MediaSource,
    PublishedSource,
    PublishingError,
    PublishingParticipant,
    PublishingPort,
    SoundContent,
    SoundSource,
    SoundStudio,
    StillSource,
    VideoSource,
)
from actors.publishing.sound import AudioClip, SoundFormat
from actors.runtime import sleep

PublishingFault: TypeAlias = Literal[
    "enter_fails", "enter_hangs", "publish_fails", "publish_hangs", "crash", "nobody"
]
"""`nobody`: no subscriber comes."""


@define(eq=False)
class PublishedRoom:
    """What happened in one simulated room."""

    faults: list[PublishingFault] = field(factory=list[PublishingFault])
    """Of the next entries, one each."""
    enter_delay: float = 0.1
    subscribe_delay: float = 0.05
    silence_delay: float = 0.4
    """Seconds after the last frame until the server hears a silence."""
    entries: list[Entry] = field(factory=list[Entry])
    """Of all participants that entered."""
    tracks: list[tuple[str, PublishedSource]] = field(factory=list[tuple[str, PublishedSource]])
    """Names and sources of all publications."""
    present: int = 0
    most_present: int = 0
    frames: list[tuple[float, bytes]] = field(factory=list[tuple[float, bytes]])
    """Time of trio and frame, as the people got them."""
    people: list[str] = field(factory=list[str])
    handlers: list[CommandHandler] = field(factory=list[CommandHandler])
    """Of all participants that take commands."""
    messages: list[tuple[bytes, tuple[str, ...]]] = field(
        factory=list[tuple[bytes, tuple[str, ...]]]
    )
    """Data messages, and to whom."""
    left_at: float | None = None
    """Time of trio of the last leave."""
    lost: trio.Event = field(factory=trio.Event)
    lost_reason: str = "room_deleted"

    def lose(self) -> None:
        """Everybody is out."""
        self.lost.set()
        self.lost = trio.Event()


@final
class SimulatedSound(SoundSource, StillSource):
    """A source, and the rooms that take it."""

    def __init__(self, picture: bytes = b"") -> None:
        self.rooms: list[PublishedRoom] = []
        self.closed = False
        self._picture = picture

    def show(self) -> None:
        self.capture(self._picture)

    def capture(self, frame: bytes) -> None:
        assert not self.closed
        for room in self.rooms:
            room.frames.append((trio.current_time(), frame))


@final
class SimulatedParticipant(PublishingParticipant):
    """One participant of ours."""

    def __init__(self, room: PublishedRoom, fault: PublishingFault | None) -> None:
        self._room = room
        self._fault = fault
        self._lost = room.lost
        self._sources: dict[str, SimulatedSound] = {}

    async def publish(self, source: MediaSource, name: str, published_as: PublishedSource) -> str:
        if self._fault == "publish_hangs":
            await trio.sleep_forever()
        if self._fault == "crash":
            raise RuntimeError("the publisher crashes")
        if self._fault == "publish_fails":
            raise PublishingError("the server refused the track")
        await sleep(0.05)
        sid = f"TR_{len(self._room.entries)}"
        self._room.tracks.append((name, published_as))
        self._sources[sid] = cast("SimulatedSound", source)
        return sid

    async def subscribed(self, track_sid: str) -> None:
        if self._fault == "nobody":
            await trio.sleep_forever()
        await sleep(self._room.subscribe_delay)
        self._sources[track_sid].rooms.append(self._room)

    async def silent(self) -> None:
        frames = self._room.frames
        await trio.sleep_until((frames[-1][0] if frames else -inf) + self._room.silence_delay)

    async def unpublish(self, track_sid: str) -> None:
        await sleep(0.05)
        self._forget(track_sid)

    def _forget(self, track_sid: str) -> None:
        source = self._sources.pop(track_sid, None)
        if source is not None and self._room in source.rooms:
            source.rooms.remove(self._room)

    def leave(self) -> None:
        for sid in tuple(self._sources):
            self._forget(sid)

    def take_commands(self, handler: CommandHandler) -> None:
        self._room.handlers.append(handler)

    def people(self) -> Sequence[str]:
        return self._room.people

    async def send(self, payload: bytes, to: Sequence[str]) -> None:
        await sleep(0.01)
        self._room.messages.append((payload, tuple(to)))

    async def lost(self) -> str:
        await self._lost.wait()
        return self._room.lost_reason


@final
class SimulatedPublishing(PublishingPort):
    """The simulated rooms, made when they are first entered."""

    def __init__(self) -> None:
        self.rooms: defaultdict[str, PublishedRoom] = defaultdict(PublishedRoom)
        self.sources = 0
        """Sources that were opened."""
        self.open_sources = 0

    @contextmanager
    def _open_source(self, picture: bytes = b"") -> Generator[SimulatedSound, None, None]:
        source = SimulatedSound(picture)
        self.sources += 1
        self.open_sources += 1
        try:
            yield source
        finally:
            source.closed = True
            self.open_sources -= 1

    def open_sound(
        self, sound_format: SoundFormat, *, queue: float
    ) -> AbstractContextManager[SoundSource]:
        assert queue >= 0
        assert sound_format.sample_rate % 100 == 0
        return self._open_source()

    def open_still(self, frame: KeyFrame) -> AbstractContextManager[StillSource]:
        return self._open_source(frame.data)

    def open_video(self) -> AbstractContextManager[VideoSource]:
        return self._open_source()

    def enter(self, entry: Entry) -> AbstractAsyncContextManager[PublishingParticipant]:
        return self._enter(entry)

    @asynccontextmanager
    async def _enter(self, entry: Entry) -> AsyncGenerator[PublishingParticipant, None]:
        room = self.rooms[entry.room]
        fault = room.faults.pop(0) if room.faults else None
        if fault == "enter_hangs":
            await trio.sleep_forever()
        await sleep(room.enter_delay)
        if fault == "enter_fails":
            raise PublishingError("the room was not entered: 500")
        room.entries.append(entry)
        room.present += 1
        room.most_present = max(room.most_present, room.present)
        participant = SimulatedParticipant(room, fault)
        try:
            yield participant
        finally:
            participant.leave()
            room.present -= 1
            room.left_at = trio.current_time()


@final
class SimulatedStudio(SoundStudio):
    """Makes the sound that a test chose, and counts."""

    def __init__(self, make: Callable[[SoundContent], AudioClip]) -> None:
        self._make = make
        self.made: list[SoundContent] = []
        self.delay = 0.05

    async def make(self, content: SoundContent) -> AudioClip:
        await sleep(self.delay)
        self.made.append(content)
        return self._make(content)
