"""`/metrics` of a real worker has every series that the alerts and the dashboard read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import httpx2
import yaml
from prometheus_client.parser import text_string_to_metric_families as families

from bridge.http.agent_metrics import agent_series
from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from tests.app.agent_program import WAIT, Agent, running_agent
from tests.deploy.promql import Labels, query, selectors

DEPLOY: Final = Path(__file__).resolve().parents[2] / "deploy"
SCRAPED_EVERY: Final = 15.0
BY_AGENT: Final = agent_series("room_actors_") - {"room_actors_agent_problems_total"}
"""Series with the name of an agent: they begin with its first run.  tests/http has their values."""


async def scrape(agent: Agent) -> dict[Labels, float]:
    address = (await agent.logged("http_listening"))["address"]
    async with httpx2.AsyncClient(timeout=WAIT) as http:
        text = (await http.get(f"http://{address}/metrics")).raise_for_status().text
    return {
        frozenset({"__name__": one.name, "instance": "w", **one.labels}.items()): one.value
        for family in families(text)
        for one in family.samples
    }


def panels() -> list[tuple[str, str]]:
    board: dict[str, Any] = json.loads((DEPLOY / "grafana.json").read_text())
    return [
        (panel["title"], target["expr"])
        for panel in board["panels"]
        for target in panel.get("targets", ())
    ]


def rules() -> list[str]:
    groups = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"]
    return [rule["expr"] for group in groups for rule in group["rules"]]


def of_an_agent(text: str) -> bool:
    return any(name in text for name in BY_AGENT)


async def test_alerts_have_their_series_before_anything_happens_and_panels_have_data(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    async with running_agent(livekit_server, tmp_path, "--watch", "metrics-*") as agent:
        await agent.logged("worker_registered")
        first = await scrape(agent)
        samples = {labels: [(0.0, value)] for labels, value in first.items()}
        wanted = [one for rule in rules() for one in selectors(rule)]
        assert len(wanted) > 10
        wanted = [one for one in wanted if not of_an_agent(one)]
        assert [one for one in wanted if not query(one)(samples, 0.0)] == []
        alice = await people.join("metrics-1", "alice")
        await alice.publish("microphone")
        await agent.logged("track_published", room="metrics-1")
        second = await scrape(agent)
        names = [dict(labels)["__name__"] for labels in second if labels not in first]
        assert [name for name in names if name.endswith("_total")] == []
        for labels, value in second.items():
            samples.setdefault(labels, []).append((SCRAPED_EVERY, value))
        read = [(title, text.replace("$instance", ".*")) for title, text in panels()]
        read = [(title, text.replace("$__rate_interval", "1m")) for title, text in read]
        assert len(read) > 30
        read = [(title, text) for title, text in read if not of_an_agent(text)]
        assert [title for title, text in read if not query(text)(samples, SCRAPED_EVERY)] == []
        await agent.stop()
