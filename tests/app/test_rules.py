"""Rules of a real worker, acting on real people at the real server."""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio_asyncio

from actors.rooms.room_port import RoomJob
from actors.session.events import DataReceived
from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.tokens import ApiKey, room_token
from bridge.store.ban_file import FILE
from bridge.store.sqlite_reader import open_reader
from tests.app.agent_program import Agent, running_agent
from tests.livekit.rooms.room_stage import Recorder
from tests.outlets.receivers import receiving, status


@pytest.fixture
def room() -> str:
    return f"rules-{uuid4().hex[:8]}"


def has_role(role: str) -> str:
    return f'person = {{ attribute = {{ role = "{role}" }} }}'


RULES = f"""
[[rule]]
name = "welcome"
event = "participant_connected"
then = [{{ send = {{ text = "Welcome", to = "all" }} }}]
[[rule]]
name = "loud"
{has_role("loud")}
then = [{{ mute = {{ sources = ["microphone"] }} }}]
[[rule]]
name = "lobby"
{has_role("waiting")}
then = [{{ hold = "Please wait." }}]
[[rule]]
name = "guests"
{has_role("guest")}
then = ["remove"]
[[rule]]
name = "abuse"
{has_role("abusive")}
then = [{{ ban = "1h" }}, "alert"]
[[rule]]
name = "live"
event = "track_published"
then = [{{ metadata = "live" }}]
limit = 1
[[rule]]
name = "one left"
when = {{ people = 1, joins = ">= 3" }}
for = "1s"
then = ["end_room"]
"""


def config(directory: Path, text: str) -> str:
    path = directory / "settings.toml"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


async def acted(agent: Agent, act: str, event: str = "act_done", **fields: Any) -> dict[str, Any]:
    return await agent.logged(event, act=act, **fields)


@asynccontextmanager
async def listening(server: PrivateServer, room: str) -> AsyncGenerator[Recorder, None]:
    """Somebody who hears what is sent in the room, without being one of the people."""
    key, listener = ApiKey(server.api_key, server.api_secret), Recorder()
    token = room_token(key, room=room, identity="listener", agent_name="listener")
    job = RoomJob("AJ_1", room, "", server.url, token, "listener")
    async with (
        trio_asyncio.open_loop(),
        LiveKitRooms() as rooms,
        rooms.open(job, listener),
    ):
        yield listener


async def test_each_act_has_its_effect_on_real_people(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    flags = ("--watch", room, "--config", config(tmp_path, RULES))
    async with (
        running_agent(livekit_server, tmp_path, *flags) as agent,
        listening(livekit_server, room) as listener,
    ):
        host = await people.join(room, "host")
        await agent.logged("session_started", room=room)
        alice = await people.join(room, "alice")
        microphone = await alice.publish("microphone")
        await acted(agent, "send", rule="welcome")
        text = await listener.wait(DataReceived, topic="lk.chat")
        assert (text.identity, text.stream, text.size) == (None, True, len("Welcome"))
        await agent.logged("room_metadata", metadata="live")

        await alice.set_attributes({"role": "loud"})
        assert (await acted(agent, "mute", on="alice"))["result"] == "tracks: 1"
        await agent.logged("track_muted", sid=microphone)

        await alice.set_attributes({"role": "waiting"})
        await acted(agent, "hold", on="alice")
        await agent.logged("track_unpublished", sid=microphone)
        await alice.set_attributes({"role": ""})
        await acted(agent, "release", on="alice")
        await agent.logged(
            "participant_permissions", identity="alice", can_publish=True, can_publish_data=True
        )
        await alice.publish("camera")

        await alice.set_attributes({"role": "guest"})
        assert await alice.out() == "participant_removed"
        await acted(agent, "remove", on="alice")

        eve = await people.join(room, "eve")
        await eve.set_attributes({"role": "abusive"})
        assert await eve.out() == "participant_removed"
        await acted(agent, "ban", on="eve")
        await agent.logged("alert_firing", rule="abuse", on="eve")
        await agent.logged("alert_resolved", rule="abuse", on="eve")

        assert await host.out() == "room_deleted"
        await acted(agent, "end_room", rule="one left", result="ended")
        await agent.logged("session_ended", reason="room_deleted")
        await agent.stop()
    assert [(one["rule"], one["result"]) for one in agent.events("act_failed")] == [
        ("live", "over the limit of 1 acts an hour")
    ]
    with open_reader(tmp_path) as reader:
        session = reader.session(room)
    assert session is not None
    assert session.data_messages is not None
    assert session.data_messages.total == 0, "our own messages are nobody's"
    stored = [entry.act for entry in session.timeline or () if entry.event == "act_done"]
    assert len(stored) == len(agent.events("act_done"))


async def test_killed_a_worker_goes_on_with_bans_alerts_and_holds(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    rules = f"""
        [[rule]]
        name = "busy"
        when = {{ people = ">= 1" }}
        then = [{{ alert = "somebody is there" }}]
        [[rule]]
        name = "abuse"
        {has_role("abusive")}
        then = [{{ ban = "1h" }}]
        [[rule]]
        name = "lobby"
        {has_role("waiting")}
        then = ["hold"]
    """
    flags = ("--watch", room, "--config", config(tmp_path, rules))
    async with running_agent(livekit_server, tmp_path, *flags) as agent:
        alice = await people.join(room, "alice")
        await agent.logged("alert_firing", rule="busy")
        await alice.set_attributes({"role": "waiting"})
        await acted(agent, "hold", on="alice")
        eve = await people.join(room, "eve")
        await eve.set_attributes({"role": "abusive"})
        await acted(agent, "ban", on="eve")
        assert await eve.out() == "participant_removed"
        await agent.until((tmp_path / FILE).exists)
        agent.signal(signal.SIGKILL)
        await agent.ended()
    async with running_agent(livekit_server, tmp_path, *flags) as agent:
        await agent.logged("reconnected", room=room)
        again = await people.join(room, "eve")
        assert await again.out() == "participant_removed"
        # The ban itself is asked for once more where its result was not yet in the store.
        await agent.logged("act_done", rule="abuse", on="eve")
        await alice.set_attributes({"role": ""})
        await acted(agent, "release", on="alice")
        assert agent.events("alert_firing") == []
        await agent.stop()
    assert list(json.loads((tmp_path / FILE).read_text())[room]) == ["eve"]


async def test_a_rule_calls_a_webhook_that_subscribed_to_nothing_of_it(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    async with receiving(status(200)) as receiver:
        text = f"""
            [[webhook]]
            name = "crm"
            url = "{receiver.url}"
            events = ["room_ended"]
            [[rule]]
            name = "camera"
            event = "track_published"
            then = [{{ webhook = "crm" }}]
        """
        flags = ("--watch", room, "--config", config(tmp_path, text))
        async with running_agent(livekit_server, tmp_path, *flags) as agent:
            alice = await people.join(room, "alice")
            await alice.publish("camera")
            await receiver.until(lambda: bool(receiver.received))
            body = json.loads(receiver.received[0].body)
            assert (body["type"], body["data"]["rule"]) == ("act_done", "camera")
            await agent.stop()


async def test_a_rule_that_calls_an_unknown_webhook_is_refused(
    livekit_server: PrivateServer, tmp_path: Path
) -> None:
    text = '[[rule]]\nname = "a"\nevent = "*"\nthen = [{ webhook = "crm" }]\n'
    async with running_agent(
        livekit_server, tmp_path, "--config", config(tmp_path, text), first=""
    ) as agent:
        assert await agent.ended() == 2
    assert "calls the webhook 'crm', and no [[webhook]] has this name" in agent.lines[-1]
