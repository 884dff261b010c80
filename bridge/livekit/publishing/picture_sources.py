"""Sources of video: a still picture that is encoded already, and raw frames.

They have what `room_participant` asks of a source: `make_track` and `publish_options`.  One source
may be published in several rooms.
"""

from __future__ import annotations

import time
from typing import Final

from livekit import rtc

from actors.pictures.image_files import KeyFrame
from actors.pictures.video_patterns import FRAME_RATE, HEIGHT, WIDTH
from actors.publishing.publishing_port import StillSource, VideoSource
from bridge.livekit.rooms import seams

STILL_BITRATE: Final = 2_000_000
MOVING_BITRATE: Final = 700_000
"""Bits a second at most.  WebRTC sends less where there is less."""


class LiveKitStill(StillSource):
    """A still picture.  The SDK sends its bytes as they are: 4.5 thousandths of a core at a frame
    a second, where encoding the picture anew takes 18 (docs/livekit-facts.md)."""

    def __init__(self, frame: KeyFrame) -> None:
        self._frame = frame
        self.native: Final = rtc.EncodedVideoSource(frame.width, frame.height)
        encoding = rtc.VideoEncoding(max_bitrate=STILL_BITRATE, max_framerate=2)
        self.publish_options: Final = rtc.TrackPublishOptions(
            video_codec=rtc.VideoCodec.VP8,
            video_encoder=rtc.VideoEncoderBackend.ENCODER_BACKEND_PRE_ENCODED,
            video_encoding=encoding,
            simulcast=False,
        )

    def make_track(self, name: str) -> rtc.LocalTrack:
        return rtc.LocalVideoTrack.create_video_track(name, self.native)

    def show(self) -> None:
        """Send the picture once more.  Needed about once a second: who comes later waits for it."""
        self.native.take_feedback()  # Each frame is what a late viewer asks for.
        self.native.capture_frame(
            rtc.EncodedVideoFrame(
                data=self._frame.data,
                width=self._frame.width,
                height=self._frame.height,
                codec=rtc.VideoCodec.VP8,
                frame_type=rtc.EncodedFrameType.ENCODED_FRAME_KEY,
                timestamp_us=time.monotonic_ns() // 1000,
            )
        )

    def close(self) -> None:
        seams.release(self.native)


class LiveKitVideo(VideoSource):
    """Raw frames of moving patterns (I420)."""

    def __init__(self) -> None:
        self.native: Final = rtc.VideoSource(WIDTH, HEIGHT)
        encoding = rtc.VideoEncoding(max_bitrate=MOVING_BITRATE, max_framerate=FRAME_RATE)
        self.publish_options: Final = rtc.TrackPublishOptions(
            video_codec=rtc.VideoCodec.VP8, video_encoding=encoding, simulcast=False
        )

    def make_track(self, name: str) -> rtc.LocalTrack:
        return rtc.LocalVideoTrack.create_video_track(name, self.native)

    def capture(self, frame: bytes) -> None:
        """Send a frame.  Takes 1 ms of this thread, and the encoder's threads more."""
        self.native.capture_frame(
            rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.I420, frame),
            timestamp_us=time.monotonic_ns() // 1000,
        )

    def close(self) -> None:
        seams.release(self.native)
