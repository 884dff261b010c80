"""The families of `/metrics` about agents, by the agent's name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from attrs import frozen
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric

from actors.rooms.agent_counters import DELAY, AgentCounters
from bridge.http.metric_sources import buckets_of, label_of

DELAYS: Final = "agent_delay_seconds"

FAMILIES_OF_AGENTS: Final[
    tuple[tuple[str, str, Callable[[AgentCounters], Mapping[str, int]]], ...]
] = (
    ("agent_runs", "Jobs of agents that began.", lambda run: run.runs),
    ("agent_turns", "Turns of agents and their users.", lambda run: run.turns),
    (
        "agent_interruptions",
        "Turns of agents that were interrupted.",
        lambda run: run.interruptions,
    ),
    ("agent_tool_calls", "Calls of tools.", lambda run: run.tool_calls),
    ("agent_tool_errors", "Calls of tools that failed.", lambda run: run.tool_errors),
    ("agent_errors", "Errors that agents reported.", lambda run: run.errors),
    (
        "agent_missing",
        "Dispatches of which no agent came in time.",
        lambda run: run.missing,
    ),
)
PROBLEMS_FAMILY: Final = "agent_problems"


@frozen
class AgentScrape:
    """The values of one scrape, copied: the text is made in another thread."""

    counts: list[tuple[str, str, dict[str, int]]]
    problems: dict[str, int]
    delays: dict[str, tuple[list[int], float]]


def read_agents(run: AgentCounters) -> AgentScrape:
    """The counts as they are now."""
    return AgentScrape(
        [(name, about, dict(read(run))) for name, about, read in FAMILIES_OF_AGENTS],
        dict(run.problems),
        {name: (list(one.counts), one.sum) for name, one in run.delays.items()},
    )


def agent_metrics(scrape: AgentScrape, prefix: str) -> list[Metric]:
    """The families.  Without an agent only that of the problems has values."""
    metrics = list[Metric]()
    for name, about, values in scrape.counts:
        family = CounterMetricFamily(prefix + name, about, labels=["agent"])
        for agent, value in values.items():
            family.add_metric([label_of(agent)], value)
        metrics.append(family)
    problems = CounterMetricFamily(
        prefix + PROBLEMS_FAMILY, "Problems of agents.", labels=["problem"]
    )
    for problem, value in scrape.problems.items():
        problems.add_metric([problem], value)
    metrics.append(problems)
    delays = HistogramMetricFamily(
        prefix + DELAYS,
        "From the end of a user's speech to the begin of the agent's.",
        labels=["agent"],
    )
    for agent, (counts, total) in scrape.delays.items():
        delays.add_metric([label_of(agent)], buckets_of(DELAY, counts), total)
    metrics.append(delays)
    return metrics


def agent_series(prefix: str) -> frozenset[str]:
    """Every series' name, as a query has it."""
    counters = {f"{prefix}{name}_total" for name, _, _ in FAMILIES_OF_AGENTS}
    parts = {f"{prefix}{DELAYS}{part}" for part in ("_bucket", "_sum", "_count")}
    return frozenset(counters | parts | {f"{prefix}{PROBLEMS_FAMILY}_total"})
