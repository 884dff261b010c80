"""A room whose rules are looked at, told in seconds after `T0`."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final

from actors.rules.episodes import EpisodeChange, Episodes
from actors.rules.rule_config import read_rules
from actors.session import (
    Disconnected,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    Reconnected,
    RoomEvent,
    Roster,
    Tick,
    TrackInfo,
    Watching,
    apply,
    begin,
)

T0: Final = 1.7e9


class RuledRoom:
    """Begins watched and empty.  `happened` is a word a change: time, rule, phase, person."""

    def __init__(
        self, *rules: Mapping[str, Any], name: str = "team-1", pending: bool = False
    ) -> None:
        self.state, _ = apply(
            begin(name, "RM_1", ("AJ_1",), "worker", "agent", T0),
            Watching(T0, Roster("RM_1", "", (), T0)),
        )
        self.now = T0
        self.episodes = Episodes(
            read_rules([dict(rule) for rule in rules]), self.state, T0, pending=pending
        )
        self.changes: list[EpisodeChange] = []
        self._joins = 0

    @property
    def happened(self) -> list[tuple[float, str, str, str]]:
        return [
            (round(one.at - T0, 1), one.rule.name, one.phase.value, one.on) for one in self.changes
        ]

    def pass_to(self, at: float) -> None:
        """Let time pass, with every look that the rules ask for."""
        until = T0 + at
        while self.episodes.due <= until:
            self.now = max(self.now, self.episodes.due)
            before = self.episodes.due
            self.changes += self.episodes.tick(self.state, self.now)
            assert self.episodes.due > before or self.episodes.due == inf, "it turns in circles"
        self.now = until

    def take(self, at: float, event: RoomEvent) -> None:
        self.pass_to(at)
        self.state, entries = apply(self.state, event)
        for entry in entries:
            self.changes += self.episodes.take(self.state, entry, self.now)

    def joins(self, at: float, identity: str, **info: Any) -> None:
        self._joins += 1
        who = ParticipantInfo(identity, f"PA_{self._joins}", T0 + at, **info)
        self.take(at, ParticipantJoined(T0 + at, who))

    def leaves(self, at: float, identity: str) -> None:
        joins = self.state.present[identity].joins
        self.take(at, ParticipantLeft(T0 + at, identity, joins[-1].sid, "client_initiated"))

    def loses_connection(self, at: float) -> None:
        self.take(at, Disconnected(T0 + at, None, "connection_lost"))

    def is_back(self, at: float, *people: str) -> None:
        there = tuple(
            ParticipantInfo(one, self.state.present[one].joins[-1].sid, T0) for one in people
        )
        self.take(at, Watching(T0 + at, Roster("RM_1", "", there, T0)))


__all__ = ["T0", "Reconnected", "RuledRoom", "Tick", "TrackInfo"]
