"""One participant of ours in one room, which publishes.

Every call of the SDK runs in an asyncio task that nobody cancels while the connection lives: a
cancelled connect ends the process (`bridge.livekit.rooms.room_connection`).  The trio side waits
for an event and may stop waiting.  A connection that is made after that closes itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final, Protocol, TypeVar, cast, final

import structlog
import trio
from livekit import rtc

from actors.publishing.publishing_port import (
    CommandHandler,
    Entry,
    MediaSource,
    PublishedSource,
    PublishingError,
    PublishingParticipant,
)
from bridge.livekit.publishing import room_commands
from bridge.livekit.rooms import native_threads, seams
from bridge.livekit.rooms.connect_errors import connect_error
from bridge.output.redact import redact

log = structlog.get_logger()

T = TypeVar("T")

LEAVE_DEADLINE: Final = 3.0
"""Seconds for a disconnect.  After that the server's own timeout removes us."""
UNPUBLISH_DEADLINE: Final = 2.0

SOURCES: Final[dict[PublishedSource, Any]] = {
    "microphone": rtc.TrackSource.SOURCE_MICROPHONE,
    "camera": rtc.TrackSource.SOURCE_CAMERA,
    "screen": rtc.TrackSource.SOURCE_SCREENSHARE,
    "screen_audio": rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO,
}


