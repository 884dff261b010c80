"""Texts of conversations with agents: kept nowhere by default, and only in their store on request.

A byte search of everything that a worker writes and answers, with a real server.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import trio
from google.protobuf.timestamp_pb2 import Timestamp
from livekit.protocol.agent_pb import agent_session as pb

from bridge.app.backup import write_backup
from bridge.lab.people import People
from bridge.lab.people.person import Person
from bridge.lab.server import PrivateServer
from tests.app.agent_program import Agent, running_agent

SPOKEN = "the quick zebra jumps over amsterdam"
ADDRESS = "zebra@example.org"
ARGUMENTS = '{"city": "haarlemmermeer"}'
OUTPUT = "overcast-with-hail"
PROMPT = "you are a very secret receptionist"
SECRETS = (SPOKEN, ADDRESS, "haarlemmermeer", OUTPUT, PROMPT)
AGENT = "agent-AJ_9"
HANG = 60.0
AGAIN = 5.0
"""Seconds until the agent says it all again."""
EXPECTED = {
    ("item_1", "chat"),
    ("item_2", "speech"),
    ("item_c", "tool_arguments"),
    ("item_c", "tool_output"),
}
"""Items of the conversation, with the kinds of their texts.  What has no time of speech was
written."""
PAGES = (
    "/", "/history", "/agents", "/alerts", "/system", "/sessions/{room}", "/timelines/{room}",
    "/whole/{room}", "/metrics", "/openapi.json", "/api/v1/rooms", "/api/v1/sessions",
    "/api/v1/sessions/{room}", "/api/v1/sessions/{room}/turns", "/api/v1/sessions/{room}/runs",
    "/api/v1/sessions/{room}/transcript", "/api/v1/transcripts?search=zebra", "/api/v1/agents",
    "/api/v1/actors",
)  # fmt: skip


def event(**fields: Any) -> bytes:
    now = Timestamp()
    now.FromNanoseconds(time.time_ns())
    one = pb.AgentSessionEvent(created_at=now, **fields)
    return pb.AgentSessionMessage(event=one).SerializeToString()


def item(key: str, role: Any, text: str) -> bytes:
    content = pb.ChatMessage.ChatContent(text=text)
    message = pb.ChatMessage(id=key, role=role, content=[content])
    added = pb.AgentSessionEvent.ConversationItemAdded(
        item=pb.ChatContext.ChatItem(message=message)
    )
    return event(conversation_item_added=added)


def conversation() -> list[bytes]:
    """What an agent sends to everybody: words, a tool, its prompt."""
    updated = pb.AgentSessionEvent.ToolExecutionUpdated
    call = pb.FunctionCall(id="item_c", call_id="call_1", name="weather", arguments=ARGUMENTS)
    info = pb.SessionResponse.GetAgentInfoResponse(instructions=PROMPT)
    answer = pb.AgentSessionMessage(response=pb.SessionResponse(get_agent_info=info))
    return [
        answer.SerializeToString(),
        item("item_s", pb.SYSTEM, PROMPT),
        item("item_1", pb.USER, f"{SPOKEN} for {ADDRESS}"),
        event(tool_execution_updated=updated(started=updated.Started(function_call=call))),
        event(
            tool_execution_updated=updated(
                ended=updated.Ended(call_id="call_1", message=OUTPUT, status=pb.TC_DONE)
            )
        ),
        item("item_2", pb.ASSISTANT, SPOKEN),
    ]


async def send_all(agent: Person, worker: Agent, room: str) -> None:
    """Until the worker has all of it: the first messages after an entry may be lost."""
    while True:
        for number, body in enumerate(conversation()):
            await agent.send_bytes(body, name=f"AS_{number}", topic="lk.agent.session")
        await agent.send_text(SPOKEN, topic="lk.transcription")
        with trio.move_on_after(AGAIN):
            await worker.logged("agent_turn", room=room, item="item_1")
            await worker.logged("agent_tool_call", room=room, item="item_c")
            await worker.logged("agent_turn", room=room, item="item_2")
            return


def with_secret(answers: dict[str, bytes]) -> dict[str, list[str]]:
    """By name: the secrets that are in it."""
    found = {
        name: [one for one in SECRETS if one.encode() in body] for name, body in answers.items()
    }
    return {name: secrets for name, secrets in found.items() if secrets}


def files(directory: Path) -> dict[str, bytes]:
    paths = [one for one in directory.rglob("*") if one.is_file()]
    return {str(one.relative_to(directory)): one.read_bytes() for one in paths}


async def look(
    worker: Agent, http: httpx2.AsyncClient, room: str, agent: Person
) -> dict[str, bytes]:
    """All that the worker answers after the conversation, with what it sent as events."""
    sent, following = bytearray(), trio.Event()
    async with (
        http.stream("GET", "/api/v1/events") as stream,
        trio.open_nursery() as nursery,
    ):

        async def follow() -> None:
            async for part in stream.aiter_bytes():
                sent.extend(part)
                following.set()

        nursery.start_soon(follow)
        await following.wait()  # The stream has its place: what comes now is in it.
        await send_all(agent, worker, room)
        turns: list[dict[str, Any]] = []
        with trio.fail_after(HANG):
            while len(turns) < 2 or b"item_2" not in sent:
                await trio.sleep(0.05)
                answer = await http.get(f"/api/v1/sessions/{room}/turns")
                turns = answer.json()["turns"] if answer.status_code == 200 else []
        nursery.cancel_scope.cancel()
    headers = {"accept": "text/html, application/json"}
    answers = {"events": bytes(sent)}
    for path in PAGES:
        answer = await http.get(path.format(room=room), headers=headers)
        assert answer.status_code == 200, path
        answers[path] = answer.content
    return answers


async def run_worker(
    server: PrivateServer, people: People, directory: Path, *flags: str
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """One conversation under one worker: its answers and log, and its files with a backup."""
    room, data = f"texts-{uuid4().hex[:8]}", directory / "data"
    every = ("--log-level", "debug", "--log-payloads", "--watch", room, *flags)
    async with running_agent(server, data, *every) as worker:
        await worker.logged("worker_registered")
        agent = await people.join(room, AGENT, kind="agent")
        await worker.logged("agent_joined", identity=AGENT)
        address = (await worker.logged("http_listening"))["address"]
        async with httpx2.AsyncClient(base_url=f"http://{address}", timeout=HANG) as http:
            answers = await look(worker, http, room, agent)
            if flags:
                await until_kept(http, room)
                for path in (f"/sessions/{room}", f"/api/v1/sessions/{room}/turns"):
                    answers[path] = (await http.get(path)).content
                answers["transcript"] = (
                    await http.get(f"/api/v1/sessions/{room}/transcript")
                ).content
        await agent.leave()
        await worker.stop()
    answers["log"] = "\n".join(worker.lines).encode()
    await trio.to_thread.run_sync(
        partial(write_backup, data, directory / "backup.db", lambda _: None)
    )
    return answers, await trio.to_thread.run_sync(files, directory)


async def until_kept(http: httpx2.AsyncClient, room: str) -> None:
    """The two turns, arguments and result are in the store of texts."""
    with trio.fail_after(HANG):
        while True:
            answer = await http.get(f"/api/v1/sessions/{room}/transcript")
            there = {(one["item"], one["kind"]) for one in answer.json()["texts"]}
            if there >= EXPECTED:
                return
            await trio.sleep(0.05)


async def test_by_default_no_byte_of_a_conversation_is_kept_or_shown(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    answers, stored = await run_worker(livekit_server, people, tmp_path / "default")
    assert b"agent_turn" in answers["events"]
    assert b"weather" in answers["log"]
    assert {"data/store.db", "backup.db"} <= stored.keys()
    assert with_secret(answers) == {}
    assert with_secret(stored) == {}
    assert "data/texts.db" not in stored


async def test_on_request_texts_are_in_their_store_masked_and_the_prompt_is_nowhere(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    keep = ("--keep-transcripts", "1d", "--keep-tool-payloads", "1d", "--mask-text", "email")
    answers, stored = await run_worker(livekit_server, people, tmp_path / "kept", *keep)
    kept = [SPOKEN, "haarlemmermeer", OUTPUT]
    assert with_secret(answers).keys() <= {
        "transcript", *(path for path in answers if path.startswith(("/sessions/", "/api/v1/")))
    }  # fmt: skip
    assert with_secret({"transcript": answers["transcript"]}) == {"transcript": kept}
    assert b"for [email]" in answers["transcript"]
    assert with_secret(stored).keys() <= {"data/texts.db", "data/texts.db-wal", "backup.db"}
    assert not any(PROMPT.encode() in one for one in (*answers.values(), *stored.values()))
    assert not any(ADDRESS.encode() in one for one in (*answers.values(), *stored.values()))
