"""Everything that waits: provisional ends, expected joins, deferred events.

The state has `due` beside the three tables that it comes from, so an event that changes none of
them costs one comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from actors.session.bounds import MAX_DEFERRED, MAX_EXPECTED
from actors.session.changes import change
from actors.session.events import RoomEvent
from actors.session.room_info import ParticipantInfo
from actors.session.state import ExpectedJoin, ProvisionalEnd, SessionState


def with_provisional_leaves(
    state: SessionState, leaving: Mapping[str, ProvisionalEnd]
) -> SessionState:
    return _with_due(change(state, provisional_leaves=leaving))


def with_provisional_unpublishes(
    state: SessionState, unpublishing: Mapping[str, ProvisionalEnd]
) -> SessionState:
    return _with_due(change(state, provisional_unpublishes=unpublishing))


def expect(state: SessionState, info: ParticipantInfo, due: float) -> SessionState:
    """A webhook reported a join; the room itself is expected to announce it by `due`."""
    if len(state.expected) >= MAX_EXPECTED:
        return anomaly(state)
    return _with_due(change(state, expected={**state.expected, info.sid: ExpectedJoin(info, due)}))


def stop_expecting(state: SessionState, sid: str) -> SessionState:
    if sid not in state.expected:
        return state
    left = {other: one for other, one in state.expected.items() if other != sid}
    return _with_due(change(state, expected=left))


def with_all_due(state: SessionState, due: float) -> SessionState:
    """Give everything that waits the same due time, in Unix seconds (infinite: not yet)."""
    leaving = {
        key: ProvisionalEnd(leave.at, due, leave.quality, leave.within, leave.observed)
        for key, leave in state.provisional_leaves.items()
    }
    ending = {
        key: ProvisionalEnd(leave.at, due) for key, leave in state.provisional_unpublishes.items()
    }
    expected = {sid: ExpectedJoin(one.info, due) for sid, one in state.expected.items()}
    return _with_due(
        change(state, provisional_leaves=leaving, provisional_unpublishes=ending, expected=expected)
    )


def defer(state: SessionState, event: RoomEvent) -> SessionState:
    """Defer `event` until `Reconnected` says which room instance it belongs to."""
    if len(state.deferred) >= MAX_DEFERRED:
        return change(
            state, truncated=change(state.truncated, deferred=state.truncated.deferred + 1)
        )
    return change(state, deferred=(*state.deferred, event))


def anomaly(state: SessionState) -> SessionState:
    """The event does not fit the state: it is only counted."""
    return change(state, anomalies=state.anomalies + 1)


def _with_due(state: SessionState) -> SessionState:
    due = inf
    for waiting in (state.provisional_leaves, state.provisional_unpublishes, state.expected):
        for one in waiting.values():
            due = min(due, one.due)
    return change(state, due=None if due == inf else due)
