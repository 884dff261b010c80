"""Recording by a rule: a real worker, a real LiveKit server with Redis, a stand-in for egress."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio

from bridge.lab.egress.psrpc import RpcRefused
from bridge.lab.egress.standin_egress import StandinEgress
from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.store.sqlite_reader import open_reader
from tests.app.agent_program import WAIT, running_agent
from tests.egress_fixture import EgressServer

KEEP = """
[[rule]]
name = "keep"
rooms = ["ROOM"]
when = { people = ">= 1" }
then = [{ record = { layout = "grid", outputs = [
    { file = "{room_name}.mp4", s3 = { bucket = "calls", secret_env = "CALLS_SECRET" } }] } }]
"""
STOP = """
[[rule]]
name = "stop"
event = "room_metadata"
then = ["stop_recording"]
"""
ALERT = """
[[rule]]
name = "tell me"
event = "recording_failed"
then = ["alert"]
"""
SECRET = "a-secret-that-nobody-may-see"
ENV = {"CALLS_SECRET": SECRET}


@pytest.fixture
def room() -> str:
    return f"recorded-{uuid4().hex[:8]}"


def flags(directory: Path, room: str, *rules: str) -> tuple[str, ...]:
    path = directory / "settings.toml"
    path.write_text("".join(rules).replace("ROOM", room))
    path.chmod(0o600)
    return ("--watch", room, "--config", str(path))


def files_with(text: str, folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return [file for file in files if text.encode() in file.read_bytes()]


def recordings_of(data_dir: Path, room: str) -> list[dict[str, Any]]:
    with open_reader(data_dir) as reader:
        session = reader.session(room)
    assert session is not None
    return [
        {"id": one.id, "status": one.status, "rule": one.rule, "file": one.file}
        for one in session.recordings or ()
    ]


async def test_a_rule_records_and_another_one_stops_it(
    egress_server: EgressServer,
    egress_people: People,
    egress_api: Any,
    standin: StandinEgress,
    tmp_path: Path,
    room: str,
) -> None:
    options = flags(tmp_path, room, KEEP, STOP)
    async with running_agent(egress_server.server, tmp_path, *options, env=ENV) as agent:
        await egress_people.join(room, "alice")
        done = await agent.logged("act_done", rule="keep", act="record")
        (egress_id,) = standin.recordings
        assert egress_id in done["result"]
        await agent.logged("room_recording", active=True)
        await egress_api.update_room_metadata(room, "over")
        await agent.logged("act_done", rule="stop", act="stop_recording")
        ended = await agent.logged("recording_ended", id=egress_id)
        assert (ended["status"], ended["file"]) == ("complete", "{room_name}.mp4")
        await agent.logged("room_recording", active=False)
        await agent.stop()
        log = "\n".join(agent.lines)
    (request,) = standin.requests
    assert request.webhooks[0].url.startswith("http://127.0.0.1:")
    assert recordings_of(tmp_path, room) == [
        {"id": egress_id, "status": "complete", "rule": "keep", "file": "{room_name}.mp4"}
    ]
    assert SECRET not in log
    assert not files_with(SECRET, tmp_path)


@pytest.mark.parametrize("http", ["127.0.0.1:0", "off"], ids=["with webhooks", "without"])
async def test_a_worker_that_is_killed_before_the_answer_makes_one_recording(
    egress_server: EgressServer,
    egress_people: People,
    standin: StandinEgress,
    tmp_path: Path,
    room: str,
    http: str,
) -> None:
    standin.delay = WAIT
    options = (*flags(tmp_path, room, KEEP), "--http", http)
    started = standin.started
    async with running_agent(egress_server.server, tmp_path, *options, env=ENV) as agent:
        await egress_people.join(room, "alice")
        with trio.fail_after(WAIT):
            await started.wait()
        agent.signal(signal.SIGKILL)
        await agent.ended()
    async with running_agent(egress_server.server, tmp_path, *options, env=ENV) as agent:
        await agent.logged("act_done", rule="keep", act="record")
        await agent.stop()
    (egress_id,) = standin.recordings
    (stored,) = recordings_of(tmp_path, room)
    assert (stored["id"], stored["rule"]) == (egress_id, "keep")


async def test_a_recording_that_cannot_be_is_told_with_its_reason(
    egress_server: EgressServer,
    egress_people: People,
    standin: StandinEgress,
    tmp_path: Path,
    room: str,
) -> None:
    standin.refusal = RpcRefused("invalid_argument", "no such bucket")
    options = flags(tmp_path, room, KEEP, ALERT)
    async with running_agent(egress_server.server, tmp_path, *options, env=ENV) as agent:
        await egress_people.join(room, "alice")
        await agent.logged("alert_firing", rule="tell me")
        failed = await agent.logged("act_failed", rule="keep", act="record")
        assert "no such bucket" in failed["result"]
        told = await agent.logged("recording_failed", rule="keep")
        assert "no such bucket" in told["error"]
        await agent.stop()


async def test_a_server_without_redis_is_told_at_once(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    options = flags(tmp_path, room, KEEP)
    async with running_agent(livekit_server, tmp_path, *options, env=ENV) as agent:
        await people.join(room, "alice")
        failed = await agent.logged("act_failed", rule="keep", act="record")
        assert "no Redis" in failed["result"]
        await agent.stop()


async def test_an_egress_worker_that_dies_is_noticed(
    egress_server: EgressServer,
    egress_people: People,
    standin: StandinEgress,
    tmp_path: Path,
    room: str,
) -> None:
    soon = "import actors.session.recordings as recordings\nrecordings.LOST_AFTER = 1.0"
    options = flags(tmp_path, room, KEEP)
    async with running_agent(
        egress_server.server, tmp_path, *options, env=ENV, first=soon
    ) as agent:
        await egress_people.join(room, "alice")
        await agent.logged("room_recording", active=True)
        await agent.logged("act_done", act="record")
        standin.kill()
        await standin.leave_rooms()
        lost = await agent.logged("recording_lost")
        assert lost["id"] in standin.recordings
        await agent.stop()


async def test_a_secret_that_is_not_there_is_told_at_the_start(
    livekit_server: PrivateServer, tmp_path: Path, room: str
) -> None:
    options = flags(tmp_path, room, KEEP)
    async with running_agent(livekit_server, tmp_path, *options) as agent:
        assert await agent.ended() == 2
    assert any("CALLS_SECRET" in line and "is not set" in line for line in agent.lines)
