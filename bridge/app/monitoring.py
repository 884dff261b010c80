"""Participant monitoring, put together: a worker for each kind of job, and the monitors.

Imported only where `--job-types` has more than `room`.  The kinds share the job book, and one
room connection serves all jobs of its room.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import structlog
import trio
from attrs import asdict, evolve, frozen

from actors.monitoring.monitor_state import MonitorSettings
from actors.monitoring.monitors import ParticipantMonitors
from actors.rooms.room_port import RoomJob
from actors.runtime import ActorSystem, GroupSpec, Intensity, Restart
from bridge.app.room_actors import RoomActors, announce
from bridge.config.settings import Settings
from bridge.livekit.livekit_room_control import LiveKitRoomControl
from bridge.livekit.server_api import ServerApi
from bridge.livekit.worker.dispatch_cache import refresh_always
from bridge.livekit.worker.job_kinds import JOB_KINDS, ROOM_JOBS, JobKind
from bridge.livekit.worker.jobs import JobBook
from bridge.livekit.worker.placeholders import placeholder_kinds, run_placeholders
from bridge.livekit.worker.worker import Worker, WorkerConfig

log = structlog.get_logger()

BUDGET: Final = Intensity(restarts=1_000_000, within=1.0)
"""Monitors have budgets of their own.  Their failures never add up to a failure of the whole."""
MONITORED: Final = frozenset(("participant", "publisher"))
"""Kinds of jobs that are about a person."""
REPORT_EVERY: Final = 30.0
"""Seconds between two health checks."""
MEASURE_EVERY: Final = 5.0
"""Seconds between two counts of the frames of monitored videos."""
MOST_SUMMARIES: Final = 200
"""Monitors that the summary at the end has one by one: the newest."""


@frozen
class Monitoring:
    """The monitors of a program, and the workers that take their jobs."""

    monitors: ParticipantMonitors
    workers: Mapping[str, Worker]
    """By the name of the kind."""
    registrations: Callable[[], Awaitable[None]]
    """Keeps LiveKit's search for workers quick (`run_registrations`)."""

    def drain(self) -> None:
        """Take no more jobs."""
        for worker in self.workers.values():
            worker.drain()

    async def aclose(self) -> None:
        """End what waits for a room, and close the workers' sockets.  The other monitors have
        ended with their rooms."""
        self.monitors.end_all("the worker stopped")
        for worker in self.workers.values():
            await worker.aclose()

    def services(
        self, run_worker: Callable[[Worker], Awaitable[None]]
    ) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        """The services of the program, by their names in the tree of supervision."""
        for name, worker in self.workers.items():
            yield f"{name}-worker", partial(run_worker, worker)
        yield "registrations", self.registrations
        yield "monitoring", partial(self.monitors.report_every, REPORT_EVERY)
        yield "videos", partial(self.monitors.measure_videos_every, MEASURE_EVERY)

    def log_summary(self) -> None:
        """Log the summary of all monitors of this run, if there were any."""
        summaries = self.monitors.summaries()
        if not summaries:
            return
        shown = summaries[-MOST_SUMMARIES:]
        log.info(
            "monitoring_summary",
            participants=[
                {
                    key: round(value, 3) if isinstance(value, float) else value
                    for key, value in pairs
                }
                for pairs in (asdict(one).items() for one in shown)
            ],
            others=self.monitors.count - len(shown),
        )


async def start_monitoring(
    settings: Settings,
    system: ActorSystem,
    rooms: RoomActors,
    room_worker: Worker,
    book: JobBook,
    api: ServerApi,
) -> Monitoring:
    """Start the supervisor of the monitors.  The services are to be started by the caller."""
    group = system.supervisor.start_group(
        GroupSpec("monitors", restart=Restart.PERMANENT, intensity=BUDGET)
    )
    await group.running()
    monitors = ParticipantMonitors(
        group,
        rooms.table,
        settings=MonitorSettings(
            settings.quality_threshold, settings.inactivity_timeout, settings.notify_people
        ),
        control=LiveKitRoomControl(api),
        clock=rooms.clock,
        announce=announce,
        watch_room=lambda job: room_worker.claim(job.room, job.room_sid, job.created_at),
    )
    rooms.add_subscriber("monitors", monitors)
    kinds = [JOB_KINDS[name] for name in settings.job_types if name in MONITORED]
    workers = {
        kind.name: _worker(kind, room_worker.config, monitors, book, room_worker) for kind in kinds
    }
    log.info("monitoring_agent_started", agents=[kind.agent_name for kind in kinds])
    registered = [JOB_KINDS[name] for name in settings.job_types if name != "room"]
    return Monitoring(
        monitors, workers, partial(run_registrations, registered, room_worker, rooms, api)
    )


async def run_registrations(
    kinds: Sequence[JobKind], room_worker: Worker, rooms: RoomActors, api: ServerApi
) -> None:
    """Keep what makes the offers of jobs quick beside the workers of `kinds`."""
    config = room_worker.config
    missing = placeholder_kinds((ROOM_JOBS, *kinds), config.agent_name)

    def people_by_room() -> dict[str, int]:
        states = [record.journal.state for record in rooms.table.records.values()]
        return {
            state.room: sum(one.takes_part for one in state.present.values()) for state in states
        }

    async with trio.open_nursery() as nursery:
        await nursery.start(run_placeholders, missing, config, room_worker.clock, room_worker.rng)
        await refresh_always(api, people_by_room)


def _worker(
    kind: JobKind,
    config: WorkerConfig,
    monitors: ParticipantMonitors,
    book: JobBook,
    room_worker: Worker,
) -> Worker:
    def on_assignment(job: RoomJob) -> None:
        monitors.assign(job, kind.dispatched_as(config.agent_name), worker)

    worker = Worker(
        evolve(config, kind=kind),
        on_assignment=on_assignment,
        on_termination=monitors.terminate,
        rng=room_worker.rng,
        clock=room_worker.clock,
        ask_time=room_worker.ask_time,
        book=book,
    )
    return worker
