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

The way of an event: the native library calls back on a thread of its own; there the
event gets its time and is put into the room's lane (`bridge.livekit.rooms.demux`).  On the
trio thread it is either translated as it is, or the SDK's Room is driven through it,
which calls back, and that is translated (`bridge.livekit.rooms.sdk_events`); either way before
the next event of this room is looked at.  So the order is the server's, and a roster
read from the Room at any moment is what the events told so far make of it.  Where the
SDK does not let us (`seams`), or on demand, the Room drives itself, with the same
callbacks and the same result, only slower.
"""

from __future__ import annotations

import asyncio
import enum
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeAlias, cast

import structlog
import trio
import trio_asyncio
from attrs import evolve, frozen
from livekit import rtc
from livekit.rtc._proto import ffi_pb2
from livekit.rtc.room import EventTypes

from actors.rooms.room_port import (
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
    MessagesDropped,
    ParticipantJoined,
    Reconnected,
    Reconnecting,
    RecordingChanged,
    Resynced,
    RoomEvent,
    Roster,
    TrackPublished,
    TrackUnpublished,
    Watching,
)
from bridge.livekit.rooms import sdk_events, seams, streams
from bridge.livekit.rooms.demux import Inbox, RoomQueue
from bridge.livekit.rooms.native_memory import Trimmer
from bridge.livekit.rooms.sdk_options import SdkOptions
from bridge.livekit.rooms.subscriptions import Subscriptions
from bridge.livekit.server_clock import ServerClock
from bridge.output.redact import redact

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
ASK_AGAIN: Final = 0.5
"""Seconds between two questions to the server which life of the room lives."""
EXAMINATION: Final = 20.0
"""Seconds in which the server is asked who of a room records; then at the next occasion."""
MOST_WAITING: Final = 2_000
"""Events of one room that wait for the trio thread, from which on its messages are only
counted, and of what changes over and over only the newest is kept.  With LiveKit's largest
messages (15 KB) these are 30 MB.  Everything else is never given up: who comes and goes,
what is published, how the connection is."""

LookUp: TypeAlias = Callable[[str], Awaitable[str]]
"""The SID of the room that lives under this name, "" where there is none.  Raises
`RoomUnreachable` where the server does not say."""

ListRecorders: TypeAlias = Callable[[str], Awaitable[frozenset[str]]]
"""SIDs of the participants of the room of this name who have the `recorder` grant.  Raises
`RoomUnreachable` where the server does not say."""

_Item: TypeAlias = tuple[float, str, ffi_pb2.FfiEvent]
"""What is in a lane: when it came (Unix seconds), the name of its message, and all of it."""

REFUSALS: Final = ("401", "403", "404", "parse the url", "unsupported URL scheme")
"""What in a connect error's text means that the same try would fail again.

`500` is not among them: it is a full room as well as a server's fault.
"""


def connect_error(text: str) -> RoomError:
    """The SDK's one `ConnectError`, sorted by its text; no token and one line."""
    clean = " ".join(redact(text).split())[:300]
    kind = RoomRefused if any(mark in text for mark in REFUSALS) else RoomUnreachable
    return kind(clean or "no reason given")


@frozen
class _GivenUp:
    """How much of a room was given up in all."""

    messages: int = 0
    changes: int = 0
    """That a newer one of the same overtook."""
    attachments: int = 0

    def add(self, *, messages: int = 0, changes: int = 0, attachments: int = 0) -> _GivenUp:
        return _GivenUp(
            self.messages + messages, self.changes + changes, self.attachments + attachments
        )


