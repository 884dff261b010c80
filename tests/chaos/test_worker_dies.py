"""The worker is killed while people come and go: no session is lost, nothing is counted twice."""

from __future__ import annotations

import pytest
import trio

from tests.chaos.town import ROOMS, SETTLED, Town
from tests.chaos.verdict import Account


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
    await trio.sleep(SETTLED)
    await town.stop_worker()
    return town.judge(name)


async def test_two_deaths_cost_no_session(town: Town) -> None:
    account = await killed(town, "2 kills of the worker", times=2, every=4.0)
    assert account.differences == []


@pytest.mark.chaos
@pytest.mark.limit(500)
async def test_twenty_deaths_in_three_minutes(town: Town) -> None:
    account = await killed(town, "20 kills of the worker", times=20, every=8.0)
    assert account.differences == []


@pytest.mark.chaos
@pytest.mark.limit(500)
async def test_twenty_deaths_in_three_minutes_with_webhooks(told: Town) -> None:
    account = await killed(told, "20 kills of the worker, webhooks", times=20, every=8.0)
    assert account.differences == []
