"""Rules in the simulation: kills, an acting port that fails, and a saboteur for each law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from actors.acting import act_requests, act_runner
from actors.recording.session_access import RoomTableSessions
from actors.session import rule_state
from actors.session.rule_records import ActReported, RuleFired
from actors.session.rule_state import RuleState
from actors.simulation import Plan, Step, draw, play
from actors.simulation.plan import ACTING_FAULTS

JOINS = tuple(Step(1.0, "join", 0, who, 1, 0.0) for who in range(4))
KEYS = tuple(Step(4.0 + who, "attributes", 0, who, 1, 0.1) for who in range(3))


def plan(*steps: Step) -> Plan:
    """A crowd: people are greeted, put on hold, warned of."""
    ordered = sorted((*JOINS, *KEYS, *steps), key=lambda step: step.at)
    return Plan(1, tuple(ordered), 3, 25.0, reconciled=True, ruled=True)


@pytest.mark.parametrize("fault", ACTING_FAULTS)
def test_killed_at_each_step_while_acts_fail(fault: str) -> None:
    for n in range(12):
        who = 0 if fault == "act_runner_crash" else n % 4
        steps = (Step(3.0, fault, 0, who, 3, 0.0), Step(5.0, "kill", 0, n % 2, 2, n / 12))
        outcome = play(plan(*steps))
        assert outcome.injected[fault] > 0
        assert outcome.injected["kill"] == 1
        assert outcome.violations == (), f"killed at step {n}"


def test_a_text_that_a_removed_connection_did_not_send_counts_once() -> None:
    steps = (
        Step(46.0, "act_slow", 7, 3, 6, 0.969),
        Step(47.0, "join", 3, 2, 7, 0.486),
        Step(48.0, "job_terminated", 3, 3, 4, 0.89),
    )
    outcome = play(Plan(5088, steps, 8, 60.0, webhooks=True, reconciled=True, ruled=True))
    assert outcome.injected["act_slow"] > 0
    assert outcome.injected["job_terminated"] > 0
    assert outcome.violations == ()


def test_a_plan_without_rules_has_none_of_their_faults_and_laws() -> None:
    outcome = play(draw(1, ruled=False, outlets=False, monitored=False, limit=0, recorded=False))
    assert outcome.checked["no message twice"] == 0
    assert not outcome.injected.keys() & set(ACTING_FAULTS)
    assert play(draw(1, ruled=True)).checked["no message twice"] == 1


def test_a_plan_that_was_saved_before_there_were_rules_can_be_replayed() -> None:
    saved = draw(1, ruled=False).to_json().replace(', "ruled": false', "")
    assert "ruled" not in saved
    assert Plan.from_json(saved) == draw(1, ruled=False)


# ---------------------------------------------------------------- saboteurs

Mutation = Callable[[pytest.MonkeyPatch], None]


def act_before_it_is_durable(monkeypatch: pytest.MonkeyPatch) -> None:
    async def store(_: RoomTableSessions, __: str) -> None:
        return

    monkeypatch.setattr(RoomTableSessions, "store", store)


def repeat_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message whose answer was lost is sent again."""
    kinds = act_requests.ACT_KINDS
    repeated = {**kinds, "send": evolve(kinds["send"], repeatable=True)}
    monkeypatch.setattr("actors.acting.acting.ActRunner", _with_kinds(repeated))


def _with_kinds(kinds: Any) -> Any:
    def make(*arguments: Any, **options: Any) -> act_runner.ActRunner:
        return act_runner.ActRunner(*arguments, **{**options, "kinds": kinds})

    return make


def lose_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    real = RoomTableSessions.report

    async def report(sessions: RoomTableSessions, sid: str, record: Any) -> Any:
        if isinstance(record, ActReported) and not record.done:
            return None
        return await real(sessions, sid, record)

    monkeypatch.setattr(RoomTableSessions, "report", report)


def write_an_entry_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    real = rule_state._on_reported

    def on_reported(rules: RuleState, record: ActReported, entries: Any) -> RuleState:
        after = real(rules, record, entries)
        entries.extend(tuple(entries))
        return after

    folds = {**rule_state._FOLDS, ActReported: on_reported}
    monkeypatch.setattr(rule_state, "_FOLDS", folds)


def forget_episodes_at_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fold and the rules both take an episode that fires for a new one."""
    real = rule_state._on_fired

    def on_fired(rules: RuleState, record: RuleFired, entries: Any) -> RuleState:
        key = rule_state.episode_key(record.rule, record.on)
        others = {one: each for one, each in rules.episodes.items() if one != key}
        return real(RuleState(others, rules.open_acts, rules.holds, rules.bans), record, entries)

    monkeypatch.setattr(rule_state, "_FOLDS", {**rule_state._FOLDS, RuleFired: on_fired})
    monkeypatch.setattr("actors.rules.episodes.Episodes.restore", lambda *_: True)


@pytest.mark.parametrize(
    "mutation, law",
    [
        (act_before_it_is_durable, "intents are durable: "),
        (repeat_messages, "no message twice: "),
        (lose_reports, "each act has its entry: "),
        (write_an_entry_twice, "each act has its entry: "),
        (forget_episodes_at_a_restart, "alerts once per episode: "),
    ],
)
def test_a_program_that_breaks_a_law_is_caught(
    monkeypatch: pytest.MonkeyPatch, mutation: Mutation, law: str
) -> None:
    mutation(monkeypatch)
    assert any(
        one.startswith(law)
        for seed in range(30)
        for one in play(
            draw(seed, rooms=4, outlets=False, monitored=False, limit=0, ruled=True)
        ).violations
    )
