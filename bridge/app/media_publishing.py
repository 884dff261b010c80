"""The media publisher, put together: a worker for its jobs, and the jobs.

Imported only where `--job-types` has `media`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import structlog
from attrs import evolve, frozen

from actors.publishing.media_publishers import MediaPublishers
from actors.rooms.room_port import RoomJob
from actors.rooms.room_table_view import RoomTableView
from actors.runtime import ActorSystem, GroupSpec, Restart
from bridge.app.announcement_desk import BUDGET, AnnouncementDesk
from bridge.livekit.worker.job_kinds import MEDIA_JOBS
from bridge.livekit.worker.jobs import JobBook
from bridge.livekit.worker.worker import Worker

log = structlog.get_logger()


@frozen
class MediaPublishing:
    """The jobs of the media publisher, and the worker that takes them."""

    publishers: MediaPublishers
    worker: Worker

    def drain(self) -> None:
        """Take no more jobs, and leave the rooms of those that run."""
        self.worker.drain()
        self.publishers.end_all()

    async def aclose(self) -> None:
        """Close the worker's socket."""
        await self.worker.aclose()

    def services(
        self, run_worker: Callable[[Worker], Awaitable[None]]
    ) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
        """The services of the program, by their names in the tree of supervision."""
        yield "media-worker", partial(run_worker, self.worker)


async def start_media_publishing(
    system: ActorSystem,
    desk: AnnouncementDesk,
    table: RoomTableView,
    room_worker: Worker,
    book: JobBook,
) -> MediaPublishing:
    """Start the supervisor of the jobs.  The services are to be started by the caller."""
    group = system.supervisor.start_group(
        GroupSpec("media", restart=Restart.PERMANENT, intensity=BUDGET)
    )
    await group.running()

    def is_encrypted(room_sid: str) -> bool:
        room = table.find_room(room_sid)
        return room is not None and room.journal.state.encrypted is True

    def on_assignment(job: RoomJob) -> None:
        publishers.assign(job, worker)

    publishers = MediaPublishers(group, await desk.media_dependencies(), is_encrypted)
    worker = Worker(
        evolve(room_worker.config, kind=MEDIA_JOBS),
        on_assignment=on_assignment,
        on_termination=publishers.terminate,
        rng=room_worker.rng,
        clock=room_worker.clock,
        ask_time=room_worker.ask_time,
        book=book,
    )
    log.info("media_agent_started", agents=[MEDIA_JOBS.agent_name])
    return MediaPublishing(publishers, worker)
