"""Webhooks of a real worker: everything durable arrives, also over a kill."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from livekit.api import TokenVerifier, WebhookReceiver

from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.store.sqlite_reader import open_reader
from tests.app.agent_program import running_agent
from tests.outlets.receivers import Received, Receiver, hang, in_order, receiving, status

SECRET = "whsec_" + "c2VjcmV0" * 4


@pytest.fixture
def room() -> str:
    return f"outlets-{uuid4().hex[:8]}"


def config(directory: Path, *hooks: str) -> str:
    path = directory / "settings.toml"
    path.write_text("\n".join(f"[[webhook]]\n{hook}\n" for hook in hooks))
    path.chmod(0o600)
    return str(path)


def hook(receiver: Receiver, name: str = "crm", **keys: Any) -> str:
    lines = {"name": name, "url": receiver.url, "secret": SECRET, "events": ["*"], **keys}
    return "\n".join(f"{key} = {json.dumps(value)}" for key, value in lines.items())


def bodies(received: Sequence[Received]) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in received]


async def until_received(receiver: Receiver, event: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        names = ("type", "event")
        return [b for b in bodies(receiver.received) if event in map(b.get, names)]

    await receiver.until(lambda: bool(found()))
    return found()[0]


def timeline(data_dir: Path, room: str) -> list[str]:
    with open_reader(data_dir) as reader:
        session = reader.session(room)
    assert session is not None
    return [entry.event for entry in session.timeline or ()]


async def test_what_happens_in_a_room_arrives_in_order_with_the_summary_at_the_end(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    async with receiving(status(200)) as receiver, receiving(status(200)) as livekit:
        path = config(tmp_path, hook(receiver), hook(livekit, "compatible", format="livekit"))
        async with running_agent(
            livekit_server, tmp_path, "--watch", room, "--config", path
        ) as agent:
            alice = await people.join(room, "alice")
            track = await alice.publish("microphone")
            await agent.logged("track_published", room=room)
            await alice.mute(track)
            await agent.logged("track_muted", room=room)
            await alice.leave()
            ended = await until_received(receiver, "session_ended")
            await until_received(livekit, "session_ended")
            assert SECRET not in "\n".join(agent.lines)
            assert receiver.url not in "\n".join(agent.lines)
            await agent.stop()
    assert ended["data"]["summary"]["people"]["unique"] == 1
    got = bodies(receiver.received)
    assert [body["type"] for body in got] == timeline(tmp_path, room)
    numbers = [body["sequence"] for body in got]
    assert numbers == sorted(set(numbers))
    verifier = WebhookReceiver(TokenVerifier(livekit_server.api_key, livekit_server.api_secret))
    read = [
        verifier.receive(one.body.decode(), one.headers["authorization"])
        for one in livekit.received
    ]
    muted = next(event for event in read if event.event == "track_muted")
    assert (muted.room.name, muted.participant.identity) == (room, "alice")


async def test_killed_while_a_receiver_hangs_the_next_run_delivers_everything(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    async with receiving(in_order(status(200), status(200), hang)) as receiver:
        path = config(tmp_path, hook(receiver))
        flags = ("--watch", room, "--config", path)
        async with running_agent(livekit_server, tmp_path, *flags) as agent:
            alice = await people.join(room, "alice")
            await alice.publish("microphone")
            await agent.logged("track_published", room=room)
            await receiver.until(lambda: len(receiver.received) >= 3)
            agent.signal(signal.SIGKILL)
            await agent.ended()
        port = receiver.port
    async with (
        receiving(status(200), port=port) as again,
        running_agent(livekit_server, tmp_path, *flags) as agent,
    ):
        await agent.logged("reconnected", room=room)
        await alice.leave()
        await until_received(again, "session_ended")
        await agent.stop()
    got = bodies([*receiver.received[:2], *again.received])
    first = list(dict.fromkeys(body["id"] for body in got))
    assert first == sorted(first, key=lambda one: tuple(map(int, one.split("-")))), "in order"
    kinds = [next(body["type"] for body in got if body["id"] == one) for one in first]
    assert kinds == timeline(tmp_path, room), "all of it"


async def test_a_receiver_that_is_down_is_told_and_rooms_do_not_notice(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    async with receiving(status(500)) as receiver:
        path = config(tmp_path, hook(receiver))
        async with running_agent(
            livekit_server, tmp_path, "--watch", room, "--config", path
        ) as agent:
            alice = await people.join(room, "alice")
            await alice.publish("microphone")
            trouble = await agent.logged("outlet_trouble", outlet="crm")
            assert trouble["error"] == "status 500"
            address = (await agent.logged("http_listening"))["address"]
            async with httpx2.AsyncClient(base_url=f"http://{address}", timeout=60) as http:
                assert (await http.get("/readyz")).status_code == 200
                metrics = (await http.get("/metrics")).text
                outbox = (await http.get("/api/v1/outbox")).json()
            failed = re.search(
                r'^room_actors_outlet_attempts_total{result="failed",webhook="crm"} (\S+)',
                metrics,
                re.MULTILINE,
            )
            assert failed is not None
            assert float(failed[1]) >= 1
            (endpoint,) = outbox["webhooks"]
            assert (endpoint["name"], endpoint["last_error"]) == ("crm", "status 500")
            assert "/hooks" not in json.dumps(outbox), "a path may be a secret"
            await alice.leave()
            await agent.logged("session_ended", room=room)
            await agent.stop()
    assert 1 <= len(receiver.received) <= 5, "the breaker is open"
