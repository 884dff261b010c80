"""Wake a room only for its own events, where the room also publishes.

The stock SDK wakes every room of the process for every event (780 µs an event with 100
rooms).  The watcher's seam for this (`bridge.livekit.rooms.seams`) also keeps out the answers
to `publish_track`, which a room of people must get.  Where a newer SDK looks different
inside, nothing is replaced and people only cost more.
"""

from __future__ import annotations

from typing import Any, cast

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient

_NOT_FOR_ROOMS = frozenset({"audio_stream_event", "video_stream_event", "capture_audio_frame"})


def narrow_events(room: rtc.Room) -> bool:
    """Narrow the subscription of `room`, after connect.  False where the SDK looks different."""
    inside = cast("Any", room)
    queue = cast("Any", FfiClient.instance.queue)
    try:
        handle = inside._ffi_handle.handle  # noqa: SLF001
        subscribers, mine = queue._subscribers, inside._ffi_queue  # noqa: SLF001
        lock = queue._lock  # noqa: SLF001
    except AttributeError:
        return False

    def wanted(event: Any) -> bool:
        message = event.WhichOneof("message")
        if message == "room_event":
            return event.room_event.room_handle == handle
        return message not in _NOT_FOR_ROOMS

    with lock:
        for i, (its_queue, loop, _) in enumerate(subscribers):
            if its_queue is mine:
                subscribers[i] = (its_queue, loop, wanted)
                return True
    return False
