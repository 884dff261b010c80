"""The network fails between a worker and the server: rooms go on, and gaps are known."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator

import pytest
import trio

from tests.chaos.cluster import ROOMS, Cluster
from tests.chaos.verdict import unix
from tests.proxy import WORKER, Proxy, open_proxy


@pytest.fixture
async def proxy(cluster: Cluster) -> AsyncIterator[Proxy]:
    """Between the worker of the cluster and its server."""
    async with open_proxy(cluster.server.port) as proxy:
        cluster.env["LIVEKIT_URL"] = proxy.url
        yield proxy


async def test_a_worker_socket_that_stalls_and_is_cut(cluster: Cluster, proxy: Proxy) -> None:
    """No room notices, and rooms that open meanwhile are watched."""
    agent = await cluster.start_worker()
    async with cluster.bustling(seed=1), trio.open_nursery() as nursery:
        await cluster.watching(ROOMS)
        proxy.stall(WORKER)
        nursery.start_soon(cluster.visit, "dione", "alice", random.Random(1))
        await trio.sleep(3)
        proxy.refused = WORKER
        assert proxy.cut(WORKER) == 1
        proxy.flow()
        late = await cluster.people.join("eris", "bob")
        await late.publish("microphone")
        await trio.sleep(1)
        proxy.refused = None
        await agent.logged("worker_registered", times=2)
        await cluster.watching(["eris"])
        await late.leave()
    await cluster.close()
    account = cluster.judge("worker's socket stalled 3 s, cut")
    account.check()


@pytest.mark.chaos
async def test_the_signalling_of_one_room_is_cut(cluster: Cluster, proxy: Proxy) -> None:
    """First for a moment, then for long enough that the SDK begins anew."""
    agent = await cluster.start_worker()
    async with cluster.bustling(seed=2):
        await cluster.watching(ROOMS)
        await trio.sleep(2)
        for times, seconds in enumerate((0.0, 6.0), 1):
            cut_at = time.time()
            proxy.refused = ROOMS[0] if seconds else None
            assert proxy.cut(ROOMS[0]) >= 1
            await trio.sleep(seconds)
            proxy.refused = None
            back = await agent.logged("reconnected", times=times, room=ROOMS[0])
            cluster.gap(ROOMS[0], cut_at, unix(back["at"]))
            await trio.sleep(2)
        assert not any(agent.events("reconnecting", room=room) for room in ROOMS[1:])
    await cluster.close()
    account = cluster.judge("signalling of one room cut, 0 s and 6 s")
    account.check()
