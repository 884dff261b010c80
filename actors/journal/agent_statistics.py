"""Agents over all sessions of a time, by name and by day, from the rows of the list."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import define, field

from actors.journal.session_filters import Filters
from actors.journal.session_reader import SessionReader
from actors.session.agent_totals import ANSWER, in_order, percentile_of
from actors.session.agent_view_types import AgentTotalsView
from actors.session.view_base import Count, Seconds, View

AT_ONCE: Final = 500
"""Sessions that are read at a time."""
MOST_SESSIONS: Final = 10_000
"""Sessions that are read at most, the newest."""
MOST_AGENTS: Final = 200
"""Names that are listed, those with most sessions."""


class DelayStatistics(View, frozen=True, kw_only=True):
    """Delays of one kind."""

    number: Count
    """Delays that were counted."""
    p50: Seconds | None
    """Half of them are within it."""
    p95: Seconds | None
    """19 of 20 are within it."""


class AgentDay(View, frozen=True, kw_only=True):
    """The sessions of an agent that began on one day."""

    date: str
    """The day, in UTC."""
    sessions: Count
    """Sessions."""
    missing: Count
    """Dispatches of which no agent ever came."""
    turns: Count
    """Turns of the agent and its user."""
    interruptions: Count
    """Turns of the agent that were interrupted."""
    tool_errors: Count
    """Calls of tools that failed."""
    errors: Count
    """Errors that it reported."""
    delays: Mapping[str, DelayStatistics]
    """Delays by kind, as in a session's `agents`."""


class AgentStatistics(View, frozen=True, kw_only=True):
    """The agents with one name over all sessions of a time."""

    name: str
    """Name of the agent."""
    sessions: Count
    """Sessions."""
    runs: Count
    """Runs that began."""
    missing: Count
    """Dispatches of which no agent ever came."""
    turns: Count
    """Turns of the agent and its user."""
    user_turns: Count
    """Turns of its user."""
    interruptions: Count
    """Turns of the agent that were interrupted."""
    tool_calls: Count
    """Calls of tools."""
    tool_errors: Count
    """Calls of tools that failed."""
    errors: Count
    """Errors that it reported."""
    delays: Mapping[str, DelayStatistics]
    """Delays by kind: `answer`, and its parts."""
    usage: Mapping[str, Mapping[str, float]]
    """Totals of its models: by kind (`llm`, `tts`, `stt`), then by unit."""
    days: tuple[AgentDay, ...]
    """The days on which a session with it began, the newest first."""


class AgentStatisticsList(View, frozen=True, kw_only=True):
    """All agents of a time."""

    agents: tuple[AgentStatistics, ...]
    """The agent with most sessions first."""
    sessions: Count
    """Sessions that were looked at, with agents and without."""
    complete: bool
    """False where there are more sessions than are looked at: the newest were."""


_SUMS: Final = (
    "runs", "missing", "turns", "user_turns", "interruptions", "tool_calls", "tool_errors",
    "errors",
)  # fmt: skip
_DAY_SUMS: Final = ("missing", "turns", "interruptions", "tool_errors", "errors")


@define(eq=False)
class _Sums:
    """The totals."""

    sessions: int = 0
    counts: Counter[str] = field(factory=Counter[str])
    delays: dict[str, Counter[str]] = field(factory=lambda: defaultdict[str, Counter[str]](Counter))
    usage: dict[str, dict[str, float]] = field(
        factory=lambda: defaultdict[str, dict[str, float]](dict)
    )

    def add(self, agent: AgentTotalsView) -> None:
        self.sessions += 1
        self.counts.update({name: getattr(agent, name) for name in _SUMS})
        for kind, delays in agent.delays.items():
            self.delays[kind].update(delays.counts)
        for kind, amounts in agent.usage.items():
            of_kind = self.usage[kind]
            for what, amount in amounts.items():
                of_kind[what] = of_kind.get(what, 0.0) + amount

    def delay_statistics(self) -> dict[str, DelayStatistics]:
        """The whole delay first."""
        kinds = sorted(self.delays, key=lambda kind: (kind != ANSWER, kind))
        return {kind: _statistics(self.delays[kind]) for kind in kinds}


def _statistics(counts: Mapping[str, int]) -> DelayStatistics:
    ordered = in_order(counts)
    return DelayStatistics(
        number=sum(ordered.values()),
        p50=percentile_of(ordered, 0.5),
        p95=percentile_of(ordered, 0.95),
    )


def read_agent_statistics(reader: SessionReader, filters: Filters) -> AgentStatisticsList:
    """The agents of the sessions that match, by name and by the day on which a session began."""
    whole, days = defaultdict[str, _Sums](_Sums), defaultdict[tuple[str, str], _Sums](_Sums)
    cursor, looked_at = None, 0
    while looked_at < MOST_SESSIONS:
        page = reader.sessions(min(AT_ONCE, MOST_SESSIONS - looked_at), cursor, filters)
        looked_at += len(page.sessions)
        for row in page.sessions:
            for agent in row.agents or ():
                whole[agent.name].add(agent)
                days[agent.name, row.started_at[:10]].add(agent)
        cursor = page.next
        if cursor is None:
            break
    names = sorted(whole, key=lambda name: (-whole[name].sessions, name))[:MOST_AGENTS]
    by_name = defaultdict[str, list[tuple[str, _Sums]]](list)
    for (name, date), sums in sorted(days.items(), reverse=True):
        by_name[name].append((date, sums))
    return AgentStatisticsList(
        agents=tuple(_agent(name, whole[name], by_name[name]) for name in names),
        sessions=looked_at,
        complete=cursor is None,
    )


def _agent(name: str, sums: _Sums, days: Sequence[tuple[str, _Sums]]) -> AgentStatistics:
    return AgentStatistics(
        name=name,
        sessions=sums.sessions,
        **{one: sums.counts[one] for one in _SUMS},
        delays=sums.delay_statistics(),
        usage={
            kind: {what: round(amount, 3) for what, amount in amounts.items()}
            for kind, amounts in sums.usage.items()
        },
        days=tuple(
            AgentDay(
                date=date,
                sessions=one.sessions,
                **{name: one.counts[name] for name in _DAY_SUMS},
                delays=one.delay_statistics(),
            )
            for date, one in days
        ),
    )
