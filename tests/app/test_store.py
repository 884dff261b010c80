"""Strangers and accidents change the store of a worker that runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import trio

from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.store.schema import FILE
from bridge.store.sqlite_reader import open_reader
from tests.app.agent_program import WAIT, Agent, hears, running_agent
from tests.session.session_story import as_json


@pytest.fixture
def room() -> str:
    return f"store-{uuid4().hex[:8]}"


def stored_session(data_dir: Path, room: str) -> dict[str, Any]:
    with open_reader(data_dir) as reader:
        found = reader.session(room)
    assert found is not None
    return as_json(found)


def scribble(path: Path) -> None:
    with path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(4096)
        file.write(os.urandom(size - 4096))


async def address_of(agent: Agent) -> str:
    return f"http://{(await agent.logged('http_listening'))['address']}"


async def test_long_texts_of_a_participant_are_cut_before_they_are_kept(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    topic = "t" * 10_000
    alice = await people.join(room, "alice", name="n" * 200, metadata="m" * 60_000)
    async with running_agent(livekit_server, tmp_path, "--watch", room) as agent:
        await agent.logged("participant_found", room=room)
        await hears(agent, alice, b"hello", topic="first")
        await alice.send_data(b"{}", topic=topic)
        await agent.logged("data_message", room=room, times=2)
        await agent.stop()
    session = stored_session(tmp_path, room)
    (cut,) = session["data_messages"]["by_topic"].keys() - {"first"}
    assert len(cut) == 256
    assert cut.endswith("…[10000 characters]")
    (person,) = session["participants"]
    assert person["metadata"] == "m" * 60_000
    texts = [entry for entry in session["timeline"] if entry["event"] == "participant_metadata"]
    assert [len(entry["metadata"].encode()) for entry in texts] == [4096]
    assert texts[0]["metadata"].endswith("…[60000 bytes]")


async def test_a_store_that_is_lost_or_damaged_is_told_and_begun_anew(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    alice = await people.join(room, "alice")
    async with running_agent(livekit_server, tmp_path, "--watch", room) as agent:
        await agent.logged("participant_found", room=room)
        await hears(agent, alice, b"hello", topic="first")
        async with httpx2.AsyncClient(base_url=await address_of(agent)) as http:
            (tmp_path / f"{FILE}-wal").unlink()
            lost = await agent.logged("store_trouble")
            assert "-wal was taken away" in lost["error"]
            await agent.logged("store_recovered")
            with trio.fail_after(WAIT):
                # What is in the log yet is not read from the file.
                while not agent.events("store_set_aside"):
                    scribble(tmp_path / FILE)
                    await http.get(f"/api/v1/sessions/{room}")
                    await trio.sleep(0.2)
            assert agent.events("store_unreadable_for_http")
            await agent.logged("store_recovered", times=2)
            assert (await http.get("/readyz")).status_code == 200
            assert (await http.get(f"/api/v1/sessions/{room}")).status_code == 200
        await agent.stop()
    assert stored_session(tmp_path, room)["data_messages"]["by_topic"] == {"first": 1}
