"""Counts over agents, for metrics: by name, and a bounded number of names."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from actors.rooms.agent_counters import DELAY, MOST_NAMES, OTHER_AGENT, AgentCounters
from actors.rooms.run_counters import RunCounters
from actors.rooms.usage_counters import MOST_MODELS, MOST_VERSIONS, OTHER_MODEL
from actors.session import SessionState
from actors.session.agent_reports import AgentReport, AgentUsageReported, ModelUsage
from actors.session.timeline_entry import TimelineEntry
from tests.session.session_story import T0
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


def uses(story: AgentStory, at: float, *models: ModelUsage) -> None:
    story.receive(AgentUsageReported(T0 + at, AGENT, T0 + at, models))


def tokens(count: float, model: str = "m") -> ModelUsage:
    return ModelUsage("llm", "stub", model, {"input_tokens": count, "anything": 7})


def offer(counters: RunCounters, story: AgentStory, since: int = 0) -> None:
    for entry in story.entries[since:]:
        counters.offer(story.state, entry)


def test_usage_counts_once_from_a_scrape_to_the_next_and_to_the_end_and_a_late_report() -> None:
    story, counters = AgentStory(), RunCounters()
    offer(counters, story)
    uses(story, 2, tokens(100), ModelUsage("stt", "stub", "ear", {"audio_duration": 1.5}))
    counters.advance(story.state, T0 + 3)
    counters.advance(story.state, T0 + 4)
    assert counters.usage.tokens == {("llm", "stub/m", "input"): 100}
    assert counters.usage.seconds == {("stt", "stub/ear"): 1.5}
    uses(story, 5, tokens(130), ModelUsage("tts", "stub", "v", {"characters_count": 12}))
    uses(story, 6, tokens(20))  # of another session of the same job
    before = len(story.entries)
    story.ends(7)
    offer(counters, story, before)
    assert counters.usage.tokens == {("llm", "stub/m", "input"): 150}
    assert counters.usage.characters == {("tts", "stub/v"): 12}
    before = len(story.entries)
    report = AgentReport(
        T0 + 8, "AJ_1", version="1.8.9", models=(tokens(160),), turns=(answer("item_9", 6, 7),)
    )
    for _ in range(2):
        story.receive(report)
        offer(counters, story, before)
    assert counters.usage.tokens == {("llm", "stub/m", "input"): 160}
    assert counters.usage.versions == {"1.8.9": 1}


def test_usage_that_an_earlier_run_of_the_program_counted_does_not_count_again() -> None:
    story, counters = AgentStory(), RunCounters()
    uses(story, 2, tokens(100))
    counters.advance(story.state, T0 + 3)
    uses(story, 4, tokens(101))
    counters.advance(story.state, T0 + 5)
    assert counters.usage.tokens == {("llm", "stub/m", "input"): 1}


def test_the_number_of_models_and_versions_is_bounded() -> None:
    counters = RunCounters()
    story = AgentStory()
    offer(counters, story)
    other = (ModelUsage("eot", "stub", f"{n}", {"total_requests": 1}) for n in range(20))
    uses(story, 2, *other)
    counters.advance(story.state, T0 + 3)
    for number in range(MOST_MODELS + 10):
        story = AgentStory()
        story.state = evolve(story.state, room_sid=f"RM_{number}")
        offer(counters, story)
        story.receive(AgentReport(T0 + 2, "AJ_1", version=f"1.{number}"))
        uses(story, 2, tokens(1, f"model-{number}"))
        counters.advance(story.state, T0 + 3)
    usage = counters.usage
    assert len(usage.tokens) == MOST_MODELS + 1
    assert usage.tokens["llm", OTHER_MODEL, "input"] == 10
    assert len(usage.versions) == MOST_VERSIONS + 1