class ParticipantOwner(Protocol):
    """The part of the port that a participant needs."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...
    @property
    def url(self) -> str: ...
    @property
    def slots(self) -> trio.Semaphore: ...
    def release(self, participant: RoomParticipant) -> None: ...
    def fault(self, name: str, error: BaseException) -> None: ...


class TrackMaker(Protocol):
    """A source of this package."""

    def make_track(self, name: str) -> rtc.LocalTrack: ...


def publish_options(source: MediaSource, published_as: PublishedSource) -> rtc.TrackPublishOptions:
    """The options of a publication.  A source may have its own (`publish_options`)."""
    own: rtc.TrackPublishOptions | None = getattr(source, "publish_options", None)
    options = rtc.TrackPublishOptions()
    if own is not None:
        options.CopyFrom(own)
    options.source = SOURCES[published_as]
    return options


@final
class RoomParticipant(PublishingParticipant):
    """See the module."""

    def __init__(self, owner: ParticipantOwner, entry: Entry, token: str) -> None:
        self._owner = owner
        self._entry = entry
        self._token = token
        self._room: rtc.Room | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._left = False
        """Nobody wants to be in the room any more."""
        self._lost = trio.Event()
        self._reason = ""
        self._subscribed: dict[str, trio.Event] = {}
        """By SID of our tracks."""
        self._silent = trio.Event()
        """The server does not list us among the active speakers."""
        self._silent.set()
        self._tracks: dict[str, rtc.LocalTrack] = {}
        self._calls: set[asyncio.Task[Any]] = set()

    @property
    def room(self) -> rtc.Room | None:
        """The SDK's room; None while it is not entered."""
        return self._room

    # ---------------------------------------------------------------- the trio side

    async def enter(self) -> None:
        """Wait until the room is entered.  `leave` must follow, whatever this raises."""
        async with self._owner.slots:
            self._connecting = self._spawn("connect", self._connect())
            await _finished(self._connecting)
        error = self._connecting.exception()
        if isinstance(error, rtc.ConnectError):
            raise PublishingError(f"the room was not entered: {connect_error(error.message)}")
        if error is not None:
            raise PublishingError(f"the room was not entered: {_shown(error)}")

    async def publish(self, source: MediaSource, name: str, published_as: PublishedSource) -> str:
        room = self._entered()
        track = cast("TrackMaker", source).make_track(name)
        options = publish_options(source, published_as)
        publication = await self._call(
            "publish", room.local_participant.publish_track(track, options)
        )
        self._tracks[publication.sid] = track
        return publication.sid

    async def subscribed(self, track_sid: str) -> None:
        await self._subscribed.setdefault(track_sid, trio.Event()).wait()

    async def silent(self) -> None:
        while not self._silent.is_set():
            await self._silent.wait()

    async def unpublish(self, track_sid: str) -> None:
        track = self._tracks.pop(track_sid, None)
        if track is None or self._lost.is_set():
            return
        call = self._entered().local_participant.unpublish_track(track_sid)
        with trio.move_on_after(UNPUBLISH_DEADLINE):
            try:
                await self._call("unpublish", call)
            except PublishingError as error:
                self._owner.fault("unpublish", error)
        seams.release(track)

    def take_commands(self, handler: CommandHandler) -> None:
        room_commands.RoomCommands(self._entered(), handler, self._spawn)

    def people(self) -> Sequence[str]:
        others = self._entered().remote_participants.values()
        return [one.identity for one in others if room_commands.is_person(one)]

    async def send(self, payload: bytes, to: Sequence[str]) -> None:
        await self._call("send", room_commands.send(self._entered(), payload, list(to)))

    async def lost(self) -> str:
        await self._lost.wait()
        return self._reason

    async def leave(self) -> None:
        """Disconnect within the deadline.  A connection that is still being made closes itself."""
        self._left = True
        if self._connecting is None:
            self._owner.release(self)
            return
        if self._room is None:  # It is being made, or was not made; `_connect` does the rest.
            return
        disconnect = self._spawn("disconnect", self._disconnect(self._room))
        with trio.move_on_after(LEAVE_DEADLINE, shield=True) as waiting:
            await _finished(disconnect)
        if waiting.cancelled_caught:
            log.warning("room_leave_timeout", room=self._entry.room)

    def _entered(self) -> rtc.Room:
        if self._room is None or self._lost.is_set():
            raise PublishingError("the participant is not in the room")
        return self._room

    async def _call(self, name: str, coroutine: Coroutine[Any, Any, T]) -> T:
        task = self._spawn(name, coroutine)
        await _finished(task)
        if task.cancelled():
            raise PublishingError("the participant has left the room")
        error = task.exception()
        if error is not None:
            raise PublishingError(f"{name}: {_shown(error)}")
        return task.result()

    # ---------------------------------------------------------------- the asyncio side

    def _spawn(self, name: str, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = self._owner.loop.create_task(coroutine)
        self._calls.add(task)

        def ended(task: asyncio.Task[T]) -> None:
            self._calls.discard(task)
            if not task.cancelled() and task.exception() is not None and self._left:
                self._owner.fault(name, task.exception() or RuntimeError(name))

        task.add_done_callback(ended)
        return task

    async def _connect(self) -> None:
        room = self._make_room()
        options = rtc.RoomOptions(auto_subscribe=False, single_peer_connection=False)
        options.rtc_config = rtc.RtcConfiguration(
            continual_gathering_policy=rtc.ContinualGatheringPolicy.GATHER_ONCE
        )
        try:
            await room.connect(self._owner.url, self._token, options)
        except BaseException:
            self._owner.release(self)
            raise
        native_threads.calm_audio_thread()
        seams.watch_only_own_events(room, answers=True)
        self._room = room
        if self._left:
            await self._disconnect(room)

    def _make_room(self) -> rtc.Room:
        room = rtc.Room(loop=self._owner.loop)
        room.on("local_track_subscribed", self._on_subscribed)
        room.on("active_speakers_changed", self._on_speakers)
        room.on("disconnected", self._on_disconnected)
        return room

    def _on_subscribed(self, track: rtc.LocalTrack) -> None:
        self._subscribed.setdefault(track.sid, trio.Event()).set()

    def _on_speakers(self, speakers: list[rtc.Participant]) -> None:
        # The server tells us of ourselves too, although we subscribe to nobody.
        if all(one.identity != self._entry.identity for one in speakers):
            self._silent.set()
        elif self._silent.is_set():
            self._silent = trio.Event()

    def _on_disconnected(self, reason: int) -> None:
        if not self._left:
            self._reason = rtc.DisconnectReason.Name(reason).lower()  # pyright: ignore[reportArgumentType]
            self._lost.set()

    async def _disconnect(self, room: rtc.Room) -> None:
        try:
            await room.disconnect()
        finally:
            for call in tuple(self._calls):
                if call not in (self._connecting, asyncio.current_task()):
                    call.cancel()  # A publication without an answer.
            seams.release(*self._tracks.values())
            seams.release_room(room)
            self._owner.release(self)


async def _finished(task: asyncio.Task[Any]) -> None:
    """Wait for a task of asyncio, without a right to cancel it."""
    done = trio.Event()
    task.add_done_callback(lambda _: done.set())
    await done.wait()


def _shown(error: BaseException) -> str:
    return redact(f"{type(error).__name__}: {error}")[:300]
