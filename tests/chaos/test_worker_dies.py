"""The worker is killed while people come and go: no session is lost, nothing is counted twice."""

from __future__ import annotations

import pytest
import trio

from tests.chaos.cluster import ROOMS, Cluster
from tests.chaos.verdict import BUSY, Account, unix


async def killed(cluster: Cluster, name: str, *, times: int, every: float) -> Account:
    """Kill and restart the worker `times` times; what it came to in the end."""
    await cluster.start_worker()
    async with cluster.bustling(seed=times) as rng:
        await cluster.watching(ROOMS)
        await trio.sleep(every)
        for _ in range(times):
            await cluster.kill_worker()
            await trio.sleep(rng.uniform(0.0, 1.0))
            await cluster.start_worker()
            await cluster.watching(ROOMS)
            await trio.sleep(rng.uniform(0.2, 1.0) * every)
    await cluster.close()
    return cluster.judge(name)


async def test_a_death_costs_no_session(cluster: Cluster) -> None:
    account = await killed(cluster, "worker killed", times=1, every=3.0)
    account.check()


@pytest.mark.chaos
@pytest.mark.limit(500)
async def test_twenty_deaths_in_three_minutes(cluster: Cluster) -> None:
    account = await killed(cluster, "worker killed 20 times", times=20, every=12.0)
    account.check()


@pytest.mark.chaos
@pytest.mark.limit(500)
async def test_twenty_deaths_in_three_minutes_with_webhooks(cluster_with_webhooks: Cluster) -> None:
    account = await killed(
        cluster_with_webhooks, "worker killed 20 times, webhooks", times=20, every=12.0
    )
    account.check()


@pytest.mark.chaos
@pytest.mark.limit(400)
async def test_a_hundred_rooms_are_watched_again_soon_after_a_death(cluster: Cluster) -> None:
    rooms = [f"room-{number}" for number in range(100)]
    doors = trio.CapacityLimiter(8)

    async def enter(room: str) -> None:
        async with doors:
            await cluster.people.join(room, "alice")

    async with trio.open_nursery() as nursery:
        for room in rooms:
            nursery.start_soon(enter, room)
    await cluster.start_worker()
    await cluster.watching(rooms)
    await trio.sleep(5)
    await cluster.kill_worker()
    agent = await cluster.start_worker()
    registered = unix(agent.events("worker_registered")[0]["time"])
    await cluster.watching(rooms)
    await agent.logged("reconnected", times=len(rooms))
    took = max(unix(line["at"]) for line in agent.events("reconnected")) - registered
    for person in cluster.people.present:
        await person.leave()
    await cluster.close()
    account = cluster.judge("100 rooms, the worker killed")
    account.note = f"  all watched {took:.1f} s after registration"
    account.check()
    assert took < 10.0 + 4 * BUSY, f"{took:.1f} s"
