"""The worker is killed while people come and go: no session is lost, nothing is counted twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from bridge.server import PrivateServer
from tests.chaos.town import SETTLED, open_town


async def killed(
    server: PrivateServer, data_dir: Path, *, times: int, every: float, http_port: int = 0
) -> list[str]:
    """Kill and restart the worker `times` times; the differences in the end."""
    rng = random.Random(times)
    rooms = ["atlas", "borealis", "cassini"]
    async with open_town(server, data_dir, http_port=http_port) as town:
        await town.start_worker()
        over = trio.Event()
        async with trio.open_nursery() as nursery:
            for room in rooms:
                nursery.start_soon(town.bustle, room, random.Random(rng.random()), over)
            await town.watching(rooms)
            await trio.sleep(every)
            for _ in range(times):
                await town.kill_worker()
                await trio.sleep(rng.uniform(0.0, 1.0))
                await town.start_worker()
                await town.watching(rooms)
                await trio.sleep(rng.uniform(0.2, 1.0) * every)
            over.set()
        await trio.sleep(SETTLED)
        await town.stop_worker()
        return town.differences()


async def test_three_deaths_cost_no_session_without_webhooks(
    own_server: PrivateServer, tmp_path: Path
) -> None:
    found = await killed(own_server, tmp_path / "w", times=3, every=5.0)
    assert found == []


@pytest.mark.chaos
async def test_twenty_deaths_in_three_minutes_with_webhooks(
    telling_server: PrivateServer, http_port: int, tmp_path: Path
) -> None:
    found = await killed(telling_server, tmp_path / "w", times=20, every=8.0, http_port=http_port)
    assert found == []
