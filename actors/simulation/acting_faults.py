"""Faults of acting.  They do nothing in a plan without rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from actors.acting.acting import NAME
from actors.simulation.acting_control import ActFault
from actors.simulation.people_actions import PlayStep
from actors.simulation.plan import Step

if TYPE_CHECKING:
    from actors.simulation.world import World


def _next_requests(world: World, step: Step) -> None:
    """Counted when a request comes."""
    if world.acting.rules:
        fault = ActFault(step.what, 0.3 * step.n)
        world.acting.control.faults.extend([fault] * (1 + step.who))


def _runner_crash(world: World, step: Step) -> None:
    if world.acting.rules and world.program.alive:
        world.program.saboteur.raise_at(f"/{NAME}", 1 + step.who, step.what)


ACTING_STEPS: Final[Mapping[str, PlayStep]] = {
    "act_refused": _next_requests,
    "act_unavailable": _next_requests,
    "act_answer_lost": _next_requests,
    "act_slow": _next_requests,
    "act_runner_crash": _runner_crash,
}
"""Their keys are `plan.ACTING_FAULTS`."""
