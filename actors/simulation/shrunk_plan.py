"""The smallest part of a failing plan."""

from __future__ import annotations

from attrs import evolve

from actors.simulation.plan import Plan
from actors.simulation.world import play
from actors.testing.shrink import shrink


def shrunk(plan: Plan) -> Plan:
    """The smallest part of a failing plan that still fails, as far as was tried."""
    return evolve(plan, steps=shrink(plan.steps, lambda steps: _fails(evolve(plan, steps=steps))))


def _fails(plan: Plan) -> bool:
    return bool(play(plan).violations)
