"""Rooms that are closed, agents that are sent out, rooms that hardly lived."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from bridge.lab.people import PeopleError
from bridge.livekit.api_errors import ApiError
from tests.app.agent_program import agents_in
from tests.chaos.cluster import ROOMS, Cluster
from tests.chaos.verdict import Account


async def test_an_agent_that_is_removed_comes_back(cluster: Cluster) -> None:
    await cluster.start_worker()
    async with cluster.bustling(seed=3):
        await cluster.watching(ROOMS)
        for room in ROOMS[:2]:
            await trio.sleep(1)
            [identity] = await agents_in(cluster.api, room)
            cluster.unwatched(room)
            await cluster.api.remove_participant(room, identity)
            await cluster.watching([room])
        await trio.sleep(2)
    await cluster.close()
    account = cluster.judge("agents removed")
    account.check()
    assert account.sessions == len(ROOMS)


async def deleted(cluster: Cluster, name: str) -> Account:
    """The next person to come opens another instance of the room."""
    await cluster.start_worker()
    async with cluster.bustling(seed=4):
        await cluster.watching(ROOMS)
        await trio.sleep(2)
        async with trio.open_nursery() as nursery:
            for room in ROOMS:
                nursery.start_soon(delete, cluster, room)
        await trio.sleep(4)
    await cluster.close()
    return cluster.judge(name)


async def test_rooms_are_deleted_while_people_come_and_go(cluster: Cluster) -> None:
    account = await deleted(cluster, "DeleteRoom under load")
    account.check()


@pytest.mark.chaos
async def test_rooms_are_deleted_while_people_come_and_go_with_webhooks(
    cluster_with_webhooks: Cluster,
) -> None:
    account = await deleted(cluster_with_webhooks, "DeleteRoom under load, webhooks")
    account.check()


async def delete(cluster: Cluster, room: str) -> None:
    with suppress(ApiError):  # The call may say "unavailable" although the room is gone.
        await cluster.api.delete_room(room)


async def two_hundred_short_rooms(cluster: Cluster) -> None:
    """Each lives some 5 s: its one person stays for 3 s, and 2 s later it is closed."""
    doors = trio.CapacityLimiter(20)
    await cluster.start_worker()

    async def live(number: int) -> None:
        async with doors:
            person = await cluster.people.join(f"short-{number}", "alice")
            tracks: list[str] = []
            if number % 2:
                with suppress(PeopleError):  # A busy server lets a publication time out.
                    tracks.append(await person.publish("microphone"))
            await cluster.arrived(person, *tracks)
            await trio.sleep(3)
            await person.leave()

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(live, number)
    await cluster.close()


@pytest.mark.chaos
async def test_two_hundred_rooms_of_five_seconds_with_webhooks(
    cluster_with_webhooks: Cluster,
) -> None:
    await two_hundred_short_rooms(cluster_with_webhooks)
    account = cluster_with_webhooks.judge("200 rooms of 5 s, webhooks")
    account.check()
    assert account.sessions == 200


@pytest.mark.chaos
async def test_two_hundred_rooms_of_five_seconds(cluster: Cluster) -> None:
    """A room is found by looking at the list of rooms: some may be over by then."""
    await two_hundred_short_rooms(cluster)
    account = cluster.judge("200 rooms of 5 s", must_have_session=False)
    account.note = f"  {200 - account.sessions} rooms not watched"
    account.check()
    assert account.sessions > 150


@pytest.mark.chaos
async def test_two_workers_with_the_same_rooms(cluster: Cluster) -> None:
    """Each life of a room is in the store of one of them, whole; whoever is sent to a room
    that has the other one leaves it to that one."""
    rooms = (*ROOMS, "dione")
    await cluster.start_worker()
    other = await cluster.start_another(cluster.data_dirs[0].with_name("other"))
    async with cluster.bustling(rooms, seed=5):
        await cluster.watching(rooms)
        for room in rooms:
            await cluster.api.create_dispatch(room, "simple-room-agent")
        await trio.sleep(6)
        assert [len(await agents_in(cluster.api, room)) for room in rooms] == [1] * len(rooms)
    await cluster.close()
    await other.stop()
    account = cluster.judge("two workers, the same rooms")
    account.check()
    assert account.sessions == len(rooms)
