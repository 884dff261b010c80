"""A LiveKit that lies on the worker's socket: one row a lie, the same demands after each.

Tests in `tests/livekit/worker` have three more lies: frames that cannot be read, an endless answer
to the upgrade, and silence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pytest
import structlog.testing
import trio
from livekit.protocol import agent, models

from bridge.livekit.worker.jobs import MAX_JOBS_PER_KEY
from tests.livekit.worker import server_messages as m
from tests.livekit.worker.fake_livekit import FakeLiveKit, fake_livekit
from tests.livekit.worker.worker_harness import TIMEOUT, make_worker, running

PLACES = 5
LINES = 100
"""The most lines of the log, whatever comes."""
HUGE = 2**62
MEGABYTE = "x" * 900_000
"""Just within the frame that we read."""


def offered(job: agent.Job) -> list[bytes]:
    """A job that is offered and, whatever we said, assigned."""
    return [m.offer(job), m.assignment(job)]


def changed(job: agent.Job, change: Callable[[agent.Job], object]) -> agent.Job:
    change(job)
    return job


def timed(job_id: str, seconds: int) -> agent.Job:
    room = models.Room(
        name=job_id, sid=f"RM_{job_id}", creation_time=seconds, creation_time_ms=seconds
    )
    return agent.Job(id=job_id, room=room, dispatch_id="AD_1")


def described(job_id: str) -> agent.Job:
    return agent.Job(id=job_id, room=models.Room(name="a", metadata=MEGABYTE))


def pong(sent: int, at: int) -> bytes:
    return agent.ServerMessage(
        pong=agent.WorkerPong(last_timestamp=sent, timestamp=at)
    ).SerializeToString()


def many(count: int, frames: Callable[[int], Iterable[bytes]]) -> Iterator[bytes]:
    return (frame for number in range(count) for frame in frames(number))


LIES: dict[str, Callable[[], Iterable[bytes]]] = {
    "a job for a room that never was": lambda: offered(m.job("AJ_2", "never")),
    "the same job id for two rooms": lambda: [
        *offered(m.job("AJ_2", "a")),
        *offered(m.job("AJ_2", "b")),
    ],
    "the job that we have, for another room": lambda: offered(m.job("AJ_1", "another")),
    "another SID in the assignment than in the offer": lambda: [
        m.offer(m.job("AJ_2", "a")),
        m.assignment(changed(m.job("AJ_2", "a"), lambda job: setattr(job.room, "sid", "RM_b"))),
    ],
    "a room without a name": lambda: offered(m.job("AJ_2", "")),
    "a room without a SID": lambda: offered(
        changed(m.job("AJ_2", "a"), lambda job: setattr(job.room, "sid", ""))
    ),
    "a job without an id": lambda: offered(m.job("", "a")),
    "a job without anything": lambda: offered(agent.Job()),
    "names of half a megabyte": lambda: many(
        20, lambda n: offered(m.job(f"AJ_{n}_", f"{n}{MEGABYTE[:400_000]}"))
    ),
    "ids of a megabyte": lambda: many(
        20, lambda n: offered(m.job(f"AJ_{n}_{MEGABYTE}", f"room-{n}"))
    ),
    "a token of a megabyte": lambda: [
        m.offer(m.job("AJ_2", "a")),
        m.assignment(m.job("AJ_2", "a"), MEGABYTE),
    ],
    "metadata of a megabyte": lambda: many(
        20,
        lambda n: [m.offer(described(f"AJ_{n}_"))],
    ),
    "rooms made before time began": lambda: offered(timed("AJ_2", -HUGE)),
    "rooms made after the end of time": lambda: offered(timed("AJ_2", HUGE)),
    "terminations of the jobs of strangers": lambda: many(
        1_000, lambda n: [m.termination(f"AJ_of_another_{n}")]
    ),
    "an end of our job, many times": lambda: [m.termination("AJ_1")] * 1_000,
    "offers that are never assigned": lambda: many(
        1_000, lambda n: [m.offer(m.job(f"AJ_{n}_", f"room-{n}"))]
    ),
    "offers of one room that are never assigned": lambda: many(
        1_000, lambda n: [m.offer(m.job(f"AJ_{n}_", "one"))]
    ),
    "jobs without number for one room": lambda: many(
        500, lambda n: offered(m.job(f"AJ_{n}_", "one"))
    ),
    "jobs without number for the room that we are in": lambda: many(
        500, lambda n: offered(m.job(f"AJ_{n}_"))
    ),
    "assignments that were never offered": lambda: many(
        1_000, lambda n: [m.assignment(m.job(f"AJ_{n}_", f"room-{n}"))]
    ),
    "the assignment before the offer": lambda: reversed(offered(m.job("AJ_2", "a"))),
    "one assignment a thousand times": lambda: [
        m.offer(m.job("AJ_2", "a")),
        *[m.assignment(m.job("AJ_2", "a"))] * 1_000,
    ],
    "registrations without number": lambda: many(1_000, lambda n: [m.registered(f"AW_{n}x")]),
    "a farewell that is none": lambda: many(1_000, lambda n: [m.go_away(f"{n}{MEGABYTE[:900]}")]),
    "jobs of types that there are not": lambda: many(
        1_000,
        lambda n: [
            m.offer(changed(m.job(f"AJ_{n}_", "a"), lambda job: setattr(job, "type", 1_000 + n)))
        ],
    ),
    "nothing, again and again": lambda: [b""] * 1_000,
    "times of no calendar": lambda: [pong(1, HUGE), pong(HUGE, 1), pong(-HUGE, -HUGE)] * 5,
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_worker_lives_through_every_lie(lie: str) -> None:
    async with fake_livekit() as server:
        worker, jobs = make_worker(server.url, max_rooms=PLACES)
        async with running(worker):
            await server.dispatch(m.job("AJ_1"))
            await jobs.until(lambda: bool(jobs.assigned))
            worker.job_running("AJ_1")
            with structlog.testing.capture_logs() as logs:
                for frame in LIES[lie]():
                    await server.send(frame)
                await answered(server)
            assert len(server.opened_at) == 1, "the connection is the same"
            assert "AJ_1" in worker.jobs
            book = worker._book
            assert len(book._jobs) <= PLACES * MAX_JOBS_PER_KEY
            assert book.used <= PLACES
            text = sum(
                len(job.offer.room) + len(job.offer.room_sid) + len(job.offer.job_id)
                for job in book._jobs.values()
            )
            assert text <= len(book._jobs) * 1_000
            assert sum(len(job.token) for job in jobs.assigned) < 100_000
            assert len(logs) <= LINES
            assert jobs.assigned[0].room == "standup"


async def answered(server: FakeLiveKit) -> None:
    """Until a new offer, of a room that is watched, has its answer.  All before it is read."""
    last = m.job("AJ_last", "standup")
    await server.send(m.offer(last))
    with trio.fail_after(TIMEOUT):
        await server.until(lambda: "AJ_last" in server.answers())
