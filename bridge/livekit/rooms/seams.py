"""All uses of private parts of the SDK, and of Python and the system below it.

The stock SDK (livekit 1.2.1) wakes every room for every event of the process, inspects the
signature of every callback at each call, sends each native debug record through Python, has no
call to pause a subscribed track, and drops streams of topics without a handler.  Each of these
is a seam here.  A seam has a probe, which says whether the SDK still looks as it did when the
seam was written, and a public way, which is taken with one warning where it does not.  A canary
test for each seam (`tests/livekit/rooms/test_seams.py`) names what broke after an upgrade.

The native library's own logs go to stderr once Python does not capture them.  At level ERROR
they contain the whole token, hence `RUST_LOG=off` while it starts.  Its runtime would start a
thread for each core, hence `TOKIO_WORKER_THREADS`.
"""

# ruff: noqa: SLF001  (private members of the SDK are this module's subject)

from __future__ import annotations

import asyncio
import ctypes
import itertools
import logging
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, Final, Literal, TypeAlias, cast

import structlog
from attrs import frozen
from livekit import rtc
from livekit.rtc import _ffi_client as ffi_client
from livekit.rtc._ffi_client import FfiClient, FfiHandle, FfiQueue
from livekit.rtc._proto import ffi_pb2, handle_pb2, room_pb2
from livekit.rtc.data_stream import ByteStreamHandler, TextStreamHandler
from livekit.rtc.room import EventTypes

from bridge.livekit.rooms import native_threads, sound_capture, wake_timer
from bridge.output.redact import redact

log = structlog.get_logger()

SeamName: TypeAlias = Literal[
    "native_logs",
    "demux",
    "room_filter",
    "pause_track",
    "any_stream",
    "timer_slack",
    "thread_state",
    "inbox_timer",
    "capture_sound",
]


@frozen
class Seam:
    """One private detail of the SDK that we build on."""

    probe: Callable[[], object]
    """True while the SDK looks as expected.  May raise: that counts as False."""
    lost: str
    """What the public way costs the user."""


def _uses(function: Any, *names: str) -> bool:
    """True while the code of this function names all of these."""
    return set(names) <= set(function.__code__.co_names)


def _native_logs_fit() -> bool:
    return _uses(FfiClient.__init__, "get_ffi_lib", "livekit_ffi_initialize")


def _room_filter_fits() -> bool:
    """A scratch queue of the SDK's own class shows the shape of a subscription."""
    queue: FfiQueue[Any] = FfiQueue()
    loop = cast("Any", object())
    mine = queue.subscribe(loop, filter_fn=None)
    (entry,) = queue._subscribers
    return (
        entry == (mine, loop, None)
        and ffi_pb2.FfiEvent().room_event.room_handle == 0
        and ffi_pb2.FfiEvent().rpc_method_invocation.local_participant_handle == 0
        and _uses(rtc.Room.connect, "_ffi_queue", "_ffi_handle")
    )


def _pause_track_fits() -> bool:
    request = ffi_pb2.FfiRequest()
    disable = {field.name for field in request.enable_remote_track.DESCRIPTOR.fields}
    update = request.update_remote_track_publication_dimension
    return (
        disable == {"track_handle", "enabled"}
        and {field.name for field in update.DESCRIPTOR.fields}
        == {"track_publication_handle", "width", "height"}
        and _uses(rtc.RemoteTrackPublication.set_subscribed, "_ffi_handle")
        and _uses(rtc.Track.get_stats, "_ffi_handle")
    )


def _any_stream_fits() -> bool:
    return _uses(rtc.Room._handle_text_stream_opened, "_text_stream_handlers", "get") and _uses(
        rtc.Room._handle_byte_stream_opened, "_byte_stream_handlers", "get"
    )


def _demux_fits() -> bool:
    """Sends an event of a room that does not exist through the SDK's own callback."""
    initialize()
    came: list[ffi_pb2.FfiEvent] = []
    event = ffi_pb2.FfiEvent()
    event.room_event.room_handle = _NOBODY
    _route_events()
    _routes[_NOBODY] = came.append
    try:
        data = event.SerializeToString()
        buffer = (ctypes.c_uint8 * len(data)).from_buffer_copy(data)
        ffi_client.ffi_event_callback(buffer, len(data))
    finally:
        del _routes[_NOBODY]
    messages = set(room_pb2.RoomEvent.DESCRIPTOR.fields_by_name)
    reading = {field.name for field in ffi_pb2.FfiRequest().byte_read_all.DESCRIPTOR.fields}
    return (
        came == [event]
        and reading == {"reader_handle", "request_async_id"}
        and messages >= {"eos", "data_packet_received", "active_speakers_changed"}
        and _uses(rtc.Room.connect, "_listen_task", "_ffi_queue", "ready_for_room_event")
        and _uses(rtc.Room._listen_task, "_ffi_queue", "_on_room_event")
        and _uses(rtc.Room._on_room_event, "emit", "handle", "data_ptr", "data_len")
        and _uses(FfiHandle.dispose, "_disposed", "livekit_ffi_drop_handle")
    )


