"""Compares what was measured of one microphone with what became of its packets.

The first person who publishes nothing but a microphone has a process of their own, of whose packets
one in ten is dropped (`bridge.lab.people.packet_loss`).  Where there is no C compiler nothing is
dropped, and nothing may be counted as lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, final

from attrs import frozen

from actors.session import SessionView
from actors.session.opinion_score import opinion_score
from actors.session.view_types import TrackStatsView
from bridge.lab.demo.differences import Difference, Near, count_values, diff
from bridge.lab.demo.play_script import Crowd, RoomStory, Somebody
from bridge.lab.demo.script import RoomScript, Script
from bridge.lab.people import Kind, PacketCounts, PacketLoss, People, RoomTruth

MEASURE: Final = "all"
"""The setting of the demo's worker."""
LOSS: Final = 0.1
SETTLED: Final = 8.0
"""Seconds after which a microphone is received without a break.  In a shorter story nobody talks
late enough, and it has no such chapter."""
UNSEEN: Final = 4
"""Lost packets that leave no gap: before the first that came, and behind the last."""
PACKETS_A_SECOND: Final = 50
SCORE_WITHIN: Final = 0.2
LOSS_WITHIN: Final = 0.01
"""Beside those that leave no gap."""


@frozen
class TrackComparison:
    """The chapter of the lossy microphone."""

    identity: str
    counts: PacketCounts | None
    """Of the person's process; None where nothing was dropped."""
    stats: TrackStatsView | None
    numbers: int
    """Number of compared values."""
    differences: tuple[Difference, ...]


@final
class LossyCrowd(Crowd):
    """Real people, of whom one loses packets."""

    def __init__(self, people: People, identity: str, loss: PacketLoss) -> None:
        self._people = people
        self._identity = identity
        self._loss = loss
        loss.set(LOSS)

    async def join(
        self,
        room: str,
        identity: str,
        *,
        name: str = "",
        metadata: str = "",
        attributes: Mapping[str, str] | None = None,
        kind: Kind = "standard",
    ) -> Somebody:
        return await self._people.join(
            room,
            identity,
            name=name,
            metadata=metadata,
            attributes=attributes,
            kind=kind,
            loss=self._loss if identity == self._identity else None,
        )

    def truth(self) -> tuple[RoomTruth, ...]:
        return self._people.truth()


@final
class MeasuredMicrophone:
    """The microphone of one person, and the losses of its packets if there are any."""

    def __init__(self, room: str, identity: str, loss: PacketLoss | None) -> None:
        self.room = room
        self.identity = identity
        self._loss = loss

    @classmethod
    async def make(cls, plan: Script, directory: Path) -> MeasuredMicrophone | None:
        """None where the story has no such person."""
        person = measured_person(plan)
        if person is None:
            return None
        return cls(*person, await PacketLoss.make(directory))

    @property
    def counts(self) -> PacketCounts | None:
        """The packets of the person's process; None where nothing is dropped."""
        return None if self._loss is None else self._loss.counts

    def compare(
        self, stories: Sequence[RoomStory], sessions: Sequence[SessionView]
    ) -> TrackComparison:
        """After the story."""
        return compare_tracks(self.room, self.identity, self.counts, stories, sessions)

    def crowd(self, people: People) -> Crowd:
        """These people, of whom this one loses packets."""
        return people if self._loss is None else LossyCrowd(people, self.identity, self._loss)


def measured_person(plan: Script) -> tuple[str, str] | None:
    """The room and the identity of the person; None where the story has none."""
    for room in plan.rooms:
        for identity in room.people:
            if _is_fit(room, identity):
                return room.room, identity
    return None


def _is_fit(room: RoomScript, identity: str) -> bool:
    mine = [step for step in room.steps if step.who == identity]
    sources = [step.data["source"] for step in mine if step.do == "publish"]
    talks = [step.at for step in mine if step.do == "talk"]
    joins = [step for step in mine if step.do == "join"]
    settled = bool(talks) and talks[0] >= SETTLED
    return sources == ["microphone"] and settled and len(joins) == 1


def compare_tracks(
    room: str,
    identity: str,
    counts: PacketCounts | None,
    stories: Sequence[RoomStory],
    sessions: Sequence[SessionView],
) -> TrackComparison:
    """`counts`: the packets of the person's process; None where nothing was dropped.  `sessions`:
    whole ones, after the worker stopped."""
    (story,) = [one for one in stories if one.plan.room == room]
    spoke = sum(
        deed.data["seconds"]
        for deed in story.truth.deeds
        if (deed.identity, deed.deed) == (identity, "spoke")
    )
    stats = next(
        (
            track.stats
            for session in sessions
            if session.room_sid == story.truth.room_sid
            for track in session.tracks
            if track.identity == identity
        ),
        None,
    )
    wanted = _clean(spoke) if counts is None else _lossy(counts)
    actual: dict[str, Any] = {}
    if stats is not None:
        actual = {name: getattr(stats, name) for name in wanted}
    return TrackComparison(
        identity,
        counts,
        stats,
        count_values(wanted),
        tuple(diff("track quality", {identity: wanted}, {identity: actual})),
    )


def _clean(spoke: float) -> dict[str, object]:
    packets = spoke * PACKETS_A_SECOND
    return {"packets": Near(packets, 0.6 * packets), "packets_lost": 0, "loss": 0.0}


def _lossy(counts: PacketCounts) -> dict[str, object]:
    whole = counts.sent + counts.dropped
    least = max(0.0, (counts.dropped - UNSEEN) / whole) if whole else 0.0
    best, worst = (opinion_score(loss, 0.0, "audio/red") for loss in (least, counts.loss))
    return {
        "packets": Near(counts.sent, 0.1 * counts.sent + UNSEEN),
        "packets_lost": Near(counts.dropped - UNSEEN / 2, UNSEEN / 2),
        "loss": _between(least - LOSS_WITHIN, counts.loss + LOSS_WITHIN),
        "mos": _between(worst - SCORE_WITHIN, best + SCORE_WITHIN),
    }


def _between(low: float, high: float) -> Near:
    return Near((low + high) / 2, (high - low) / 2)
