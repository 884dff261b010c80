"""Participant monitoring by a real worker: real jobs, real people, one room connection."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.store.sqlite_reader import open_reader
from tests.app.agent_program import Agent, running_agent, server_api

TYPES = ("--job-types", "room,participant,publisher")
MONITOR = "participant-monitor"


@pytest.fixture
def room() -> str:
    return f"monitored-{uuid4().hex[:8]}"


@asynccontextmanager
async def monitoring(
    server: PrivateServer, data_dir: Path, room: str, *flags: str
) -> AsyncGenerator[Agent, None]:
    """A worker that takes jobs of all types, registered for each."""
    async with running_agent(server, data_dir, "--watch", room, *TYPES, *flags) as agent:
        await agent.logged("worker_registered", times=3)
        yield agent


async def dispatch(
    server: PrivateServer, room: str, name: str = MONITOR, metadata: dict[str, Any] | None = None
) -> str:
    text = "" if metadata is None else json.dumps(metadata)
    async with server_api(server) as api:
        return (await api.create_dispatch(room, name, metadata=text)).id


async def agents_in(server: PrivateServer, room: str) -> Sequence[str]:
    async with server_api(server) as api:
        people = await api.list_participants(room)
    return [one.identity for one in people if one.permission.agent]


async def test_each_person_is_monitored_from_the_one_connection_and_the_summary_has_them(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    alice = await people.join(room, "alice")
    await alice.publish("microphone")
    bob = await people.join(room, "bob")
    async with monitoring(livekit_server, tmp_path, room) as agent:
        await agent.logged("participant_found", identity="alice", room=room)
        await dispatch(livekit_server, room)
        for identity in ("alice", "bob"):
            await agent.logged("monitored_connected", identity=identity, room=room)
        await alice.speak(True)
        began = await agent.logged("monitored_speaking", identity="alice")
        await alice.speak(False)
        ended = await agent.logged("monitored_silent", identity="alice")
        assert ended["since"] > began["since"]
        assert len(await agents_in(livekit_server, room)) == 1
        await bob.leave()
        await agent.logged("monitored_disconnected", identity="bob")
        await agent.stop()
        (summary,) = agent.events("monitoring_summary")
        assert {one["identity"] for one in summary["participants"]} == {"alice", "bob"}
        (heard,) = [one for one in summary["participants"] if one["identity"] == "alice"]
        assert heard["speaking"] == pytest.approx(ended["seconds"], abs=0.01)
        assert heard["tracks"] == 1
        assert len(agent.events("monitor_ended")) == 2
    with open_reader(tmp_path) as reader:
        session = reader.session(room)
    assert session is not None
    (told,) = [one for one in session.participants if one.identity == "alice"]
    assert told.turns == 1
