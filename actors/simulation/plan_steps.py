"""The table of a plan's steps: each word of `plan.ACTIONS` and `plan.FAULTS` and its function."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from actors.simulation.acting_faults import ACTING_STEPS
from actors.simulation.egress_faults import EGRESS_STEPS
from actors.simulation.monitoring_faults import MONITORING_STEPS
from actors.simulation.people_actions import PEOPLE_ACTIONS, PlayStep
from actors.simulation.process_faults import PROCESS_FAULTS
from actors.simulation.receiver_faults import RECEIVER_STEPS
from actors.simulation.room_faults import ROOM_FAULTS

STEPS: Final[Mapping[str, PlayStep]] = {
    **PEOPLE_ACTIONS,
    **ROOM_FAULTS,
    **PROCESS_FAULTS,
    **RECEIVER_STEPS,
    **MONITORING_STEPS,
    **ACTING_STEPS,
    **EGRESS_STEPS,
}
