"""The worker at a real LiveKit server."""

from __future__ import annotations

import time

import pytest
import structlog.testing
import trio
from livekit.protocol import agent

from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from bridge.livekit.worker.worker_rejection import WorkerRejected
from tests.livekit.conftest import key_of
from tests.livekit.worker.worker_harness import (
    logged,
    make_worker,
    running,
    wait_for_dispatches,
    wait_reports_read,
)


async def test_a_worker_is_registered_while_it_runs(
    livekit_server: PrivateServer, name: str
) -> None:
    worker, _ = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker):
        assert worker.registered
        assert worker.worker_id.startswith("AW_")
        assert worker.free == 10
    assert not worker.registered
    assert worker.worker_id == ""


@pytest.mark.parametrize("scheme", ["ws", "http"])
async def test_the_url_may_be_of_either_scheme(
    livekit_server: PrivateServer, name: str, scheme: str
) -> None:
    url = f"{scheme}://{livekit_server.url.partition('://')[2]}/"
    worker, _ = make_worker(url, key_of(livekit_server), agent_name=name)
    async with running(worker):
        assert worker.registered


async def test_every_dispatch_becomes_our_job(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    """Offers are answered in the same step (test_worker_protocol.py); LiveKit takes 0.2 s."""
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker):
        await wait_for_dispatches(worker, jobs, api)
        for number in range(1, 6):
            await api.create_dispatch(f"{name}-{number}", name)
            await jobs.until(lambda many=number: len(jobs.assigned) == many)


async def test_a_job_has_all_that_its_room_needs_and_takes_a_place_until_it_ends(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker):
        await wait_for_dispatches(worker, jobs, api)
        dispatch = await api.create_dispatch(name, name)
        await jobs.until(lambda: bool(jobs.assigned))
        (job,) = jobs.assigned
        assert job.room == name
        assert job.room_sid.startswith("RM_")
        assert job.dispatch_id == dispatch.id
        assert job.url == livekit_server.url
        assert job.identity == f"agent-{job.job_id}"
        assert job.created_at is not None
        assert abs(job.created_at - time.time()) < 30
        assert worker.rooms == {job.room_sid}
        assert worker.free == 9
        worker.job_running(job.job_id)
        worker.job_ended(job.job_id)
        assert worker.free == 10


async def test_all_three_ways_of_explicit_dispatch_reach_us(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker):
        await wait_for_dispatches(worker, jobs, api)
        await api.create_room(f"{name}-1", agents=[name])
        await api.create_room(f"{name}-2")
        await api.create_dispatch(f"{name}-2", name)
        await api.create_dispatch(f"{name}-3", name)
        await jobs.until(lambda: len(jobs.assigned) == 3)
        assert sorted(jobs.rooms()) == [f"{name}-1", f"{name}-2", f"{name}-3"]


