"""Runs of agents: what they report becomes turns, delays, calls, usage and problems."""

from __future__ import annotations

from typing import Any

from actors.session import SessionState, Tick, apply, end
from actors.session.agent_problems import agent_deadline
from actors.session.agent_reports import (
    AgentActivity,
    AgentActivityReported,
    AgentCall,
    AgentCallReported,
    AgentDispatchListed,
    AgentErrorReported,
    AgentReport,
    AgentTurn,
    AgentTurnReported,
    AgentUsageReported,
    AgentUserReported,
    AgentVersionReported,
    ModelUsage,
    UserActivity,
)
from actors.session.agent_run import MAX_ITEMS, MAX_MODELS, MAX_SAMPLE, AgentRun, DelaySample
from actors.session.codec import decode_state, encode_state
from tests.session.session_story import T0, Story, as_json, clock, microphone, names, person

AGENT = "agent-AJ_1"
AHEAD = 0.007
"""Seconds from an agent's message to its arrival."""


class AgentStory(Story):
    """A session with alice and one agent, which joined at 1."""

    def __init__(self, **attributes: str) -> None:
        super().__init__(person("alice", "PA_1"))
        attributes = {"lk.agent_name": "helper", **attributes}
        self.joined(
            1, person(AGENT, "PA_2", 1, microphone("TR_1"), kind="agent", attributes=attributes)
        )
        self.subscribed(1.1, AGENT, "TR_1")

    def does(self, at: float, activity: AgentActivity, who: str = AGENT) -> list[Any]:
        return self.receive(AgentActivityReported(T0 + at + AHEAD, who, T0 + at, activity))

    def user(self, at: float, activity: UserActivity, late: float = 0.0) -> list[Any]:
        return self.receive(AgentUserReported(T0 + at + late + AHEAD, AGENT, T0 + at, activity))

    def turn(self, at: float, turn: AgentTurn, who: str = AGENT) -> list[Any]:
        return self.receive(AgentTurnReported(T0 + at + AHEAD, who, T0 + at, turn))

    def call(self, at: float, call: AgentCall) -> list[Any]:
        return self.receive(AgentCallReported(T0 + at + AHEAD, AGENT, T0 + at, call))

    @property
    def run(self) -> dict[str, Any]:
        (run,) = self.participant(AGENT)["agent"]["runs"]
        return run

    def problems(self) -> list[tuple[str, str, float]]:
        return [
            (one.event, one.data["problem"], round(one.at - T0, 3))
            for one in self.entries
            if one.event in ("agent_problem", "agent_recovered")
        ]

    def entry(self, event: str) -> dict[str, Any]:
        """The newest entry of this event; `at` in seconds after T0."""
        one = [one for one in self.entries if one.event == event][-1]
        return {"at": round(one.at - T0, 3), **one.data}


def runs_of(state: SessionState) -> list[AgentRun]:
    assert state.agents is not None
    return list(state.agents.runs.values())


def deadline(one: Story) -> float | None:
    """In seconds after T0."""
    due = agent_deadline(one.state)
    return None if due is None else due - T0


def answer(item: str, began: float, ended: float, delay: float | None = None) -> AgentTurn:
    return AgentTurn(item, "agent", T0 + began, T0 + ended, delay)


def test_a_conversation_becomes_a_run_with_turns_and_delays() -> None:
    one = AgentStory()
    one.does(1.2, "listening")
    one.does(1.5, "speaking")
    one.does(3.0, "listening")
    one.turn(3.0, answer("item_1", 1.5, 3.0))
    one.user(4.0, "speaking")
    one.user(5.0, "listening", late=0.45)
    one.does(5.5, "thinking")
    user = AgentTurn("item_2", "user", T0 + 4, T0 + 5, None, None, None, 0.31, 0.5)
    one.turn(5.6, user)
    one.does(6.25, "speaking")
    one.does(8.0, "listening")
    one.turn(
        8.0, AgentTurn("item_3", "agent", T0 + 6.25, T0 + 8, 1.251, 0.2, 0.1, interrupted=True)
    )
    turn = one.entry("agent_turn")
    assert turn == {
        "at": 6.25, "identity": AGENT, "item": "item_3", "role": "agent", "seconds": 1.75,
        "delay": 1.251, "computed": False, "first_token": 0.2, "first_byte": 0.1,
        "transcription_delay": None, "end_of_turn_delay": None, "interrupted": True,
    }  # fmt: skip
    run = one.run
    assert (run["job_id"], run["end"], run["state"]) == ("AJ_1", None, "listening")
    assert (run["turns"], run["user_turns"], run["interruptions"]) == (3, 1, 1)
    assert run["delay"] == {"p50": 1.251, "p95": 1.251}
    assert clock(run["first_word_at"]) == 1.5
    seconds = run["state_seconds"]
    assert (seconds["speaking"], seconds["thinking"]) == (3.25, 0.75)
    one.left(20, AGENT, "PA_2")
    assert (one.run["end"], clock(one.run["ended_at"])) == ("left", 20)
    assert one.entry("agent_ended")["end"] == "left"
    assert one.participant(AGENT)["agent"]["name"] == "helper"


