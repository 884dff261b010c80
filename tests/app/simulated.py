"""The program's actors and store as they run in production, in simulated rooms."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import structlog
import trio

from actors.rooms.room_port import RoomJob
from actors.rooms.room_table_view import RoomRecordView
from actors.runtime import ActorSystem
from actors.simulation.simulated_rooms import SimulatedRoom, SimulatedRooms
from bridge.app.demo_role import demo_settings
from bridge.app.room_actors import RoomActors
from bridge.app.simulated_app import open_simulated_app

Logged = MutableMapping[str, Any]


class World:
    """Simulated rooms and those who watch them.  Also hears of the jobs."""

    actors: RoomActors
    system: ActorSystem

    def __init__(self) -> None:
        self.rooms = SimulatedRooms(time.time)
        self.running: set[str] = set()
        """Ids of jobs whose room was entered."""
        self.ended: Counter[str | None] = Counter()
        """The number of ended jobs by error; None counts those without one."""
        self._news = trio.Event()
        self._jobs = 0

    def job_running(self, job_id: str) -> None:
        self.running.add(job_id)
        self._tell()

    def job_ended(self, job_id: str, error: str | None = None) -> None:
        self.running.discard(job_id)
        self.ended[error] += 1
        self._tell()

    def capacity(self, active: int) -> None: ...
    async def flush(self) -> None: ...

    def _tell(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until what happened to the jobs makes this true."""
        with trio.fail_after(60):
            while not holds():
                await self._news.wait()

    def assign(self, *names: str) -> tuple[list[SimulatedRoom], set[str]]:
        """Rooms with alice and her microphone, and the ids of the jobs for them."""
        rooms = [self.rooms.room(name) for name in names]
        jobs: set[str] = set()
        for room in rooms:
            room.join("alice").publish("microphone")
            self._jobs += 1
            job = RoomJob(
                f"AJ_{self._jobs}", room.name, room.sid, "ws://simulated", "token", "agent-1"
            )
            jobs.add(job.job_id)
            self.actors.assign(job)
        return rooms, jobs

    async def watch(self, *names: str) -> list[SimulatedRoom]:
        """Rooms as `assign` makes them; they are watched when this returns."""
        rooms, jobs = self.assign(*names)
        await self.until(lambda: jobs <= self.running)
        return rooms

    def record_of(self, room: SimulatedRoom) -> RoomRecordView:
        record = self.actors.table.find_room(room.sid)
        assert record is not None
        return record


@contextmanager
def log_to(take: Callable[[Logged], object]) -> Generator[None, None, None]:
    """Every event of the log is given to `take`, and written nowhere."""

    def process(_logger: object, _level: str, event: Logged) -> Logged:
        take(event)
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[process])
    try:
        yield
    finally:
        structlog.configure(**before)


@asynccontextmanager
async def open_world(
    data_dir: Path, take: Callable[[Logged], object] = lambda _: None
) -> AsyncGenerator[World, None]:
    """The world; all rooms are left at its end.  `take` is given what is logged."""
    world = World()
    with log_to(take):
        async with open_simulated_app(demo_settings(None), world.rooms, data_dir, world) as running:
            world.actors, world.system = running.actors, running.system
            yield world
            await world.actors.leave_all()
            await world.actors.flush()
