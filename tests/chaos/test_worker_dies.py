"""The worker is killed while people come and go: no session is lost, nothing is counted twice."""

from __future__ import annotations

import pytest
import trio

from tests.chaos.cluster import ROOMS, Town
from tests.chaos.verdict import BUSY, Account, unix


async def killed(town: Town, name: str, *, times: int, every: float) -> Account:
    """Kill and restart the worker `times` times; what it came to in the end."""
    await town.start_worker()
    async with town.bustling(seed=times) as rng:
        await town.watching(ROOMS)
        await trio.sleep(every)
        for _ in range(times):
            await town.kill_worker()
            await trio.sleep(rng.uniform(0.0, 1.0))
            await town.start_worker()
            await town.watching(ROOMS)
            await trio.sleep(rng.uniform(0.2, 1.0) * every)
    await town.close()
    return town.judge(name)


async def test_a_death_costs_no_session(town: Town) -> None:
    account = await killed(town, "worker killed", times=1, every=3.0)
    account.check()


@pytest.mark.chaos
@pytest.mark.limit(500)
async def test_twenty_deaths_in_three_minutes(town: Town) -> None:
    account = await killed(town, "worker killed 20 times", times=20, every=12.0)
    account.check()


@pytest.mark.chaos
@pytest.mark.limit(500)
async def test_twenty_deaths_in_three_minutes_with_webhooks(told: Town) -> None:
    account = await killed(told, "worker killed 20 times, webhooks", times=20, every=12.0)
    account.check()


@pytest.mark.chaos
@pytest.mark.limit(400)
async def test_a_hundred_rooms_are_watched_again_soon_after_a_death(town: Town) -> None:
    rooms = [f"room-{number}" for number in range(100)]
    doors = trio.CapacityLimiter(8)

    async def enter(room: str) -> None:
        async with doors:
            await town.people.join(room, "alice")

    async with trio.open_nursery() as nursery:
        for room in rooms:
            nursery.start_soon(enter, room)
    await town.start_worker()
    await town.watching(rooms)
    await trio.sleep(5)
    await town.kill_worker()
    agent = await town.start_worker()
    registered = unix(agent.events("worker_registered")[0]["time"])
    await town.watching(rooms)
    await agent.logged("reconnected", times=len(rooms))
    took = max(unix(said["at"]) for said in agent.events("reconnected")) - registered
    for person in town.people.present:
        await person.leave()
    await town.close()
    account = town.judge("100 rooms, the worker killed")
    account.note = f"  all watched {took:.1f} s after registration"
    account.check()
    assert took < 10.0 + 4 * BUSY, f"{took:.1f} s"
