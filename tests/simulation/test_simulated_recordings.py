"""Recordings in the simulation: one of each intent, also over kills; a saboteur for each law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from actors.recording.recorder import Recorder
from actors.recording.recorder_messages import RecordingResult
from actors.session import recordings
from actors.simulation import EGRESS_FAULTS, Plan, Step, draw, play

JOIN = (Step(1.0, "join", 0, 0, 1, 0.0), Step(5.0, "join", 0, 1, 1, 0.0))


def plan(*steps: Step, webhooks: bool = False) -> Plan:
    """One room: somebody joins in second 1 and 5, so that it is recorded, and what strikes."""
    ordered = sorted((*JOIN, *steps), key=lambda step: step.at)
    return Plan(1, tuple(ordered), 2, 90.0, webhooks=webhooks, reconciled=True, recorded=True)


@pytest.mark.parametrize("fault", EGRESS_FAULTS)
def test_killed_beside_an_egress_that_is_not_well(fault: str) -> None:
    for n in range(4):
        outcome = play(
            plan(Step(0.0, fault, 0, n % 2, 1, 0.0), Step(5.0, "kill", 0, n % 2, 1, n / 4))
        )
        assert outcome.injected["kill"] == 1
        assert outcome.violations == (), f"killed at step {n}"


def test_a_plan_without_recordings_has_none_of_its_faults_and_laws() -> None:
    outcome = play(draw(1, recorded=False))
    assert outcome.checked["one recording of an intent"] == 0
    assert not outcome.injected.keys() & set(EGRESS_FAULTS)
    assert play(draw(1, recorded=True)).checked["one recording of an intent"] == 3


def test_a_plan_that_was_saved_before_there_were_recordings_can_be_replayed() -> None:
    saved = draw(1, recorded=False).to_json().replace(', "recorded": false', "")
    assert "recorded" not in saved
    assert Plan.from_json(saved) == draw(1, recorded=False)


# ---------------------------------------------------------------- saboteurs


def ask_again_without_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill the intent is carried out again, whatever LiveKit's list says."""

    async def find_out(recorder: Recorder, room_sid: str, wanted: Any) -> RecordingResult:
        state = recorder._sessions.find(room_sid)
        assert state is not None
        return await recorder._carry_out(state, wanted)

    monkeypatch.setattr(Recorder, "_find_out", find_out)


def believe_the_first_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that LiveKit may still be about to take counts as not taken."""
    monkeypatch.setattr("actors.recording.recorder.SEARCH", 0.0)


def never_take_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fold does not believe that a recording is over."""
    real = recordings._on_report

    def on_report(state: Any, event: Any, *more: Any) -> Any:
        return real(state, evolve(event, status="active"), *more)

    monkeypatch.setattr(recordings, "_on_report", on_report)


def never_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """An intent that came to nothing is neither given up nor taken up again."""

    async def give_up(*_: Any) -> RecordingResult:
        return RecordingResult("failed", error="never told")

    async def resume(*_: Any) -> None:
        pass

    monkeypatch.setattr(Recorder, "_give_up", give_up)
    monkeypatch.setattr(Recorder, "_resume", resume)
    monkeypatch.setattr("actors.simulation.simulated_recordings.DECIDED_WITHIN", 30.0)


LATE = (Step(0.0, "egress_late", 0, 0, 1, 0.0), Step(5.0, "kill", 0, 0, 1, 0.9))
SABOTEURS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str, tuple[Step, ...]]] = {
    "asks again without a look": (ask_again_without_a_look, "one recording of an intent", LATE),
    "believes the first list": (believe_the_first_list, "one recording of an intent", LATE),
    "never takes the end": (
        never_take_the_end,
        "recordings are known",
        (Step(20.0, "leave", 0, 0, 1, 0.0),),
    ),
    "never decides": (
        never_decide,
        "intents are decided",
        (Step(0.0, "egress_refused", 0, 0, 1, 0.0),),
    ),
}


@pytest.mark.parametrize("name", SABOTEURS)
def test_a_saboteur_is_caught_by_its_law(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage, law, steps = SABOTEURS[name]
    scenarios = [
        plan(*(evolve(step, x=n / 4) if step.what == "kill" else step for step in steps))
        for n in range(4)
    ]
    assert all(play(one).violations == () for one in scenarios[:1])
    sabotage(monkeypatch)
    broken = {one.partition(":")[0] for each in scenarios for one in play(each).violations}
    assert law in broken
