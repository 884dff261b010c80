"""Registrations that take no jobs and shorten LiveKit's search for a worker.

LiveKit dispatches each agent name for each job type of which any worker is registered, whatever
that worker's name is.  So a worker for participants makes the server look for participant jobs
of every other agent in every room, at each join.  The server searches with a pool of 50 threads.
A search that nobody answers takes two of them for a second; one that a full worker answers takes
them for 0.2 s.  50 people who join within a second block the pool for 4 s, and all offers of all
rooms wait (measured on livekit-server 1.13.5: 50 people were offered 4.1 s after the dispatch,
with placeholders 0.8 s after it).

A placeholder reports itself as full, always.  LiveKit then offers it nothing, and counts it as
nothing beside a real worker of the same name, also on another node.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import trio
from attrs import evolve

from actors.rooms.room_port import RoomJob
from bridge.livekit.server_clock import ServerClock
from bridge.livekit.worker.job_kinds import ROOM_JOBS, JobKind
from bridge.livekit.worker.worker import Worker, WorkerConfig
from bridge.livekit.worker.worker_rejection import WorkerRejected


def placeholder_kinds(kinds: Iterable[JobKind], agent_name: str) -> Sequence[JobKind]:
    """The registrations that are missing beside `kinds`; `agent_name` is that in the settings.

    Each name is registered for each type.  Room jobs of unnamed agents are left out: LiveKit
    looks for them with and without us.
    """
    kinds = tuple(kinds)
    served = {(kind.dispatched_as(agent_name), kind.type) for kind in kinds}
    names = sorted({name for name, _ in served} | {""})
    by_type = {kind.type: kind for kind in reversed(kinds)}
    return tuple(
        evolve(kind, name="placeholder", agent_name=name, takes_jobs=False)
        for job_type, kind in sorted(by_type.items())
        for name in names
        if (name, job_type) not in served and (name or job_type != ROOM_JOBS.type)
    )


async def run_placeholders(
    kinds: Iterable[JobKind],
    config: WorkerConfig,
    clock: ServerClock,
    rng: random.Random,
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep a registration for each of `kinds`, until it is cancelled.

    It reports as started when all are registered for the first time.
    """
    async with trio.open_nursery() as nursery:
        workers = [
            Worker(evolve(config, kind=kind), _no_job, _no_job, clock=clock, rng=rng)
            for kind in kinds
        ]
        for worker in workers:
            nursery.start_soon(_run, worker)
        for worker in workers:
            await worker.wait_registered()
        task_status.started()


async def _run(worker: Worker) -> None:
    try:
        await worker.run()
    except WorkerRejected:
        # The workers that take jobs report it, and end the program.
        return


def _no_job(_: RoomJob | str) -> None:
    """A placeholder has no jobs."""