def test_a_delay_is_computed_where_the_agent_has_none() -> None:
    """From the agent's own times: the user's end of speech arrives late."""
    one = AgentStory()
    one.does(1.5, "speaking")
    one.does(2, "listening")
    one.turn(2, answer("item_1", 1.5, 2))
    assert one.entry("agent_turn")["delay"] is None  # nobody spoke before the greeting
    one.user(4.0, "speaking")
    one.user(5.0, "listening", late=0.45)
    one.does(6.25, "speaking")
    one.turn(8, answer("item_2", 6.25, 8))
    assert (one.entry("agent_turn")["delay"], one.entry("agent_turn")["computed"]) == (1.25, True)
    one.turn(9, answer("item_3", 8, 9))
    assert one.entry("agent_turn")["delay"] is None  # it is of the same answer


def test_each_item_counts_once_also_after_the_agent_left_and_in_its_report() -> None:
    one = AgentStory()
    turn = answer("item_1", 2, 3, 0.5)
    one.turn(3, turn)
    assert one.turn(3.1, turn) == []
    one.left(4, AGENT, "PA_2")
    one.turn(4.1, answer("item_2", 3, 3.5))
    one.ends(10)
    report = AgentReport(
        T0 + 30, "AJ_1", version="1.8.9", close_reason="user_initiated",
        turns=(turn, answer("item_2", 3, 3.5), answer("item_3", 3.6, 3.8, 0.7)),
        calls=(AgentCall("call_item", "call_1", "weather", T0 + 3, T0 + 3.3, "ok"),),
        models=(ModelUsage("llm", "x", "y", {"input_tokens": 7}),),
    )  # fmt: skip
    assert names(one.receive(report)) == ["agent_turn", "agent_tool_call"]
    assert one.receive(report) == []
    run = one.run
    assert (run["turns"], run["tool_calls"], run["version"]) == (3, 1, "1.8.9")
    assert run["usage"] == {"llm": {"x/y": {"input_tokens": 7}}}
    assert (run["close_reason"], run["delay"]["p95"]) == ("user_initiated", 0.7)


def test_a_run_has_so_many_models_however_many_its_uploads_name() -> None:
    story = AgentStory()
    for upload in range(3):
        models = tuple(
            ModelUsage("llm", "p", f"{upload} {number}", {"input_tokens": 1.0})
            for number in range(MAX_MODELS)
        )
        story.receive(AgentReport(T0 + 2 + upload, "AJ_1", models=models))
    assert len(story.run["usage"]["llm"]) == MAX_MODELS


def test_a_report_of_a_job_that_nobody_watched_makes_a_run() -> None:
    one = Story(person("alice", "PA_1"))
    one.receive(
        AgentReport(
            T0 + 30, "AJ_9", "helper", started_at=T0 + 1, ended_at=T0 + 20,
            turns=(answer("item_1", 2, 3),),
        )
    )  # fmt: skip
    agent = one.participant("agent-AJ_9")["agent"]
    (run,) = agent["runs"]
    assert (agent["name"], run["job_id"], run["turns"], run["end"]) == ("helper", "AJ_9", 1, "left")
    assert one.counts() == (1, 1, 1, 1)


