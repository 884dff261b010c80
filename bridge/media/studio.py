"""The studio of the running program: engines and files, bounded, each sound made once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Final, final

import trio
from attrs import evolve

from actors.publishing.announcement_bounds import FILE_SIZE
from actors.publishing.publishing_port import (
    SoundContent,
    SoundData,
    SoundError,
    SoundFile,
    SoundStudio,
    Speech,
)
from actors.publishing.sound import AudioClip
from bridge.media.sound_files import decode
from bridge.media.speech_engines import speak
from bridge.output.harmless import harmless

AT_ONCE: Final = 2
"""Sounds that are made at the same time."""
CACHE_BYTES: Final = 32_000_000
"""Of sounds that are kept for the next time."""
RATE: Final = 48_000
"""Hz of every sound: WebRTC's own rate."""


@final
class Studio(SoundStudio):
    """Makes sound with the configured engine and voice.

    `resample` gives a clip at another rate.  It is called in a thread.
    """

    def __init__(
        self,
        engine: str | None,
        voice: str,
        resample: Callable[[AudioClip, int], AudioClip],
    ) -> None:
        self._engine = engine
        self._voice = voice
        self._resample = resample
        self._limiter = trio.CapacityLimiter(AT_ONCE)
        self._clips: OrderedDict[Hashable, AudioClip] = OrderedDict()

    async def make(self, content: SoundContent) -> AudioClip:
        if isinstance(content, Speech) and not content.voice:
            content = evolve(content, voice=self._voice)
        key = await _key(content)
        if key in self._clips:
            self._clips.move_to_end(key)
            return self._clips[key]
        async with self._limiter:
            clip = await self._made(content)
            if clip.format.sample_rate != RATE:
                clip = await trio.to_thread.run_sync(self._resample, clip, RATE)
        if key is not None:
            self._clips[key] = clip
            while sum(len(one.samples) for one in self._clips.values()) > CACHE_BYTES:
                self._clips.popitem(last=False)
        return clip

    async def _made(self, content: SoundContent) -> AudioClip:
        match content:
            case Speech():
                return await speak(self._engine, content)
            case SoundFile(path=path):
                return await trio.to_thread.run_sync(lambda: decode(_read(Path(path))))
            case SoundData(content=data):
                return await trio.to_thread.run_sync(decode, data)


async def _key(content: SoundContent) -> Hashable:
    """What the same sound has in common; None for what is not kept."""
    match content:
        case Speech():
            return content
        case SoundFile(path=path):
            try:
                status = await trio.Path(path).stat()
            except (OSError, ValueError):
                return None
            return path, status.st_mtime_ns, status.st_size
        case SoundData():
            return None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_SIZE + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise SoundError(f"{harmless(str(path), 200)} cannot be read: {why}") from None
    if len(content) > FILE_SIZE:
        raise SoundError(f"{harmless(str(path), 200)} has more than {FILE_SIZE} bytes")
    return content
