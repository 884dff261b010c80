"""The program's actors and store as `start` runs them, in simulated rooms.

There is no LiveKit and so no worker: the HTTP side is shown one that is not registered.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import frozen

from actors.rooms.messages import JobReports
from actors.rooms.room_port import RoomJob
from actors.runtime import ActorSystem, open_system
from actors.simulation.simulated_room_control import SimulatedRoomControl
from actors.simulation.simulated_rooms import SimulatedRooms
from bridge import __version__
from bridge.app.room_actors import RoomActorPorts, RoomActors, start_room_actors
from bridge.app.signal_log import SignalLog
from bridge.app.web_ports import WebPorts, WorkerSnapshot
from bridge.config.settings import Settings
from bridge.livekit.webhooks.webhook_events import TranslatedWebhook
from bridge.store.sqlite_archive import open_store

NAME = "simulated"
"""The worker's id in sessions."""


class NoReports:
    """Takes the reports on jobs where no LiveKit is there to get them."""

    def job_running(self, job_id: str) -> None: ...
    def job_ended(self, job_id: str, error: str | None = None) -> None: ...
    def capacity(self, active: int) -> None: ...
    async def flush(self) -> None: ...


@frozen
class SimulatedApp:
    """The running actors."""

    actors: RoomActors
    system: ActorSystem
    settings: Settings

    def web_ports(self) -> WebPorts:
        """The ports of the HTTP side."""
        return WebPorts(
            worker=self._worker,
            checks={
                "livekit": lambda: "not registered at LiveKit",
                "rooms": lambda: None,
                "store": self.actors.store_problem,
            },
            open_sessions=self.actors.open_sessions,
            watched_sessions=self.actors.watched_sessions,
            take_webhook=self._take_webhook,
            backlog=self.actors.backlog,
            counters=self.actors.counters,
            system=self.system,
        )

    def _worker(self) -> WorkerSnapshot:
        return WorkerSnapshot(
            name=NAME,
            livekit_id="",
            livekit_url=self.settings.url,
            agent_name=self.settings.agent_name,
            version=__version__,
            registered=False,
            draining=False,
            max_rooms=self.settings.max_rooms,
            watched_rooms=len(self.actors.table.records),
            entering=0,
            takes_jobs=False,
        )

    def _take_webhook(self, webhook: TranslatedWebhook) -> None:
        self.actors.take_webhook(webhook.room, webhook.room_sid, webhook.event)


@asynccontextmanager
async def open_simulated_app(
    settings: Settings, rooms: SimulatedRooms, data_dir: Path, reports: JobReports
) -> AsyncGenerator[SimulatedApp, None]:
    """Run them for the length of a block; `reports` takes the reports on jobs."""

    async def renew_job(job: RoomJob) -> RoomJob | None:
        exists = any(
            room.name == job.room and job.room_sid in ("", room.sid) for room in rooms.live
        )
        return job if exists else None

    async def dispatch_exists(_: RoomJob) -> bool:
        return True

    async def list_living() -> frozenset[str]:
        return frozenset(room.sid for room in rooms.live)

    async with (
        open_store(data_dir, instance=NAME) as archive,
        open_system(on_signal=SignalLog()) as system,
    ):
        ports = RoomActorPorts(
            port=rooms,
            renew_job=renew_job,
            dispatch_exists=dispatch_exists,
            own_room_removal=rooms,
            list_living=list_living,
            reports=reports,
            archive=archive,
            control=SimulatedRoomControl(rooms),
            data_dir=data_dir,
            worker=NAME,
        )
        yield SimulatedApp(await start_room_actors(settings, system, ports), system, settings)
