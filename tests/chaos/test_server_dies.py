"""The server is killed and comes back: what lived ended, and what is new is another session."""

from __future__ import annotations

import random

import pytest
import trio

from tests.chaos.cluster import ROOMS, Cluster
from tests.chaos.verdict import Account


async def people_come(cluster: Cluster) -> None:
    """Each room has a person who publishes, one who is silent, and one who has left again."""
    async with trio.open_nursery() as nursery:
        for room in ROOMS:
            nursery.start_soon(come_into, cluster, room)


async def come_into(cluster: Cluster, room: str) -> None:
    keeper = await cluster.people.join(room, "keeper")
    await keeper.publish("microphone")
    await cluster.people.join(room, "listener")
    await cluster.visit(room, "alice", random.Random(room))


async def everybody_leaves(cluster: Cluster) -> None:
    for person in cluster.people.present:
        await person.leave()


async def judged(cluster: Cluster, name: str) -> Account:
    await everybody_leaves(cluster)
    await cluster.close()
    return cluster.judge(name)


async def back_after_two_seconds(cluster: Cluster) -> Account:
    """Everybody's SDK reconnects, into rooms that are others."""
    await cluster.start_worker()
    await people_come(cluster)
    await cluster.watching(ROOMS)
    await trio.sleep(2)
    await cluster.kill_server()
    await trio.sleep(2)
    await cluster.restart_server()
    await cluster.people_are_back()
    await cluster.watching(ROOMS)
    async with trio.open_nursery() as nursery:
        for room in ROOMS:
            nursery.start_soon(cluster.visit, room, "bob", random.Random(room))
    webhooks = ", webhooks" if cluster.webhooks else ""
    account = await judged(cluster, f"server killed, back after 2 s{webhooks}")
    assert account.sessions == 2 * len(ROOMS)
    return account


async def test_a_server_that_is_back_after_two_seconds(cluster: Cluster) -> None:
    account = await back_after_two_seconds(cluster)
    account.check()


@pytest.mark.chaos
async def test_a_server_that_is_back_after_two_seconds_with_webhooks(
    cluster_with_webhooks: Cluster,
) -> None:
    account = await back_after_two_seconds(cluster_with_webhooks)
    account.check()


@pytest.mark.chaos
async def test_a_server_that_is_back_after_forty_seconds(cluster: Cluster) -> None:
    """Everybody gave up; whoever wants to comes again."""
    await cluster.start_worker()
    await people_come(cluster)
    await cluster.watching(ROOMS)
    await trio.sleep(4)
    await cluster.kill_server()
    began = trio.current_time()
    for person in cluster.people.present:
        await person.out()
    await trio.sleep_until(began + 40)
    await cluster.restart_server()
    await people_come(cluster)
    await cluster.watching(ROOMS)
    await trio.sleep(4)
    account = await judged(cluster, "server killed, back after 40 s")
    account.check()
    assert account.sessions == 2 * len(ROOMS)
