"""The production actors of rooms under simulation: people with a known truth, and faults.

`plan` draws all actions and faults before the run.  `world` runs the plan, with a function for
each step (`people_actions`, `room_faults`, `process_faults`).  Events pass from
`simulated_rooms` through `event_delivery` to the actors of `simulated_program`, and their
records to `simulated_disk`.  A plan may have an endpoint for webhooks (`simulated_outlets`), whose
receiver has faults of its own (`receiver_faults`), or monitors of people (`simulated_monitoring`,
`monitoring_faults`), or rules that act (`simulated_acting`, `acting_faults`) or record
(`simulated_recordings`, `simulated_egress`, `egress_faults`), or measure tracks
(`simulated_measurer`), or have voice agents (`simulated_agents`).  `ground_truth` notes what really
happened; `laws` compares both.
"""

from __future__ import annotations

from actors.simulation.plan import (
    ACTING_FAULTS,
    EGRESS_FAULTS,
    FAULTS,
    MONITORING_FAULTS,
    RECEIVER_FAULTS,
    Plan,
    Step,
    draw,
)
from actors.simulation.shrunk_plan import shrunk
from actors.simulation.world import Outcome, play

__all__ = [
    "ACTING_FAULTS",
    "EGRESS_FAULTS",
    "FAULTS",
    "MONITORING_FAULTS",
    "RECEIVER_FAULTS",
    "Outcome",
    "Plan",
    "Step",
    "draw",
    "play",
    "shrunk",
]
