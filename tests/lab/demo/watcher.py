"""The smallest worker there can be: every room it finds, one port, one fold, no actors.

The demo's story is tested against it, so that a difference is the story's fault (or the
connection's, or the fold's) and not the supervision's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio
import trio_asyncio

from actors.rooms.room_port import RoomJob, RoomPort
from actors.rules.limits import Limit
from actors.session import (
    Disconnected,
    RoomEvent,
    SessionState,
    SessionView,
    Tick,
    TimelineEntry,
    Watching,
    apply,
    begin,
    end,
    session_view,
    totals,
)
from actors.session.view import everyone
from actors.simulation.simulated_rooms import SimulatedRooms
from bridge.lab.demo.compare import FinalTotals
from bridge.lab.demo.demo_worker import Target
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey, room_token

_END_REASONS = {
    "room_closed": "room_closed",
    "room_deleted": "room_deleted",
    "client_initiated": "worker_stopped",
}


class Session:
    def __init__(self, room: str, now: Callable[[], float]) -> None:
        self.room = room
        self.now = now
        self.state: SessionState | None = None
        self.timeline: list[TimelineEntry] = []

    def offer(self, event: RoomEvent) -> None:
        if self.state is None:
            assert isinstance(event, Watching)
            roster = event.roster
            self.state = begin(
                self.room, roster.room_sid, ("AJ_test",), "w", "test", event.at, roster.created_at
            )
        self._take(*apply(self.state, event))
        if isinstance(event, Disconnected):
            self.end(_END_REASONS.get(event.reason or "", "server_lost"))

    def end(self, reason: str) -> None:
        if self.state is not None and not self.state.ended:
            self._take(*apply(self.state, Tick(self.now())))
            self._take(*end(self.state, self.now(), reason))

    def _take(self, state: SessionState, entries: tuple[TimelineEntry, ...]) -> None:
        self.state = state
        self.timeline.extend(entries)


class SmallWorker:
    """Fills `demo_run.SimulatedWorker`, and so `DemoWorker` and `WatchingWorker` too."""

    def __init__(
        self, port: RoomPort, nursery: trio.Nursery, now: Callable[[], float] = time.time
    ) -> None:
        self._port = port
        self._now = now
        self._nursery = nursery
        self._all: list[Session] = []
        self._scopes: set[trio.CancelScope] = set()
        self._inside = 0
        self.watching = trio.Event()
        """Some room is watched."""
        self._everyone_out = trio.Event()

    async def sessions(self) -> list[SessionView]:
        now = self._now()
        return [session_view(s.state, now, s.timeline) for s in self._all if s.state is not None]

    async def announce(self, room: str, sound: bytes) -> str:
        return "it announces nothing"

    def monitored(self) -> None:
        """It takes no jobs about people."""

    async def stop(self) -> FinalTotals:
        for scope in self._scopes:
            scope.cancel()
        while self._inside:
            self._everyone_out = trio.Event()
            await self._everyone_out.wait()
        now = self._now()
        each = [totals(session.state, now) for session in self._all if session.state is not None]
        people = (
            person
            for session in self._all
            if session.state is not None
            for person in everyone(session.state)
        )
        return FinalTotals(
            rooms=len(each),
            participants=len({person.identity for person in people if person.counted}),
            tracks=sum(one.tracks_total for one in each),
            data_messages=sum(one.messages or 0 for one in each),
            seconds=sum(one.duration for one in each),
        )

    def assign(self, job: RoomJob) -> None:
        self._nursery.start_soon(self._watch, job)

    async def _watch(self, job: RoomJob) -> None:
        session = Session(job.room, self._now)
        self._all.append(session)
        self._inside += 1
        try:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                async with self._port.open(job, session.offer) as room:
                    self.watching.set()
                    await room.closed()
        finally:
            session.end("worker_stopped")
            self._inside -= 1
            self._everyone_out.set()


@asynccontextmanager
async def start_simulated(
    rooms: SimulatedRooms, _limits: tuple[Limit, ...] = ()
) -> AsyncIterator[SmallWorker]:
    async with trio.open_nursery() as nursery:
        yield SmallWorker(rooms, nursery, rooms.now)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def start_worker(target: Target) -> AsyncIterator[SmallWorker]:
    """A worker in every room of the server until the block ends."""
    key = ApiKey(target.api_key, target.api_secret)
    watched: set[str] = set()

    async def find(api: ServerApi, worker: SmallWorker) -> None:
        while True:
            for room in await api.list_rooms():
                if room.sid not in watched:
                    watched.add(room.sid)
                    token = room_token(key, room=room.name, identity="watcher", agent_name="test")
                    worker.assign(
                        RoomJob("AJ_test", room.name, room.sid, target.url, token, "watcher")
                    )
            await trio.sleep(0.1)

    async with (
        trio_asyncio.open_loop(),
        LiveKitRooms() as port,
        ServerApi(Endpoint.parse(target.url), key) as api,
        trio.open_nursery() as nursery,
    ):
        worker = SmallWorker(port, nursery)
        nursery.start_soon(find, api, worker)
        yield worker
        nursery.cancel_scope.cancel()
