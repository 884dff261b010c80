"""People whose media never connects in the simulation: plans that once broke a law."""

from __future__ import annotations

import pytest

from actors.simulation import Plan, Step, play

HALFWAY = Step(3.0, "half_join", 0, 3, 7, 0.0)
"""A person in the room from second 3 to 10, and active at the very end."""


def at(second: float, what: str, n: int = 1, x: float = 0.0) -> Step:
    return Step(second, what, 0, 0, n, x)


PLANS: dict[str, tuple[Step, ...]] = {
    "we leave before they are active": (HALFWAY, at(4, "dispatch_deleted")),
    "we are stopped": (HALFWAY, at(4, "stop", 3)),
    "they leave in a gap": (HALFWAY, at(8, "gap", 5)),
    "they leave while we are dead": (HALFWAY, at(8, "kill", 7)),
    "they leave while we are suspended": (HALFWAY, at(8, "suspend", 5)),
    "they are active before their join": (at(3, "reorder"), HALFWAY),
    "they leave before they are active": (HALFWAY, at(8, "reorder")),
    "they try again": (HALFWAY, Step(6.0, "half_join", 0, 3, 2, 0.0)),
    "they try again in a gap": (HALFWAY, at(5, "gap", 3), Step(6.0, "half_join", 0, 3, 2, 0.0)),
    "we leave while we are suspended": (
        at(3, "suspend", 6), at(6, "storm", 3), at(7, "removed"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("webhooks", [False, True])
@pytest.mark.parametrize("name", PLANS)
def test_every_law_holds_where(name: str, webhooks: bool) -> None:
    alice = Step(1.0, "join", 0, 0, 1, 0.0)
    steps = (alice, *PLANS[name])
    outcome = play(Plan(1, steps, 1, 20.0, webhooks=webhooks, reconciled=True))
    assert outcome.violations == ()
    assert set(outcome.injected) >= {step.what for step in PLANS[name]}
