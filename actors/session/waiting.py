"""What is not certain yet: provisional ends, and events that wait for a reconnect to end.

`due` of the state is kept beside the two tables it comes from, so that an event that
changes neither pays one comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from actors.session.events import RoomEvent
from actors.session.state import MAX_HELD, Leave, SessionState, change


def with_leaving(state: SessionState, leaving: Mapping[str, Leave]) -> SessionState:
    return change(state, leaving=leaving, due=_first_due(leaving, state.unpublishing))


def with_unpublishing(state: SessionState, unpublishing: Mapping[str, Leave]) -> SessionState:
    return change(state, unpublishing=unpublishing, due=_first_due(state.leaving, unpublishing))


def all_due(state: SessionState, due: float) -> SessionState:
    """Give every provisional end the same due time (infinite: wait)."""
    leaving = {key: Leave(leave.at, due, leave.quality) for key, leave in state.leaving.items()}
    ending = {key: Leave(leave.at, due) for key, leave in state.unpublishing.items()}
    return change(state, leaving=leaving, unpublishing=ending, due=_first_due(leaving, ending))


def hold(state: SessionState, event: RoomEvent) -> SessionState:
    """Let `event` wait until `Reconnected` tells which life of the room it belongs to."""
    if len(state.held) >= MAX_HELD:
        return change(state, folded=change(state.folded, held=state.folded.held + 1))
    return change(state, held=(*state.held, event))


def anomaly(state: SessionState) -> SessionState:
    """Nothing changes but the count of what made no sense."""
    return change(state, anomalies=state.anomalies + 1)


def _first_due(leaving: Mapping[str, Leave], ending: Mapping[str, Leave]) -> float | None:
    due = inf
    for leave in leaving.values():
        due = min(due, leave.due)
    for leave in ending.values():
        due = min(due, leave.due)
    return None if due == inf else due
