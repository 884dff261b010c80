"""The smallest worker there can be: every room it finds, one port, one fold, no actors.

The demo's story is tested against it, so that a difference is the story's fault (or the
connection's, or the fold's) and not the supervision's.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio_asyncio

from actors.rooms.port import RoomJob, RoomPort
from actors.session import (
    Disconnected,
    Entry,
    RoomEvent,
    SessionState,
    Tick,
    Watching,
    apply,
    begin,
    end,
    session_view,
    totals,
)
from bridge.demo.compare import FinalTotals
from bridge.livekit.api import ServerApi
from bridge.livekit.connection import LiveKitRooms
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.tokens import ApiKey, room_token

_END_REASONS = {
    "room_closed": "room_closed",
    "room_deleted": "room_deleted",
    "client_initiated": "worker_stopped",
}


class Session:
    def __init__(self, room: str) -> None:
        self.room = room
        self.state: SessionState | None = None
        self.timeline: list[Entry] = []

    def offer(self, event: RoomEvent) -> None:
        if self.state is None:
            assert isinstance(event, Watching)
            roster = event.roster
            self.state = begin(
                self.room, roster.room_sid, "AJ_test", "w", "test", event.at, roster.created_at
            )
        self._take(*apply(self.state, event))
        if isinstance(event, Disconnected):
            self.end(_END_REASONS.get(event.reason or "", "server_lost"))

    def end(self, reason: str) -> None:
        if self.state is not None and not self.state.ended:
            self._take(*apply(self.state, Tick(time.time())))
            self._take(*end(self.state, time.time(), reason))

    def _take(self, state: SessionState, entries: tuple[Entry, ...]) -> None:
        self.state = state
        self.timeline.extend(entries)


class TestWorker:
    """Fills `bridge.demo.story.WatchingWorker`."""

    __test__ = False

    def __init__(self) -> None:
        self._all: list[Session] = []

    async def sessions(self) -> list[dict[str, Any]]:
        now = time.time()
        return [session_view(s.state, now, s.timeline) for s in self._all if s.state is not None]

    def totals(self) -> FinalTotals:
        now = time.time()
        each = [totals(session.state, now) for session in self._all if session.state is not None]
        return FinalTotals(
            rooms=len(each),
            participants=sum(one.participants_total for one in each),
            tracks=sum(one.tracks_total for one in each),
            data_messages=sum(one.messages for one in each),
            seconds=sum(one.duration for one in each),
        )

    async def watch(self, port: RoomPort, job: RoomJob) -> None:
        session = Session(job.room)
        self._all.append(session)
        try:
            async with port.open(job, session.offer) as room:
                await room.closed()
        finally:
            session.end("worker_stopped")


@asynccontextmanager
async def watching(server: Any) -> AsyncIterator[TestWorker]:
    """A worker in every room of `server` until the block ends; its sessions stay readable."""
    key = ApiKey(server.api_key, server.api_secret)
    worker = TestWorker()
    watched: set[str] = set()

    async def find(api: ServerApi, port: RoomPort, nursery: trio.Nursery) -> None:
        while True:
            for room in await api.list_rooms():
                if room.sid not in watched:
                    watched.add(room.sid)
                    nursery.start_soon(worker.watch, port, _job(room.name, room.sid))
            await trio.sleep(0.1)

    def _job(room: str, sid: str) -> RoomJob:
        token = room_token(key, room=room, identity="watcher", agent_name="test")
        return RoomJob("AJ_test", room, sid, server.url, token, "watcher")

    async with (
        trio_asyncio.open_loop(),
        LiveKitRooms() as port,
        ServerApi(Endpoint.parse(server.url), key) as api,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(find, api, port, nursery)
        yield worker
        nursery.cancel_scope.cancel()
