"""Alerts of a real worker: one notification an episode, also over a kill, and who shows them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
import trio

from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from tests.app.agent_program import WAIT, Agent, running_agent
from tests.outlets.receivers import Receiver, receiving, status

RULES = """
[[rule]]
name = "waiting"
person = { attribute = { role = "waiting" } }
then = [{ alert = "somebody waits" }]
[[rule]]
name = "never"
when = { people = "> 100" }
then = ["alert"]
"""


@pytest.fixture
def room() -> str:
    return f"alerts-{uuid4().hex[:8]}"


async def get(agent: Agent, path: str) -> str:
    address = (await agent.logged("http_listening"))["address"]
    async with httpx2.AsyncClient(timeout=WAIT) as http:
        return (await http.get(f"http://{address}{path}")).raise_for_status().text


async def alerts(agent: Agent) -> list[dict[str, Any]]:
    return json.loads(await get(agent, "/api/v1/alerts"))["alerts"]


async def until_alert(agent: Agent, **fields: Any) -> None:
    """Wait until the newest alert has these fields: the API is a batch behind the log."""
    with trio.fail_after(WAIT):
        while not any(fields.items() <= one.items() for one in (await alerts(agent))[:1]):  # noqa: ASYNC110
            await trio.sleep(0.05)


def notified(receiver: Receiver) -> dict[str, str]:
    """The types of what came, by id: what came twice is there once."""
    bodies = [json.loads(one.body) for one in receiver.received]
    return {one["id"]: one["type"] for one in bodies}


async def test_one_notification_an_episode_over_a_kill_and_no_data_in_the_gap(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    async with receiving(status(200)) as receiver:
        path = tmp_path / "settings.toml"
        path.write_text(
            f'[[webhook]]\nname = "crm"\nurl = "{receiver.url}"\nevents = ["alert_*"]\n{RULES}'
        )
        path.chmod(0o600)
        flags = ("--watch", room, "--config", str(path))
        async with running_agent(livekit_server, tmp_path, *flags) as agent:
            text = await get(agent, "/metrics")
            for rule in ("waiting", "never"):
                assert f'room_actors_alerts_firing{{rule="{rule}"}} 0.0' in text
                assert f'room_actors_alert_episodes_total{{rule="{rule}"}} 0.0' in text
            alice = await people.join(room, "alice")
            await alice.set_attributes({"role": "waiting"})
            await until_alert(agent, state="firing", on="alice", no_data=False)
            await receiver.until(lambda: bool(receiver.received))
            text = await get(agent, "/metrics")
            assert 'room_actors_alerts_firing{rule="waiting"} 1.0' in text
            agent.signal(signal.SIGKILL)
            await agent.ended()
        async with running_agent(livekit_server, tmp_path, *flags) as agent:
            await until_alert(agent, state="firing", on="alice")
            await agent.logged("reconnected", room=room)
            await until_alert(agent, state="firing", on="alice", no_data=False)
            assert "somebody waits" in await get(agent, "/alerts")
            await alice.set_attributes({"role": ""})
            await until_alert(agent, state="resolved", on="alice", text="somebody waits")
            await receiver.until(lambda: "alert_resolved" in notified(receiver).values())
            assert agent.events("alert_firing") == []
            await agent.stop()
    assert list(notified(receiver).values()) == ["alert_firing", "alert_resolved"]