def _merge(first: _Item, newest: _Item) -> _Item:
    """Of two changes of the same, one that tells both."""
    _, name, event = newest
    if name == sdk_events.ATTRIBUTES:
        sdk_events.merge_attributes(
            first[2].room_event.participant_attributes_changed,
            event.room_event.participant_attributes_changed,
        )
    return newest


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
        options: SdkOptions | None = None,
        look_up: LookUp | None = None,
        clock: ServerClock | None = None,
        list_recorders: ListRecorders | None = None,
        connect_deadline: float = CONNECT_DEADLINE,
        leave_deadline: float = LEAVE_DEADLINE,
        straggler_deadline: float = STRAGGLER_DEADLINE,
        at_once: int = AT_ONCE,
    ) -> None:
        self.log_payloads = log_payloads
        self.options = options or SdkOptions()
        self.look_up = look_up
        self.clock = ServerClock() if clock is None else clock
        self.now = self.clock.now
        self.list_recorders = list_recorders
        self.connect_deadline = connect_deadline
        self.leave_deadline = leave_deadline
        self.straggler_deadline = straggler_deadline
        self.faults: Counter[str] = Counter()
        """Callbacks that failed, streams that were dropped: by name."""
        self._takes_spare_token = False
        """The server refuses the tokens that make no room: entries begin with the spare one."""
        self._slots = trio.Semaphore(at_once)
        self._held: set[_Connection] = set()
        """Strong references: the SDK loses events when a live room is collected."""
        self._emptied = trio.Event()
        self._trimmer = Trimmer()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: Inbox | None = None

    @property
    def busy(self) -> int:
        """Connections that exist at the server or still may, abandoned ones included."""
        return len(self._held)

    @property
    def stragglers(self) -> int:
        """Those of them that nobody is in, or waits for, any more."""
        return sum(connection.forsaken for connection in self._held)

    async def idle(self) -> None:
        """Wait until no connection is left."""
        while self._held:
            await self._emptied.wait()

    async def __aenter__(self) -> LiveKitRooms:
        loop = trio_asyncio.current_loop.get()
        if loop is None:
            raise RuntimeError("LiveKitRooms must be entered inside trio_asyncio.open_loop()")
        loop.set_exception_handler(self._loop_fault)
        seams.initialize(native_logs=self.options.native_logs)
        if self.options.demux and seams.fits("demux"):
            self._inbox = Inbox()
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
        if self._inbox is not None:
            self._inbox.close()
        self._loop = None

    def open(self, job: RoomJob, offer: Offer) -> AbstractAsyncContextManager[OpenRoom]:
        return self._open(job, offer)

    @asynccontextmanager
    async def _open(self, job: RoomJob, offer: Offer) -> AsyncGenerator[OpenRoom, None]:
        connection = await self._enter(job, offer)
        try:
            yield connection
        finally:
            await connection.leave()
            connection.forsaken = True

    async def _enter(self, job: RoomJob, offer: Offer) -> _Connection:
        """A connection that is open.  `job.token` may be one that the server does not take
        for anything but itself: where the room lives all the same, the spare one is tried."""
        if self._takes_spare_token and job.spare_token:
            return await self._connect(evolve(job, token=job.spare_token), offer)
        try:
            return await self._connect(job, offer)
        except RoomError:
            if not job.spare_token or not await self._lives(job):
                raise
        connection = await self._connect(evolve(job, token=job.spare_token), offer)
        self._takes_spare_token = True
        log.warning("join_only_token_refused", room=job.room)
        return connection

    async def _lives(self, job: RoomJob) -> bool:
        if self.look_up is None:
            return False
        try:
            return await self.look_up(job.room) == job.room_sid
        except RoomUnreachable:
            return False

    async def _connect(self, job: RoomJob, offer: Offer) -> _Connection:
        if self._loop is None:
            raise RuntimeError("enter LiveKitRooms with `async with` first")
        await self._slots.acquire()
        connection = _Connection(self, self._loop, self._inbox, job, offer)
        if not self._held:
            self._emptied = trio.Event()
        self._held.add(connection)
        try:
            await connection.enter()
        except BaseException:
            await connection.leave()
            connection.forsaken = True
            raise
        return connection

    def slot_free(self) -> None:
        """A connect call has ended, however it ended."""
        self._slots.release()

    def release(self, connection: _Connection) -> None:
        """Nothing of this connection is left at the server."""
        self._held.discard(connection)
        self._trimmer.soon()
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
        self,
        rooms: LiveKitRooms,
        loop: asyncio.AbstractEventLoop,
        inbox: Inbox | None,
        job: RoomJob,
        offer: Offer,
    ) -> None:
        self._rooms = rooms
        self._loop = loop
        self._lane = None if inbox is None else inbox.lane(self._take, _merge)
        self._job = job
        self._offer = offer
        self.forsaken = False
        """Whoever wanted it has gone on without it."""
        self._stage = _Stage.CONNECTING
        self._room: rtc.Room | None = None
        self._error: RoomError | None = None
        self._reason: str | None = None
        self._given_up = _GivenUp()
        """Because too much waited; written by the native library's threads."""
        self._told = self._given_up
        """What the session knows of it."""
        self._came_at: float | None = None
        """When the event came that is being looked at."""
        self._sdk_sid = ""
        """The room's SID as the SDK last showed it, which may be of an earlier life."""
        self._room_sid = job.room_sid
        self._own_identity = job.identity
        self._tracks: set[str] = set()
        """SIDs of the tracks that were told, so that none is told twice."""
        self._sids: set[str] = set()
        """SIDs of the people of this life of the room."""
        self._recording = False
        self._examined: set[str] = set()
        """SIDs of the people of whom it is known whether they are recorders."""
        self._examining = False
        """Whether the room was being recorded when it was last told."""
        self._down = False
        """`Reconnecting` was told, `Reconnected` not yet."""
        self._unsure: asyncio.TimerHandle | None = None
        """Runs while it is not certain which life of the room we are back in."""
        self._subscriptions = Subscriptions(
            seams.pause if rooms.options.pause_microphones else _let_it_play
        )
        self._streams = streams.Streams(self, loop, self._tell, rooms.fault)
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
        return self._rooms.now() if self._came_at is None else self._came_at

    def sid_of(self, identity: str) -> str | None:
        assert self._room is not None
        person = self._room.remote_participants.get(identity)
        return None if person is None else person.sid

    def roster(self) -> Roster:
        """Who is there.  While it is not certain in which life of the room we are, that
        is who is known from the one before."""
        if self._room is None:
            return Roster(room_sid=self._room_sid)
        roster = sdk_events.roster_of(self._room, self.now(), self._which_life())
        if not self._down:
            return roster
        known = tuple(one for one in roster.participants if one.sid in self._sids)
        return evolve(roster, participants=known)

    def _which_life(self) -> str:
        """The room's SID.  The SDK may go on showing an old one: only news from it count."""
        assert self._room is not None
        shown = sdk_events.room_sid(self._room)
        if shown and shown != self._sdk_sid and not self._down:
            self._sdk_sid = self._room_sid = shown
        return self._room_sid

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
        room = self._make_room()
        seams.handle_streams(
            room,
            streams.is_message,
            self._streams.on_text,
            self._streams.on_bytes,
            streams.CHAT,
        )
        options = rtc.RoomOptions(auto_subscribe=False)
        if self._rooms.options.dual_peer_connection:
            options.single_peer_connection = False
        if self._rooms.options.gather_once:
            options.rtc_config = rtc.RtcConfiguration(
                continual_gathering_policy=rtc.ContinualGatheringPolicy.GATHER_ONCE
            )
        sent_at = self._rooms.clock.steady()
        try:
            await room.connect(self._job.url, self._job.token, options)
        except rtc.ConnectError as exc:
            self._error = connect_error(exc.message)
        except Exception as exc:  # noqa: BLE001  told to whoever wanted the room
            self._error = RoomUnreachable(redact(f"{type(exc).__name__}: {exc}")[:300])
        else:
            self._room = room
            self._note_clock(room, sent_at)
        if self._room is None:
            self._rooms.release(self)
        elif self._stage is _Stage.ABANDONED:
            await self._disconnect()
        else:
            self._watch(self._room)
        self._settled.set()

    def _note_clock(self, room: rtc.Room, sent_at: float) -> None:
        """The server let our participant in between the beginning and the end of the call."""
        told = sdk_events.told_joined_at(room.local_participant)
        if told:
            # Servers before 1.8 tell whole seconds only.
            within = 1.0 if told.is_integer() else 0.001
            self._rooms.clock.observe(sent_at, told, within=within)

    def _make_room(self) -> rtc.Room:
        if self._lane is not None:
            return seams.DemuxedRoom(self._loop, self._happened, self._arrived)
        room = rtc.Room(loop=self._loop)
        for name in sdk_events.TRANSLATORS.keys() | _FOLLOW_UPS.keys():
            room.on(name, partial(self._happened, name))
        return room

    def _watch(self, room: rtc.Room) -> None:
        """Begin, in the very step in which `connect` returned.

        What the room's lane (or the SDK's task) has for us is looked at in a later step,
        and the native side held everything back until there was somebody to take it: so
        nothing can be told before `Watching`, and nobody is missed between it and the
        first event.
        """
        me = room.local_participant
        self._own_identity = me.identity
        self._subscriptions.visible = not me.permissions.hidden
        if self._lane is None:
            self._guarded("room_filter", seams.watch_only_own_events, room)
        roster = self.roster()
        self._tracks.update(t.sid for p in roster.participants for t in p.tracks)
        self._sids.update(p.sid for p in roster.participants)
        self._recording = room.is_recording
        self._stage = _Stage.OPEN
        self._tell(Watching(self.now(), roster, clock_offset=self._rooms.clock.offset))
        self._guarded("subscribe", self._subscriptions.restore, room.remote_participants)
        self._examine()

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

    def _arrived(self, event: ffi_pb2.FfiEvent) -> None:
        """Called on a thread of the native library.  The time is taken here, so that how
        busy we are is not in it."""
        assert self._lane is not None
        name = event.room_event.WhichOneof("message")
        if name is None or name in sdk_events.NEEDLESS:
            return
        item = (self._rooms.now(), name, event)
        if len(self._lane) < MOST_WAITING:
            self._lane.put(item)
        else:
            self._put_in_a_flood(self._lane, item)

    def _put_in_a_flood(self, lane: RoomQueue[_Item], item: _Item) -> None:
        _, name, event = item
        subject = sdk_events.subject_of(event.room_event, name)
        if subject is not None:
            if lane.overtake(subject, item):
                self._given_up = self._given_up.add(changes=1)
        elif name in streams.MESSAGES:
            lost = streams.give_up(event.room_event, name)
            if lost == "message":
                self._given_up = self._given_up.add(messages=1)
            elif lost == "attachment":
                self._given_up = self._given_up.add(attachments=1)
        else:
            lane.put(item)

    def _take(self, item: _Item) -> None:
        self._came_at, name, event = item
        if self._told is not self._given_up:
            self._tell_given_up()
        translator = sdk_events.RAW.get(name)
        try:
            if streams.is_correction(event.room_event, name):
                streams.give_up(event.room_event, name)
            elif translator is None:
                cast("seams.DemuxedRoom", self._room).drive(event)
            elif (told := translator(self, getattr(event.room_event, name))) is not None:
                self._tell(told)
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._rooms.fault(name, exc)
        finally:
            self._came_at = None

    def _tell_given_up(self) -> None:
        before, self._told = self._told, self._given_up
        self._tell(
            MessagesDropped(
                self.now(),
                self._told.messages - before.messages,
                self._told.changes - before.changes,
                attachments=self._told.attachments - before.attachments,
            )
        )

    def _happened(self, name: EventTypes, *args: Any) -> None:
        """One of the SDK's events.  `*args` is the cheapest for the SDK to call."""
        if self._stage is not _Stage.OPEN:
            return
        try:
            translator = sdk_events.TRANSLATORS.get(name)
            if translator is not None:
                event = translator(self, *args)
                if event is not None and self._is_new(event):
                    self._tell(event)
            follow_up = _FOLLOW_UPS.get(name)
            if follow_up is not None:
                follow_up(self, *args)
        except Exception as exc:  # noqa: BLE001  the SDK would swallow it
            self._rooms.fault(name, exc)

    def _guarded(self, name: str, function: Callable[..., object], *args: Any) -> None:
        try:
            function(*args)
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._rooms.fault(name, exc)

    def _tell(self, event: RoomEvent) -> None:
        if self._stage is _Stage.OPEN:
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
        self._close(sdk_events.reason_of(reason))

    def _close(self, reason: str | None) -> None:
        """Out for good: said once, and nothing after it."""
        if self._stage is not _Stage.OPEN:
            return
        self._be_sure()
        self._reason = reason
        self._tell(Disconnected(self.now(), reason))
        self._stage = _Stage.CLOSED
        self._streams.close()
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
        new under its old name, and the SDK goes on showing the old SID: until the
        server's next update of the room, 4 to 5 s later, which never comes where nobody
        else is there.  Somebody who is there under the SID of before proves that it is
        the same life; else the server is asked, while we wait for its update.
        """
        assert self._room is not None
        self._subscriptions.restore(self._room.remote_participants)
        self._be_sure()
        if self._recognises_somebody():
            self._tell_back()
        else:
            self._unsure = self._loop.call_later(SID_DEADLINE, self._tell_back)
            if self._rooms.look_up is not None:
                trio.lowlevel.spawn_system_task(self._ask, self._rooms.look_up, self._unsure)

    async def _ask(self, look_up: LookUp, unsure: asyncio.TimerHandle) -> None:
        """Ask the server which life this is, as long as nobody else said so."""
        with trio.move_on_after(SID_DEADLINE):
            while self._unsure is unsure:
                try:
                    living = await look_up(self._job.room)
                except RoomUnreachable:
                    living = ""
                except Exception as exc:  # noqa: BLE001  must not end the program
                    self._rooms.fault("look_up", exc)
                    return
                if living and self._unsure is unsure:
                    self._room_sid = living
                    self._tell_back()
                    return
                await trio.sleep(ASK_AGAIN)

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
            self._recording = bool(roster.recording)
            self._tell(Reconnected(self._rooms.now(), roster))

    def room_updated(self) -> None:
        """News of the room: maybe the SID that was waited for, maybe one nobody expected.

        Another SID outside of a reconnect (we were moved) is another life all the same.
        """
        before = self._room_sid
        if self._unsure is not None:
            self._tell_back()
        elif not self._down and self._which_life() != before:
            self._tell(Resynced(self.now(), self.roster()))
        assert self._room is not None
        if not self._down and self._room.is_recording != self._recording:
            self._recording = self._room.is_recording
            self._tell(RecordingChanged(self.now(), self._recording))
        self._examine()

    # --- what an event leads to --------------------------------------------------------

    def joined(self, participant: rtc.RemoteParticipant) -> None:
        """While the connection is down nothing can be asked for: `back` will."""
        assert self._room is not None
        if self._room.connection_state == rtc.ConnectionState.CONN_CONNECTED:
            self._subscriptions.settle(participant)
        if self._unsure is not None and participant.sid in self._sids:
            self._tell_back()
        self._examine()

    def left(self, participant: rtc.RemoteParticipant) -> None:
        self._subscriptions.left(participant)
        self._examined.discard(participant.sid)

    # --- recorders ---------------------------------------------------------------------

    def _examine(self) -> None:
        """Find out who of the people is a recorder by its old grant.

        The SDK shows such a one as a person, but also that the room is being recorded as
        long as one is there.  The server's list has the grants.
        """
        ask = self._rooms.list_recorders
        if ask is not None and not self._examining and self._unexamined():
            self._examining = True
            trio.lowlevel.spawn_system_task(self._find_recorders, ask)

    def _unexamined(self) -> set[str]:
        room = self._room
        if room is None or self._stage is not _Stage.OPEN or not room.is_recording:
            return set()
        people = room.remote_participants.values()
        return {one.sid for one in people if sdk_events.is_person(one)} - self._examined

    async def _find_recorders(self, ask: ListRecorders) -> None:
        """Ask the server until everybody is known, one question at a time."""
        with trio.move_on_after(EXAMINATION):
            while sids := self._unexamined():
                try:
                    recorders = await ask(self._job.room)
                except RoomUnreachable:
                    await trio.sleep(ASK_AGAIN)
                    continue
                except Exception as exc:  # noqa: BLE001  must not end the program
                    self._rooms.fault("list_recorders", exc)
                    break
                self._examined |= sids
                self._tell_recorders(recorders & sids)
        self._examining = False

    def _tell_recorders(self, sids: frozenset[str]) -> None:
        room = self._room
        assert room is not None
        for one in tuple(room.remote_participants.values()):
            if one.sid in sids:
                self._tell(sdk_events.recorder_found(one, self._rooms.now()))

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


def _let_it_play(_publication: rtc.RemoteTrackPublication) -> None:
    """A subscription that is not paused."""
