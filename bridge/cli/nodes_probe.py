"""`check`: whether LiveKit has several nodes, and whether it lists agents that are not there.

Nodes share their rooms by Redis.  What a node wrote there stays when the node dies, so
`ListParticipants` lists the participants of dead nodes (`bridge.livekit.watching.ghost_probes`).
The server's API has no call about Redis.  Two calls show what can be known: `ListEgress` fails
without Redis.  `ListParticipants` of a room that does not exist is an empty list where it is read
from Redis, and gets no answer where the room's node is asked.
"""

from __future__ import annotations

import secrets
from typing import Final

import trio
from attrs import frozen

from bridge.livekit.api_errors import ApiError, Unavailable
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import CHECK_PREFIX
from bridge.livekit.watching.ghost_probes import NO_RESPONSE, answers_probe
from bridge.livekit.watching.room_candidates import our_agents
from bridge.output.harmless import harmless

MOST_ROOMS: Final = 50
"""Rooms in which agents of our name are looked for."""
MOST_PROBES: Final = 12
"""Agents that are probed.  Each ghost takes 3 s."""
PARALLEL: Final = 4

NO_REDIS: Final = "redis required"
"""A part of LiveKit's text where a call needs Redis and there is none."""

ASK_NODES: Final = (
    "works: the worker probes such agents. The server lists none with "
    "api.enable_psrpc_for_get_list_participants: true in livekit.yaml"
)
PERSIST: Final = (
    "let Redis keep its data (appendonly yes): that cannot be seen from here, and without it "
    "all rooms are lost with Redis"
)


@frozen
class NodesFinding:
    """The findings about the nodes."""

    detail: str
    advice: str = ""
    asks_nodes: bool = False
    """`ListParticipants` asks the room's node, so a room that does not exist gives no answer."""


async def probe_nodes(api: ServerApi, agent_name: str) -> NodesFinding:
    """Ask the server.  Makes no room and changes none."""
    nobody = f"{CHECK_PREFIX}{secrets.token_hex(4)}"
    try:
        if not await _has_redis(api, nobody):
            return NodesFinding("one node, without Redis: its rooms end with it")
        if await _asks_nodes(api, nobody):
            return NodesFinding(
                "Redis, and the rooms' nodes are asked who is there", PERSIST, asks_nodes=True
            )
        probed, ghosts = await _ghosts(api, agent_name)
    except ApiError as error:
        return NodesFinding(f"unknown: {error}")
    detail = f"Redis says who is in a room; agents of this name that answer: {probed}"
    if ghosts:
        detail = f"agents listed that are not there: {len(ghosts)}, as in {harmless(ghosts[0])}"
    return NodesFinding(detail, f"{ASK_NODES}; {PERSIST}")


async def _has_redis(api: ServerApi, nobody: str) -> bool:
    try:
        await api.list_egress(nobody)
    except ApiError as error:
        if NO_REDIS in str(error):
            return False
        raise
    return True


async def _asks_nodes(api: ServerApi, nobody: str) -> bool:
    try:
        await api.list_participants(nobody)
    except Unavailable as error:
        if NO_RESPONSE in str(error):
            return True
        raise
    return False


async def _ghosts(api: ServerApi, agent_name: str) -> tuple[int, list[str]]:
    """How many of our agents answer, and the rooms of those that do not."""
    agents = [
        (room.name, agent.identity)
        for room in (await api.list_rooms())[:MOST_ROOMS]
        for agent in our_agents(await api.list_participants(room.name), agent_name)
    ]
    answering, ghosts, limit = list[str](), list[str](), trio.CapacityLimiter(PARALLEL)

    async def probe(room: str, identity: str) -> None:
        async with limit:
            try:
                verdict = answering if await answers_probe(api, room, identity) else ghosts
            except ApiError:
                return  # It left meanwhile.
        verdict.append(room)

    async with trio.open_nursery() as nursery:
        for room, identity in agents[:MOST_PROBES]:
            nursery.start_soon(probe, room, identity)
    return len(answering), sorted(ghosts)
