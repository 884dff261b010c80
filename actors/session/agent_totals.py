"""The agents in a session's row of a list: numbers by the agent's name.

Delays are counted by their rounded seconds, because percentiles of several sessions cannot be made
of the percentiles of each.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from math import ceil
from typing import Final

from actors.session.agent_run import AgentRun, DelaySample, RoomAgents, total_usage
from actors.session.agent_view_types import AgentTotalsView, DelayCountsView

ANSWER: Final = "answer"
"""The kind of a whole delay."""
MOST_NAMES: Final = 20
"""Names of agents of one session."""


def agent_totals(agents: RoomAgents | None) -> tuple[AgentTotalsView, ...] | None:
    """By name, in the order of the first run; None for a session without any agent."""
    if agents is None:
        return None
    runs = defaultdict[str, list[AgentRun]](list)
    for run in agents.runs.values():
        runs[run.name].append(run)
    missing = Counter(
        one.agent_name
        for one in agents.dispatches.values()
        if one.missing_since is not None and one.joined_at is None
    )
    names = list(dict.fromkeys((*runs, *missing)))[:MOST_NAMES]
    return tuple(_totals(name, runs.get(name, []), missing[name]) for name in names) or None


def _totals(name: str, runs: list[AgentRun], missing: int) -> AgentTotalsView:
    delays = defaultdict[str, list[float]](list)
    usage = defaultdict[str, dict[str, float]](dict)
    for run in runs:
        for kind, sample in {ANSWER: run.delays, **run.components}.items():
            delays[kind] += sample.values
        for one in total_usage(run).values():
            for what, amount in one.amounts.items():
                usage[one.kind][what] = usage[one.kind].get(what, 0.0) + amount
    return AgentTotalsView(
        name=name,
        runs=len(runs),
        missing=missing,
        turns=sum(run.turns for run in runs),
        user_turns=sum(run.user_turns for run in runs),
        interruptions=sum(run.interruptions for run in runs),
        tool_calls=sum(run.tool_calls for run in runs),
        tool_errors=sum(run.tool_errors for run in runs),
        errors=sum(run.errors for run in runs),
        delays={kind: _delay_counts(values) for kind, values in delays.items() if values},
        usage={
            kind: {what: round(amount, 3) for what, amount in of_kind.items()}
            for kind, of_kind in usage.items()
        },
    )


def rounded_text(seconds: float) -> str:
    """Seconds as they are counted: within 1 % of a delay of a second."""
    step = 0.02 if seconds < 2 else 0.1 if seconds < 10 else 1.0
    return f"{round(seconds / step) * step:.2f}".rstrip("0").rstrip(".")


def _delay_counts(values: list[float]) -> DelayCountsView:
    """The percentiles are those of the delays as they are."""
    sample = DelaySample(len(values), tuple(values))
    return DelayCountsView(
        p50=_rounded(sample.percentile(0.5)),
        p95=_rounded(sample.percentile(0.95)),
        counts=in_order(Counter(map(rounded_text, values))),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def in_order(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts in the order of their seconds."""
    return dict(sorted(counts.items(), key=lambda one: float(one[0])))


def percentile_of(ordered: Mapping[str, int], share: float) -> float | None:
    """By nearest rank, of counts in the order of their seconds; None without any."""
    rank = max(1, ceil(share * sum(ordered.values())))
    for seconds, count in ordered.items():
        rank -= count
        if rank <= 0:
            return float(seconds)
    return None


def merged(several: Iterable[Mapping[str, int]]) -> Counter[str]:
    """The counts of several sessions."""
    total = Counter[str]()
    for counts in several:
        total.update(counts)
    return total
