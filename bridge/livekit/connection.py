"""A room of a real LiveKit server, behind the port of `actors.rooms`.

The SDK is asyncio's; we are trio's.  Both share one thread (`trio_asyncio`), so an
SDK callback may offer an event to an actor directly, and an `asyncio` task may set a
trio event.  What must not cross is cancellation: a cancelled `Room.connect` leaves
the native library waiting for an answer, and 15 s later it ends the whole process.
So every SDK call runs in an asyncio task of its own that nobody cancels, the trio
side waits for a `trio.Event` and may walk away at any moment, and a connection that
nobody waits for any more closes itself as soon as it is made.

The life of a connection, one way only:

    CONNECTING -> OPEN -> CLOSED          `Watching` on the way to OPEN,
         `------> ABANDONED -> CLOSED     `Disconnected` on the way from OPEN to CLOSED
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final

import structlog
import trio
import trio_asyncio
from livekit import rtc
from livekit.rtc.room import EventTypes

from actors.rooms.port import (
    Offer,
    OpenRoom,
    RoomError,
    RoomJob,
    RoomPort,
    RoomRefused,
    RoomUnreachable,
)
from actors.session.events import (
    Disconnected,
    ParticipantJoined,
    Reconnected,
    Reconnecting,
    Resynced,
    RoomEvent,
    Roster,
    TrackPublished,
    TrackUnpublished,
    Watching,
)
from bridge.livekit import seams, translate
from bridge.livekit.subscriptions import Subscriptions
from bridge.redact import redact

log = structlog.get_logger()

CONNECT_DEADLINE: Final = 15.0
"""Seconds for a connection.  The SDK alone tries a silent server for 32 s."""
LEAVE_DEADLINE: Final = 3.0
"""Seconds for a goodbye; then we go without it and the server's timeout removes us."""
STRAGGLER_DEADLINE: Final = 5.0
"""Seconds that the end of the port waits for connections nobody waits for any more."""
AT_ONCE: Final = 8
"""Connections being made at the same time: 100 at once take 2 s each and many more files."""
SID_DEADLINE: Final = 8.0
"""Seconds to wait after a reconnect until the server tells which life of the room this is."""
STREAM_DEADLINE: Final = 600.0
"""Seconds until a text or byte stream counts as ended, whatever its sender says."""
STREAMS_OPEN: Final = 64
"""Streams of one room read at the same time; of more only their header counts."""
CHAT: Final = "lk.chat"
RESERVED: Final = "lk."
"""Prefix of LiveKit's own topics: transcriptions, calls between agents.  Not messages."""

REFUSALS: Final = ("401", "403", "404", "parse the url", "unsupported URL scheme")
"""What in a connect error's text means that the same try would fail again.

`500` is not among them: it is a full room as well as a server's fault.
"""


def connect_error(text: str) -> RoomError:
    """The SDK's one `ConnectError`, sorted by its text; no token and one line."""
    clean = " ".join(redact(text).split())[:300]
    kind = RoomRefused if any(mark in text for mark in REFUSALS) else RoomUnreachable
    return kind(clean or "no reason given")


class _Stage(enum.Enum):
    CONNECTING = enum.auto()
    OPEN = enum.auto()
    ABANDONED = enum.auto()
    CLOSED = enum.auto()


