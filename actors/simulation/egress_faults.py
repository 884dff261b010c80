"""Faults of LiveKit's egress.  They do nothing in a plan without recordings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from actors.simulation.people_actions import PlayStep
from actors.simulation.plan import Step
from actors.simulation.simulated_egress import EgressFault

if TYPE_CHECKING:
    from actors.simulation.world import World


def _next_start(fault: EgressFault) -> PlayStep:
    """Strikes a start to come.  Counted when it comes."""

    def play(world: World, step: Step) -> None:
        if world.acting.recordings is not None:
            for _ in range(1 + step.who % 2):
                world.acting.recordings.faults.append(fault)

    return play


def _worker_dies(world: World, _: Step) -> None:
    if world.acting.recordings is not None:
        world.acting.recordings.deaths += 1


EGRESS_STEPS: Final[Mapping[str, PlayStep]] = {
    "egress_no_redis": _next_start("no_redis"),
    "egress_no_worker": _next_start("no_worker"),
    "egress_refused": _next_start("refused"),
    "egress_hangs": _next_start("hangs"),
    "egress_late": _next_start("late"),
    "egress_stays_starting": _next_start("stays_starting"),
    "egress_dies": _worker_dies,
}
