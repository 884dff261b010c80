"""A room with limits, in seconds after `T0`."""

from __future__ import annotations

from typing import Any, Final

from attrs import evolve

from actors.rules.limits import Limit, Over
from actors.rules.room_limits import LimitAct, RoomLimits
from actors.session import (
    Disconnected,
    ParticipantInfo,
    ParticipantJoined,
    ParticipantLeft,
    RoomEvent,
    Roster,
    SessionState,
    TrackInfo,
    TrackMuted,
    TrackPublished,
    TrackUnmuted,
    Watching,
    WebhookJoined,
    apply,
    begin,
)

T0: Final = 1.7e9


def limit(name: str = "l", **bounds: Any) -> Limit:
    return Limit(name, ("*",), **bounds)


class LimitedRoom:
    """Begins watched and empty.

    `done` has what the limits wanted: time, step, person.  A person who is removed leaves only if
    the test says so.
    """

    def __init__(self, *bounds: Limit, over: Over = "remove-newest", name: str = "free-1") -> None:
        self.over: Over = over
        self.state: SessionState = begin(name, "RM_1", ("AJ_1",), "worker", "agent", T0)
        self.limits = RoomLimits(bounds, self.state)
        self.now = T0
        self.acts: list[LimitAct] = []
        self._joins = 0
        self.take(0.0, Watching(T0, Roster("RM_1", "", (), T0)))

    @property
    def done(self) -> list[tuple[float, str, str]]:
        return [(round(act.at - T0, 1), act.step, act.on) for act in self.acts]

    def pass_to(self, at: float) -> None:
        """Let time pass, with every look that the limits ask for."""
        while self.limits.due <= T0 + at:
            before = self.now = max(self.now, self.limits.due)
            self.acts += self.limits.look(self.state, self.now)
            assert self.limits.due > before, "it turns in circles"
        self.now = T0 + at

    def take(self, at: float, event: RoomEvent) -> None:
        self.pass_to(at)
        self.state, _ = apply(self.state, event)
        self.acts += self.limits.look(self.state, self.now)

    def info(self, identity: str, joined: float, **fields: Any) -> ParticipantInfo:
        self._joins += 1
        return ParticipantInfo(identity, f"PA_{self._joins}", T0 + joined, **fields)

    def joins(self, at: float, identity: str, joined: float | None = None, **fields: Any) -> None:
        """The room announces somebody at `at`, who joined then or at `joined`."""
        info = self.info(identity, at if joined is None else joined, **fields)
        self.take(at, ParticipantJoined(T0 + at, info))

    def webhook_joins(self, at: float, identity: str, **fields: Any) -> ParticipantInfo:
        info = evolve(self.info(identity, at), **fields)
        self.take(at, WebhookJoined(T0 + at, T0 + at, info))
        return info

    def leaves(self, at: float, identity: str, reason: str | None = "participant_removed") -> None:
        sid = self.state.present[identity].joins[-1].sid
        self.take(at, ParticipantLeft(T0 + at, identity, sid, reason))

    def publishes(self, at: float, identity: str, sid: str) -> None:
        track = TrackInfo(sid, "audio", "microphone")
        self.take(at, TrackPublished(T0 + at, identity, track))

    def mutes(self, at: float, identity: str, sid: str) -> None:
        self.take(at, TrackMuted(T0 + at, identity, sid))

    def unmutes(self, at: float, identity: str, sid: str) -> None:
        self.take(at, TrackUnmuted(T0 + at, identity, sid))

    def loses_connection(self, at: float) -> None:
        self.take(at, Disconnected(T0 + at, None, "connection_lost"))

    def is_back(self, at: float, *people: ParticipantInfo) -> None:
        self.take(at, Watching(T0 + at, Roster("RM_1", "", people, T0)))
