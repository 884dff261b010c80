"""Monitors in the simulation: kills beside their faults, and a saboteur for each law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from actors.monitoring import participant_monitor
from actors.monitoring.monitor_actor import MonitorActor
from actors.monitoring.monitors import ParticipantMonitors
from actors.simulation import MONITORING_FAULTS, Plan, Step, draw, play

PEOPLE = tuple(Step(1.0 + n / 4, "join", n % 2, n // 2, 1, 0.0) for n in range(6))
TRACKS = tuple(Step(4.0 + n / 2, "publish", n % 2, n % 4, 1, 0.1 * n) for n in range(8))


def plan(*steps: Step) -> Plan:
    """Two rooms with people who publish, and what strikes."""
    ordered = sorted((*PEOPLE, *TRACKS, *steps), key=lambda step: step.at)
    return Plan(1, tuple(ordered), 2, 20.0, reconciled=True, monitored=True)


@pytest.mark.parametrize("fault", MONITORING_FAULTS)
def test_killed_beside_monitors_that_are_not_well(fault: str) -> None:
    injected, at = 0, 1.0 if fault == "control_down" else 3.5
    for n in range(8):
        outcome = play(
            plan(Step(at, fault, 0, n % 3, 1 + n, 0.0), Step(6.0, "kill", 0, n % 2, 3, n / 8))
        )
        assert outcome.violations == (), f"killed at {n / 8}"
        injected += outcome.injected[fault]
    assert injected > 0


def test_a_plan_without_monitors_has_none_of_their_faults_and_laws() -> None:
    outcome = play(draw(1, monitored=False))
    assert outcome.checked["monitors agree"] == 0
    assert not outcome.injected.keys() & set(MONITORING_FAULTS)
    assert play(draw(1, monitored=True)).checked["monitors agree"] == 1


def test_a_plan_that_was_saved_before_there_were_monitors_can_be_replayed() -> None:
    saved = draw(1, monitored=False).to_json().replace(', "monitored": false', "")
    assert "monitored" not in saved
    assert Plan.from_json(saved) == draw(1, monitored=False)


# ---------------------------------------------------------------- saboteurs

Mutation = Callable[[pytest.MonkeyPatch], None]


def overlook_tracks_that_end(monkeypatch: pytest.MonkeyPatch) -> None:
    real = participant_monitor._with_tracks

    def with_tracks(monitor: Any, tracks: Any, notes: Any) -> Any:
        return monitor if monitor.tracks - set(tracks) else real(monitor, tracks, notes)

    monkeypatch.setattr(participant_monitor, "_with_tracks", with_tracks)


def overlook_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(participant_monitor, "_left", lambda monitor, _at, _notes: monitor)


def pass_on_no_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ParticipantMonitors.offer

    def offer(monitors: ParticipantMonitors, state: Any, entry: Any) -> None:
        if entry.event not in ("speakers_changed", "quality_changed"):
            real(monitors, state, entry)

    monkeypatch.setattr(ParticipantMonitors, "offer", offer)


def forget_to_end_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ParticipantMonitors._finish

    def finish(monitors: ParticipantMonitors, record: Any, end: Any) -> None:
        record.jobs = dict(list(record.jobs.items())[:0])
        real(monitors, record, end)

    monkeypatch.setattr(ParticipantMonitors, "_finish", finish)


def run_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart reports the job as running again."""
    real = MonitorActor.started

    async def started(actor: MonitorActor) -> None:
        for job_id in actor._record.jobs:
            actor._record.jobs[job_id] = False
        await real(actor)

    monkeypatch.setattr(MonitorActor, "started", started)


def outlive_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    real = participant_monitor.observe

    def observe(monitor: Any, state: Any, at: float) -> Any:
        return real(monitor, evolve(state, ended_at=None), at)

    monkeypatch.setattr(participant_monitor, "observe", observe)


@pytest.mark.parametrize(
    "mutation, law",
    [
        (overlook_tracks_that_end, "monitors agree: "),
        (overlook_leaves, "monitors agree: "),
        (pass_on_no_speakers, "monitors agree: "),
        (forget_to_end_the_job, "jobs of monitors end once: "),
        (run_twice, "jobs of monitors end once: "),
        (outlive_the_session, "monitors end: "),
    ],
)
def test_monitors_that_break_a_law_are_caught(
    monkeypatch: pytest.MonkeyPatch, mutation: Mutation, law: str
) -> None:
    mutation(monkeypatch)
    assert any(
        one.startswith(law)
        for seed in range(10)
        for one in play(draw(seed, rooms=4, outlets=False, monitored=True)).violations
    )
