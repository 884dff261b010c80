"""The reconciler with real workers, real rooms and agents that are really in them."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from functools import partial
from math import inf

import trio

from actors.rooms.room_port import RoomJob
from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import AGENT_NAME_ATTRIBUTE, INSTANCE_ATTRIBUTE
from bridge.livekit.watching.reconciler import Reconciler
from bridge.livekit.watching.room_candidates import MAX_PROMPT_LAUNCHES
from bridge.livekit.watching.watch_state import OurRooms
from bridge.livekit.worker.worker import Worker
from tests.livekit.conftest import key_of
from tests.livekit.worker.worker_harness import TIMEOUT, JobRecorder, logged, make_worker, running


@asynccontextmanager
async def reconciling(
    worker: Worker, api: ServerApi, name: str, instance: str = "here"
) -> AsyncGenerator[None, None]:
    """Watch the rooms whose names begin with `name`, until the block ends."""
    reconciler = Reconciler(api, worker, name, instance, (f"{name}*",))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reconciler.run)
        yield
        nursery.cancel_scope.cancel()


async def test_rooms_older_than_the_worker_and_rooms_made_later_are_ours_within_five_seconds(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    old = [f"{name}-{number}" for number in range(5)]
    for room in old:
        await api.create_room(room)
    await api.create_room(f"not-{name}")
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker), reconciling(worker, api, name):
        await jobs.until(lambda: len(jobs.assigned) == 5)
        assert sorted(jobs.rooms()) == old
        await api.create_room(f"{name}-new")
        await jobs.until(lambda: len(jobs.assigned) == 6)
        assert jobs.rooms()[-1] == f"{name}-new"


async def test_a_hundred_rooms_older_than_the_worker_are_ours_as_fast_as_we_enter_them(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    """By dispatches 25 of them would be ours at once, the others after 5.6 s."""
    rooms = [f"{name}-{number}" for number in range(100)]
    async with trio.open_nursery() as nursery:
        for room in rooms:  # They stay empty, for as long as a busy machine may take.
            nursery.start_soon(partial(api.create_room, room, empty_timeout=120))
    worker, jobs = make_worker(
        livekit_server.url, key_of(livekit_server), agent_name=name, max_rooms=500
    )
    enter_at_once(worker)
    async with running(worker), reconciling(worker, api, name):
        await jobs.until(lambda: len(jobs.assigned) == 100)
        assert sorted(jobs.rooms()) == sorted(rooms)
        claimed = [job for job in jobs.assigned if not job.dispatch_id]
        assert len(claimed) >= 100 - MAX_PROMPT_LAUNCHES
        assert worker.free == 400


async def test_rooms_we_watched_before_are_ours_whatever_we_watch_and_others_are_not(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    before = [await api.create_room(f"{name}-{number}") for number in range(3)]
    await api.create_room(f"{name}-other")
    wanted = {"RM_long-gone", *(room.sid for room in before)}
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    reconciler = Reconciler(api, worker, name, "here", (), OurRooms(resumable=lambda: wanted))
    async with running(worker), trio.open_nursery() as nursery:
        nursery.start_soon(reconciler.run)
        await jobs.until(lambda: len(jobs.assigned) == 3)
        assert {(job.room, job.room_sid) for job in jobs.assigned} == {
            (room.name, room.sid) for room in before
        }
        assert {job.created_at for job in jobs.assigned} == {
            room.creation_time_ms / 1000 for room in before
        }
        assert wanted & await api.alive() == {room.sid for room in before}
        nursery.cancel_scope.cancel()


async def test_a_room_we_are_told_of_is_ours_once_even_where_its_maker_dispatches_us(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    enter_at_once(worker)
    reconciler = Reconciler(api, worker, name, "here", (f"{name}*",))
    async with running(worker), trio.open_nursery() as nursery:
        nursery.start_soon(reconciler.run)
        for agents in ([], [name]):
            room = await api.create_room(f"{name}-{len(agents)}", agents=agents)
            reconciler.inspect_now(room.sid)
            await jobs.until(lambda sid=room.sid: any(j.room_sid == sid for j in jobs.assigned))
        with trio.move_on_after(3):
            await jobs.until(lambda: len(jobs.assigned) > 2)
        assert len(jobs.assigned) == 2
        nursery.cancel_scope.cancel()


def enter_at_once(worker: Worker) -> None:
    """Let the room of each job count as entered in the moment that it is ours."""
    jobs = worker.on_assignment

    def enter(job: RoomJob) -> None:
        jobs(job)
        worker.job_running(job.job_id)

    worker.on_assignment = enter


async def test_a_room_whose_dispatch_was_lost_because_no_worker_was_there_is_ours(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    await api.create_dispatch(name, name)
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker), reconciling(worker, api, name):
        await jobs.until(lambda: bool(jobs.assigned))


async def test_a_room_that_was_just_dispatched_to_gets_one_job(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker), reconciling(worker, api, name):
        await api.create_room(f"{name}-1", agents=[name])
        await api.create_dispatch(f"{name}-2", name)
        await api.create_room(f"{name}-3")
        await api.create_dispatch(f"{name}-3", name)
        await jobs.until(lambda: len(jobs.assigned) == 3)
        for job in jobs.assigned:
            worker.job_running(job.job_id)
        # Two passes and more, in which nothing may come on top.
        with trio.move_on_after(4):
            await jobs.until(lambda: len(jobs.assigned) > 3)
        assert sorted(jobs.rooms()) == [f"{name}-{number}" for number in (1, 2, 3)]


async def test_two_workers_with_a_reconciler_each_share_the_rooms_and_none_keeps_two_agents(
    livekit_server: PrivateServer, api: ServerApi, people: People, name: str
) -> None:
    key = key_of(livekit_server)
    first, jobs = make_worker(livekit_server.url, key, agent_name=name, instance="first")
    second, too = make_worker(livekit_server.url, key, agent_name=name, instance="second")
    async with (
        running(first),
        running(second),
        entering(first, jobs, people, name, "first"),
        entering(second, too, people, name, "second"),
        reconciling(first, api, name, "first"),
        reconciling(second, api, name, "second"),
    ):
        wanted = [f"{name}-{number}" for number in range(8)]
        for room in wanted:
            await api.create_room(room, empty_timeout=120)  # agents alone do not keep it
        # Where both dispatched in the same moment, one agent goes again.
        with trio.fail_after(TIMEOUT):
            while True:
                agents = [len(await api.list_participants(room)) for room in wanted]
                if agents == [1] * 8:
                    break
                await trio.sleep(0.2)


@asynccontextmanager
async def entering(
    worker: Worker, jobs: JobRecorder, people: People, name: str, instance: str
) -> AsyncGenerator[None, None]:
    """Enter the room of every job, as the program does, until it is to end."""
    attributes = {AGENT_NAME_ATTRIBUTE: name, INSTANCE_ATTRIBUTE: instance}

    async def stay(job: RoomJob) -> None:
        agent = await people.join(job.room, job.identity, kind="agent", attributes=attributes)
        worker.job_running(job.job_id)
        async with trio.open_nursery() as until:

            async def terminated() -> None:
                await jobs.until(lambda: job.job_id in jobs.terminated, seconds=inf)
                until.cancel_scope.cancel()

            until.start_soon(terminated)
            await agent.out()
            until.cancel_scope.cancel()
        await agent.leave()
        worker.job_ended(job.job_id)

    async def enter() -> None:
        for number in itertools.count():
            await jobs.until(lambda count=number: len(jobs.assigned) > count, seconds=inf)
            nursery.start_soon(stay, jobs.assigned[number])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(enter)
        yield
        nursery.cancel_scope.cancel()


async def test_a_room_that_another_worker_is_in_is_left_to_it_until_it_goes(
    livekit_server: PrivateServer, api: ServerApi, people: People, name: str
) -> None:
    alice = await people.join(name, "alice")
    attributes = {AGENT_NAME_ATTRIBUTE: name, INSTANCE_ATTRIBUTE: "there"}
    agent = await people.join(name, "agent-1", kind="agent", attributes=attributes)
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker), reconciling(worker, api, name):
        with trio.move_on_after(4):
            await jobs.until(lambda: bool(jobs.assigned))
        assert not jobs.assigned
        await agent.leave()
        await jobs.until(lambda: bool(jobs.assigned))
    await alice.leave()


async def test_a_room_with_an_agent_that_only_bears_our_name_is_watched_and_this_is_told(
    livekit_server: PrivateServer, api: ServerApi, people: People, name: str
) -> None:
    await people.join(name, "alice")
    await people.join(name, "agent-1", kind="agent", attributes={AGENT_NAME_ATTRIBUTE: name})
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    with logged() as log:
        async with running(worker), reconciling(worker, api, name):
            await jobs.until(lambda: bool(jobs.assigned))
            logged_line = await log.until("agent_name_shared")
    assert (logged_line["room"], logged_line["identity"]) == (name, "agent-1")
    assert not jobs.assigned[0].dispatch_id, "it was claimed: a dispatch may go to the other"


async def test_an_agent_that_a_killed_worker_left_behind_does_not_keep_its_successor_out(
    livekit_server: PrivateServer, api: ServerApi, people: People, name: str
) -> None:
    alice = await people.join(name, "alice")
    dead = await people.join(
        name,
        "agent-1",
        kind="agent",
        attributes={AGENT_NAME_ATTRIBUTE: name, INSTANCE_ATTRIBUTE: "here"},
        own_process=True,
    )
    await is_active(api, name, "agent-1")
    await dead.vanish()
    worker, jobs = make_worker(livekit_server.url, key_of(livekit_server), agent_name=name)
    async with running(worker), reconciling(worker, api, name):
        await jobs.until(lambda: bool(jobs.assigned))
        identities = [who.identity for who in await api.list_participants(name)]
        assert "agent-1" in identities, "the server still shows the dead one"
    await alice.leave()


async def is_active(api: ServerApi, room: str, identity: str) -> None:
    """Wait until the server counts on somebody: whom it loses before, it forgets at once."""
    with trio.fail_after(TIMEOUT):
        while True:
            there = await api.list_participants(room)
            if any(who.identity == identity and who.state == who.ACTIVE for who in there):
                return
            await trio.sleep(0.05)


async def test_beyond_capacity_rooms_are_named_once_and_taken_when_there_is_a_place(
    livekit_server: PrivateServer, api: ServerApi, people: People, name: str
) -> None:
    for number in range(4):
        await people.join(f"{name}-{number}", "alice")
    worker, jobs = make_worker(
        livekit_server.url, key_of(livekit_server), agent_name=name, max_rooms=2
    )
    with logged() as log:
        async with running(worker), reconciling(worker, api, name):
            await jobs.until(lambda: len(jobs.assigned) == 2)
            logged_line = await log.until("rooms_not_watched")
            assert logged_line["rooms"] == 2
            await api.delete_room(jobs.assigned[0].room)
            worker.job_ended(jobs.assigned[0].job_id)
            await jobs.until(lambda: len(jobs.assigned) == 3)
            events: Collection[str] = [line["event"] for line in log.lines]
            assert list(events).count("rooms_not_watched") == 1


async def test_a_server_that_was_killed_and_comes_back_has_its_new_rooms_watched(
    own_server: PrivateServer, name: str
) -> None:
    worker, jobs = make_worker(own_server.url, key_of(own_server), agent_name=name)
    async with (
        ServerApi(Endpoint.parse(own_server.url), key_of(own_server)) as api,
        running(worker),
        reconciling(worker, api, name),
    ):
        await api.create_room(f"{name}-1")
        await jobs.until(lambda: len(jobs.assigned) == 1)
        worker.job_running(jobs.assigned[0].job_id)
        own_server.kill()
        await trio.to_thread.run_sync(own_server.restart)
        with trio.fail_after(TIMEOUT):
            await worker.wait_registered()
        await api.create_room(f"{name}-2")
        await jobs.until(lambda: len(jobs.assigned) == 2)
