"""A trial over the journal of a live run lists what that run decided: when, what, on whom."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actors.acting.rule_trial import RESOLVED, RuleTrial, TrialAct
from actors.rules.limits import Limit
from actors.rules.rule_config import read_rules
from actors.session import SessionState, fold
from actors.session.codec import decode_record
from actors.session.record import Record
from actors.session.rule_records import RuleFired, RuleResolved
from actors.session.rule_state import episode_key
from actors.simulation import simulated_program
from actors.simulation.plan import draw
from actors.simulation.world import World
from actors.testing.schedule import TasksOnlyClock, run

GENTLE = ("disconnect", "storm", "duplicate", "webhook_doubled")
"""Faults after which no part of the program begins anew, and no event is late.  A trial does not
know what was forgotten then, nor when an event came."""
RULES = read_rules(
    [
        {"name": "alone", "when": {"people": "== 1"}, "for": "3.7s", "then": ["alert"]},
        {"name": "busy", "when": {"message_rate": "> 6/m"}, "keep": "2.3s", "then": ["alert"]},
        {
            "name": "guest",
            "person": {"present_for": "> 20.3s"},
            "then": [{"send": {"text": "hello", "to": "person"}}],
            "limit": 3,
        },
        {"name": "mutes", "event": "track_muted", "then": [{"log": "muted"}], "dry_run": True},
    ]
)
LIMITS = (
    Limit("two", ("room-[01]",), people=2, person_duration=31.1),
    Limit("calm", ("room-2",), people=1, over="alert"),
    Limit("tracks", ("room-3",), tracks_per_person=1),
)


def decided(records: list[Record]) -> Iterator[TrialAct]:
    """The entries of the journal itself."""
    state: SessionState | None = None
    for record in records:
        if isinstance(record, RuleFired | RuleResolved):
            rule, on = record.rule, record.on
            rules = None if state is None else state.rules
            episode = None if rules is None else rules.episodes.get(episode_key(rule, on))
            if isinstance(record, RuleFired):
                if record.alert:
                    yield TrialAct(record.at, rule, "alert", on, record.text)
            elif episode is not None and episode.phase == "firing":
                yield TrialAct(record.at, rule, RESOLVED, on)
            for plan in record.acts:
                yield TrialAct(record.at, rule, plan.act, on, plan.result or "")
        state, entries = fold(state, record)
        for entry in entries if not isinstance(record, RuleResolved) else ():
            if entry.event == "alert_resolved":
                yield TrialAct(entry.at, entry.data["rule"], RESOLVED, entry.data["on"] or "")


@pytest.mark.parametrize("seed", range(5))
def test_a_trial_lists_what_the_live_run_decided(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated_program, "BACKLOG", 10_000)  # No row is given up.
    plan = draw(seed, rooms=4, seconds=60.0, actions=150, faults=8, among=GENTLE)
    world = World(plan)
    world.acting.rules, world.acting.limits = RULES, LIMITS
    run(world.main, seed=seed, clock=TasksOnlyClock())
    acts = 0
    for number, rows in world.disk.rows.items():
        assert sorted(rows) == list(range(len(rows))), "a whole journal"
        records = [decode_record(rows[seq].kind, rows[seq].body) for seq in range(len(rows))]
        live = list(decided(records))
        tried = list(RuleTrial(RULES, LIMITS).session(records))
        assert tried == live, number
        acts += len(live)
    assert acts > 10
