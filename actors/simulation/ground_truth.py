"""The true course of each room instance, and the times when it was really watched."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias, final

from attrs import define, field

from actors.journal.archive import RECENT
from actors.session import (
    WebhookJoinAborted,
    WebhookJoined,
    WebhookLeft,
    WebhookReport,
    WebhookRoomFinished,
    WebhookRoomStarted,
    WebhookTrack,
)
from actors.session.participant import COUNTED_KINDS
from actors.simulation.simulated_rooms import SimulatedRoom

SCENARIO: Final = 180.0
"""Seconds that a scenario is long, at the most."""


@define(eq=False)
class Visit:
    """One join of one person.  Times are Unix seconds of the server."""

    identity: str
    joined_at: float
    left_at: float | None = None
    active: bool = True
    active_late: bool = False
    """Whether the media connection was established only some time after the join."""
    machine: bool = False
    """It is no person's."""


@define(eq=False)
class Truth:
    """One room instance.  Times are Unix seconds of the server."""

    room: str = ""
    visits: dict[str, Visit] = field(factory=dict[str, Visit])
    """By the SID of the join."""
    tracks: set[str] = field(factory=set[str])
    messages: int = 0
    attachments: int = 0
    ended_at: float | None = None
    exact: bool = True
    """No fault has cost an event: every count must be right."""
    timed: bool = True
    """No fault has hidden when we were in the room, or moved a clock: times must be right."""
    watched: float = 0.0
    """Seconds for which a program of ours was in the room."""
    watched_since: float | None = None
    unsaved_seconds: float = 0.0
    """Seconds of `watched` that a killed program could not store."""
    webhook_at: float | None = None
    """Virtual seconds when the newest of its webhooks came."""
    ended_long_ago: bool = False
    """By our clock it may end so long ago that a new run does not recover its session."""
    webhooks_missed: int = 0
    """Webhooks that never came."""

    @property
    def people(self) -> set[str]:
        return {visit.identity for visit in self._of_people if visit.active}

    @property
    def joins(self) -> int:
        return sum(visit.active for visit in self._of_people)

    @property
    def aborted(self) -> int:
        return len(self._of_people) - self.joins

    @property
    def _of_people(self) -> list[Visit]:
        return [visit for visit in self.visits.values() if not visit.machine]


@final
class GroundTruth:
    """All room instances, by SID.  `now` is the server's clock."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.by_sid: dict[str, Truth] = {}
        self._now = now
        self._clock_is_true = True
        self._far_ahead = False

    def of(self, room: SimulatedRoom) -> Truth:
        if room.sid not in self.by_sid:
            far = self._far_ahead
            truth = Truth(room.name, timed=self._clock_is_true, exact=not far, ended_long_ago=far)
            self.by_sid[room.sid] = truth
        return self.by_sid[room.sid]

    def note_webhook(self, room: SimulatedRoom, event: WebhookReport) -> None:
        """Note a webhook, sent or not: it is what happened."""
        note = _NOTES.get(type(event))
        if note is not None:
            note(self.of(room), event)

    def mark_inexact(self, room: SimulatedRoom, *, timed: bool = True) -> None:
        """We may have lost an event of this room; also its time, if not `timed`."""
        truth = self.of(room)
        truth.exact = False
        truth.timed = truth.timed and timed

    def move_clock(self, jump: float, offset: float) -> None:
        """From now on our clock is another than the server's: `offset` seconds ahead of it.

        What the server tells of an end keeps the server's time, so a clock that is far ahead
        makes each end one of long ago.
        """
        self._far_ahead = self._far_ahead or max(jump, offset) > RECENT - SCENARIO
        for truth in self.by_sid.values():
            truth.ended_long_ago, truth.exact = self._far_ahead, truth.exact and not self._far_ahead
        self._clock_is_true = False
        for truth in self.by_sid.values():
            long_ago = truth.ended_at is not None and truth.ended_at < self._now() - 60.0
            truth.timed = truth.timed and long_ago

    # -- watching

    def watch(self, room: SimulatedRoom) -> None:
        """We see the room from now on."""
        truth = self.of(room)
        if truth.watched_since is None:
            truth.watched_since = self._now()

    def unwatch(self, sid: str) -> None:
        """We do not see the room any more."""
        truth = self.by_sid.get(sid)
        if truth is not None and truth.watched_since is not None:
            truth.watched += self._now() - truth.watched_since
            truth.watched_since = None

    def end(self, room: SimulatedRoom) -> None:
        """The room instance has ended, with or without a webhook."""
        self.of(room).ended_at = self._now()
        self.unwatch(room.sid)


def _began(truth: Truth, event: WebhookRoomStarted) -> None:
    pass


def _joined(truth: Truth, event: WebhookJoined) -> None:
    who = event.participant
    late = event.at > who.joined_at
    machine = who.kind not in COUNTED_KINDS
    truth.visits[who.sid] = Visit(who.identity, who.joined_at, active_late=late, machine=machine)


def _left(truth: Truth, event: WebhookLeft) -> None:
    truth.visits[event.participant.sid].left_at = event.at


def _aborted(truth: Truth, event: WebhookJoinAborted) -> None:
    who = event.participant
    truth.visits[who.sid] = Visit(who.identity, who.joined_at, event.at, active=False)


def _published(truth: Truth, event: WebhookTrack) -> None:
    truth.tracks.add(event.track.sid)


def _ended(truth: Truth, event: WebhookRoomFinished) -> None:
    truth.ended_at = event.at


_Note: TypeAlias = Callable[[Truth, Any], None]

_NOTES: Final[Mapping[type[WebhookReport], _Note]] = {
    WebhookRoomStarted: _began,
    WebhookJoined: _joined,
    WebhookLeft: _left,
    WebhookJoinAborted: _aborted,
    WebhookTrack: _published,
    WebhookRoomFinished: _ended,
}
