"""Limits of a real worker: who goes from a real room, in a storm and one by one."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest
import trio

from bridge.lab.people import People, PeopleError, Person, open_people
from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.livekit_room_control import LiveKitRoomControl
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from tests.app.agent_program import running_agent

STORM = 20
PLACES = 5


@pytest.fixture
def room() -> str:
    return f"limits-{uuid4().hex[:8]}"


def config(directory: Path, *lines: str) -> str:
    path = directory / "settings.toml"
    path.write_text("\n".join(("[[limit]]", 'name = "full"', 'rooms = ["limits-*"]', *lines)))
    return str(path)


async def test_in_a_storm_the_oldest_stay_and_agents_do_not_count(
    telling_server: PrivateServer, http_port: int, tmp_path: Path, room: str
) -> None:
    server, path = telling_server, config(tmp_path, f"people = {PLACES}", 'message = "Full."')
    flags = ("--watch", room, "--config", path, "--http", f"127.0.0.1:{http_port}")
    joined: dict[str, Person] = {}
    async with (
        open_people(server.url, server.api_key, server.api_secret) as people,
        running_agent(server, tmp_path, *flags) as agent,
    ):
        await people.join(room, "bot", kind="agent")
        await agent.logged("session_started", room=room)

        async def storm(identity: str) -> None:
            with suppress(PeopleError):  # Removed before the join returned.
                joined[identity] = await people.join(room, identity)

        async with trio.open_nursery() as nursery:
            for number in range(STORM):
                nursery.start_soon(storm, f"p{number}")
        await agent.until(lambda: len(agent.events("act_done", act="remove")) == STORM - PLACES)
        key = ApiKey(server.api_key, server.api_secret)
        async with ServerApi(Endpoint.parse(server.url), key) as api:
            stayed = {one.identity for one in await LiveKitRoomControl(api).people(room)}
            everybody = {one.identity for one in await api.list_participants(room)}
        await agent.stop()
    assert len(stayed) == PLACES
    assert "bot" in everybody
    removed = [one["on"] for one in agent.events("act_done", act="remove")]
    assert len(removed) == len(set(removed)), "one call a person"
    times = {one: person.joined_at or 0.0 for one, person in joined.items()}
    newest = max(times[one] for one in stayed)
    assert all(newest <= times[one] for one in removed if one in times)


async def test_a_hold_takes_the_tracks_and_ends_when_there_is_room(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    path = config(tmp_path, "people = 1", 'over = "hold"')
    flags = ("--watch", room, "--config", path)
    async with running_agent(livekit_server, tmp_path, *flags) as agent:
        ann = await people.join(room, "ann")
        await ann.publish("microphone")
        await agent.logged("track_published", room=room)
        bob = await people.join(room, "bob")
        track = await bob.publish("microphone")
        await agent.logged("act_done", rule="full", act="hold", on="bob")
        await agent.logged("track_unpublished", sid=track)
        await ann.leave()
        await agent.logged("act_done", rule="full", act="release", on="bob")
        assert bob.present
        await bob.publish("camera")
        await agent.stop()