def test_a_person_who_sends_an_agents_messages_changes_nothing() -> None:
    one = AgentStory()
    one.turn(3, answer("item_1", 2, 3))
    before = one.state
    one.does(4, "speaking", who="alice")
    one.turn(4, answer("item_2", 3, 4), who="alice")
    one.turn(4, answer("item_3", 3, 4), who="stranger")
    one.receive(AgentVersionReported(T0 + 4, "alice", "9"))
    assert one.state.agents == before.agents
    assert one.state.anomalies == before.anomalies
    one.attributes(5, "alice", **{"lk.agent.state": "speaking"})
    assert one.state.agents == before.agents


def test_an_attribute_says_what_an_agent_does_until_its_messages_do() -> None:
    one = AgentStory()
    one.attributes(2, AGENT, **{"lk.agent.state": "listening"})
    assert one.run["state"] == "listening"
    one.attributes(2.5, AGENT, **{"lk.agent.state": "nonsense"})
    assert one.run["state"] == "listening"
    one.does(3, "thinking")
    one.does(3.002, "speaking")
    one.attributes(3.02, AGENT, **{"lk.agent.state": "thinking"})  # the attribute comes later
    assert one.run["state"] == "speaking"


def test_tools_and_errors_are_counted() -> None:
    one = AgentStory()
    one.call(2, AgentCall("i1", "call_1", "weather", T0 + 2))
    one.call(2.3, AgentCall("", "call_1", "", None, T0 + 2.3, "ok"))
    call = one.entry("agent_tool_call")
    assert (call["tool"], call["seconds"], call["result"], call["at"]) == ("weather", 0.3, "ok", 2)
    one.call(3, AgentCall("i2", "call_1", "broken", T0 + 3))  # the model's id is the same
    one.call(3.1, AgentCall("", "call_1", "", None, T0 + 3.1, "error"))
    one.call(3.2, AgentCall("", "call_7", "", None, T0 + 3.2, "ok"))  # began before we came
    one.call(4, AgentCall("i3", "call_2", "slow", T0 + 4))
    one.receive(AgentErrorReported(T0 + 5, AGENT, T0 + 5, "llm_error", "stub.LLM", False))
    one.left(6, AGENT, "PA_2")
    run = one.run
    assert (run["tool_calls"], run["tool_errors"], run["errors"]) == (3, 1, 1)
    assert (run["last_error"]["error"], run["last_error"]["recoverable"]) == ("llm_error", False)


def test_usage_is_the_newest_total_of_each_session_of_the_job() -> None:
    one = AgentStory()
    for at, tokens in ((2, 100), (3, 150), (4, 30)):  # the third is of another `session.start`
        usage = ModelUsage("llm", "stub", "m", {"input_tokens": tokens})
        one.receive(AgentUsageReported(T0 + at, AGENT, T0 + at, (usage,)))
    assert one.run["usage"] == {"llm": {"stub/m": {"input_tokens": 180}}}


def test_times_of_an_agent_whose_clock_is_wrong_are_corrected() -> None:
    one = AgentStory()
    wrong = 100.0
    one.receive(AgentActivityReported(T0 + 2, AGENT, T0 + 2 + wrong, "speaking"))
    turn = AgentTurn("item_1", "agent", T0 + 2 + wrong, T0 + 3 + wrong, 0.5)
    one.receive(AgentTurnReported(T0 + 3.5, AGENT, T0 + 3.5 + wrong, turn))
    assert one.entry("agent_turn")["at"] == 2
    assert (one.run["clock_offset"], clock(one.run["first_word_at"])) == (-100, 2)


def test_an_agent_that_dies_while_it_speaks_is_dead_after_three_seconds() -> None:
    one = AgentStory()
    one.does(2, "speaking")
    one.speaking(2.6, AGENT)
    one.speaking(7, "alice")  # a second after the kill
    assert deadline(one) == 10
    one.tick(10)
    assert one.problems() == [("agent_problem", "dead", 10)]
    one.left(27, AGENT, "PA_2", "connection_timeout")
    assert one.run["end"] == "crashed"


def test_a_pause_is_no_death_and_one_that_is_heard_again_has_recovered() -> None:
    one = AgentStory()
    one.does(2, "speaking")
    one.speaking(2.6, AGENT)
    one.speaking(4)
    one.speaking(6, AGENT)
    one.tick(7.5)
    assert one.problems() == []
    one.speaking(8)
    one.tick(11)
    one.speaking(12, AGENT)
    one.does(13, "listening")
    one.speaking(13.5)
    one.tick(30)
    assert one.problems() == [("agent_problem", "dead", 11), ("agent_recovered", "dead", 12)]
    assert one.run["problem"] is None


