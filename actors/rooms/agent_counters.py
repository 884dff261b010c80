"""Counts over the agents of all sessions of this run, by the agent's name, for metrics.

Names come from dispatches and from agents, not from people.  There are at most `MOST_NAMES` of
them; others count as `OTHER_AGENT`.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, final, get_args

from actors.rooms.histogram import Histogram
from actors.session import SessionState, TimelineEntry
from actors.session.agent_run import AgentProblem

MOST_NAMES: Final = 50
OTHER_AGENT: Final = "…other"
DELAY: Final = (0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)
"""Seconds."""
PROBLEMS: Final[tuple[str, ...]] = get_args(AgentProblem)


@final
class AgentCounters:
    """See the module.  All counts only grow."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.turns: Counter[str] = Counter()
        """Turns of the agent and of its user, by the agent's name."""
        self.interruptions: Counter[str] = Counter()
        self.tool_calls: Counter[str] = Counter()
        self.tool_errors: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.missing: Counter[str] = Counter()
        """Dispatches of which no agent came in time."""
        self.problems: Counter[str] = Counter(dict.fromkeys(PROBLEMS, 0))
        """Of all agents, by problem."""
        self.delays: dict[str, Histogram] = {}
        """From the end of the user's speech to the begin of the agent's."""

    def offer(self, state: SessionState, entry: TimelineEntry) -> None:
        """Count an entry about an agent of a session, which is now in `state`."""
        name = self._known(_name_of(state, entry))
        match entry.event:
            case "agent_joined":
                self.runs[name] += 1
            case "agent_turn":
                self.turns[name] += 1
                self.interruptions[name] += bool(entry.data["interrupted"])
                delay = entry.data["delay"]
                if delay is not None:
                    self.delays[name].observe(delay)
            case "agent_tool_call":
                self.tool_calls[name] += 1
                self.tool_errors[name] += entry.data["result"] == "error"
            case "agent_error":
                self.errors[name] += 1
            case "agent_problem":
                problem = entry.data["problem"]
                self.problems[problem] += 1
                self.missing[name] += problem == "missing"
            case _:
                pass

    def _known(self, name: str) -> str:
        """The name under which it counts.  All series of a name begin at 0 together."""
        if name not in self.delays:
            if len(self.delays) >= MOST_NAMES:
                name = OTHER_AGENT
            self.delays.setdefault(name, Histogram(DELAY))
            for counts in (
                self.runs,
                self.turns,
                self.interruptions,
                self.tool_calls,
                self.tool_errors,
                self.errors,
                self.missing,
            ):
                counts.setdefault(name, 0)
        return name


def _name_of(state: SessionState, entry: TimelineEntry) -> str:
    name = entry.data.get("agent")
    if name is None and state.agents is not None:
        run = state.agents.run_of(entry.data["identity"])
        name = None if run is None else run.name
    return name or OTHER_AGENT
