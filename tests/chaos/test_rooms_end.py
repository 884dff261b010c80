"""Rooms that are closed, agents that are sent out, rooms that hardly lived."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from bridge.lab.people import PeopleError
from bridge.livekit.api_errors import ApiError
from tests.app.agent_program import agents_in
from tests.chaos.cluster import ROOMS, Town
from tests.chaos.verdict import Account


async def test_an_agent_that_is_removed_comes_back(town: Town) -> None:
    await town.start_worker()
    async with town.bustling(seed=3):
        await town.watching(ROOMS)
        for room in ROOMS[:2]:
            await trio.sleep(1)
            [identity] = await agents_in(town.api, room)
            town.unwatched(room)
            await town.api.remove_participant(room, identity)
            await town.watching([room])
        await trio.sleep(2)
    await town.close()
    account = town.judge("agents removed")
    account.check()
    assert account.sessions == len(ROOMS)


async def deleted(town: Town, name: str) -> Account:
    """The next person to come opens another instance of the room."""
    await town.start_worker()
    async with town.bustling(seed=4):
        await town.watching(ROOMS)
        await trio.sleep(2)
        async with trio.open_nursery() as nursery:
            for room in ROOMS:
                nursery.start_soon(delete, town, room)
        await trio.sleep(4)
    await town.close()
    return town.judge(name)


async def test_rooms_are_deleted_while_people_come_and_go(town: Town) -> None:
    account = await deleted(town, "DeleteRoom under load")
    account.check()


@pytest.mark.chaos
async def test_rooms_are_deleted_while_people_come_and_go_with_webhooks(told: Town) -> None:
    account = await deleted(told, "DeleteRoom under load, webhooks")
    account.check()


async def delete(town: Town, room: str) -> None:
    with suppress(ApiError):  # The call may say "unavailable" although the room is gone.
        await town.api.delete_room(room)


async def two_hundred_short_rooms(town: Town) -> None:
    """Each lives some 5 s: its one person stays for 3 s, and 2 s later it is closed."""
    doors = trio.CapacityLimiter(20)
    await town.start_worker()

    async def live(number: int) -> None:
        async with doors:
            person = await town.people.join(f"short-{number}", "alice")
            if number % 2:
                with suppress(PeopleError):  # A busy server lets a publication time out.
                    await person.publish("microphone")
            await trio.sleep(3)
            await person.leave()

    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(live, number)
    await town.close()


@pytest.mark.chaos
async def test_two_hundred_rooms_of_five_seconds_with_webhooks(told: Town) -> None:
    await two_hundred_short_rooms(told)
    account = told.judge("200 rooms of 5 s, webhooks")
    account.check()
    assert account.sessions == 200


@pytest.mark.chaos
async def test_two_hundred_rooms_of_five_seconds(town: Town) -> None:
    """A room is found by looking at the list of rooms: some may be over by then."""
    await two_hundred_short_rooms(town)
    account = town.judge("200 rooms of 5 s", must_have_session=False)
    account.note = f"  {200 - account.sessions} rooms not watched"
    account.check()
    assert account.sessions > 150


@pytest.mark.chaos
async def test_two_workers_with_the_same_rooms(town: Town) -> None:
    """Each life of a room is in the store of one of them, whole; whoever is sent to a room
    that has the other one leaves it to that one."""
    rooms = (*ROOMS, "dione")
    await town.start_worker()
    other = await town.start_another(town.data_dirs[0].with_name("other"))
    async with town.bustling(rooms, seed=5):
        await town.watching(rooms)
        for room in rooms:
            await town.api.create_dispatch(room, "simple-room-agent")
        await trio.sleep(6)
        assert [len(await agents_in(town.api, room)) for room in rooms] == [1] * len(rooms)
    await town.close()
    await other.stop()
    account = town.judge("two workers, the same rooms")
    account.check()
    assert account.sessions == len(rooms)
