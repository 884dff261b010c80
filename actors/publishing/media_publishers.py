"""All jobs of the media publisher: a job in, an actor for it, and its end reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, final

from actors.publishing.media_job import MediaDependencies, MediaFailed, MediaJob
from actors.publishing.media_request import BadMediaRequest, MediaRequest, parse_media_request
from actors.rooms.messages import JobReports
from actors.rooms.room_port import RoomJob
from actors.runtime import Actor, ChildSpec, Down, ExitKind, Ref, Restart, Supervisor, receives

ENCRYPTED: Final = "the room is encrypted end to end, and the worker does not have its key"


class StopMedia:
    """Leave the room: the job was taken back, or the worker stops."""


@final
class MediaActor(Actor[StopMedia]):
    """Runs one job.  It is not restarted: people would hear the same text again."""

    def __init__(
        self,
        job: RoomJob,
        request: MediaRequest,
        dependencies: MediaDependencies,
        on_running: Callable[[], object],
        on_failed: Callable[[str], object],
    ) -> None:
        self._job = MediaJob(job, request, dependencies)
        self._on_running, self._on_failed = on_running, on_failed

    async def started(self) -> None:
        self.context.start_soon(self._run)

    async def _run(self) -> None:
        try:
            await self._job.run(self._on_running)
        except MediaFailed as error:
            self._on_failed(str(error))
        self.context.stop()

    @receives(StopMedia)
    def stop(self, _: StopMedia) -> None:
        self.context.stop()


@final
class MediaPublishers:
    """See the module."""

    def __init__(
        self,
        supervisor: Supervisor,
        dependencies: MediaDependencies,
        is_encrypted: Callable[[str], bool],
    ) -> None:
        """`is_encrypted` says it of a room by its SID; False where that is unknown."""
        self._supervisor = supervisor
        self._dependencies = dependencies
        self._is_encrypted = is_encrypted
        self._actors: dict[str, Ref[StopMedia]] = {}
        """By job."""

    @property
    def running(self) -> int:
        """Jobs that are not over."""
        return len(self._actors)

    def assign(self, job: RoomJob, reports: JobReports) -> None:
        """LiveKit gave us this job.  Called between two awaits."""
        try:
            request = parse_media_request(job.metadata)
            if self._is_encrypted(job.room_sid):
                raise BadMediaRequest(ENCRYPTED)
        except BadMediaRequest as error:
            self._refuse(job, reports, str(error))
            return
        errors = list[str]()
        ref: Ref[StopMedia] = self._supervisor.start_child(
            ChildSpec(
                job.job_id,
                lambda: MediaActor(
                    job,
                    request,
                    self._dependencies,
                    lambda: reports.job_running(job.job_id),
                    errors.append,
                ),
                restart=Restart.TEMPORARY,
            )
        )
        self._actors[job.job_id] = ref

        def over(down: Down) -> None:
            del self._actors[job.job_id]
            if down.kind is ExitKind.CRASHED:
                errors.append("an internal error")
            error = errors[0] if errors else None
            if error is not None:
                self._dependencies.log(
                    "media_publishing_failed", room=job.room, job_id=job.job_id, error=error
                )
            reports.job_ended(job.job_id, error)

        ref.watch(over)

    def _refuse(self, job: RoomJob, reports: JobReports, error: str) -> None:
        self._dependencies.log(
            "media_publishing_failed", room=job.room, job_id=job.job_id, error=error
        )
        reports.job_ended(job.job_id, error)

    def terminate(self, job_id: str) -> None:
        """LiveKit wants this job ended."""
        ref = self._actors.get(job_id)
        if ref is not None:
            ref.tell(StopMedia())

    def end_all(self) -> None:
        """Leave every room."""
        for job_id in tuple(self._actors):
            self.terminate(job_id)
