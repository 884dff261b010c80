"""Voice agents in the simulation: kills in between, and a saboteur for each law."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actors.session import agent_counts, agents
from actors.session.agent_reports import AgentTurn
from actors.session.agent_run import AgentRun
from actors.session.timeline_entry import EntryList
from actors.simulation import Plan, Step, draw, play

PEOPLE = tuple(Step(1.0 + n / 4, "join", n % 2, n // 2, 1, 0.0) for n in range(6))
AGENTS = tuple(Step(4.0 + n / 4, "agent", n % 2, n % 3, 1 + n, (n % 8) / 10) for n in range(48))


def plan(*steps: Step) -> Plan:
    ordered = sorted((*PEOPLE, *AGENTS, *steps), key=lambda step: step.at)
    return Plan(1, tuple(ordered), 2, 20.0, reconciled=True, agents=True)


def test_where_nothing_is_lost_each_turn_is_in_its_run() -> None:
    outcome = play(plan())
    assert outcome.violations == ()
    assert outcome.injected["turn"] > 20
    assert outcome.injected["forged turn"] > 10
    assert outcome.checked["each turn of an agent counts once"]


@pytest.mark.parametrize("fault", ["kill", "crash", "gap", "storm", "duplicate", "stop"])
def test_turns_are_never_counted_twice_and_never_fewer(fault: str) -> None:
    for n in range(3):
        outcome = play(plan(Step(6.0 + 3 * n, fault, n % 2, 1, 3 + n, n / 8)))
        assert outcome.violations == (), f"{fault} at {6.0 + 3 * n}"


def test_a_plan_that_was_saved_before_there_were_agents_can_be_replayed() -> None:
    saved = draw(1, agents=False).to_json().replace(', "agents": false', "")
    assert '"agents"' not in saved
    assert Plan.from_json(saved) == draw(1, agents=False)


# ---------------------------------------------------------------- saboteurs

Mutation = Callable[[pytest.MonkeyPatch], None]


def count_doubled_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AgentRun, "has_item", lambda _run, _item: False)


def lose_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    real = agent_counts.add_turn

    def add_turn(run: AgentRun, turn: AgentTurn, at: float, entries: EntryList) -> AgentRun:
        return run if turn.id.endswith("7") else real(run, turn, at, entries)

    monkeypatch.setattr(agents, "add_turn", add_turn)


def believe_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agents, "is_agent", lambda _person: True)


def measure_by_arrival(monkeypatch: pytest.MonkeyPatch) -> None:
    real = agents._activity

    def activity(*arguments: object) -> object:
        state, run, what, since, sent_at, entries = arguments
        late = sent_at + 1.0 if isinstance(sent_at, float) else sent_at
        return real(state, run, what, since, late, entries)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(agents, "_activity", activity)


@pytest.mark.parametrize(
    "mutation, law",
    [
        (count_doubled_turns, "each turn of an agent counts once: "),
        (lose_turns, "each turn of an agent counts once: "),
        (believe_everybody, "what a person forges is in no run: "),
        (measure_by_arrival, "delays are by the agent's own times: "),
    ],
)
def test_a_session_that_counts_agents_wrongly_is_caught(
    monkeypatch: pytest.MonkeyPatch, mutation: Mutation, law: str
) -> None:
    mutation(monkeypatch)
    doubled = tuple(Step(5.0 + n, "duplicate", n % 2, 0, 7, 0.5) for n in range(10))
    assert any(one.startswith(law) for one in play(plan(*doubled)).violations)
