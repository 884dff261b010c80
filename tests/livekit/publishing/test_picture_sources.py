"""Pictures are published in a real room, and a real viewer decodes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio_asyncio
from livekit import rtc

from actors.pictures.image_files import key_frame_of
from actors.pictures.mosaic import SQUARE, Mosaic, colour_bars, text_card
from actors.pictures.video_patterns import INK, pattern_frame
from bridge.lab.server import PrivateServer
from bridge.livekit.publishing.picture_sources import LiveKitStill, LiveKitVideo
from tests.livekit.conftest import key_of
from tests.livekit.publishing.viewer import Viewer


@asynccontextmanager
async def viewing(
    server: PrivateServer, room: str, source: LiveKitStill | LiveKitVideo
) -> AsyncGenerator[Viewer, None]:
    """Somebody publishes the source, and somebody else is in the room."""
    viewer, publisher = Viewer(), rtc.Room()
    tokens = {
        identity: key_of(server).sign({"roomJoin": True, "room": room}, claims={"sub": identity})
        for identity in ("viewer", "publisher")
    }

    async def enter() -> None:
        await viewer.enter(server.url, tokens["viewer"])
        await publisher.connect(server.url, tokens["publisher"])
        options = rtc.TrackPublishOptions()
        options.CopyFrom(source.publish_options)
        options.source = rtc.TrackSource.SOURCE_SCREENSHARE
        await publisher.local_participant.publish_track(
            source.make_track("Generated Video"), options
        )

    async def leave() -> None:
        await viewer.leave()
        await publisher.disconnect()

    async with trio_asyncio.open_loop():
        await trio_asyncio.aio_as_trio(enter)()
        try:
            yield viewer
        finally:
            await trio_asyncio.aio_as_trio(leave)()
            source.close()


async def first_frame(viewer: Viewer, send: Callable[[], None]) -> rtc.VideoFrame:
    """The first picture that is seen, sent until then as a source is in use."""
    frames = list[rtc.VideoFrame]()

    async def look() -> None:
        frames.append(await viewer.next_frame())
        nursery.cancel_scope.cancel()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            while True:
                send()
                await trio.sleep(0.1)
    return frames[0]


@pytest.mark.parametrize(
    "mosaic", [text_card("This room is recorded"), colour_bars()], ids=["card", "bars"]
)
async def test_a_still_is_decoded_square_by_square_as_it_was_made(
    livekit_server: PrivateServer, name: str, mosaic: Mosaic
) -> None:
    still = LiveKitStill(key_frame_of(mosaic))
    async with viewing(livekit_server, name, still) as viewer:
        frame = await first_frame(viewer, still.show)
    assert (frame.width, frame.height) == (mosaic.width, mosaic.height)
    data, width = bytes(frame.data), frame.width
    columns = width // SQUARE
    seen = [
        data[(row * SQUARE + 1) * width + column * SQUARE + 1]
        for row in range(frame.height // SQUARE)
        for column in range(columns)
    ]
    off = [abs(a - b) for a, b in zip(seen, mosaic.luma, strict=True)]
    assert max(off) <= 3, "the last steps of the quantizer"


async def test_a_moving_pattern_is_seen_with_its_letters(
    livekit_server: PrivateServer, name: str
) -> None:
    video, numbers = LiveKitVideo(), iter(range(10_000))
    async with viewing(livekit_server, name, video) as viewer:
        frame = await first_frame(
            viewer, lambda: video.capture(pattern_frame("text_display", next(numbers), "HELLO"))
        )
    luma = bytes(frame.data)[: frame.width * frame.height]
    wanted = pattern_frame("text_display", 0, "HELLO").count(INK)
    bright = sum(sample > 180 for sample in luma) * (640 * 360) / len(luma)
    assert bright == pytest.approx(wanted, rel=0.2)
