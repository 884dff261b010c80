"""The ports of publishing: rooms to publish in, and the preparation of sound.

Two things fill the first one: LiveKit's SDK (`bridge.livekit.publishing`) and a simulation
(`actors.simulation.simulated_publishing`).

A source is one medium that several rooms may publish.  It belongs to no room.  A participant is
in one room, publishes sources as tracks, and is visible to the people there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Literal, Protocol, TypeAlias

from attrs import field, frozen

from actors.pictures.image_files import KeyFrame
from actors.pictures.pattern_names import Pattern
from actors.publishing.sound import AudioClip, SoundFormat

PublishedSource: TypeAlias = Literal["microphone", "camera", "screen", "screen_audio"]
"""The source that a track is published as.  Never unknown: a server that limits the sources of a
participant leaves a publication of an unknown source without an answer."""


class PublishingError(Exception):
    """A room was not entered, or a track not published.  The text says why, without a secret."""


class SoundError(Exception):
    """A sound cannot be made.  The text says why, and what to install or to change."""


class MediaSource(Protocol):
    """One medium that several rooms may publish."""


class SoundSource(MediaSource, Protocol):
    """A source of sound with a queue."""

    def capture(self, frame: bytes) -> None:
        """Queue one frame (`FRAME_SECONDS`) and return at once.

        What the queue does not hold is lost without an error.  So the caller keeps the time.
        """
        ...


class StillSource(MediaSource, Protocol):
    """A source of one encoded picture."""

    def show(self) -> None:
        """Send the picture once more, and return at once.  A viewer who comes waits for it."""
        ...


class VideoSource(MediaSource, Protocol):
    """A source of raw frames, as `actors.pictures.video_patterns` makes them."""

    def capture(self, frame: bytes) -> None:
        """Send one frame.  Takes about a millisecond of the loop."""
        ...


@frozen
class Entry:
    """How a participant of ours enters a room."""

    room: str
    identity: str
    """Unique in the room."""
    name: str
    """Shown to people."""
    attributes: Mapping[str, str] = field(factory=dict[str, str])
    takes_data: bool = False
    """It may send data messages, and gets those of others."""


class CommandHandler(Protocol):
    """Takes what people in the room ask of a participant.  Called between two awaits."""

    def command(self, sender: str, payload: bytes, *, by_call: bool) -> bytes | None:
        """A command of the person with this identity; the answer, if there is one.

        `by_call`: by RPC, where each command is answered.  A message without a sender never gets
        here.
        """
        ...

    def arrived(self, identity: str) -> None:
        """A person joined."""
        ...


class PublishingParticipant(Protocol):
    """A participant of ours in one room."""

    async def publish(self, source: MediaSource, name: str, published_as: PublishedSource) -> str:
        """Publish a source as a track; returns its SID.  Raises `PublishingError`.

        A server may never answer: the caller sets the deadline.  Not to be repeated over and over
        on one participant: each track that ended leaves a thread and 0.2 MiB until it leaves.
        """
        ...

    async def subscribed(self, track_sid: str) -> None:
        """Wait until somebody takes this track.  For ever where nobody does."""
        ...

    async def silent(self) -> None:
        """Wait until the server no longer lists the participant among the active speakers."""
        ...

    async def unpublish(self, track_sid: str) -> None:
        """End a track.  Does not raise."""
        ...

    def take_commands(self, handler: CommandHandler) -> None:
        """Have data messages, text streams and calls answered, and arrivals reported, until the
        participant leaves.  Needs `Entry.takes_data`."""
        ...

    def people(self) -> Sequence[str]:
        """The identities of those who are in the room, agents left out."""
        ...

    async def send(self, payload: bytes, to: Sequence[str]) -> None:
        """Send a data message, to everybody where `to` is empty.  Raises `PublishingError`."""
        ...

    async def lost(self) -> str:
        """Wait until the participant is out of the room against our will; returns why."""
        ...


class PublishingPort(Protocol):
    """The way to publish in rooms."""

    def open_sound(
        self, sound_format: SoundFormat, *, queue: float
    ) -> AbstractContextManager[SoundSource]:
        """A source of sound whose queue holds `queue` seconds.

        With 0 it is made to stay published: nothing is sent, and nothing costs, between sounds.
        """
        ...

    def open_still(self, frame: KeyFrame) -> AbstractContextManager[StillSource]:
        """A source of this picture."""
        ...

    def open_video(self) -> AbstractContextManager[VideoSource]:
        """A source of moving patterns."""
        ...

    def enter(self, entry: Entry) -> AbstractAsyncContextManager[PublishingParticipant]:
        """A visible participant of kind agent, for the length of the block.

        Makes no room.  Raises `PublishingError`.
        """
        ...


@frozen
class Speech:
    """A text that an engine speaks."""

    text: str
    voice: str = ""
    """The engine's name of a voice or language; empty: the configured one."""


@frozen
class SoundFile:
    """A file on this machine, named by whom this program trusts: a rule, a setting."""

    path: str


@frozen
class SoundData:
    """The content of a file that was sent to this program."""

    content: bytes = field(repr=False)


SoundContent: TypeAlias = Speech | SoundFile | SoundData


@frozen
class TextCard:
    """A text that is shown."""

    text: str
    seconds: float


@frozen
class ImageData:
    """The content of an image file that was sent to this program."""

    content: bytes = field(repr=False)
    seconds: float


@frozen
class MovingPattern:
    """A moving pattern."""

    pattern: Pattern
    seconds: float
    text: str = ""


PictureContent: TypeAlias = TextCard | ImageData | MovingPattern
AnnouncedContent: TypeAlias = SoundContent | PictureContent


class SoundStudio(Protocol):
    """Makes sound: speaks texts, decodes files."""

    async def make(self, content: SoundContent) -> AudioClip:
        """The sound.  Raises `SoundError`."""
        ...
