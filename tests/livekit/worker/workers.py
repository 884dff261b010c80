"""Workers for tests, which keep what they are told."""

from __future__ import annotations

import itertools
import random
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager

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

TIMEOUT = 30.0
"""Seconds until a test gives up waiting for something that takes milliseconds."""

_OFFER_SECONDS = 3.0
"""LiveKit takes 0.2 s to offer a job, and takes no answer after 3 s."""

KEY = ApiKey("APIkey", "a-secret-that-is-long-enough-for-sha256")


@define(eq=False)
class Told:
    """What a worker's owner was told, and a way to wait for it."""

    assigned: list[RoomJob] = field(factory=list[RoomJob])
    terminated: list[str] = field(factory=list[str])
    _news: trio.Event = field(factory=trio.Event)

    def on_assignment(self, job: RoomJob) -> None:
        self.assigned.append(job)
        self._tell()

    def on_termination(self, job_id: str) -> None:
        self.terminated.append(job_id)
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = trio.Event()

    def rooms(self) -> list[str]:
        return [job.room for job in self.assigned]

    async def until(self, holds: Callable[[], bool], seconds: float = TIMEOUT) -> None:
        with trio.fail_after(seconds):
            while not holds():
                await self._news.wait()


def make_worker(
    url: str,
    key: ApiKey = KEY,
    *,
    agent_name: str = "watcher",
    max_rooms: int = 10,
    instance: str = "here",
    told: Told | None = None,
    kind: JobKind = ROOM_JOBS,
    book: JobBook | None = None,
) -> tuple[Worker, Told]:
    told = told or Told()
    config = WorkerConfig(
        endpoint=Endpoint.parse(url),
        api_key=key,
        agent_name=agent_name,
        max_rooms=max_rooms,
        version="0",
        instance=instance,
        kind=kind,
    )
    worker = Worker(config, told.on_assignment, told.on_termination, random.Random(1), book=book)
    return worker, told


@asynccontextmanager
async def running(worker: Worker) -> AsyncGenerator[None, None]:
    """A registered worker, closed in the end."""
    async with trio.open_nursery() as nursery:
        with trio.fail_after(TIMEOUT):
            await nursery.start(worker.run)
        yield
        await worker.aclose()


async def receives_jobs(worker: Worker, told: Told, api: ServerApi) -> None:
    """Wait until LiveKit really gives jobs to a registered worker, which then has none."""
    worker.job_ended((await first_job(worker.config.agent_name, told, api)).job_id)
    await taken_note(worker)


async def first_job(agent_name: str, told: Told, api: ServerApi) -> RoomJob:
    """Dispatch until it brings a job, and take that away from what was told.

    LiveKit answers a registration before it enters the worker in its books, and only then
    tells its dispatcher to look again whom there is: for some milliseconds, longer on a
    busy machine, a dispatch finds no worker and is forgotten.
    """
    for number in itertools.count():
        await api.create_dispatch(f"{agent_name}-probe-{number}", agent_name)
        with trio.move_on_after(_OFFER_SECONDS):
            await told.until(lambda: bool(told.assigned))
            break
    return told.assigned.pop()


async def taken_note(worker: Worker) -> None:
    """Wait until LiveKit has read all that the worker told it: it answers a ping in turn."""
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
class Log:
    """What is logged, with a way to wait for it."""

    lines: list[structlog.typing.EventDict] = field(factory=list[structlog.typing.EventDict])
    _news: trio.Event = field(factory=trio.Event)

    def add(
        self, _logger: object, _method: str, line: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        self.lines.append(line)
        self._news.set()
        self._news = trio.Event()
        return line

    async def until(self, event: str, seconds: float = TIMEOUT) -> structlog.typing.EventDict:
        """The first line of this event, past or to come."""
        with trio.fail_after(seconds):
            while True:
                for line in self.lines:
                    if line["event"] == event:
                        return line
                await self._news.wait()


@contextmanager
def logged() -> Generator[Log, None, None]:
    log = Log()
    with structlog.testing.capture_logs(processors=[log.add]):
        yield log