def test_an_avatar_speaks_for_its_agent() -> None:
    one = AgentStory()
    avatar = {"lk.publish_on_behalf": AGENT}
    one.joined(1.5, person("avatar", "PA_3", 1.5, kind="agent", attributes=avatar))
    one.does(2, "speaking")
    one.speaking(2.6, "avatar")
    one.tick(9)
    assert one.problems() == []
    agent = one.participant("avatar")["agent"]
    assert (agent["on_behalf_of"], agent["runs"]) == (AGENT, [])


def test_nothing_is_found_while_nobody_watches() -> None:
    one = AgentStory()
    one.does(2, "speaking")
    one.reconnecting(3)
    assert deadline(one) is None
    one.tick(20)
    one.reconnected(21, person("alice", "PA_1"), person(AGENT, "PA_2", 1, kind="agent"))
    assert one.problems() == []
    one.tick(25)
    assert one.problems() == [("agent_problem", "dead", 24)]


def test_an_error_and_then_silence_a_long_thought_and_no_answer_are_problems() -> None:
    one = AgentStory()
    one.does(2, "listening")
    one.receive(AgentErrorReported(T0 + 3, AGENT, T0 + 3, "llm_error", "stub.LLM"))
    one.tick(13)
    one.does(14, "speaking")
    one.speaking(14.2, AGENT)
    one.does(15, "listening")
    one.speaking(15.4)
    one.user(16, "speaking")
    one.user(16.5, "listening")  # A noise: nobody waits for an answer.
    one.turn(17, AgentTurn("item_1", "user"))
    one.tick(27.5)
    one.does(28, "thinking")
    one.tick(30)
    one.does(31, "speaking")
    one.speaking(31.3, AGENT)
    one.does(32, "thinking")
    one.tick(42)
    one.does(43, "listening")
    assert one.problems() == [
        ("agent_problem", "stopped", 13), ("agent_recovered", "stopped", 14),
        ("agent_problem", "silent", 27.007), ("agent_recovered", "silent", 31),
        ("agent_problem", "thinking", 42), ("agent_recovered", "thinking", 43),
    ]  # fmt: skip


def dispatch(created: float, *jobs: str, at: float | None = None) -> AgentDispatchListed:
    listed = T0 + (created if at is None else at)
    return AgentDispatchListed(listed, "AD_1", "helper", T0 + created, jobs)


def test_an_agent_that_never_comes_is_missing_and_one_that_comes_then_is_late() -> None:
    one = Story(person("alice", "PA_1"))
    one.receive(dispatch(2))
    assert deadline(one) == 10
    one.tick(10)
    missing = one.entries[-1]
    assert (missing.event, missing.data["problem"]) == ("agent_problem", "missing")
    assert (missing.data["agent"], missing.data["identity"]) == ("helper", None)
    named = {"lk.agent_name": "helper"}
    entries = one.joined(15, person(AGENT, "PA_2", 15, kind="agent", attributes=named))
    assert names(entries)[1:] == ["agent_problem", "agent_joined"]
    assert (entries[1].data["problem"], entries[2].data["after"]) == ("late", 13)
    (run,) = one.participant(AGENT)["agent"]["runs"]
    assert (run["late"], clock(run["dispatched_at"])) == (True, 2)


def test_an_agent_that_joins_in_time_is_not_missing_in_whatever_order_we_learn_it() -> None:
    for jobs in ((), ("AJ_1",)):
        one = AgentStory()
        one.receive(dispatch(0.5, *jobs))
        one.tick(60)
        assert (one.problems(), clock(one.run["dispatched_at"])) == ([], 0.5)
        one = Story(person("alice", "PA_1"))
        one.receive(dispatch(0.5))
        one.receive(dispatch(0.5, *jobs))
        named = {"lk.agent_name": "helper"}
        one.joined(2, person(AGENT, "PA_2", 2, kind="agent", attributes=named))
        one.tick(60)
        assert one.entries[-1].event == "agent_joined"
    one = Story(person("alice", "PA_1"))
    one.receive(dispatch(0.5, "AJ_1"))  # a worker took it: its process starts
    assert deadline(one) == 20.5


