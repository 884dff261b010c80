"""The program's actors and store as `start` runs them, in simulated rooms."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import frozen

from actors.rooms.messages import JobReports
from actors.rooms.room_port import RoomJob
from actors.runtime import ActorSystem, open_system
from actors.simulation.simulated_rooms import SimulatedRooms
from bridge import __version__
from bridge.app.program import Program
from bridge.app.room_actors import Ports, RoomActors, on_signal, start_room_actors
from bridge.config.settings import Settings
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.tokens import ApiKey
from bridge.livekit.worker.worker import Worker, WorkerConfig
from bridge.store.sqlite_archive import open_store


class NoReports:
    """Nobody hears of the jobs."""

    def job_running(self, job_id: str) -> None: ...
    def job_ended(self, job_id: str, error: str | None = None) -> None: ...
    def capacity(self, active: int) -> None: ...
    async def flush(self) -> None: ...


@frozen
class SimulatedApp:
    """What runs."""

    actors: RoomActors
    system: ActorSystem

    def program(self, settings: Settings) -> Program:
        """It as the HTTP side wants it.  The worker is never run: there is no LiveKit."""
        config = WorkerConfig(
            endpoint=Endpoint.parse(settings.url),
            api_key=ApiKey(settings.api_key, settings.api_secret),
            agent_name=settings.agent_name,
            max_rooms=settings.max_rooms,
            version=__version__,
            instance="simulated",
            visible=settings.visible,
        )
        worker = Worker(config, on_assignment=lambda _: None, on_termination=lambda _: None)
        return Program(self.actors, worker, self.system)


@asynccontextmanager
async def open_simulated_app(
    settings: Settings, rooms: SimulatedRooms, data_dir: Path, reports: JobReports
) -> AsyncGenerator[SimulatedApp, None]:
    """Run them for the length of a block; `reports` hears of the jobs."""

    async def find_again(job: RoomJob) -> RoomJob | None:
        lives = any(room.name == job.room and job.room_sid in ("", room.sid) for room in rooms.live)
        return job if lives else None

    async def list_living() -> frozenset[str]:
        return frozenset(room.sid for room in rooms.live)

    async with (
        open_store(data_dir, instance="simulated") as archive,
        open_system(on_signal=on_signal) as system,
    ):
        outside = Ports(
            port=rooms,
            find_again=find_again,
            undo=rooms,
            list_living=list_living,
            reports=reports,
            archive=archive,
            worker="simulated",
        )
        yield SimulatedApp(await start_room_actors(settings, system, outside), system)
