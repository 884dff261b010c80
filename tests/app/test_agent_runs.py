"""Voice agents under a real worker: one that never comes, and one that dies while it speaks."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp
from livekit.protocol.agent_pb import agent_session as pb

from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from tests.app.agent_program import running_agent

RULES = """
[[rule]]
name = "never came"
when = { agent_problem = "missing" }
then = ["alert"]
"""
SECRET = "a sentence that nobody keeps"


def message(**fields: Any) -> bytes:
    now = Timestamp()
    now.FromNanoseconds(time.time_ns())
    event = pb.AgentSessionEvent(created_at=now, **fields)
    return pb.AgentSessionMessage(event=event).SerializeToString()


def turn() -> bytes:
    content = pb.ChatMessage.ChatContent(text=SECRET)
    numbers = pb.MetricsReport(e2e_latency=1.25)
    said = pb.ChatMessage(id="item_1", role=pb.ASSISTANT, content=[content], metrics=numbers)
    item = pb.ChatContext.ChatItem(message=said)
    added = pb.AgentSessionEvent.ConversationItemAdded(item=item)
    return message(conversation_item_added=added)


def is_stored(data_dir: Path) -> bool:
    """True if the sentence is in any file of the worker."""
    return any(SECRET.encode() in one.read_bytes() for one in data_dir.rglob("*.db*"))


async def test_an_agent_that_never_comes_and_one_that_dies_are_noticed(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    waiting, talking = (f"{name}-{uuid4().hex[:8]}" for name in ("waiting", "talking"))
    key = ApiKey(livekit_server.api_key, livekit_server.api_secret)
    flags = ("--config", str(rules), "--log-level", "debug", "--watch", f"{waiting},{talking}")
    async with (
        ServerApi(Endpoint.parse(livekit_server.url), key) as api,
        running_agent(livekit_server, tmp_path, *flags) as worker,
    ):
        await worker.logged("worker_registered")
        await api.create_dispatch(waiting, "helper")
        agent = await people.join(talking, "agent-AJ_7", kind="agent", own_process=True)
        await agent.publish("microphone")
        await worker.logged("agent_joined", identity="agent-AJ_7", job="AJ_7")
        await agent.speak(True)
        await worker.logged("speakers_changed", room=talking, identities=["agent-AJ_7"])
        await agent.send_bytes(turn(), name="AS_1", topic="lk.agent.session")
        speaking = pb.AgentSessionEvent.AgentStateChanged(new_state=pb.AS_SPEAKING)
        await agent.send_bytes(
            message(agent_state_changed=speaking), name="AS_2", topic="lk.agent.session"
        )
        await worker.logged("agent_state", identity="agent-AJ_7", state="speaking")
        await agent.vanish()
        await worker.logged("agent_problem", identity="agent-AJ_7", problem="dead")
        await worker.logged("agent_problem", problem="missing", agent="helper")
        await worker.logged("alert_firing", rule="never came", room=waiting)
        await worker.stop()
    turns = worker.events("agent_turn", identity="agent-AJ_7")
    assert [(one["item"], one["delay"]) for one in turns] == [("item_1", 1.25)]
    assert SECRET not in json.dumps(worker.lines)
    assert not is_stored(tmp_path)