def _timer_slack_fits() -> bool:
    return native_threads.timer_slack_fits()


def _thread_state_fits() -> bool:
    return native_threads.thread_state_fits()


def _inbox_timer_fits() -> bool:
    return wake_timer.timer_fits()


def _capture_sound_fits() -> bool:
    return sound_capture.capture_fits()


SEAMS: Final[dict[SeamName, Seam]] = {
    "native_logs": Seam(_native_logs_fit, "native debug records pass through Python: more CPU"),
    "demux": Seam(_demux_fits, "events take the SDK's own way: more CPU, and no agents are heard"),
    "room_filter": Seam(_room_filter_fits, "every room wakes for every event: more CPU"),
    "pause_track": Seam(_pause_track_fits, "watched microphones send their sound: more traffic"),
    "any_stream": Seam(_any_stream_fits, "text streams count on the topic lk.chat only"),
    "timer_slack": Seam(_timer_slack_fits, "native threads wake up for each timer: more CPU"),
    "thread_state": Seam(_thread_state_fits, "each native callback makes a thread state: more CPU"),
    "inbox_timer": Seam(_inbox_timer_fits, "a wake-up and a sleep of trio's for events: more CPU"),
    "capture_sound": Seam(_capture_sound_fits, "a task for each frame of an announcement"),
}

_fit: dict[SeamName, bool] = {}


def fits(name: SeamName) -> bool:
    """True if the seam can be used.  The first refusal of each seam is logged, once."""
    if name not in _fit:
        try:
            _fit[name] = bool(SEAMS[name].probe())
            error = ""
        except Exception as exc:  # noqa: BLE001  any error: the seam does not fit
            _fit[name] = False
            error = f"{type(exc).__name__}: {exc}"
        if not _fit[name]:
            _warn_lost(name, error)
    return _fit[name]


def _warn_lost(name: SeamName, error: str) -> None:
    log.warning("sdk_seam_lost", seam=name, lost=SEAMS[name].lost, error=redact(error))


# --- the native library's logs -------------------------------------------------


class _InitializeQuietly:
    """Stands in for the native `livekit_ffi_initialize` and turns log capture off."""

    _function: Any

    def __init__(self, function: Any) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._function, name, value)

    def __call__(self, callback: Any, _capture_logs: bool, *rest: Any) -> Any:
        return self._function(callback, False, *rest)


