"""The fake server speaks like the real one where both behave well."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from attrs import frozen

from bridge.lab.server import PrivateServer
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from bridge.livekit.worker.worker import Worker
from tests.livekit.conftest import key_of
from tests.livekit.worker import server_messages as m
from tests.livekit.worker.fake_livekit import fake_livekit
from tests.livekit.worker.worker_harness import (
    KEY,
    JobRecorder,
    make_worker,
    running,
    wait_for_dispatches,
)


@frozen
class LiveKit:
    """The calls that both servers answer."""

    url: str
    key: ApiKey
    wait_for_dispatches: Callable[[Worker, JobRecorder], Awaitable[object]]
    """Wait until it gives jobs to a worker that it has registered."""
    dispatch: Callable[[str, str], Awaitable[object]]
    """By room and agent name."""
    terminate: Callable[[str], Awaitable[object]]
    """By room: takes back what was dispatched there."""


@pytest.fixture
async def real(livekit_server: PrivateServer, api: ServerApi) -> LiveKit:
    dispatched: dict[str, str] = {}

    async def dispatch(room: str, agent_name: str) -> None:
        dispatched[room] = (await api.create_dispatch(room, agent_name)).id

    async def terminate(room: str) -> None:
        await api.delete_dispatch(room, dispatched[room])

    async def receives(worker: Worker, jobs: JobRecorder) -> None:
        await wait_for_dispatches(worker, jobs, api)

    return LiveKit(livekit_server.url, key_of(livekit_server), receives, dispatch, terminate)


@pytest.fixture
async def fake() -> AsyncGenerator[LiveKit, None]:
    async with fake_livekit() as server:

        async def dispatch(room: str, _agent_name: str) -> None:
            await server.dispatch(m.job(f"AJ_{room}", room))

        async def terminate(room: str) -> None:
            await server.send(m.termination(f"AJ_{room}"))

        async def at_once(_worker: Worker, _jobs: JobRecorder) -> None:
            """It keeps no books."""

        yield LiveKit(server.url, KEY, at_once, dispatch, terminate)


@pytest.mark.parametrize("which", ["real", "fake"])
async def test_a_worker_cannot_tell_the_fake_server_from_the_real_one(
    name: str, which: str, real: LiveKit, fake: LiveKit
) -> None:
    livekit = {"real": real, "fake": fake}[which]
    worker, jobs = make_worker(livekit.url, livekit.key, agent_name=name)
    async with running(worker):
        assert worker.worker_id.startswith("AW_")
        await livekit.wait_for_dispatches(worker, jobs)
        await livekit.dispatch(name, name)
        await jobs.until(lambda: bool(jobs.assigned))
        (job,) = jobs.assigned
        assert job.job_id.startswith("AJ_")
        assert job.room == name
        assert job.room_sid.startswith("RM_")
        assert job.identity == f"agent-{job.job_id}"
        assert job.token
        assert job.created_at is not None
        assert job.dispatch_id.startswith("AD_")
        worker.job_running(job.job_id)
        await livekit.terminate(name)
        await jobs.until(lambda: jobs.terminated == [job.job_id])
        worker.job_ended(job.job_id)
        await worker.flush()
        assert worker.free == 10
    assert not worker.registered
