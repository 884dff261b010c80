"""What is not certain yet: provisional ends, joins that are to be announced, and events
that wait for a reconnect to end.

`due` of the state is kept beside the three tables it comes from, so that an event that
changes none of them pays one comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from actors.session.events import ParticipantInfo, RoomEvent
from actors.session.state import (
    MAX_EXPECTED,
    MAX_HELD,
    Departure,
    ExpectedJoin,
    SessionState,
    change,
)


def with_leaving(state: SessionState, leaving: Mapping[str, Departure]) -> SessionState:
    return _with_due(change(state, leaving=leaving))


def with_unpublishing(state: SessionState, unpublishing: Mapping[str, Departure]) -> SessionState:
    return _with_due(change(state, unpublishing=unpublishing))


def expect(state: SessionState, info: ParticipantInfo, due: float) -> SessionState:
    """Somebody is in the room, as a webhook says; the room itself will say so by `due`."""
    if len(state.expected) >= MAX_EXPECTED:
        return anomaly(state)
    return _with_due(change(state, expected={**state.expected, info.sid: ExpectedJoin(info, due)}))


def expect_no_more(state: SessionState, sid: str) -> SessionState:
    if sid not in state.expected:
        return state
    left = {other: one for other, one in state.expected.items() if other != sid}
    return _with_due(change(state, expected=left))


def all_due(state: SessionState, due: float) -> SessionState:
    """Give everything that waits the same due time (infinite: wait on)."""
    leaving = {
        key: Departure(leave.at, due, leave.quality, leave.within, leave.observed)
        for key, leave in state.leaving.items()
    }
    ending = {key: Departure(leave.at, due) for key, leave in state.unpublishing.items()}
    expected = {sid: ExpectedJoin(one.info, due) for sid, one in state.expected.items()}
    return _with_due(change(state, leaving=leaving, unpublishing=ending, expected=expected))


def hold(state: SessionState, event: RoomEvent) -> SessionState:
    """Let `event` wait until `Reconnected` tells which life of the room it belongs to."""
    if len(state.held) >= MAX_HELD:
        return change(state, folded=change(state.folded, held=state.folded.held + 1))
    return change(state, held=(*state.held, event))


def anomaly(state: SessionState) -> SessionState:
    """Nothing changes but the count of what made no sense."""
    return change(state, anomalies=state.anomalies + 1)


def _with_due(state: SessionState) -> SessionState:
    due = inf
    for waiting in (state.leaving, state.unpublishing, state.expected):
        for one in waiting.values():
            due = min(due, one.due)
    return change(state, due=None if due == inf else due)
