"""The production actors of rooms under simulation: people with a known truth, and a nemesis.

`plan` draws who does what and which faults strike before anything runs; `world` plays a
plan; `verdict` compares what the sessions say with what really happened.
"""

from __future__ import annotations

from actors.simulation.plan import FAULTS, Plan, Step, draw
from actors.simulation.world import Outcome, play, shrunk

__all__ = ["FAULTS", "Outcome", "Plan", "Step", "draw", "play", "shrunk"]
