"""A worker that is killed loses no session: the next one goes on with it."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio

from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.store.sqlite_reader import open_reader
from tests.app.agent_program import WAIT, Agent, agents_in, hears, running_agent, server_api
from tests.session.session_story import as_json

ONE = {
    "total": 1,
    "bytes": 2,
    "by_topic": {"chat": 1},
    "attachments": 0,
    "lower_bound": True,
}
"""Data messages of a session that was entered after its people and got one message."""


def stored_session(data_dir: Path, room: str) -> dict[str, Any] | None:
    with open_reader(data_dir) as reader:
        session = reader.session(room)
    return None if session is None else as_json(session)


async def until_kept(data_dir: Path, room: str, **fields: Any) -> dict[str, Any]:
    """Poll the store, as a user would."""
    with trio.fail_after(WAIT):
        while True:
            session = await trio.to_thread.run_sync(stored_session, data_dir, room)
            if session is not None and fields.items() <= session.items():
                return session
            await trio.sleep(0.05)


async def kill(agent: Agent) -> float:
    agent.signal(signal.SIGKILL)
    await agent.ended()
    return time.time()


@pytest.fixture
def room() -> str:
    return f"recovery-{uuid4().hex[:8]}"


async def test_a_killed_worker_goes_on_with_the_session_and_the_gap_is_known(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    alice = await people.join(room, "alice")
    await alice.publish("microphone")
    bob = await people.join(room, "bob")
    await bob.publish("camera")
    async with running_agent(livekit_server, tmp_path, "--watch", room) as agent:
        await agent.logged("track_published", times=2, room=room)
        await hears(agent, alice, b"{}", topic="chat")
        before = await until_kept(tmp_path, room, data_messages=ONE)
        killed_at = await kill(agent)
    await bob.leave()
    carol = await people.join(room, "carol")
    await carol.publish("microphone")
    async with running_agent(livekit_server, tmp_path, "--watch", "") as agent:
        back = await agent.logged("reconnected", room=room)
        gap = time.time() - killed_at
        assert abs(back["gap"] - gap) < 10.0
        await agent.logged("participant_found", room=room, identity="carol")
        assert (await agent.stop())["rooms"] == 1
    session = await until_kept(tmp_path, room)
    assert session["id"] == before["id"]
    assert session["end_reason"] == "worker_stopped"
    people_counts = session["people"]
    assert (people_counts["unique"], people_counts["joins"]) == (3, 3)
    assert session["coverage"] < 1.0
    assert session["started_at"] == before["started_at"]
    (left,) = [
        join for who in session["participants"] if who["identity"] == "bob" for join in who["joins"]
    ]
    assert left["left_at"] is not None


async def test_a_room_that_ended_while_nobody_watched_is_found_ended(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    alice = await people.join(room, "alice")
    await alice.publish("microphone")
    async with running_agent(livekit_server, tmp_path, "--watch", room) as agent:
        await agent.logged("track_published", room=room)
        alone: dict[str, object] = {"current": 1, "peak": 1, "unique": 1, "joins": 1, "aborted": 0}
        alone["aborted_by_reason"] = {}
        await until_kept(tmp_path, room, people=alone)
        await kill(agent)
    async with server_api(livekit_server) as api:
        await api.delete_room(room)
    async with running_agent(livekit_server, tmp_path, "--watch", room) as agent:
        await agent.logged("session_ended", room=room)
        await agent.stop()
    session = await until_kept(tmp_path, room)
    assert (session["status"], session["end_reason"]) == ("ended", "found_ended")
    assert session["people"]["unique"] == 1


async def test_a_worker_that_stopped_goes_on_with_the_session_when_it_is_back(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    alice = await people.join(room, "alice")
    await alice.publish("microphone")
    for _ in range(2):
        async with running_agent(livekit_server, tmp_path, "--watch", room) as agent:
            await agent.logged("room_started", room=room)
            await until_kept(tmp_path, room, status="active")
            await agent.stop()
        session = await until_kept(tmp_path, room)
        assert session["end_reason"] == "worker_stopped"
    with open_reader(tmp_path) as reader:
        assert reader.count() == 1


@pytest.mark.parametrize("before", ["another container", "another name"])
async def test_a_killed_worker_is_back_at_once_whatever_it_is_called(
    before: str, livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    """The agent that it left in the room is listed for 20 s more, and is no watcher.

    "Another name" is also what a version before leaves, whose id was made of the host's name.
    """
    flags = ("--worker-name", "a1b2c3d4e5f6") if before == "another name" else ()
    alice = await people.join(room, "alice")
    async with running_agent(livekit_server, tmp_path, "--watch", room, *flags) as agent:
        await agent.logged("participant_found", room=room)
        await hears(agent, alice, b"{}", topic="chat")
        first = await until_kept(tmp_path, room, data_messages=ONE)
        killed_at = await kill(agent)
    container = "import socket; socket.gethostname = lambda: 'another-container'"
    async with running_agent(livekit_server, tmp_path, "--watch", room, first=container) as agent:
        await agent.logged("worker_registered")
        starting = time.time() - killed_at
        await agent.logged("reconnected", room=room)
        async with server_api(livekit_server) as api:
            left_behind = len(await agents_in(api, room)) == 2
        await agent.stop()
        assert agent.events("room_left_to_another") == []
    session = await until_kept(tmp_path, room)
    assert session["id"] == first["id"]
    assert left_behind or starting > 8.0, "it waited until LiveKit listed the killed one no more"
    kept_id = (tmp_path / "worker-id").read_text().split()[0]
    assert session["worker"] == kept_id
    assert (first["worker"] == kept_id) == (before == "another container")
