"""Pictures are published in a real room, and a real viewer decodes them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio_asyncio
from livekit import rtc

from actors.pictures.image_files import key_frame_of
from actors.pictures.mosaic import SQUARE, Mosaic, colour_bars, text_card
from actors.pictures.video_patterns import INK, pattern_frame
from actors.publishing.picture_clips import MovingClip, PictureClip, StillClip
from actors.publishing.playback import Playback
from actors.publishing.publishing_port import Entry
from bridge.lab.server import PrivateServer
from bridge.livekit.publishing.livekit_publishing import LiveKitPublishing
from tests.livekit.conftest import key_of
from tests.livekit.publishing.viewer import Viewer


@asynccontextmanager
async def viewing(server: PrivateServer, room: str) -> AsyncGenerator[Viewer, None]:
    """Somebody who looks, for the length of the block."""
    viewer = Viewer()
    grant = {"roomJoin": True, "room": room}
    token = key_of(server).sign(grant, claims={"sub": "viewer"})
    await trio_asyncio.aio_as_trio(viewer.enter)(server.url, token)
    try:
        yield viewer
    finally:
        await trio_asyncio.aio_as_trio(viewer.leave)()


async def shown(
    publishing: LiveKitPublishing, server: PrivateServer, room: str, clip: PictureClip
) -> rtc.VideoFrame:
    """The first frame that a viewer sees."""
    frames = list[rtc.VideoFrame]()
    async with viewing(server, room) as viewer:
        playback = Playback(publishing, clip, [Entry(room, "shower", "Show")], "Generated Video")
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(playback.run)
                frames.append(await viewer.next_frame())
                nursery.cancel_scope.cancel()
    return frames[0]


@pytest.mark.parametrize(
    "mosaic", [text_card("This room is recorded"), colour_bars()], ids=["card", "bars"]
)
async def test_a_still_is_decoded_square_by_square_as_it_was_made(
    publishing: LiveKitPublishing, livekit_server: PrivateServer, name: str, mosaic: Mosaic
) -> None:
    frame = await shown(publishing, livekit_server, name, StillClip(key_frame_of(mosaic), 60))
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
    publishing: LiveKitPublishing, livekit_server: PrivateServer, name: str
) -> None:
    clip = MovingClip("text_display", "HELLO", 60)
    frame = await shown(publishing, livekit_server, name, clip)
    luma = bytes(frame.data)[: frame.width * frame.height]
    wanted = pattern_frame("text_display", 0, "HELLO").count(INK)
    bright = sum(sample > 180 for sample in luma) * (640 * 360) / len(luma)
    assert bright == pytest.approx(wanted, rel=0.2)
