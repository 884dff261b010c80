"""Two private places of the SDK that make many people in one process affordable.

Measured with livekit 1.2.1: the native library forwards every TRACE record to Python
(a core for 12 s after 50 joins), and every room is woken for every event of the process
(780 µs an event with 100 rooms).  Neither changes what a person does.  Where a newer SDK
looks different inside, nothing is replaced and people only cost more.
"""

from __future__ import annotations

from typing import Any

from livekit import rtc
from livekit.rtc import _ffi_client

_NOT_FOR_ROOMS = frozenset(
    {"audio_stream_event", "video_stream_event", "capture_audio_frame", "logs"}
)


def silence_native_logs() -> None:
    """Tell the native library to keep its log to itself.  Before the first use of the SDK."""
    load = _ffi_client.get_ffi_lib

    def load_quiet() -> Any:
        library = load()
        initialize = library.livekit_ffi_initialize

        def initialize_quiet(callback: Any, capture_logs: bool, sdk: bytes, version: bytes) -> None:
            initialize(callback, False, sdk, version)

        # The SDK declares argument types on what it finds here: a function takes the
        # attribute, and ctypes converts the four plain values by itself.
        initialize.argtypes = [
            _ffi_client.ffi_cb_fnc,
            _ffi_client.ctypes.c_bool,
            _ffi_client.ctypes.c_char_p,
            _ffi_client.ctypes.c_char_p,
        ]
        library.livekit_ffi_initialize = initialize_quiet
        return library

    _ffi_client.get_ffi_lib = load_quiet


def narrow_events(room: rtc.Room) -> bool:
    """Wake `room` only for its own events.  After connect.  False where the SDK looks different."""
    try:
        handle = room._ffi_handle.handle  # type: ignore[union-attr]
        queue = _ffi_client.FfiClient.instance.queue
        lock, subscribers, mine = queue._lock, queue._subscribers, room._ffi_queue
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
