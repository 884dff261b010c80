"""Frames into a source of the SDK, without waiting for its answer.

The public `AudioSource.capture_frame` makes a subscription of all events of the process for each
frame, and waits.  The raw request copies the frame at once and keeps the order.  What does not
fit into the queue is lost without an error, so the caller keeps the time.
"""

# ruff: noqa: SLF001  (private members of the SDK are this module's subject)

from __future__ import annotations

from typing import Any, cast

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto import ffi_pb2


def capture_fits() -> bool:
    """True while the SDK captures with this very request."""
    names = set(rtc.AudioSource.capture_frame.__code__.co_names)
    request = ffi_pb2.FfiRequest().capture_audio_frame
    fields = {field.name for field in request.DESCRIPTOR.fields}
    return (
        names >= {"_ffi_handle", "capture_audio_frame", "_proto_info"}
        and fields >= {"source_handle", "buffer"}
        and hasattr(rtc.AudioFrame, "_proto_info")
    )


def capture(source: rtc.AudioSource, frame: rtc.AudioFrame) -> None:
    """Queue a frame.  A source that is closed takes none."""
    handle = cast("Any", source)._ffi_handle
    if handle.disposed:
        return
    request = ffi_pb2.FfiRequest()
    request.capture_audio_frame.source_handle = handle.handle
    request.capture_audio_frame.buffer.CopyFrom(frame._proto_info())
    FfiClient.instance.request(request)
