"""The states of agents, as spans of a session's timeline: listening, thinking, speaking."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from actors.session import SessionView
from bridge.output.timeline_lanes import LaneSpan, Spans, length

SHOWN_STATES: Final = ("listening", "thinking", "speaking")
_ENDS: Final = frozenset({"agent_ended", "participant_disconnected"})
_LOST_VIEW: Final = frozenset({"reconnecting", "suspended", "session_ended"})
_EVENTS: Final = _ENDS | _LOST_VIEW | {"agent_state"}


class _States:
    """The states of agents, read entry by entry.  Times are seconds of the session."""

    def __init__(self, end: float) -> None:
        self._end = end
        self._since: dict[str, tuple[str, float]] = {}
        self.spans: Final = defaultdict[str, dict[str, list[LaneSpan]]](lambda: defaultdict(list))

    def change(self, identity: str, state: str, at: float) -> None:
        self.close(identity, at)
        self._since[identity] = state, at

    def close(self, identity: str, at: float) -> None:
        state, since = self._since.pop(identity, ("", at))
        since, at = max(since, 0.0), min(at, self._end)
        if state in SHOWN_STATES and at > since:
            self.spans[identity][state].append(LaneSpan(since, at))

    def close_all(self, at: float) -> None:
        for identity in tuple(self._since):
            self.close(identity, at)


def agent_state_spans(session: SessionView) -> Mapping[str, Mapping[str, Spans]]:
    """By the agent's identity and state; empty without an agent."""
    if session.agents is None:
        return {}
    began = datetime.fromisoformat(session.started_at).timestamp()
    states = _States(length(session))
    for entry in session.timeline or ():
        event, identity = entry.event, entry.identity
        if event in _EVENTS:
            at = datetime.fromisoformat(entry.at).timestamp() - began
            if event in _LOST_VIEW:
                states.close_all(at)
            elif isinstance(identity, str) and isinstance(entry.state, str):
                states.change(identity, entry.state, at)
            elif isinstance(identity, str):
                states.close(identity, at)
    states.close_all(length(session))
    return {
        identity: {state: tuple(spans) for state, spans in by_state.items()}
        for identity, by_state in states.spans.items()
    }
