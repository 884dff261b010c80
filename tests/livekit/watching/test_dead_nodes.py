"""Two LiveKit nodes with one Redis.  One dies with its worker: what it wrote in Redis stays."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from bridge.cli.nodes_probe import probe_nodes
from bridge.lab.people import People, PeopleError
from bridge.lab.server import PrivateServer, find_server
from bridge.livekit.server_api import ServerApi
from tests.app.agent_program import WAIT, Agent, agents_in, running_agent, server_api
from tests.egress_fixture import EgressServer
from tests.livekit.watching.test_watching import flags


@pytest.fixture
def other_node(egress_server: EgressServer, tmp_path: Path) -> Iterator[PrivateServer]:
    """A second node of `egress_server`.  Rooms that are made there are on it."""
    first, binary = egress_server.server, find_server()
    assert binary is not None
    config = {
        "redis": {"address": egress_server.redis.address},
        "keys": {first.api_key: first.api_secret},
        "api": {"enable_psrpc_for_get_list_participants": True},
        "region": "here",
        "node_selector": {
            "kind": "regionaware",
            "regions": [{"name": "here", "lat": 1.0, "lon": 1.0}],
        },
    }
    with PrivateServer.start(binary, tmp_path / "other-node", config, timeout=60) as node:
        node.api_key, node.api_secret = first.api_key, first.api_secret
        yield node


async def listed_agents(api: ServerApi, room: str) -> list[str]:
    """The agents of a room, as soon as the server lists one."""
    with trio.fail_after(WAIT):
        while True:
            if agents := await agents_in(api, room):
                return agents
            await trio.sleep(0.1)


async def a_person_is_seen(people: People, agent: Agent, room: str) -> None:
    """Somebody comes back at the node that lives, as soon as it hosts the room."""
    with trio.fail_after(2 * WAIT):
        for attempt in itertools.count():
            identity = f"alice-{attempt}"
            try:
                await people.join(room, identity)
            except PeopleError:
                await trio.sleep(0.5)
                continue
            seen = ("participant_connected", "participant_found")
            await agent.until(
                lambda: any(agent.events(one, room=room, identity=identity) for one in seen)  # noqa: B023
            )
            return


async def test_a_room_whose_node_and_worker_died_is_watched_by_another_worker(
    egress_server: EgressServer,
    other_node: PrivateServer,
    egress_api: ServerApi,
    egress_people: People,
    name: str,
    tmp_path: Path,
) -> None:
    async with server_api(other_node) as there:
        room = await there.create_room(name, empty_timeout=300)
        async with running_agent(other_node, tmp_path / "1", *flags(name)) as dead:
            assert (await probe_nodes(there, name)).asks_nodes
            await dead.logged("session_started", room_sid=room.sid)
            ghosts = await listed_agents(egress_api, name)
            other_node.kill()
            dead.process.kill()
            await dead.ended()
    assert await agents_in(egress_api, name) == ghosts, "the server still lists it"
    async with running_agent(egress_server.server, tmp_path / "2", *flags(name)) as agent:
        line = await agent.logged("ghost_listed", room_sid=room.sid)
        assert [line["identity"]] == ghosts
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a_person_is_seen, egress_people, agent, name)
            found = await probe_nodes(egress_api, name)
        await agent.logged("session_started", room_sid=room.sid)
        assert agent.events("room_dispatched") == []
        assert found.detail == f"agents listed that are not there: 1, as in {name}"
        assert "api.enable_psrpc_for_get_list_participants: true" in found.advice
        assert "appendonly" in found.advice
        assert (await agent.stop())["rooms"] == 1
