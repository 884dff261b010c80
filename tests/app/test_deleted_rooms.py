"""A room that its owner deletes stays deleted, wherever our agent is on its way into it."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
import trio

from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit.api_errors import ApiError
from bridge.livekit.server_api import ServerApi
from bridge.store.sqlite_reader import open_reader
from tests.app.agent_program import WAIT, running_agent, server_api


@pytest.fixture
def prefix() -> str:
    return f"deleted-{uuid4().hex[:8]}"


async def delete(api: ServerApi, name: str) -> None:
    with suppress(ApiError):  # The call may say "unavailable" although the room is gone.
        await api.delete_room(name)


async def test_rooms_deleted_soon_after_they_began_do_not_come_back(
    livekit_server: PrivateServer, people: People, tmp_path: Path, prefix: str
) -> None:
    """Before, 11 of 60 came back, for as long as an empty room may stay."""
    made: dict[str, str] = {}
    lived: set[tuple[str, str]] = set()
    rng, doors = random.Random(1), trio.CapacityLimiter(12)

    async def live_shortly(api: ServerApi, number: int) -> None:
        async with doors:
            name = f"{prefix}-{number}"
            agents = ["simple-room-agent"] if number % 2 else []
            made[name] = (await api.create_room(name, agents=agents)).sid
            if number % 4 == 0:
                await people.join(name, "alice")
            await trio.sleep(rng.uniform(0.1, 1.0))
            await delete(api, name)

    async def look(api: ServerApi) -> None:
        while True:
            lived.update((room.name, room.sid) for room in await api.list_rooms())
            await trio.sleep(0.05)

    async with (
        server_api(livekit_server) as api,
        running_agent(livekit_server, tmp_path, "--watch", f"{prefix}*") as agent,
        trio.open_nursery() as nursery,
    ):
        await agent.logged("worker_registered")
        nursery.start_soon(look, api)
        async with trio.open_nursery() as rooms:
            for number in range(24):
                rooms.start_soon(live_shortly, api, number)
        with trio.fail_after(WAIT):
            while any(room.name in made for room in await api.list_rooms()):  # noqa: ASYNC110
                await trio.sleep(0.1)
        await trio.sleep(1)  # A job that was on its way has come by now.
        nursery.cancel_scope.cancel()
        await agent.stop()
    assert {(name, sid) for name, sid in lived if name in made} <= set(made.items())
    with open_reader(tmp_path) as reader:
        assert {row.room_sid for row in reader.sessions(limit=100).sessions} <= set(made.values())


async def test_a_job_for_a_life_of_a_room_that_is_over_ends_and_the_next_life_is_watched(
    livekit_server: PrivateServer, people: People, tmp_path: Path, prefix: str
) -> None:
    async with (
        server_api(livekit_server) as api,
        running_agent(livekit_server, tmp_path, "--watch", f"{prefix}*") as agent,
    ):
        await agent.logged("worker_registered")
        first = await api.create_room(prefix, agents=["simple-room-agent"])
        await delete(api, prefix)
        alice = await people.join(prefix, "alice")
        found = await agent.logged("participant_found", room=prefix, identity="alice")
        assert found["room_sid"] == alice.room_sid != first.sid
        await agent.stop()
