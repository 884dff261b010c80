"""One connection to one room: from entering it to leaving it.

The stages go one way only:

    CONNECTING -> OPEN -> CLOSED          `Watching` is offered when OPEN begins,
         `------> ABANDONED -> CLOSED     `Disconnected` when OPEN ends.

The SDK is asyncio's, the rest of the program is trio's, and both share one thread
(`trio_asyncio`).  So an SDK callback may offer an event to an actor directly, and an asyncio
task may set a trio event.  Cancellation must not cross: after a cancelled `Room.connect` the
native library waits for an answer, and ends the whole process 15 s later.  Therefore every SDK
call runs in an asyncio task of its own that nobody cancels.  The trio side waits for a
`trio.Event` and may stop waiting at any moment.  An abandoned connection closes itself as soon
as it is made.

Events come through `bridge.livekit.rooms.intake`; `bridge.livekit.rooms.room_follow_ups` does what
follows from them.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol, cast

import structlog
import trio
from livekit import rtc
from livekit.rtc._proto import ffi_pb2

from actors.rooms.agent_texts import AgentTexts
from actors.rooms.room_port import (
    OfferEvent,
    OpenRoom,
    RoomError,
    RoomJob,
    RoomUnreachable,
    SendOutcome,
)
from actors.session.events import (
    Disconnected,
    Watching,
)
from actors.session.room_info import Roster
from bridge.livekit.rooms import native_threads, sdk_events, sdk_values, seams, streams
from bridge.livekit.rooms.agent_speech import AgentSpeech, RoomName
from bridge.livekit.rooms.connect_errors import connect_error
from bridge.livekit.rooms.inbox import Inbox
from bridge.livekit.rooms.intake import Intake
from bridge.livekit.rooms.room_follow_ups import FOLLOW_UPS, FollowUpOwner, RoomFollowUps
from bridge.livekit.rooms.text_sender import may_send, send_text
from bridge.livekit.rooms.video_frames import count_frames
from bridge.livekit.server_clock import ServerClock
from bridge.output.redact import redact

log = structlog.get_logger()


class ConnectionOwner(FollowUpOwner, Protocol):
    """The part of the rooms port that a connection needs."""

    log_payloads: bool
    texts: AgentTexts | None
    clock: ServerClock
    connect_deadline: float
    leave_deadline: float

    def slot_free(self, connection: RoomConnection) -> None:
        """A connect call has ended, however it ended."""
        ...

    def release(self, connection: RoomConnection) -> None:
        """Nothing of this connection is left at the server."""
        ...


class _Stage(enum.Enum):
    CONNECTING = enum.auto()
    OPEN = enum.auto()
    ABANDONED = enum.auto()
    CLOSED = enum.auto()


class RoomConnection(OpenRoom):
    """A room of a real LiveKit server that we are in, or are about to enter."""

    def __init__(
        self,
        owner: ConnectionOwner,
        loop: asyncio.AbstractEventLoop,
        inbox: Inbox | None,
        job: RoomJob,
        offer: OfferEvent,
    ) -> None:
        self._owner = owner
        self._loop = loop
        self._job = job
        self.abandoned = False
        """The caller who wanted the connection does not wait for it any more."""
        self._stage = _Stage.CONNECTING
        self._room: rtc.Room | None = None
        self._error: RoomError | None = None
        self._reason: str | None = None
        self._follow_ups = RoomFollowUps(self, owner, loop, job)
        self.intake: Final = Intake(
            offer,
            identity=job.identity,
            inbox=inbox,
            clock=owner.now,
            drive=self._drive,
            follow_up=self._follow_ups.follow_up,
            is_renewal=self._follow_ups.subscriptions.is_renewal,
            fault=owner.fault,
            log_payloads=owner.log_payloads,
            speech=None if owner.texts is None else AgentSpeech(owner.texts, self._room_name),
        )
        self.streams: Final = streams.Streams(self.intake, loop, self.intake.offer, owner.fault)
        self._tasks: set[asyncio.Task[None]] = set()
        self._settled = trio.Event()
        """The connect call has ended."""
        self._closed = trio.Event()
        self._left = trio.Event()

    def _room_name(self) -> RoomName:
        return RoomName(self._job.room, self._follow_ups.room_sid)

    @property
    def room(self) -> rtc.Room | None:
        return self._room

    @property
    def is_open(self) -> bool:
        return self._stage is _Stage.OPEN

    def roster(self) -> Roster:
        return self._follow_ups.roster()

    async def video_frames(self, track_sids: frozenset[str]) -> Mapping[str, int]:
        room, follow_ups = self._room, self._follow_ups
        if room is None or not follow_ups.is_connected():
            return {}
        receive = follow_ups.subscriptions.receive
        self._guarded("receive_video", receive, "frames", track_sids, room.remote_participants)
        if not track_sids:
            return {}
        return await count_frames(track_sids, follow_ups.get_stats, self._spawn, self._owner.fault)

    async def send_text(
        self, text: str, *, topic: str, identities: Sequence[str] = ()
    ) -> SendOutcome:
        room = self._room
        if room is None or not self._follow_ups.is_connected() or not may_send(room):
            return "not sent"
        sending = partial(send_text, room, text, topic=topic, identities=identities)
        return await sending(spawn=self._spawn, fault=self._owner.fault)

    async def closed(self) -> str | None:
        await self._closed.wait()
        return self._reason

    # --- the trio side: in and out --------------------------------------------------

    async def enter(self) -> None:
        """Wait until the room is open.  `leave` must follow, whatever this raises."""
        connect = self._spawn(self._connect())
        connect.add_done_callback(lambda _: self._owner.slot_free(self))
        with trio.move_on_after(self._owner.connect_deadline):
            await self._settled.wait()
        if not self._settled.is_set():
            seconds = self._owner.connect_deadline
            raise RoomUnreachable(f"no connection to the room within {seconds:g} s")
        if self._error is not None:
            raise self._error

    async def leave(self) -> None:
        """Disconnect within the deadline.  A connection that is still being made is abandoned."""
        if self._stage is _Stage.CONNECTING and not self._settled.is_set():
            self._stage = _Stage.ABANDONED
            return
        if self._room is not None:
            self._spawn(self._disconnect())
            with trio.move_on_after(self._owner.leave_deadline, shield=True) as waiting:
                await self._left.wait()
            if waiting.cancelled_caught:
                log.warning("room_leave_timeout", room=self._job.room)
        self.close("client_initiated")

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
            self.streams.on_text,
            self.streams.on_bytes,
            streams.CHAT,
        )
        options = rtc.RoomOptions(auto_subscribe=False)
        if self._owner.options.dual_peer_connection:
            options.single_peer_connection = False
        if self._owner.options.gather_once:
            options.rtc_config = rtc.RtcConfiguration(
                continual_gathering_policy=rtc.ContinualGatheringPolicy.GATHER_ONCE
            )
        sent_at = self._owner.clock.steady()
        try:
            await room.connect(self._job.url, self._job.token, options)
        except rtc.ConnectError as exc:
            self._error = connect_error(exc.message)
        except Exception as exc:  # noqa: BLE001  `enter` raises it
            self._error = RoomUnreachable(redact(f"{type(exc).__name__}: {exc}")[:300])
        else:
            self._room = room
            self._note_clock(room, sent_at)
        if self._room is None:
            self._owner.release(self)
        elif self._stage is _Stage.ABANDONED:
            await self._disconnect()
        else:
            self._watch(self._room)
        self._settled.set()
        native_threads.calm_audio_thread()

    def _note_clock(self, room: rtc.Room, sent_at: float) -> None:
        """The server let our participant in between the begin and the end of the call."""
        joined_at = sdk_values.server_joined_at(room.local_participant)
        if joined_at:
            # Servers before 1.8 send whole seconds only.
            within = 1.0 if joined_at.is_integer() else 0.001
            self._owner.clock.observe(sent_at, joined_at, within=within)

    def _make_room(self) -> rtc.Room:
        on_event = self.intake.on_sdk_event
        if self.intake.queue is not None:
            return seams.DemuxedRoom(self._loop, on_event, self.intake.arrived)
        room = rtc.Room(loop=self._loop)
        for name in sdk_events.TRANSLATORS.keys() | FOLLOW_UPS.keys():
            room.on(name, partial(on_event, name))
        return room

    def _watch(self, room: rtc.Room) -> None:
        """Begin, in the step in which `connect` returned.

        The room's queue (or the SDK's task) is looked at in a later step only, and the
        native side held everything back until a taker was there.  So nothing can be offered
        before `Watching`, and nobody is missed between it and the first event.
        """
        self.intake.begin(room)
        if self.intake.queue is None:
            self._guarded("room_filter", seams.watch_only_own_events, room)
        roster = self.roster()
        self.intake.note_roster(roster)
        self._follow_ups.begin(room, roster)
        self._stage = _Stage.OPEN
        offset = self._owner.clock.offset
        self.intake.offer(Watching(self.intake.now(), roster, clock_offset=offset))
        self._follow_ups.take_up(room)

    async def _disconnect(self) -> None:
        room = self._room
        assert room is not None
        try:
            await room.disconnect()
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._owner.fault("disconnect", exc)
        finally:
            self._left.set()
            self._owner.release(self)

    def _guarded(self, name: str, function: Callable[..., object], *args: Any) -> None:
        try:
            function(*args)
        except Exception as exc:  # noqa: BLE001  counted and logged
            self._owner.fault(name, exc)

    def close(self, reason: str | None) -> None:
        """Out for good: offered once, and nothing after it."""
        if self._stage is not _Stage.OPEN:
            return
        self._follow_ups.stop_rechecks()
        self._reason = reason
        if self.intake.agents is not None:
            self._guarded("agents", self.intake.agents.close)
        self.intake.offer(Disconnected(self.intake.now(), reason))
        self._stage = _Stage.CLOSED
        self.intake.end()
        self._follow_ups.end()
        self.streams.close()
        self._closed.set()

    def _drive(self, event: ffi_pb2.FfiEvent) -> None:
        cast("seams.DemuxedRoom", self._room).drive(event)