@contextmanager
def _environment(name: str, value: str) -> Generator[None, None, None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


WORKERS: Final = "TOKIO_WORKER_THREADS"
"""The number of threads for the native library's own tasks, where it is not set: one.  The tasks
hand each event on a few times and do little work.  A second thread would mostly be woken for
nothing, and wait for the interpreter's lock: 10 % of an event's cost."""


def initialize(*, native_logs: bool = False) -> None:
    """Start the native library, quietly.  Call before the first `rtc.Room` is made.

    A library that was started already is left as it is.
    """
    quiet_loggers()
    if FfiClient._instance is not None:
        return
    slack = native_threads.slack_timers() if fits("timer_slack") else nullcontext()
    with _environment(WORKERS, os.environ.get(WORKERS, "1")), slack:
        _start(native_logs)


def _start(native_logs: bool) -> None:
    if native_logs or not fits("native_logs"):
        _ = FfiClient.instance
        return
    original = ffi_client.get_ffi_lib

    def quiet_lib() -> ctypes.CDLL:
        lib: Any = original()
        lib.livekit_ffi_initialize = _InitializeQuietly(lib.livekit_ffi_initialize)
        return lib

    ffi_client.get_ffi_lib = quiet_lib
    try:
        with _environment("RUST_LOG", "off"):
            _ = FfiClient.instance
    finally:
        ffi_client.get_ffi_lib = original


class _SdkRecords(logging.Filter):
    """Makes the SDK's log records safe to show: one line, no token, no payload.

    The SDK writes to the logger `livekit` and, for streams and failed callbacks, to
    the root logger itself.  Records of other loggers do not pass here: a filter of a
    logger applies only to records that are logged on that very logger.
    """

    IGNORED: Final = ("ignoring text stream", "ignoring byte stream")
    LIMIT: Final = 500

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            text = record.getMessage()
        except Exception:  # noqa: BLE001  a broken log call elsewhere
            text = str(record.msg)
        if text.startswith(self.IGNORED):
            return False
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            text = f"{text} ({type(error).__name__}: {error})"
        record.msg = redact(" ".join(text.split()))[: self.LIMIT]
        record.args = None
        record.exc_info = record.exc_text = None
        return True


_records: Final = _SdkRecords()


def quiet_loggers() -> None:
    """Add the filter to the two loggers that the SDK writes to.  May be called again."""
    for name in ("livekit", None):
        logging.getLogger(name).addFilter(_records)


# --- one demux for all rooms ------------------------------------------------------

Route: TypeAlias = Callable[[ffi_pb2.FfiEvent], None]

_NOBODY: Final = 2**64 - 1
"""A handle that the native side, which counts upwards, never assigns."""
_routes: Final[dict[int, Route]] = {}
"""By handle of a room or a local participant: the function that takes its events."""
_readings: Final[dict[int, Callable[[bytes], None]]] = {}
"""By request to read a stream: the function that takes its content."""
_numbers: Final = itertools.count(2**62)
"""Of those requests.  The native side counts its own from 1."""


def _route_events() -> None:
    """Route every event before the SDK's queue, which knows no rooms, gets it.

    The route stays until the process ends.  An event without a route goes the SDK's way.
    """
    queue: Any = FfiClient.instance.queue
    if "put" in vars(queue):
        return
    stock: Route = queue.put
    fits("thread_state")

    def put(event: ffi_pb2.FfiEvent) -> None:
        if _fit.get("thread_state"):
            native_threads.keep_thread_state()
        handle = (
            event.room_event.room_handle or event.rpc_method_invocation.local_participant_handle
        )
        if not handle and _readings:
            read = event.byte_stream_reader_read_all
            take = _readings.pop(read.async_id, None)
            if take is not None:
                take(read.content)
                return
        _routes.get(handle, stock)(event)

    queue.put = put


class DemuxedRoom(rtc.Room):
    """A Room that gets only the events that `drive` hands to it, one at a time.

    So it never shows more or less than the offered events tell.  `on_event` is called with the
    name and the arguments of each of the SDK's events.  `arrived` takes every event of the room
    when it arrives, on a thread of the native library.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_event: Callable[..., None],
        arrived: Route,
    ) -> None:
        super().__init__(loop=loop)
        self._on_event = on_event
        self._arrived = arrived

    def emit(self, event: EventTypes, *args: Any) -> None:
        self._on_event(event, *args)

    def _listen_task(self) -> Any:
        """Called by `connect` once the room has its handle.

        The native side holds its events back until it hears that we are ready, which is later.
        So no event can miss the route.
        """
        room, calls = cast("Any", self._ffi_handle).handle, self.local_participant._ffi_handle
        _routes[room] = self._arrived
        _routes[calls.handle] = self._called
        FfiClient.instance.queue.unsubscribe(self._ffi_queue)
        return self._listen_until_the_end(room, calls.handle)

    async def _listen_until_the_end(self, *handles: int) -> None:
        try:
            await super()._listen_task()
        finally:
            for handle in handles:
                _routes.pop(handle, None)
            release_room(self)

    def _called(self, event: ffi_pb2.FfiEvent) -> None:
        """A participant calls an RPC method of ours.  The SDK answers that there is none."""
        self._loop.call_soon_threadsafe(self._ffi_queue.put_nowait, event)

    def drive(self, event: ffi_pb2.FfiEvent) -> None:
        """Hand the Room one of its events.  It calls back before this returns."""
        if event.room_event.HasField("eos"):
            self._ffi_queue.put_nowait(event)
            return
        with suppress(KeyError, AssertionError):  # The participant or track is not there any more.
            self._on_room_event(event.room_event)


def release_room(room: rtc.Room) -> None:
    """Give back what the native side holds for a room that has ended: 250 KB and its sockets.

    Rooms, participants and tracks refer to one another.  So Python would do it only when its
    collector comes to them, many rooms later.
    """
    release(room)
    release_participant(room.local_participant)
    for participant in room.remote_participants.values():
        release_participant(participant)


def release_participant(participant: rtc.Participant) -> None:
    """Give back what the native side holds for a participant who has left.

    One native participant keeps the connections of its room: 0.6 MiB after the room has ended.
    """
    for publication in participant.track_publications.values():
        release(publication, publication.track)
    release(participant)


def release(*owners: object) -> None:
    """Give the native objects of these back, even if the Python ones are still referred to.

    `None` stands for a track that is not there.  Nothing happens where the SDK has changed.
    """
    if not fits("demux"):
        return
    for owner in owners:
        if owner is not None:
            with suppress(AssertionError):  # The native side has let go of it already.
                cast("Any", owner)._ffi_handle.dispose()


def take_payload(message: room_pb2.UserPacket) -> bytes:
    """Copy a message out of native memory, and give that memory back."""
    content = message.data.data
    payload = ctypes.string_at(content.data_ptr, content.data_len)
    drop(message.data.handle)
    return payload


def read_bytes(owned: handle_pb2.FfiOwnedHandle, take: Callable[[bytes], None]) -> None:
    """Read a byte stream that opened to its end, which gives its reader back.

    `take` gets the content on a native thread, or nothing where the stream broke off.  Called on
    any thread.  The events must be routed (`DemuxedRoom`).
    """
    number = next(_numbers)
    request = ffi_pb2.FfiRequest()
    request.byte_read_all.reader_handle = owned.id
    request.byte_read_all.request_async_id = number
    _readings[number] = take
    FfiClient.instance.request(request)


def drop(owned: handle_pb2.FfiOwnedHandle) -> None:
    """Give an object of the native library back.  Called on any thread."""
    FfiClient.instance._ffi_lib.livekit_ffi_drop_handle(owned.id)


# --- one room's events only ------------------------------------------------------


def watch_only_own_events(room: rtc.Room, *, answers: bool = False) -> None:
    """Narrow the room's subscription to its own events.

    Call after connect, in the same step: until then the room's handle is unknown.  With `answers`
    the answers to requests pass too, which a room that publishes waits for.
    """
    if not fits("room_filter"):
        return
    handle = cast("Any", room._ffi_handle).handle
    local = room.local_participant._ffi_handle.handle

    def mine(event: ffi_pb2.FfiEvent) -> bool:
        which = event.WhichOneof("message")
        if which == "room_event":
            return event.room_event.room_handle == handle
        if which != "rpc_method_invocation":
            return answers
        return event.rpc_method_invocation.local_participant_handle == local

    queue = FfiClient.instance.queue
    with queue._lock:
        for index, (subscriber, loop, _) in enumerate(queue._subscribers):
            if subscriber is room._ffi_queue:
                queue._subscribers[index] = (subscriber, loop, mine)


# --- a subscribed track without its media ----------------------------------------


def resume(publication: rtc.RemoteTrackPublication) -> None:
    """Have the media of a track that `pause` stopped."""
    _set_enabled(publication, True)


def pause(publication: rtc.RemoteTrackPublication) -> None:
    """Stop the media of a subscribed track.  Its owner's quality and speech still arrive.

    The request for it, `enable_remote_track_publication`, ends the process where the track ends
    at that very moment.  Two other requests do the same without that risk: one disables the
    track, the other sends the server the track's size, and with it that it is disabled.
    """
    _set_enabled(publication, False)


def _set_enabled(publication: rtc.RemoteTrackPublication, enabled: bool) -> None:
    track = publication.track
    if track is None or not fits("pause_track"):
        return
    enable = ffi_pb2.FfiRequest()
    enable.enable_remote_track.track_handle = track._ffi_handle.handle
    enable.enable_remote_track.enabled = enabled
    update = ffi_pb2.FfiRequest()
    about = update.update_remote_track_publication_dimension
    about.track_publication_handle = publication._ffi_handle.handle
    about.width, about.height = publication.width, publication.height
    for request in (enable, update):
        try:
            FfiClient.instance.request(request)
        except AssertionError:  # The handle does not exist any more, nor does the track.
            return


# --- streams of every topic ------------------------------------------------------


class _EveryTopic(dict[str, Any]):
    """A table with the same handler for all wanted topics."""

    def __init__(self, handler: Any, wanted: Callable[[str], bool]) -> None:
        super().__init__()
        self._handler = handler
        self._wanted = wanted

    def get(self, key: str, default: Any = None) -> Any:
        return self._handler if self._wanted(key) else default


def handle_streams(
    room: rtc.Room,
    wanted: Callable[[str], bool],
    on_text: TextStreamHandler,
    on_bytes: ByteStreamHandler,
    public_topic: str,
) -> None:
    """Hand the text and byte streams of every wanted topic to the two handlers.

    The public way takes handlers for single topics only.  There it is `public_topic` alone.
    """
    if fits("any_stream"):
        room._text_stream_handlers = _EveryTopic(on_text, wanted)
        room._byte_stream_handlers = _EveryTopic(on_bytes, wanted)
    else:
        room.register_text_stream_handler(public_topic, on_text)
