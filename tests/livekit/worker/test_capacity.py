"""Places: no job is lost to a race with what we told of them, and none is counted twice."""

from __future__ import annotations

import trio
import trio.testing

from bridge.lab.server import PrivateServer
from bridge.livekit.server_api import ServerApi
from bridge.livekit.worker.jobs import JobBook, Offer, Reserve, Verb
from tests.livekit.conftest import key_of
from tests.livekit.worker import server_messages as m
from tests.livekit.worker.fake_livekit import fake_livekit
from tests.livekit.worker.worker_harness import JobRecorder, first_job, make_worker, running

CACHED = 5.5
"""Seconds after a worker's first dispatch until LiveKit launches jobs as fast as it can:
for 5 s it asks all nodes which agents they have."""


async def test_fifty_jobs_offered_at_once_to_a_worker_with_sixty_places_are_all_taken(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    rooms = [await api.create_room(f"{name}-{number}") for number in range(50)]
    worker, jobs = make_worker(
        livekit_server.url, key_of(livekit_server), agent_name=name, max_rooms=60
    )
    async with running(worker):
        for room in rooms:
            worker.claim(room.name, room.sid, None)
        # A claim is offered at once; a dispatch waits for its turn at LiveKit.
        await jobs.until(lambda: len(jobs.assigned) == 50)
        assert sorted(jobs.rooms()) == sorted(room.name for room in rooms)
        assert {job.room_sid for job in jobs.assigned} == {room.sid for room in rooms}
        assert worker.rooms == {room.sid for room in rooms}
        assert (worker.free, worker.pending_entries) == (10, 50)


async def test_fifty_jobs_offered_at_once_to_two_workers_with_thirty_places_are_all_taken(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    key, jobs = key_of(livekit_server), JobRecorder()
    first, _ = make_worker(livekit_server.url, key, agent_name=name, max_rooms=30, jobs=jobs)
    second, _ = make_worker(livekit_server.url, key, agent_name=name, max_rooms=30, jobs=jobs)
    async with running(first), running(second):
        job = await first_job(name, jobs, api)
        (first if first.jobs else second).job_ended(job.job_id)
        await trio.sleep(CACHED)
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(api.create_dispatch, f"{name}-{number}", name)
        await jobs.until(lambda: len(jobs.assigned) == 50)
        assert len(set(jobs.rooms())) == 50
        assert first.free + second.free == 10


def offer(number: int) -> Offer:
    return Offer(f"AJ_{number}", f"room-{number}", f"RM_{number}", "AD_1", None)


def test_a_connection_that_is_still_being_closed_takes_the_place_of_a_room() -> None:
    abandoned = 2
    book = JobBook(max_rooms=4, abandoned_connections=lambda: abandoned)
    book.accept(offer(1), expires_at=5.0)
    book.move("AJ_1", Verb.ASSIGN)
    assert book.free == 1
    book.accept(offer(2), expires_at=5.0)
    assert book.full
    abandoned = 0
    assert book.free == 2


def test_a_room_is_under_way_until_it_is_entered_or_given_up() -> None:
    book = JobBook(max_rooms=9)
    for number in range(4):
        book.accept(offer(number), expires_at=5.0)
    assert book.pending_entries == 4
    for number in range(3):
        book.move(f"AJ_{number}", Verb.ASSIGN)
    assert book.pending_entries == 4
    book.move("AJ_0", Verb.RUN)
    book.move("AJ_1", Verb.FAIL, "refused")
    assert book.pending_entries == 2
    book.disconnected()
    assert book.pending_entries == 1, "what was only promised is gone"


async def test_a_hundred_rooms_whose_tokens_are_refused_fail_once_each_and_free_their_places() -> (
    None
):
    async with fake_livekit() as server:
        worker, jobs = make_worker(server.url, max_rooms=100)
        async with running(worker):
            for number in range(100):
                await server.dispatch(m.job(f"AJ_{number}", room=f"room-{number}"))
            await jobs.until(lambda: len(jobs.assigned) == 100)
            assert worker.free == 0
            for job in jobs.assigned:
                worker.job_ended(job.job_id, "the room refused us")
                worker.job_ended(job.job_id)
            await server.until(lambda: len(server.statuses()) >= 100)
            assert worker.free == 100
            await server.dispatch(m.job("AJ_again"))
            await jobs.until(lambda: len(jobs.assigned) == 101)
        failed = m.agent.JobStatus.JS_FAILED
        assert server.statuses()[:100] == [(f"AJ_{number}", failed) for number in range(100)]


async def test_the_server_hears_that_we_are_full_before_the_yes_that_made_us_so() -> None:
    async with fake_livekit() as server:
        worker, _ = make_worker(server.url, max_rooms=1)
        async with running(worker):
            await server.send(m.offer(m.job()))
            await server.until(lambda: bool(server.answers()))
        kinds = [
            (x.HasField("availability"), x.update_worker.status == m.agent.WorkerStatus.WS_FULL)
            for x in server.received
            if x.HasField("availability") or x.HasField("update_worker")
        ]
        assert kinds.index((False, True)) < kinds.index((True, False))


async def test_a_claim_without_a_connection_is_nothing_and_one_on_the_fake_comes_as_asked() -> None:
    worker, _ = make_worker("ws://127.0.0.1:1")
    worker.claim("standup", "RM_1", None)
    assert worker.pending_entries == 0
    async with fake_livekit() as server:
        worker, _ = make_worker(server.url)
        async with running(worker):
            worker.claim("standup", "RM_1", 1_700_000_000.25)
            await server.until(lambda: server.received[-1].HasField("simulate_job"))
            room = server.received[-1].simulate_job.room
    assert (room.name, room.sid, room.creation_time_ms) == ("standup", "RM_1", 1_700_000_000_250)


async def test_waiting_for_rooms_to_be_entered_ends_with_the_entry_or_the_end_of_a_job() -> None:
    async with fake_livekit() as server:
        worker, jobs = make_worker(server.url)
        async with running(worker), trio.open_nursery() as nursery:
            for number in range(3):
                await server.dispatch(m.job(f"AJ_{number}", room=f"room-{number}"))
            await jobs.until(lambda: len(jobs.assigned) == 3)
            nursery.start_soon(worker.wait_pending_entries, 1)
            await trio.testing.wait_all_tasks_blocked()
            worker.job_running("AJ_0")
            await trio.testing.wait_all_tasks_blocked()
            assert nursery.child_tasks
            worker.job_ended("AJ_1", "refused")
            await trio.testing.wait_all_tasks_blocked()
            assert not nursery.child_tasks


def test_reserved_places_are_refused_to_jobs_for_other_rooms() -> None:
    book = JobBook(3, reserve=Reserve(2, "team-*"))

    def offer(job_id: str, room: str) -> Offer:
        return Offer(job_id, room, f"RM_{room}", "AD_1", None)

    assert book.has_place_for("other-1")
    book.accept(offer("AJ_1", "other-1"), 5.0)
    assert not book.has_place_for("other-2")
    assert not book.full, "LiveKit goes on offering jobs for the team"
    book.accept(offer("AJ_2", "team-1"), 5.0)
    assert (book.reserved_from("other-2"), book.has_place_for("team-2")) == (1, True)
    book.accept(offer("AJ_3", "team-2"), 5.0)
    assert (book.reserved_from("other-2"), book.full) == (0, True)
