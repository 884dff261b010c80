"""Measured tracks in the simulation: kills in between, and a saboteur for each law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from actors.session import SessionState, record
from actors.session.track_stats import TrackStats, TrackWindow
from actors.simulation import Plan, Step, draw, play
from actors.simulation.simulated_measurer import SimulatedMeasurer
from actors.simulation.simulated_rooms import SimulatedRoom

PEOPLE = tuple(Step(1.0 + n / 4, "join", n % 2, n // 2, 1, 0.0) for n in range(6))
TRACKS = tuple(Step(4.0 + n / 4, "publish", n % 2, n % 3, n // 2, 0.5) for n in range(8))
MEASUREMENTS = tuple(Step(7.0 + n / 2, "measure", n % 2, 0, 1, n / 20) for n in range(16))


def plan(*steps: Step) -> Plan:
    ordered = sorted((*PEOPLE, *TRACKS, *MEASUREMENTS, *steps), key=lambda step: step.at)
    return Plan(1, tuple(ordered), 2, 20.0, reconciled=True, measured=True)


def test_where_nothing_is_lost_each_window_is_in_the_session() -> None:
    outcome = play(plan())
    assert outcome.violations == ()
    assert outcome.injected["measured"] == len(MEASUREMENTS)


@pytest.mark.parametrize("fault", ["kill", "crash", "gap", "storm", "duplicate", "stop"])
def test_sums_are_never_too_large_and_never_shrink(fault: str) -> None:
    for n in range(4):
        outcome = play(plan(Step(8.0 + n, fault, n % 2, 1, 1 + n, n / 8)))
        assert outcome.violations == (), f"{fault} at {8.0 + n}"


def test_a_plan_that_was_saved_before_tracks_were_measured_can_be_replayed() -> None:
    saved = draw(1, measured=False).to_json().replace(', "measured": false', "")
    assert "measured" not in saved
    assert Plan.from_json(saved) == draw(1, measured=False)


# ---------------------------------------------------------------- saboteurs

Mutation = Callable[[pytest.MonkeyPatch], None]


def count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    add = TrackStats.add
    monkeypatch.setattr(TrackStats, "add", lambda self, one: add(add(self, one), one))


def overlook_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    add = TrackStats.add
    monkeypatch.setattr(
        TrackStats, "add", lambda self, one: self if self.windows == 2 else add(self, one)
    )


def lose_more_than_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrackStats, "loss", property(lambda _: 1.5))


def begin_again(monkeypatch: pytest.MonkeyPatch) -> None:
    add = TrackStats.add

    def forgetful(stats: TrackStats, one: TrackWindow) -> TrackStats:
        return add(TrackStats() if stats.windows == 3 else stats, one)

    monkeypatch.setattr(TrackStats, "add", forgetful)


def forget_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    real = record.end

    def end(state: SessionState, at: float, reason: str) -> Any:
        state, entries = real(state, at, reason)
        return evolve(state, track_stats=None), entries

    monkeypatch.setattr(record, "end", end)


def measure_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    real = SimulatedMeasurer.measure

    def measure(measurer: SimulatedMeasurer, room: SimulatedRoom, step: Step) -> None:
        world = measurer._world
        before, world.plan = world.plan, evolve(world.plan, measured=True)
        real(measurer, room, step)
        world.plan = before

    monkeypatch.setattr(SimulatedMeasurer, "measure", measure)


@pytest.mark.parametrize(
    "mutation, law",
    [
        (count_twice, "measured packets are those that were sent: "),
        (overlook_a_window, "measured packets are those that were sent: "),
        (lose_more_than_there_is, "measured packets are those that were sent: "),
        (begin_again, "measured packets are those that were sent: "),
        (forget_at_the_end, "measured sums never shrink: "),
    ],
)
def test_a_session_that_adds_up_wrongly_is_caught(
    monkeypatch: pytest.MonkeyPatch, mutation: Mutation, law: str
) -> None:
    mutation(monkeypatch)
    assert any(one.startswith(law) for one in play(plan()).violations)


def test_measures_that_nobody_asked_for_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = evolve(plan(), measured=False)
    outcome = play(silent)
    assert (outcome.violations, outcome.checked["nothing is measured"]) == ((), 3)
    measure_unasked(monkeypatch)
    assert any(one.startswith("nothing is measured: ") for one in play(silent).violations)