def test_an_agent_that_came_and_left_before_our_entry_is_not_missing() -> None:
    for created, jobs, missing in ((-60, ("AJ_9",), False), (-60, (), True), (-2, ("AJ_9",), True)):
        one = Story(person("alice", "PA_1"))
        one.receive(dispatch(created, *jobs, at=3))
        one.tick(30)
        assert (one.entries[-1].event == "agent_problem") is missing
    one = AgentStory()  # It is there when we come.
    one.receive(dispatch(-60, "AJ_1", at=3))
    assert clock(one.run["dispatched_at"]) == -60


def test_a_job_that_comes_back_goes_on_with_its_run() -> None:
    one = AgentStory()
    one.turn(3, answer("item_1", 2, 3))
    one.left(4, AGENT, "PA_2")
    one.joined(8, person(AGENT, "PA_9", 8, kind="agent"))
    one.turn(9, answer("item_1", 2, 3))
    one.turn(9, answer("item_2", 8, 9))
    assert (one.run["turns"], one.run["ended_at"], one.run["end"]) == (2, None, None)


def test_the_end_of_the_session_ends_the_runs() -> None:
    one = AgentStory()
    for reason, how in (("room_closed", "room_closed"), ("worker_stopped", "unknown")):
        state, _ = end(one.state, T0 + 9, reason)
        assert [run.end for run in runs_of(state)] == [how]


def test_a_run_goes_on_when_a_worker_that_stopped_is_back() -> None:
    one = AgentStory()
    one.turn(3, answer("item_1", 2, 3))
    one.ends(5, "worker_stopped")
    assert one.run["end"] == "unknown"
    one.attach("AJ_2")
    there = person(AGENT, "PA_2", 1, microphone("TR_1"), kind="agent")
    one.watching(20, person("alice", "PA_1"), there)
    assert (one.run["end"], one.run["ended_at"]) == (None, None)
    one.turn(21, answer("item_1", 2, 3))
    one.turn(22, answer("item_3", 21, 22))
    one.does(23, "thinking")
    assert (one.run["turns"], one.run["state"]) == (2, "thinking")


def test_an_agent_that_died_has_crashed_also_where_the_room_closes_first() -> None:
    one = AgentStory()
    one.does(2, "speaking")
    one.tick(9)
    one.ends(10)
    assert one.run["end"] == "crashed"


def test_a_room_without_an_agent_stores_nothing_of_agents() -> None:
    one = Story(person("alice", "PA_1"))
    assert one.state.agents is None
    assert b"agents" not in encode_state(one.state)


def test_a_state_with_agents_folds_on_from_the_store_as_it_would_have() -> None:
    one = AgentStory()
    one.receive(dispatch(0.5))
    one.does(2, "speaking")
    one.call(3, AgentCall("i1", "call_1", "weather", T0 + 3))
    one.turn(4, answer("item_1", 2, 4, 0.25))
    read: SessionState = decode_state(encode_state(one.state))
    assert read == one.state
    assert apply(read, Tick(T0 + 9)) == apply(one.state, Tick(T0 + 9))


def test_what_a_run_remembers_is_bounded() -> None:
    one = AgentStory()
    for number in range(MAX_ITEMS + 10):
        one.turn(3, answer(f"item_{number}", 2, 3, number / 1000))
    (run,) = runs_of(one.state)
    assert (len(run.items), len(run.delays.values) <= MAX_SAMPLE) == (8 * MAX_ITEMS, True)
    assert one.run["turns"] == MAX_ITEMS + 10
    assert abs(one.run["delay"]["p50"] - 0.517) < 0.01
    assert abs(one.run["delay"]["p95"] - 0.982) < 0.01
    assert len(encode_state(one.state)) < 20_000


def test_percentiles_are_by_nearest_rank() -> None:
    sample = DelaySample()
    assert sample.percentile(0.5) is None
    for number in range(1, 101):
        sample = sample.add(number / 10)
    assert (sample.percentile(0.5), sample.percentile(0.95)) == (5.0, 9.5)


def test_hostile_numbers_are_no_delays() -> None:
    one = AgentStory()
    for number, wrong in enumerate((float("nan"), float("inf"), -1.0, 1e9)):
        one.turn(3, answer(f"item_{number}", 2, 3, wrong))
    one.turn(4, answer("item_9", float("1e300"), 3))
    assert one.run["delay"] == {"p50": None, "p95": None}
    assert as_json(one.session())["timeline"]
