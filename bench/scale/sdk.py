"""LiveKit's plain SDK on asyncio, one process, one `Room` a room: what our own way is held to.

    python -m bench.scale.sdk JOBS stock|floor

JOBS is a named pipe: each line of it is a room to join, `{"url", "room", "token"}`.

`stock`: the SDK as it comes.  The same work as the agent of `bench/rooms`.
`floor`: the SDK's native library set up as we do it, and `{"floor": true}` in JOBS has
whatever it tells dropped in its callback, unread: what no Python program on it can get
below.  It records nothing of events, so for it there is no lag and no count.
"""

# ruff: noqa: SLF001  (the floor is below the SDK's public face)

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any, BinaryIO, Final

from livekit import rtc
from livekit.rtc._ffi_client import FfiClient, FfiHandle

from bench.rooms.watcher import Watcher, record
from bridge.livekit.rooms import seams

AT_ONCE: Final = 8
"""Rooms joined at the same time, as many as we do."""


class Floor:
    """Stands where the SDK's queue was: for what the native library lends us, gives it back."""

    def put(self, event: Any) -> None:
        if event.WhichOneof("message") != "room_event":
            return
        inside = event.room_event
        if inside.WhichOneof("message") == "data_packet_received":
            FfiHandle(inside.data_packet_received.user.data.handle.id).dispose()


class Observer:
    def __init__(self, bare: bool) -> None:
        self._bare = bare
        self._rooms: list[rtc.Room] = []
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, jobs: BinaryIO) -> None:
        loop = asyncio.get_running_loop()
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stopped.set)
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), jobs)
        reading = loop.create_task(self._read(reader))
        record("worker_registered")
        await stopped.wait()
        reading.cancel()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        async for line in reader:
            job = json.loads(line)
            if "floor" in job:
                FfiClient.instance._queue = Floor()
                continue
            task = asyncio.create_task(self._join(job))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _join(self, job: dict[str, str]) -> None:
        async with self._slots:
            room = rtc.Room()
            self._rooms.append(room)
            watcher = Watcher(job["room"])
            watcher.listen(room)
            if self._bare:
                room.on("track_subscribed", lambda _track, publication, _: seams.pause(publication))
            await room.connect(job["url"], job["token"], self._options())
            watcher.connected(room)

    def _options(self) -> rtc.RoomOptions:
        if not self._bare:
            return rtc.RoomOptions(auto_subscribe=False)
        return rtc.RoomOptions(
            auto_subscribe=False,
            single_peer_connection=False,
            rtc_config=rtc.RtcConfiguration(
                continual_gathering_policy=rtc.ContinualGatheringPolicy.GATHER_ONCE
            ),
        )


def main(jobs: str, how: str) -> None:
    if how == "floor":
        seams.initialize()
    # For writing too: so there is always a writer, and it never ends.
    with os.fdopen(os.open(jobs, os.O_RDWR | os.O_NONBLOCK), "rb", buffering=0) as pipe:
        asyncio.run(Observer(how == "floor").run(pipe))


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # Rooms are still open, and what that leads to is not measured.
