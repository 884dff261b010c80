"""The server is killed and comes back: what lived ended, and what is new is another session."""

from __future__ import annotations

import random

import pytest
import trio

from tests.chaos.cluster import ROOMS, Town
from tests.chaos.verdict import Account


async def people_come(town: Town) -> None:
    """Each room has a person who publishes, one who is silent, and one who has left again."""
    async with trio.open_nursery() as nursery:
        for room in ROOMS:
            nursery.start_soon(come_into, town, room)


async def come_into(town: Town, room: str) -> None:
    keeper = await town.people.join(room, "keeper")
    await keeper.publish("microphone")
    await town.people.join(room, "listener")
    await town.visit(room, "alice", random.Random(room))


async def everybody_leaves(town: Town) -> None:
    for person in town.people.present:
        await person.leave()


async def judged(town: Town, name: str) -> Account:
    await everybody_leaves(town)
    await town.close()
    return town.judge(name)


async def back_after_two_seconds(town: Town) -> Account:
    """Everybody's SDK reconnects, into rooms that are others."""
    await town.start_worker()
    await people_come(town)
    await town.watching(ROOMS)
    await trio.sleep(2)
    await town.kill_server()
    await trio.sleep(2)
    await town.restart_server()
    await town.people_are_back()
    await town.watching(ROOMS)
    async with trio.open_nursery() as nursery:
        for room in ROOMS:
            nursery.start_soon(town.visit, room, "bob", random.Random(room))
    webhooks = ", webhooks" if town.webhooks else ""
    account = await judged(town, f"server killed, back after 2 s{webhooks}")
    assert account.sessions == 2 * len(ROOMS)
    return account


async def test_a_server_that_is_back_after_two_seconds(town: Town) -> None:
    account = await back_after_two_seconds(town)
    account.check()


@pytest.mark.chaos
async def test_a_server_that_is_back_after_two_seconds_with_webhooks(told: Town) -> None:
    account = await back_after_two_seconds(told)
    account.check()


@pytest.mark.chaos
async def test_a_server_that_is_back_after_forty_seconds(town: Town) -> None:
    """Everybody gave up; whoever wants to comes again."""
    await town.start_worker()
    await people_come(town)
    await town.watching(ROOMS)
    await trio.sleep(4)
    await town.kill_server()
    began = trio.current_time()
    for person in town.people.present:
        await person.out()
    await trio.sleep_until(began + 40)
    await town.restart_server()
    await people_come(town)
    await town.watching(ROOMS)
    await trio.sleep(4)
    account = await judged(town, "server killed, back after 40 s")
    account.check()
    assert account.sessions == 2 * len(ROOMS)
