"""The port `actors.rooms.room_port`, filled by rooms of real LiveKit servers.

A connection may have two tokens and is one of at most `at_once` that are made at the same
time.  The port keeps every connection until nothing of it is left at the server.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, Final

import structlog
import trio
import trio_asyncio
from attrs import evolve

from actors.rooms.agent_texts import AgentTexts
from actors.rooms.room_port import (
    OfferEvent,
    OpenRoom,
    RoomError,
    RoomJob,
    RoomPort,
    RoomUnreachable,
)
from bridge.livekit.rooms import seams, wake_timer
from bridge.livekit.rooms.inbox import Inbox
from bridge.livekit.rooms.instance_tracker import LookUp
from bridge.livekit.rooms.native_memory import Trimmer
from bridge.livekit.rooms.recorder_search import ListRecorders
from bridge.livekit.rooms.room_connection import RoomConnection
from bridge.livekit.rooms.sdk_options import SdkOptions
from bridge.livekit.server_clock import ServerClock
from bridge.output.redact import redact

log = structlog.get_logger()

CONNECT_DEADLINE: Final = 15.0
"""Seconds for a connection.  The SDK alone tries a silent server for 32 s."""
LEAVE_DEADLINE: Final = 3.0
"""Seconds for a disconnect.  After that the server's own timeout removes us."""
ABANDONED_DEADLINE: Final = 5.0
"""Seconds that the end of the port waits for abandoned connections."""
AT_ONCE: Final = 8
"""Connections made at the same time.  100 at once take 2 s each and many more open files."""


class LiveKitRooms(RoomPort):
    """The way into the rooms of LiveKit servers.

    An async context manager, to be entered inside `trio_asyncio.open_loop()`; its end
    waits, within `abandoned_deadline`, for abandoned connections.
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
        abandoned_deadline: float = ABANDONED_DEADLINE,
        at_once: int = AT_ONCE,
    ) -> None:
        self.log_payloads = log_payloads
        self.texts: AgentTexts | None = None
        """Takes texts of agents and their users; None where none are kept.  Set before any room is
        entered."""
        self.options = options or SdkOptions()
        self.look_up = look_up
        self.clock = ServerClock() if clock is None else clock
        self.now = self.clock.now
        self.list_recorders = list_recorders
        self.connect_deadline = connect_deadline
        self.leave_deadline = leave_deadline
        self.abandoned_deadline = abandoned_deadline
        self.faults: Counter[str] = Counter()
        """Callbacks that failed, streams that were dropped: by name."""
        self._takes_spare_token = False
        """The server refuses tokens that make no room.  Entries begin with the spare one."""
        self._slots = trio.Semaphore(at_once)
        self._entering: set[RoomConnection] = set()
        """Connections that have a slot."""
        self._connections: set[RoomConnection] = set()
        """Strong references: the SDK loses events when a live room is collected."""
        self._idle = trio.Event()
        self._trimmer = Trimmer()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._inbox: Inbox | None = None

    @property
    def busy(self) -> int:
        """Connections that exist at the server or still may, abandoned ones included."""
        return len(self._connections)

    @property
    def abandoned(self) -> int:
        """Connections among them that no caller uses or waits for."""
        return sum(connection.abandoned for connection in self._connections)

    async def idle(self) -> None:
        """Wait until no connection is left."""
        while self._connections:
            await self._idle.wait()

    async def __aenter__(self) -> LiveKitRooms:
        loop = trio_asyncio.current_loop.get()
        if loop is None:
            raise RuntimeError("LiveKitRooms must be entered inside trio_asyncio.open_loop()")
        loop.set_exception_handler(self._loop_fault)
        seams.initialize(native_logs=self.options.native_logs)
        if self.options.demux and seams.fits("demux"):
            self._inbox = Inbox(wake_timer.make_timer(linux=seams.fits("inbox_timer")))
        self._loop = loop
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with trio.move_on_after(self.abandoned_deadline, shield=True):
            await self.idle()
        if self._connections:
            log.warning("rooms_left_behind", rooms=len(self._connections))
        if self._inbox is not None:
            self._inbox.close()
        self._loop = None

    def open(self, job: RoomJob, offer: OfferEvent) -> AbstractAsyncContextManager[OpenRoom]:
        return self._open(job, offer)

    @asynccontextmanager
    async def _open(self, job: RoomJob, offer: OfferEvent) -> AsyncGenerator[OpenRoom, None]:
        connection = await self._enter(job, offer)
        try:
            yield connection
        finally:
            await connection.leave()
            connection.abandoned = True

    async def _enter(self, job: RoomJob, offer: OfferEvent) -> RoomConnection:
        """Make an open connection.

        A server may refuse `job.token` because of the token itself.  Where the room exists all
        the same, the spare token is tried.
        """
        if self._takes_spare_token and job.spare_token:
            return await self._connect(evolve(job, token=job.spare_token), offer)
        try:
            return await self._connect(job, offer)
        except RoomError:
            if not job.spare_token or not await self._room_exists(job):
                raise
        connection = await self._connect(evolve(job, token=job.spare_token), offer)
        self._takes_spare_token = True
        log.warning("join_only_token_refused", room=job.room)
        return connection

    async def _room_exists(self, job: RoomJob) -> bool:
        if self.look_up is None:
            return False
        try:
            return await self.look_up(job.room) == job.room_sid
        except RoomUnreachable:
            return False

    async def _connect(self, job: RoomJob, offer: OfferEvent) -> RoomConnection:
        if self._loop is None:
            raise RuntimeError("enter LiveKitRooms with `async with` first")
        await self._slots.acquire()
        connection = RoomConnection(self, self._loop, self._inbox, job, offer)
        if not self._connections:
            self._idle = trio.Event()
        self._connections.add(connection)
        self._entering.add(connection)
        try:
            await connection.enter()
        except BaseException:
            await connection.leave()
            connection.abandoned = True
            # The SDK waits 15 s for a room that was deleted meanwhile.  It keeps its place, but
            # no other room waits for it.
            self.slot_free(connection)
            raise
        return connection

    def slot_free(self, connection: RoomConnection) -> None:
        """A connect call has ended, or nobody waits for it any more."""
        if connection in self._entering:
            self._entering.remove(connection)
            self._slots.release()

    def release(self, connection: RoomConnection) -> None:
        """Nothing of this connection is left at the server."""
        self._connections.discard(connection)
        self._trimmer.soon()
        if not self._connections:
            self._idle.set()

    def fault(self, name: str, error: BaseException) -> None:
        """Count a failure that no caller can get, and log the first of each name."""
        self.faults[name] += 1
        if self.faults[name] == 1:
            text = redact(f"{type(error).__name__}: {error}")[:300]
            log.warning("room_callback_failed", callback=name, error=text)

    def _loop_fault(self, _loop: asyncio.AbstractEventLoop, context: Mapping[str, Any]) -> None:
        """A stray asyncio failure must not end the loop, as trio-asyncio's own handler would."""
        error = context.get("exception") or RuntimeError(str(context.get("message", "unknown")))
        self.fault("asyncio", error)
