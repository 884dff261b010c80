"""Places: rooms with people come before rooms that were prepared and that nobody is in."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import httpx2
import pytest
import trio

from bridge.lab.people import People, Person
from bridge.lab.server import PrivateServer
from tests.app.agent_program import WAIT, agents_in, running_agent, server_api


@pytest.fixture
def prefix() -> str:
    return f"places-{uuid4().hex[:8]}"


async def test_prepared_empty_rooms_do_not_take_the_places_of_rooms_with_people(
    livekit_server: PrivateServer, people: People, tmp_path: Path, prefix: str
) -> None:
    """Three prepared rooms and three places: one after the other, three with people come."""
    flags = ("--watch", f"{prefix}*", "--max-rooms", "3", "--agent-name", prefix)
    async with (
        server_api(livekit_server) as api,
        running_agent(livekit_server, tmp_path, *flags) as agent,
    ):
        for number in range(3):
            await api.create_room(f"{prefix}-empty-{number}", empty_timeout=120)
        await agent.logged("session_started", times=2)
        visitors: list[Person] = []
        for number in range(3):
            room = f"{prefix}-{number}"
            visitors.append(await people.join(room, "alice"))
            await agent.logged("participant_found", room=room, identity="alice")
        assert len(agent.events("place_given_up")) == 2
        assert not agent.events("session_ended")
        given_up = agent.events("place_given_up")[0]["room"]
        with trio.fail_after(WAIT):
            while await agents_in(api, given_up):  # noqa: ASYNC110
                await trio.sleep(0.1)
        # The room that was left has its session, which goes on when somebody comes.
        await visitors[0].leave()
        await people.join(given_up, "bob")
        who = {"room": given_up, "identity": "bob"}
        names = ("participant_found", "participant_joined")
        await agent.until(lambda: any(agent.events(name, **who) for name in names))
        [begun] = agent.events("session_started", room=given_up)
        (found,) = [line for name in names for line in agent.events(name, **who)]
        assert found["room_sid"] == begun["room_sid"]
        await agent.stop()


async def test_an_empty_room_that_somebody_dispatched_us_to_is_entered_and_kept(
    livekit_server: PrivateServer, people: People, tmp_path: Path, prefix: str
) -> None:
    flags = ("--watch", f"{prefix}*", "--max-rooms", "1", "--agent-name", prefix)
    async with (
        server_api(livekit_server) as api,
        running_agent(livekit_server, tmp_path, *flags) as agent,
    ):
        await agent.logged("worker_registered")
        await api.create_room(f"{prefix}-asked", agents=[prefix], empty_timeout=120)
        await agent.logged("session_started", room=f"{prefix}-asked")
        await api.create_room(f"{prefix}-prepared", empty_timeout=120)
        await people.join(f"{prefix}-0", "alice")
        await agent.logged("rooms_not_watched")
        assert not agent.events("place_given_up")
        # Both are known all the same.
        listening = await agent.logged("http_listening")
        url, waiting = f"http://{listening['address']}/api/v1/workers", list[str]()
        async with httpx2.AsyncClient(trust_env=False) as http:
            with trio.fail_after(WAIT):
                while waiting != [f"{prefix}-0", f"{prefix}-prepared"]:
                    await trio.sleep(0.05)
                    answer = await http.get(url)
                    waiting = answer.json()["workers"][0]["waiting"]["names"]
        await agent.stop()
