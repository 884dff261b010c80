"""Participant monitoring by a real worker: real jobs, real people, one room connection."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio
import trio_asyncio
from livekit.api import AccessToken, VideoGrants

from actors.rooms.room_port import RoomJob
from actors.session import RoomEvent
from actors.session.events import DataReceived
from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
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


async def test_wrong_metadata_fails_each_job_with_the_reason_and_the_room_goes_on(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    await people.join(room, "alice")
    async with monitoring(livekit_server, tmp_path, room) as agent:
        await agent.logged("session_started", room=room)
        await dispatch(livekit_server, room, metadata={"monitoring_type": "smiles"})
        refused = await agent.logged("monitor_refused", identity="alice", room=room)
        assert "monitoring_type" in refused["error"]
        assert refused["level"] == "warning"
        bob = await people.join(room, "bob")
        await bob.publish("microphone")
        await agent.logged("participant_connected", identity="bob", room=room)
        assert agent.events("monitor_started") == []


async def test_only_the_wanted_person_is_monitored_over_a_return_until_the_dispatch_is_deleted(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    alice = await people.join(room, "alice")
    await alice.publish("microphone")
    bob = await people.join(room, "bob")
    await bob.publish("microphone")
    async with monitoring(livekit_server, tmp_path, room) as agent:
        await agent.logged("participant_found", identity="bob", room=room)
        order = await dispatch(livekit_server, room, metadata={"participant_identity": "alice"})
        await agent.logged("monitored_connected", identity="alice", room=room)
        await alice.leave()
        await agent.logged("monitored_disconnected", identity="alice", room=room)
        again = await people.join(room, "alice")
        await again.publish("microphone")
        await agent.logged("monitored_connected", identity="alice", room=room, times=2)
        async with server_api(livekit_server) as api:
            await api.delete_dispatch(room, order)
        await agent.logged("monitor_ended", identity="alice", room=room)
        assert len(agent.events("monitor_started")) == 1, "the return joined the monitor that waits"
        assert agent.events("monitor_started", identity="bob") == []
        assert agent.events("job_refused") == []
        await bob.leave()
        await agent.logged("participant_disconnected", identity="bob", room=room)


async def test_a_publisher_is_monitored_from_the_first_track_on_also_in_a_room_nobody_watches(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    alice = await people.join(room, "alice")
    await people.join(room, "bob")
    async with monitoring(livekit_server, tmp_path, "nothing-of-this-name") as agent:
        await dispatch(livekit_server, room, "publisher-monitor")
        await alice.publish("camera")
        await agent.logged("monitored_connected", identity="alice", room=room)
        await agent.logged("monitored_video_started", identity="alice", room=room)
        assert agent.events("monitor_started", identity="bob") == []
        assert len(await agents_in(livekit_server, room)) == 1


class Listener:
    """A person who keeps the data messages that come."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._more = trio.Event()

    def __call__(self, event: RoomEvent) -> None:
        if isinstance(event, DataReceived):
            assert event.identity is None, "a hidden agent's messages have no sender"
            assert event.topic == MONITOR
            self.messages.append(json.loads(event.content or ""))
            self._more.set()
            self._more = trio.Event()

    async def until(self, count: int) -> None:
        with trio.fail_after(30):
            while len(self.messages) < count:
                await self._more.wait()


@asynccontextmanager
async def listening(server: PrivateServer, room: str, identity: str) -> AsyncGenerator[Listener]:
    """Somebody in the room, until the end of the block."""
    token = AccessToken(server.api_key, server.api_secret).with_identity(identity)
    token = token.with_grants(VideoGrants(room_join=True, room=room))
    job = RoomJob("", room, "", server.url, token.to_jwt(), identity)
    listener = Listener()
    async with (
        trio_asyncio.open_loop(),
        LiveKitRooms(log_payloads=True) as rooms,
        rooms.open(job, listener),
    ):
        yield listener


async def test_people_get_a_welcome_and_hear_who_speaks_where_they_may_be_notified(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    alice = await people.join(room, "alice")
    await alice.publish("microphone")
    async with (
        listening(livekit_server, room, "bob") as bob,
        monitoring(livekit_server, tmp_path, room, "--notify-people") as agent,
    ):
        await agent.logged("participant_found", identity="bob", room=room)
        await dispatch(livekit_server, room)
        await agent.logged("monitored_connected", identity="bob", room=room)
        await bob.until(1)
        await alice.speak(True)
        await bob.until(2)
        await alice.speak(False)
        await bob.until(3)
        welcome, began, ended = bob.messages
        assert (welcome["type"], welcome["action"]) == ("participant_monitoring", "welcome")
        assert welcome["message"].startswith("Hello bob!")
        assert (began["participant"], began["speaking"]) == ("alice", True)
        assert (ended["participant"], ended["speaking"]) == ("alice", False)
        assert {message["agent"] for message in bob.messages} == {MONITOR}
    with open_reader(tmp_path) as reader:
        session = reader.session(room)
    assert session is not None
    assert session.data_messages is not None
    assert session.data_messages.total == 0, "our own messages are nobody's"


async def test_a_video_that_stands_still_is_warned_of_until_it_moves_again(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    sooner = """
import bridge.app.monitoring as monitoring
import actors.monitoring.video_watch as video_watch
monitoring.MEASURE_EVERY = 0.5
monitoring.REPORT_EVERY = 0.5
video_watch.STILL_AFTER = 1.5
"""
    before = set(people.pids)
    alice = await people.join(room, "alice", own_process=True)
    (alices,) = set(people.pids) - before
    await alice.publish("camera")
    types = ("--watch", room, *TYPES)
    async with running_agent(livekit_server, tmp_path, *types, first=sooner) as agent:
        await agent.logged("worker_registered", times=3)
        await agent.logged("track_published", identity="alice", room=room)
        await dispatch(livekit_server, room)
        await agent.logged("monitored_video_started", identity="alice", room=room)
        await agent.until(
            lambda: any(one["fps"] > 0 for one in agent.events("monitored_video_rate"))
        )
        os.kill(alices, signal.SIGSTOP)
        try:
            still = await agent.logged("monitored_video_still", identity="alice", room=room)
        finally:
            os.kill(alices, signal.SIGCONT)
        assert still["seconds"] >= 1.5
        await agent.logged("monitored_video_moves", identity="alice", room=room)
