"""Measured tracks in a simulation: windows with known packets, and the laws of their sums.

A measurement gives each watcher of a room a window of every track that is not muted, as the real
measurer does.  Where a plan measures nothing, no session has a measured track.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final, final

from attrs import define

from actors.session import SessionState, TracksMeasured
from actors.session.track_stats import TrackWindow
from actors.session.view import every_track
from actors.simulation.plan import Step
from actors.simulation.simulated_person import SimulatedPerson
from actors.simulation.simulated_rooms import SimulatedRoom

if TYPE_CHECKING:
    from actors.simulation.world import World

PACKETS: Final = 85
"""Of a window."""
MOST_LOSS: Final = 0.4
SAMPLES: Final = 1_000
"""For each packet."""


@define(eq=False)
class SentPackets:
    """The true packets of one track, over its windows."""

    packets: int = 0
    """That came."""
    lost: int = 0


@final
class SimulatedMeasurer:
    """All measurements of a world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.truth: dict[str, SentPackets] = {}
        """By the SID of the track."""
        self._before: dict[tuple[int, str], tuple[int, int]] = {}
        """What a session had of a track at an earlier check: packets and lost ones."""

    def measure(self, room: SimulatedRoom, step: Step) -> None:
        """One window of every track of a room that somebody watches."""
        if not room.watchers or not self._world.plan.measured:
            return
        windows = tuple(
            self._window(sid, person, step)
            for person in room.people.values()
            if not person.hidden
            for sid, track in person.tracks.items()
            if not track.muted
        )
        if windows:
            self._world.inject("measured")
            room.tell(TracksMeasured(room.now(), windows))

    def _window(self, sid: str, person: SimulatedPerson, step: Step) -> TrackWindow:
        lost = int(PACKETS * MOST_LOSS * step.x)
        truth = self.truth.setdefault(sid, SentPackets())
        truth.packets += PACKETS - lost
        truth.lost += lost
        if person.tracks[sid].kind == "video":
            return TrackWindow(
                sid, 1.7, PACKETS - lost, lost, 90_000, frames=34, width=640, height=360,
                codec="video/vp8",
            )  # fmt: skip
        samples = PACKETS * SAMPLES
        return TrackWindow(
            sid, 1.7, PACKETS - lost, lost, 7_000, 0.005, samples, lost * SAMPLES // 3,
            codec="audio/opus",
        )  # fmt: skip

    # ------------------------------------------------------------ laws

    def broken_laws(self) -> Mapping[str, list[str]]:
        """The laws of all sessions that are stored, at any moment of a simulation."""
        world = self._world
        stored = [(n, world.disk.session(n).state) for n in world.disk.numbers]
        if not world.plan.measured:
            broken = [f"{s.room_sid}: tracks were measured" for _, s in stored if s.track_stats]
            return {"nothing is measured": broken}
        return {
            "measured packets are those that were sent": [
                one for _, state in stored for one in self._wrong_sums(state)
            ],
            "measured sums never shrink": [
                one for number, state in stored for one in self._shrunk(number, state)
            ],
        }

    def _wrong_sums(self, state: SessionState) -> Iterator[str]:
        exact = self._is_exact(state)
        for track in every_track(state):
            sid = track.sid
            if sid not in self.truth:
                continue
            sent = self.truth[sid]
            stats = None if state.track_stats is None else state.track_stats.get(sid)
            packets, lost = (0, 0) if stats is None else (stats.packets, stats.lost)
            if (
                packets > sent.packets
                or lost > sent.lost
                or (exact and (packets, lost) != (sent.packets, sent.lost))
            ):
                yield (
                    f"{state.room_sid}: {packets} packets of {sid} and {lost} lost,"
                    f" in truth {sent.packets} and {sent.lost}"
                )
            for name, share in (
                () if stats is None else (("loss", stats.loss), ("concealment", stats.concealment))
            ):
                if share is not None and not 0.0 <= share <= 1.0:
                    yield f"{state.room_sid}: a {name} of {share} of {sid}"

    def _is_exact(self, state: SessionState) -> bool:
        """True if no event was lost.  Where the connection was down, the session may not have known
        a track yet when it was measured."""
        truth = self._world.truths.by_sid.get(state.room_sid)
        down = state.gap_since is not None and state.gap_since != state.ended_at
        gaps = bool(state.gaps or state.truncated.gaps or down)
        return truth is not None and truth.exact and not gaps

    def _shrunk(self, number: int, state: SessionState) -> Iterator[str]:
        for sid in self.truth:
            stats = None if state.track_stats is None else state.track_stats.get(sid)
            now = (0, 0) if stats is None else (stats.packets, stats.lost)
            before = self._before.get((number, sid), (0, 0))
            if now[0] < before[0] or now[1] < before[1]:
                yield f"{state.room_sid}: {now} packets of {sid} and lost ones, before {before}"
            self._before[number, sid] = now
