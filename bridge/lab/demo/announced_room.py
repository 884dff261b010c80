"""A room in which the worker plays a sound, and somebody listens.

The room is none of the story's: its session is compared here, and left out of the story's numbers.
"""

from __future__ import annotations

import io
import math
import struct
import wave
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol, final

import trio
from attrs import frozen

from actors.session import SessionView
from bridge.lab.demo.differences import Difference, Near, diff
from bridge.lab.people import People, PeopleError
from bridge.lab.people.sound_measures import SoundMeasure

ROOM: Final = "announcements"
LISTENER: Final = "listener"
PITCH: Final = 660
"""Hz."""
SECONDS: Final = 1.5
RATE: Final = 48_000
WITHIN: Final = 60.0
"""Seconds."""


class Announcer(Protocol):
    """The part of a worker that plays the sound."""

    async def announce(self, room: str, sound: bytes) -> str:
        """Play a sound file in a room once it is watched; why it failed, or nothing."""
        ...


def sound_file() -> bytes:
    """The tone as a WAV."""
    samples = (
        int(10_000 * math.sin(2 * math.pi * PITCH * place / RATE))
        for place in range(int(SECONDS * RATE))
    )
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return content.getvalue()


@frozen
class AnnouncementComparison:
    """The chapter of the announcement."""

    sound: SoundMeasure | None
    """None: the listener heard nothing."""
    numbers: int
    """Number of compared values."""
    differences: tuple[Difference, ...]


@final
class AnnouncedRoom:
    """The room, its listener, and what became of the announcement."""

    def __init__(self, people: People) -> None:
        self._people = people
        self._error = "it was not ordered"
        self._sound: SoundMeasure | None = None

    async def play(self, announcer: Announcer) -> None:
        """Have the sound played, and listen."""
        listener = await self._people.join(ROOM, LISTENER, subscribe=True)
        await listener.listen()
        self._error = await announcer.announce(ROOM, sound_file())
        self._sound = await listener.sound()
        await listener.leave()

    def fail(self, error: str) -> None:
        """It could not be played or heard."""
        self._error = error

    def compare(self, sessions: Sequence[SessionView]) -> AnnouncementComparison:
        """Compare what was heard with what was played, and the session with both."""
        sound = self._sound
        wanted: Mapping[str, Any] = {
            "error": "",
            "heard": 1,
            "pitch": Near(PITCH, 10),
            "seconds": Near(SECONDS, 0.2),
            "people": 1,
            "agents": 1,
            "tracks": 1,
        }
        actual: dict[str, Any] = {"error": self._error, "heard": int(sound is not None)}
        if sound is not None:
            actual |= {"pitch": sound.pitch, "seconds": sound.seconds}
        for session in sessions:
            if session.room == ROOM:
                kinds = [one.kind for one in session.participants]
                actual |= {
                    "people": session.people.unique,
                    "agents": kinds.count("agent"),
                    "tracks": session.track_counts.total,
                }
        return AnnouncementComparison(
            sound, len(wanted), tuple(diff("announcement", wanted, actual))
        )


async def play_announcement(room: AnnouncedRoom | None, announcer: Announcer) -> None:
    """Play the announcement beside the story, where the demo has one."""
    if room is None:
        return
    try:
        with trio.move_on_after(WITHIN):
            await room.play(announcer)
    except PeopleError as error:
        room.fail(str(error))