class LiveKitRooms(RoomPort):
    """The way into the rooms of LiveKit servers.

    An async context manager, to be entered inside `trio_asyncio.open_loop()`; its end
    waits, within `straggler_deadline`, for connections that were abandoned half made.
    """

    def __init__(
        self,
        log_payloads: bool = False,
        *,
        now: Callable[[], float] = time.time,
        connect_deadline: float = CONNECT_DEADLINE,
        leave_deadline: float = LEAVE_DEADLINE,
        straggler_deadline: float = STRAGGLER_DEADLINE,
        at_once: int = AT_ONCE,
    ) -> None:
        self.log_payloads = log_payloads
        self.now = now
        self.connect_deadline = connect_deadline
        self.leave_deadline = leave_deadline
        self.straggler_deadline = straggler_deadline
        self.faults: Counter[str] = Counter()
        """Callbacks that failed, streams that were dropped: by name."""
        self._slots = trio.Semaphore(at_once)
        self._held: set[_Connection] = set()
        """Strong references: the SDK loses events when a live room is collected."""
        self._emptied = trio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def busy(self) -> int:
        """Connections that exist at the server or still may, abandoned ones included."""
        return len(self._held)

    async def idle(self) -> None:
        """Wait until no connection is left."""
        while self._held:
            await self._emptied.wait()

    async def __aenter__(self) -> LiveKitRooms:
        loop = trio_asyncio.current_loop.get()
        if loop is None:
            raise RuntimeError("LiveKitRooms must be entered inside trio_asyncio.open_loop()")
        loop.set_exception_handler(self._loop_fault)
        seams.initialize()
        self._loop = loop
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with trio.move_on_after(self.straggler_deadline, shield=True):
            await self.idle()
        if self._held:
            log.warning("rooms_left_behind", rooms=len(self._held))
        self._loop = None

    def open(self, job: RoomJob, offer: Offer) -> AbstractAsyncContextManager[OpenRoom]:
        return self._open(job, offer)

    @asynccontextmanager
    async def _open(self, job: RoomJob, offer: Offer) -> AsyncGenerator[OpenRoom, None]:
        if self._loop is None:
            raise RuntimeError("enter LiveKitRooms with `async with` first")
        await self._slots.acquire()
        connection = _Connection(self, self._loop, job, offer)
        if not self._held:
            self._emptied = trio.Event()
        self._held.add(connection)
        try:
            await connection.enter()
            yield connection
        finally:
            await connection.leave()

    def slot_free(self) -> None:
        """A connect call has ended, however it ended."""
        self._slots.release()

    def release(self, connection: _Connection) -> None:
        """Nothing of this connection is left at the server."""
        self._held.discard(connection)
        if not self._held:
            self._emptied.set()

    def fault(self, name: str, error: BaseException) -> None:
        """Something failed where nobody can be told: count it, say the first of its name."""
        self.faults[name] += 1
        if self.faults[name] == 1:
            text = redact(f"{type(error).__name__}: {error}")[:300]
            log.warning("room_callback_failed", callback=name, error=text)

    def _loop_fault(self, _loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """A stray asyncio failure must not end the loop, as trio-asyncio's own handler would."""
        error = context.get("exception") or RuntimeError(str(context.get("message", "unknown")))
        self.fault("asyncio", error)


class _Connection(OpenRoom):
    """One stay in one room.  Also what a translator may ask (`translate.Here`)."""

    def __init__(
        self, rooms: LiveKitRooms, loop: asyncio.AbstractEventLoop, job: RoomJob, offer: Offer
    ) -> None:
        self._rooms = rooms
        self._loop = loop
        self._job = job
        self._offer = offer
        self._stage = _Stage.CONNECTING
        self._room: rtc.Room | None = None
        self._error: RoomError | None = None
        self._reason: str | None = None
        self._known_sid = ""
        self._own_identity = job.identity
        self._tracks: set[str] = set()
        """SIDs of the tracks that were told, so that none is told twice."""
        self._sids: set[str] = set()
        """SIDs of the people of this life of the room."""
        self._down = False
        """`Reconnecting` was told, `Reconnected` not yet."""
        self._unsure: asyncio.TimerHandle | None = None
        """Runs while it is not certain which life of the room we are back in."""
        self._subscriptions = Subscriptions(seams.pause)
        self._tasks: set[asyncio.Task[None]] = set()
        self._settled = trio.Event()
        self._closed = trio.Event()
        self._left = trio.Event()

    # --- what a translator may ask ------------------------------------------------

    @property
    def me(self) -> str:
        return self._own_identity

    @property
    def log_payloads(self) -> bool:
        return self._rooms.log_payloads

    def now(self) -> float:
        return self._rooms.now()

    def roster(self) -> Roster:
        if self._room is None:
            return Roster(room_sid=self._known_sid or self._job.room_sid)
        roster = translate.roster_of(self._room, self.now(), self._known_sid or self._job.room_sid)
        self._known_sid = roster.room_sid
        return roster

    async def closed(self) -> str | None:
        await self._closed.wait()
        return self._reason

    # --- the trio side: in and out --------------------------------------------------

    async def enter(self) -> None:
        """Wait until the room is open.  `leave` must follow, whatever this raises."""
        connect = self._spawn(self._connect())
        connect.add_done_callback(lambda _: self._rooms.slot_free())
        with trio.move_on_after(self._rooms.connect_deadline):
            await self._settled.wait()
        if not self._settled.is_set():
            seconds = self._rooms.connect_deadline
            raise RoomUnreachable(f"no connection to the room within {seconds:g} s")
        if self._error is not None:
            raise self._error

    async def leave(self) -> None:
        """Say goodbye within the deadline; one that is still being made ends by itself."""
        if self._stage is _Stage.CONNECTING and not self._settled.is_set():
            self._stage = _Stage.ABANDONED
            return
        if self._room is not None:
            self._spawn(self._disconnect())
            with trio.move_on_after(self._rooms.leave_deadline, shield=True) as waiting:
                await self._left.wait()
            if waiting.cancelled_caught:
                log.warning("room_leave_timeout", room=self._job.room)
        self._close("client_initiated")

    # --- the asyncio side ----------------------------------------------------------

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connect(self) -> None:
        room = rtc.Room(loop=self._loop)
        for name in translate.TRANSLATORS.keys() | _FOLLOW_UPS.keys():
            room.on(name, self._callback(name))
        seams.handle_streams(
            room, _is_message_topic, self._on_text_stream, self._on_byte_stream, CHAT
        )
        options = rtc.RoomOptions(
            auto_subscribe=False,
            single_peer_connection=False,
            rtc_config=rtc.RtcConfiguration(
                continual_gathering_policy=rtc.ContinualGatheringPolicy.GATHER_ONCE
            ),
        )
        try:
            await room.connect(self._job.url, self._job.token, options)
        except rtc.ConnectError as exc:
            self._error = connect_error(exc.message)
        except Exception as exc:  # noqa: BLE001  told to whoever wanted the room
            self._error = RoomUnreachable(redact(f"{type(exc).__name__}: {exc}")[:300])
        else:
            self._room = room
        if self._room is None:
            self._rooms.release(self)
        elif self._stage is _Stage.ABANDONED:
            await self._disconnect()
        else:
            self._watch(self._room)
        self._settled.set()

    def _watch(self, room: rtc.Room) -> None:
        """Begin, in the very step in which `connect` returned.

        The SDK reads the room's events in a task that has not run yet, and the native
        side held them back until that task was there: so nothing can be told before
        `Watching`, and nobody is missed between it and the first callback.
        """
        self._own_identity = room.local_participant.identity
        self._guarded("room_filter", seams.watch_only_own_events, room)
        roster = self.roster()
        self._tracks.update(t.sid for p in roster.participants for t in p.tracks)
        self._sids.update(p.sid for p in roster.participants)
        self._stage = _Stage.OPEN
        self._tell(Watching(self.now(), roster))
        self._guarded("subscribe", self._subscriptions.restore, room.remote_participants)

    async def _disconnect(self) -> None:
        room = self._room
        assert room is not None
        try:
            await room.disconnect()
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._rooms.fault("disconnect", exc)
        finally:
            self._left.set()
            self._rooms.release(self)

    # --- events ----------------------------------------------------------------------

    def _callback(self, name: EventTypes) -> Callable[..., None]:
        """The callback of one SDK event.  `*args` is the cheapest for the SDK to call."""
        translator = translate.TRANSLATORS.get(name)
        follow_up = _FOLLOW_UPS.get(name)

        def callback(*args: Any) -> None:
            if self._stage is not _Stage.OPEN:
                return
            try:
                if translator is not None:
                    event = translator(self, *args)
                    if event is not None and self._is_new(event):
                        self._tell(event)
                if follow_up is not None:
                    follow_up(self, *args)
            except Exception as exc:  # noqa: BLE001  the SDK would swallow it
                self._rooms.fault(name, exc)

        return callback

    def _guarded(self, name: str, function: Callable[..., object], *args: Any) -> None:
        try:
            function(*args)
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._rooms.fault(name, exc)

    def _tell(self, event: RoomEvent) -> None:
        self._guarded("offer", self._offer, event)

    def _is_new(self, event: RoomEvent) -> bool:
        """Hold back what the roster has told already."""
        match event:
            case TrackPublished():
                if event.track.sid in self._tracks:
                    return False
                self._tracks.add(event.track.sid)
            case TrackUnpublished():
                self._tracks.discard(event.track_sid)
            case ParticipantJoined():
                self._tracks.update(t.sid for t in event.participant.tracks)
                if not self._down:
                    self._sids.add(event.participant.sid)
            case _:
                pass
        return True

    def disconnected(self, reason: int) -> None:
        self._close(translate.reason_of(reason))

    def _close(self, reason: str | None) -> None:
        """Out for good: said once, and nothing after it."""
        if self._stage is not _Stage.OPEN:
            return
        self._be_sure()
        self._reason = reason
        self._tell(Disconnected(self.now(), reason))
        self._stage = _Stage.CLOSED
        self._closed.set()

    # --- the connection down and back --------------------------------------------------

    def down(self) -> None:
        self._be_sure()
        if not self._down:
            self._down = True
            self._tell(Reconnecting(self.now()))

    def back(self) -> None:
        """Tell that we are back, as soon as it is certain in which life of the room.

        A server that was killed and came back lets us in again without a word, the room
        new under its old name.  The SDK goes on showing the old SID until the server's
        next update of the room, 4 to 5 s later.  Somebody who is there under the SID of
        before proves that it is the same life; else we wait for the update.
        """
        assert self._room is not None
        self._subscriptions.restore(self._room.remote_participants)
        self._be_sure()
        if self._recognises_somebody():
            self._tell_back()
        else:
            self._unsure = self._loop.call_later(SID_DEADLINE, self._tell_back)

    def _recognises_somebody(self) -> bool:
        assert self._room is not None
        return any(p.sid in self._sids for p in self._room.remote_participants.values())

    def _be_sure(self) -> None:
        if self._unsure is not None:
            self._unsure.cancel()
            self._unsure = None

    def _tell_back(self) -> None:
        self._be_sure()
        if self._stage is _Stage.OPEN:
            self._down = False
            roster = self.roster()
            self._sids = {p.sid for p in roster.participants}
            self._tell(Reconnected(self.now(), roster))

    def room_updated(self) -> None:
        """News of the room: maybe the SID that was waited for, maybe one nobody expected.

        Another SID outside of a reconnect (we were moved) is another life all the same.
        """
        assert self._room is not None
        sid = translate.room_sid(self._room)
        if self._unsure is not None:
            self._tell_back()
        elif sid and sid != self._known_sid and not self._down:
            self._tell(Resynced(self.now(), self.roster()))

    # --- streams ---------------------------------------------------------------------

    def _on_text_stream(self, reader: rtc.TextStreamReader, identity: str) -> None:
        self._read(reader, identity, binary=False)

    def _on_byte_stream(self, reader: rtc.ByteStreamReader, identity: str) -> None:
        self._read(reader, identity, binary=True)

    def _read(
        self, reader: rtc.TextStreamReader | rtc.ByteStreamReader, identity: str, *, binary: bool
    ) -> None:
        if self._stage is not _Stage.OPEN or identity == self.me:
            reader.close()
        elif len(self._tasks) >= STREAMS_OPEN:
            reader.close()
            self._tell_stream(reader, identity, self.now(), b"", reader.info.size or 0, binary)
        else:
            self._spawn(self._read_to_end(reader, identity, binary))

    async def _read_to_end(
        self, reader: rtc.TextStreamReader | rtc.ByteStreamReader, identity: str, binary: bool
    ) -> None:
        """Count one stream as one message, at the time it began.

        One that breaks off was never a message.  One that never ends counts when its
        time is up, with what came until then.
        """
        at = self.now()
        head = bytearray()
        size = 0
        try:
            async with asyncio.timeout(STREAM_DEADLINE):
                async for chunk in reader:
                    data = chunk.encode() if isinstance(chunk, str) else chunk
                    size += len(data)
                    head += data[: translate.KEEP - len(head)]
        except TimeoutError:
            reader.close()
        except rtc.StreamError:
            return
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._rooms.fault("stream", exc)
            return
        if self._stage is _Stage.OPEN:
            self._tell_stream(reader, identity, at, bytes(head), size, binary)

    def _tell_stream(
        self,
        reader: rtc.TextStreamReader | rtc.ByteStreamReader,
        identity: str,
        at: float,
        head: bytes,
        size: int,
        binary: bool,
    ) -> None:
        self._tell(
            translate.message(
                self,
                at=at,
                identity=identity,
                topic=reader.info.topic,
                payload=head,
                size=size,
                stream=True,
                binary=binary,
            )
        )

    # --- what an event leads to --------------------------------------------------------

    def joined(self, participant: rtc.RemoteParticipant) -> None:
        """While the connection is down nothing can be asked for: `back` will."""
        assert self._room is not None
        if self._room.connection_state == rtc.ConnectionState.CONN_CONNECTED:
            self._subscriptions.settle(participant)
        if self._unsure is not None and participant.sid in self._sids:
            self._tell_back()

    def left(self, participant: rtc.RemoteParticipant) -> None:
        self._subscriptions.left(participant)

    def published(self, _publication: object, participant: rtc.RemoteParticipant) -> None:
        self.joined(participant)

    def subscribed(
        self, _track: object, publication: rtc.RemoteTrackPublication, _participant: object
    ) -> None:
        self._subscriptions.subscribed(publication)

    def unsubscribed(
        self,
        _track: object,
        publication: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        self._subscriptions.unsubscribed(publication, participant)


_FOLLOW_UPS: Final[Mapping[EventTypes, Callable[..., None]]] = {
    "participant_connected": _Connection.joined,
    "participant_disconnected": _Connection.left,
    "track_published": _Connection.published,
    "track_unpublished": _Connection.published,
    "track_subscribed": _Connection.subscribed,
    "track_unsubscribed": _Connection.unsubscribed,
    "reconnecting": _Connection.down,
    "reconnected": _Connection.back,
    "room_updated": _Connection.room_updated,
    "moved": _Connection.room_updated,
    "disconnected": _Connection.disconnected,
}
"""What an event of the SDK leads to, after it was told."""


def _is_message_topic(topic: str) -> bool:
    return topic == CHAT or not topic.startswith(RESERVED)
