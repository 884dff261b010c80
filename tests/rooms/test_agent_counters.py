"""Counts over agents, for metrics: by name, and a bounded number of names."""

from __future__ import annotations

from typing import Any

from actors.rooms.agent_counters import DELAY, MOST_NAMES, OTHER_AGENT, AgentCounters
from actors.session import SessionState
from actors.session.timeline_entry import TimelineEntry
from tests.session.test_agents import AGENT, AgentStory, answer


def counted(story: AgentStory) -> AgentCounters:
    counters = AgentCounters()
    for entry in story.entries:
        if entry.event.startswith("agent_"):
            counters.offer(story.state, entry)
    return counters


def test_turns_and_delays_count_under_the_name_of_the_agent() -> None:
    story = AgentStory()
    story.turn(3, answer("item_1", 2, 3, 0.4))
    story.turn(9, answer("item_2", 7, 9, 6.5))
    counters = counted(story)
    assert counters.runs == {"helper": 1}
    assert counters.turns == {"helper": 2}
    assert counters.tool_errors == {"helper": 0}
    delays = counters.delays["helper"]
    assert delays.counts == [0, 1, *[0] * (len(DELAY) - 2), 1]
    assert round(delays.sum, 3) == 6.9
    assert set(counters.problems.values()) == {0}
    assert AGENT not in str(vars(counters))


def problem(state: SessionState, name: str, kind: str = "missing") -> TimelineEntry:
    del state
    data: dict[str, Any] = {"identity": None, "agent": name, "problem": kind, "seconds": 8.0}
    return TimelineEntry(1.0, "agent_problem", data)


def test_the_number_of_names_is_bounded() -> None:
    state, counters = AgentStory().state, AgentCounters()
    for number in range(MOST_NAMES + 10):
        counters.offer(state, problem(state, f"agent-{number}"))
    assert len(counters.missing) == len(counters.delays) == MOST_NAMES + 1
    assert counters.missing[OTHER_AGENT] == 10
    assert counters.problems["missing"] == MOST_NAMES + 10
