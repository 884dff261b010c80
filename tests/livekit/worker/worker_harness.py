"""Workers for tests, with recorders of their jobs and of the log."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog.testing
import structlog.typing
import trio
from attrs import define, field
from livekit.protocol import agent

from actors.rooms.room_port import RoomJob
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from bridge.livekit.worker.job_kinds import ROOM_JOBS, JobKind
from bridge.livekit.worker.jobs import JobBook
from bridge.livekit.worker.worker import Worker, WorkerConfig
from tests.livekit.worker.fake_livekit import FakeLiveKit

TIMEOUT = 60.0
"""Seconds after which a test stops waiting for something that takes milliseconds."""

_OFFER_SECONDS = 3.0
"""LiveKit takes 0.2 s to offer a job, and takes no answer after 3 s."""

KEY = ApiKey("APIkey", "a-secret-that-is-long-enough-for-sha256")


@define(eq=False)
class JobRecorder:
    """The calls that a worker made for its jobs, and a way to wait for them."""

    assigned: list[RoomJob] = field(factory=list[RoomJob])
    terminated: list[str] = field(factory=list[str])
    _changed: trio.Event = field(factory=trio.Event)

    def on_assignment(self, job: RoomJob) -> None:
        self.assigned.append(job)
        self._notify()

    def on_termination(self, job_id: str) -> None:
        self.terminated.append(job_id)
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def rooms(self) -> list[str]:
        return [job.room for job in self.assigned]

    async def until(self, holds: Callable[[], bool], seconds: float = TIMEOUT) -> None:
        with trio.fail_after(seconds):
            while not holds():
                await self._changed.wait()


def make_worker(
    url: str,
    key: ApiKey = KEY,
    *,
    agent_name: str = "watcher",
    max_rooms: int = 10,
    instance: str = "here",
    jobs: JobRecorder | None = None,
    kind: JobKind = ROOM_JOBS,
    book: JobBook | None = None,
) -> tuple[Worker, JobRecorder]:
    jobs = jobs or JobRecorder()
    config = WorkerConfig(
        endpoint=Endpoint.parse(url),
        api_key=key,
        agent_name=agent_name,
        max_rooms=max_rooms,
        version="0",
        instance=instance,
        kind=kind,
    )
    worker = Worker(config, jobs.on_assignment, jobs.on_termination, random.Random(1), book=book)
    return worker, jobs


@asynccontextmanager
async def running(worker: Worker) -> AsyncGenerator[None, None]:
    """A registered worker, closed in the end."""
    async with trio.open_nursery() as nursery:
        with trio.fail_after(TIMEOUT):
            await nursery.start(worker.run)
        yield
        await worker.aclose()


async def wait_for_dispatches(worker: Worker, jobs: JobRecorder, api: ServerApi) -> None:
    """Wait until LiveKit really gives jobs to a registered worker, which then has none."""
    worker.job_ended((await first_job(worker.config.agent_name, jobs, api)).job_id)
    await wait_reports_read(worker)


async def first_job(agent_name: str, jobs: JobRecorder, api: ServerApi) -> RoomJob:
    """Dispatch until a job comes, and remove it from the recorder.

    LiveKit answers a registration before it adds the worker to its list, and only then has its
    dispatcher read the list again.  For some milliseconds, longer on a busy machine, a dispatch
    finds no worker and is lost.
    """
    for number in itertools.count():
        await api.create_dispatch(f"{agent_name}-probe-{number}", agent_name)
        with trio.move_on_after(_OFFER_SECONDS):
            await jobs.until(lambda: bool(jobs.assigned))
            break
    return jobs.assigned.pop()


async def wait_reports_read(worker: Worker) -> None:
    """Wait until LiveKit has read all reports of the worker: it answers a ping in its turn."""
    conversation = worker._conversation
    assert conversation is not None
    protocol = conversation.protocol
    received_at = protocol._received_at
    protocol._unsent.append(agent.WorkerMessage(ping=agent.WorkerPing()))
    conversation.wake_writer()
    with trio.fail_after(TIMEOUT):
        while protocol._received_at == received_at:
            await worker._jobs_changed.wait()


@define(eq=False)
class LogRecorder:
    """The lines of the log, and a way to wait for one."""

    lines: list[structlog.typing.EventDict] = field(factory=list[structlog.typing.EventDict])
    _changed: trio.Event = field(factory=trio.Event)

    def add(
        self, _logger: object, _method: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        self.lines.append(line)
        self._changed.set()
        self._changed = trio.Event()
        return line

    async def until(self, event: str, seconds: float = TIMEOUT) -> structlog.typing.EventDict:
        """The first line of this event, also a later one."""
        with trio.fail_after(seconds):
            while True:
                for line in self.lines:
                    if line["event"] == event:
                        return line
                await self._changed.wait()


@contextmanager
def logged() -> Generator[LogRecorder, None, None]:
    log = LogRecorder()
    with structlog.testing.capture_logs(processors=[log.add]):
        yield log


@asynccontextmanager
async def trying(url: str) -> AsyncGenerator[LogRecorder, None]:
    """A worker that tries to connect until the block ends; gives the log."""
    worker, _ = make_worker(url)
    async with trio.open_nursery() as nursery:
        with logged() as log:
            nursery.start_soon(worker.run)
            yield log
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(
    server: FakeLiveKit, **options: Any
) -> AsyncGenerator[tuple[Worker, JobRecorder], None]:
    """A worker that is registered at the fake server, with the recorder of its jobs."""
    worker, jobs = make_worker(server.url, **options)
    async with running(worker):
        yield worker, jobs