async def test_max_rooms_stops_the_offers_and_a_freed_place_brings_them_back(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    worker, jobs = make_worker(
        livekit_server.url, key_of(livekit_server), agent_name=name, max_rooms=3
    )
    async with running(worker):
        await wait_for_dispatches(worker, jobs, api)
        with structlog.testing.capture_logs() as logs:
            for number in range(3):
                await api.create_dispatch(f"{name}-{number}", name)
            await jobs.until(lambda: len(jobs.assigned) == 3)
            assert worker.free == 0
            await wait_reports_read(worker)
            await api.create_dispatch(f"{name}-beyond", name)
            # The server says so when it gave up: the dispatch never gets a job.
            await trio.sleep(1.0)
            assert len(jobs.assigned) == 3
        assert [line for line in logs if line["event"] == "job_refused"] == [], "not even offered"
        worker.job_ended(jobs.assigned[0].job_id)
        await wait_reports_read(worker)
        await api.create_dispatch(f"{name}-again", name)
        await jobs.until(lambda: len(jobs.assigned) == 4)
        assert jobs.rooms()[-1] == f"{name}-again"


async def test_of_a_burst_beyond_capacity_only_as_many_as_there_are_places_become_jobs(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    worker, jobs = make_worker(
        livekit_server.url, key_of(livekit_server), agent_name=name, max_rooms=5
    )
    async with running(worker), trio.open_nursery() as nursery:
        await wait_for_dispatches(worker, jobs, api)
        for number in range(20):
            nursery.start_soon(api.create_dispatch, f"{name}-{number}", name)
        await jobs.until(lambda: len(jobs.assigned) == 5)
        await trio.sleep(1.0)
        assert len(jobs.assigned) == 5


async def test_a_draining_worker_gets_nothing_more_and_a_spare_one_gets_it(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    spare, spare_jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker), running(spare):
        worker.drain()
        await wait_reports_read(worker)
        await wait_for_dispatches(spare, spare_jobs, api)
        for number in range(6):
            await api.create_dispatch(f"{name}-{number}", name)
        await spare_jobs.until(lambda: len(spare_jobs.assigned) == 6)
        assert jobs.assigned == []


async def test_a_simulated_job_of_another_type_is_refused_and_one_for_a_room_taken(
    livekit_server: PrivateServer, name: str
) -> None:
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker):
        conversation = worker._conversation
        assert conversation is not None
        with structlog.testing.capture_logs() as logs:
            # With a participant the server makes it a job of type JT_PUBLISHER.
            for participant in ({"identity": "alice"}, None):
                conversation.protocol._unsent.append(
                    agent.WorkerMessage(
                        simulate_job={"room": {"name": name}, "participant": participant}
                    )
                )
            conversation.wake_writer()
            await jobs.until(lambda: bool(jobs.assigned))
        assert jobs.rooms() == [name]
        (refused,) = [line for line in logs if line["event"] == "job_refused"]
        assert refused["job_type"] == "JT_PUBLISHER"
        assert refused["reason"] == "not a room job"


async def test_a_killed_server_that_comes_back_has_us_again_and_is_told_our_jobs(
    own_server: PrivateServer, name: str
) -> None:
    worker, jobs = make_worker(own_server.url, key_of(own_server), agent_name=name)
    async with (
        ServerApi(Endpoint.parse(own_server.url), key_of(own_server)) as api,
        running(worker),
    ):
        await wait_for_dispatches(worker, jobs, api)
        await api.create_dispatch(f"{name}-1", name)
        await jobs.until(lambda: bool(jobs.assigned))
        worker.job_running(jobs.assigned[0].job_id)
        first_id = worker.worker_id
        with logged() as log:
            own_server.kill()
            await log.until("worker_disconnected")
            assert not worker.registered
            assert worker.free == 0
            assert worker.jobs == (jobs.assigned[0].job_id,), "its room goes on"
            await trio.to_thread.run_sync(own_server.restart)
            again = await log.until("worker_registered")
        assert again["jobs"] == 1
        assert worker.worker_id != first_id
        jobs.assigned.clear()
        await wait_for_dispatches(worker, jobs, api)


async def test_thirty_jobs_come_and_go(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    worker, jobs = make_worker(
        livekit_server.url, key_of(livekit_server), agent_name=name, max_rooms=500
    )
    async with running(worker):
        await wait_for_dispatches(worker, jobs, api)
        rooms = {f"{name}-{number}" for number in range(30)}
        with trio.fail_after(60):
            # LiveKit drops the job of a worker that answers late, as on a busy machine.
            while missing := rooms - set(jobs.rooms()):
                async with trio.open_nursery() as nursery:
                    for room in missing:
                        nursery.start_soon(api.create_dispatch, room, name)
                with trio.move_on_after(10):
                    await jobs.until(lambda: rooms <= set(jobs.rooms()))
        ended = list(jobs.assigned)
        for job in ended:
            worker.job_running(job.job_id)
            worker.job_ended(job.job_id)
        await worker.flush()
        assert worker.free == 500 - (len(jobs.assigned) - len(ended))


@pytest.mark.parametrize(
    "key, secret, reason",
    [("nokey", "s" * 40, "wrong_key"), (None, "s" * 40, "wrong_secret")],
)
async def test_a_wrong_key_or_secret_is_a_clear_error_without_the_token(
    livekit_server: PrivateServer, key: str | None, secret: str, reason: str
) -> None:
    worker, _ = make_worker(livekit_server.url, ApiKey(key or livekit_server.api_key, secret))
    with pytest.raises(WorkerRejected) as caught:
        await worker.run()
    assert caught.value.reason == reason
    assert "eyJ" not in str(caught.value)


async def test_a_clock_that_is_far_off_is_a_clear_error(
    livekit_server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    monkeypatch.setattr("bridge.livekit.tokens.time.time", lambda: real() - 1000)
    worker, _ = make_worker(livekit_server.url, key_of(livekit_server))
    with pytest.raises(WorkerRejected) as caught:
        await worker.run()
    assert caught.value.reason == "clock_skew"
    assert "behind" in str(caught.value)


@pytest.mark.parametrize("seconds", [-500, 500])
async def test_a_clock_that_is_minutes_off_does_not_matter(
    livekit_server: PrivateServer, name: str, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    real = time.time
    monkeypatch.setattr("bridge.livekit.tokens.time.time", lambda: real() + seconds)
    worker, _ = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker):
        assert worker.registered


async def test_a_url_without_livekit_behind_it_is_a_clear_error(
    livekit_server: PrivateServer,
) -> None:
    worker, _ = make_worker(f"{livekit_server.url}/elsewhere", key_of(livekit_server))
    with pytest.raises(WorkerRejected, match="no LiveKit worker endpoint"):
        await worker.run()
