"""Pictures ready to be shown: made once, and sent while they are shown."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeAlias

import trio
from attrs import frozen

from actors.pictures.image_files import ImageError, KeyFrame, image_key_frame, key_frame_of
from actors.pictures.mosaic import text_card
from actors.pictures.pattern_names import Pattern
from actors.pictures.video_patterns import FRAME_RATE, pattern_frame
from actors.publishing.publishing_port import (
    MediaSource,
    MovingPattern,
    PictureContent,
    PublishingPort,
    SoundError,
    StillSource,
    TextCard,
    VideoSource,
)

SHOW_EVERY: Final = 1.0
"""Seconds between two frames of a still.  Who comes later waits that long for the picture."""


@frozen
class StillClip:
    """A still, and for how many seconds it is shown."""

    frame: KeyFrame
    seconds: float


@frozen
class MovingClip:
    """A moving pattern."""

    pattern: Pattern
    text: str
    seconds: float


PictureClip: TypeAlias = StillClip | MovingClip


async def make_picture(content: PictureContent) -> PictureClip:
    """Make the picture, in a thread.  Raises `SoundError`, as the studio of sounds does."""
    if isinstance(content, MovingPattern):
        return MovingClip(content.pattern, content.text, content.seconds)

    def make() -> KeyFrame:
        if isinstance(content, TextCard):
            return key_frame_of(text_card(content.text))
        return image_key_frame(content.content)

    try:
        return StillClip(await trio.to_thread.run_sync(make), content.seconds)
    except ImageError as error:
        raise SoundError(str(error)) from None


@contextmanager
def open_picture(
    port: PublishingPort, clip: PictureClip
) -> Generator[tuple[MediaSource, Callable[[], Awaitable[None]]], None, None]:
    """The source of a clip, and what shows it in time."""
    if isinstance(clip, StillClip):
        with port.open_still(clip.frame) as still:
            yield still, lambda: show_still(still, clip.seconds)
    else:
        with port.open_video() as video:
            yield video, lambda: show_pattern(video, clip)


async def show_still(source: StillSource, seconds: float) -> None:
    """Send the picture now and every second, and return after the last one."""
    end = trio.current_time() + seconds
    while trio.current_time() < end:
        source.show()
        await trio.sleep_until(min(end, trio.current_time() + SHOW_EVERY))


async def show_pattern(source: VideoSource, clip: MovingClip) -> None:
    """Send the frames in time.  Frames whose time has passed are left out."""
    start = trio.current_time()
    number = 0
    while (passed := trio.current_time() - start) < clip.seconds:
        number = max(number + 1, int(passed * FRAME_RATE))
        source.capture(pattern_frame(clip.pattern, number, clip.text))
        await trio.sleep_until(start + (number + 1) / FRAME_RATE)
