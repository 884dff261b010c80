"""An announcement: what is played in which rooms, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import trio
from attrs import define, evolve, field, frozen

from actors.publishing.publishing_port import (
    AnnouncedContent,
    ImageData,
    MovingPattern,
    PictureContent,
    SoundData,
    Speech,
    TextCard,
)

TRACK_NAMES: Final[Mapping[type[AnnouncedContent], str]] = {
    Speech: "TTS Audio",
    TextCard: "Generated Video",
    ImageData: "Generated Video",
    MovingPattern: "Generated Video",
}
"""Names of tracks, by what is played; `Audio File` for all others."""

RoomOutcome: TypeAlias = Literal["waiting", "preparing", "playing", "played", "failed"]


@frozen
class Announcement:
    """One order to play something."""

    rooms: Sequence[str]
    """Names."""
    content: AnnouncedContent
    by: str
    """The origin of the order, for the log: `api`, or `rule NAME`."""
    from_people: bool = False
    """Its text was written by somebody in a room.  It is spoken only where a setting says so."""

    @property
    def does(self) -> Literal["say", "play", "show"]:
        if isinstance(self.content, Speech):
            return "say"
        return "show" if isinstance(self.content, PictureContent) else "play"

    @property
    def track_name(self) -> str:
        return TRACK_NAMES.get(type(self.content), "Audio File")

    def without_bytes(self) -> Announcement:
        """The same without the content of a file, which nobody needs any more."""
        content = self.content
        if isinstance(content, SoundData | ImageData):
            return evolve(self, content=evolve(content, content=b""))
        return self

    @property
    def size(self) -> int:
        """Bytes in memory while it waits."""
        content = self.content
        return len(content.content) if isinstance(content, SoundData | ImageData) else 0


@define
class RoomPart:
    """An announcement in one of its rooms."""

    outcome: RoomOutcome = "waiting"
    error: str = ""
    tries: int = 0
    """Playbacks that this room was in."""
    first_sound: float | None = None
    """Seconds from the order to the first frame."""


@define(eq=False)
class AnnouncementRecord:
    """An announcement and its state.  The queue writes it, everybody may read it."""

    id: str
    announcement: Announcement
    ordered_at: float
    """Unix seconds."""
    parts: dict[str, RoomPart]
    """By room."""
    seconds: float | None = None
    """Length of the sound or picture in seconds; None before it was made."""
    over: trio.Event = field(factory=trio.Event)
    """Nothing of it is left to be done."""

    @property
    def error(self) -> str:
        """Why it failed in a room; empty where it was played in all of them."""
        return next((part.error for part in self.parts.values() if part.error), "")
