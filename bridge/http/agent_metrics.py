"""The families of `/metrics` about agents, by the agent's name, and about their models' usage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from attrs import frozen
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric

from actors.rooms.agent_counters import DELAY, AgentCounters
from actors.rooms.usage_counters import UsageCounters
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
_UsageValues: TypeAlias = Mapping[tuple[str, ...], float]
FAMILIES_OF_USAGE: Final[
    tuple[tuple[str, str, tuple[str, ...], Callable[[UsageCounters], _UsageValues]], ...]
] = (
    (
        "agent_tokens",
        "Tokens of agents' models; input_cached is a part of input.",
        ("kind", "model", "type"),
        lambda run: {**run.tokens},
    ),
    (
        "agent_characters",
        "Characters that agents' voices spoke.",
        ("kind", "model"),
        lambda run: {**run.characters},
    ),
    (
        "agent_model_seconds",
        "Seconds of sound that agents' models heard and spoke, and of realtime models' sessions.",
        ("kind", "model"),
        lambda run: {**run.seconds},
    ),
    (
        "agent_versions",
        "Jobs of agents that gave their version of livekit-agents.",
        ("version",),
        lambda run: {(version,): count for version, count in run.versions.items()},
    ),
)
"""Model and version are an agent's words."""


@frozen
class AgentScrape:
    """The values of one scrape, copied: the text is made in another thread."""

    counts: list[tuple[str, str, dict[str, int]]]
    problems: dict[str, int]
    delays: dict[str, tuple[list[int], float]]
    usage: list[tuple[str, str, tuple[str, ...], _UsageValues]]


def read_agents(run: AgentCounters, usage: UsageCounters) -> AgentScrape:
    """The counts as they are now."""
    return AgentScrape(
        [(name, about, dict(read(run))) for name, about, read in FAMILIES_OF_AGENTS],
        dict(run.problems),
        {name: (list(one.counts), one.sum) for name, one in run.delays.items()},
        [(name, about, labels, read(usage)) for name, about, labels, read in FAMILIES_OF_USAGE],
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
    for name, about, labels, values in scrape.usage:
        family = CounterMetricFamily(prefix + name, about, labels=labels)
        for words, value in values.items():
            family.add_metric(list(map(label_of, words)), value)
        metrics.append(family)
    return metrics


def agent_series(prefix: str) -> frozenset[str]:
    """Every series' name, as a query has it."""
    counters = {f"{prefix}{name}_total" for name, *_ in (*FAMILIES_OF_AGENTS, *FAMILIES_OF_USAGE)}
    parts = {f"{prefix}{DELAYS}{part}" for part in ("_bucket", "_sum", "_count")}
    return frozenset(counters | parts | {f"{prefix}{PROBLEMS_FAMILY}_total"})
