"""The alerts of a session that are not over, from its state.

An alert has Prometheus' states: *pending* while its rule holds and has not lasted long enough, then
*firing*.  Where nobody watches the room it stays as it was, and has no data: a gap neither fires
nor resolves it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, TypeAlias

from attrs import frozen

from actors.session.rule_state import EpisodePhase
from actors.session.state import SessionState

AlertState: TypeAlias = Literal["pending", "firing", "resolved"]


@frozen
class OpenAlert:
    """One that is pending or fires."""

    rule: str
    room: str
    room_sid: str
    on: str
    """The identity of a person; empty for the room."""
    text: str
    phase: EpisodePhase
    since: float
    """Unix seconds since when it is in this phase."""
    no_data: bool
    """Nobody watches the room."""


def open_alerts(
    states: Iterable[SessionState], pending: Collection[str] | None = None
) -> list[OpenAlert]:
    """The alerts of these sessions, those that fire first, each the newest first.

    `pending`: the rules that make alerts; an episode that is pending does not say so.  None for all
    rules.
    """
    alerts = [
        OpenAlert(
            one.rule, state.room, state.room_sid, one.on, one.text, one.phase, one.since,
            no_data=not state.watching,
        )
        for state in states
        if state.rules is not None
        for one in state.rules.episodes.values()
        if one.alert or (one.phase == "pending" and (pending is None or one.rule in pending))
    ]  # fmt: skip
    return sorted(alerts, key=lambda one: (one.phase == "pending", -one.since))
