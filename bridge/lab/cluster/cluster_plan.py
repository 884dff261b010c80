"""The faults of a simulated cluster, drawn from a seed before the run."""

from __future__ import annotations

from random import Random
from typing import Final, Literal, TypeAlias, get_args

from attrs import frozen

FaultKind: TypeAlias = Literal[
    "worker_killed",
    "leader_killed",
    "cut_from_database",
    "cut_from_livekit",
    "database_slow",
    "database_away",
    "rolling_restart",
]
FAULT_KINDS: Final[tuple[FaultKind, ...]] = get_args(FaultKind)

CALM: Final = 16.0
"""Seconds after each fault until the next one: the laws of calm times are checked then."""
ROOMS_A_SECOND: Final = 200.0
"""How fast rooms are made at the begin."""
RESTART_PAUSE: Final = 6.0
"""Seconds for one worker of a rolling restart, at most, besides its hand-over."""


@frozen
class ClusterFault:
    """One fault."""

    kind: FaultKind
    worker: int = 0
    """The number of the worker that it hits, if it hits one."""
    seconds: float = 0.0
    """How long it lasts.  For a kill: until the worker is started again."""


@frozen
class ClusterPlan:
    """A run: its size and its faults, one after the other."""

    seed: int
    workers: int
    rooms: int
    faults: tuple[ClusterFault, ...]

    @property
    def fill_seconds(self) -> float:
        """How long it takes to make all rooms."""
        return max(5.0, self.rooms / ROOMS_A_SECOND)


def draw_cluster(seed: int, workers: int, rooms: int, rounds: int = 1) -> ClusterPlan:
    """A plan with every kind of fault, `rounds` times, in random order."""
    random = Random(seed)
    faults = list[ClusterFault]()
    for _ in range(rounds):
        kinds = list(FAULT_KINDS)
        random.shuffle(kinds)
        faults += [
            ClusterFault(kind, random.randrange(workers), round(random.uniform(8.0, 30.0), 1))
            for kind in kinds
        ]
    return ClusterPlan(seed, workers, rooms, tuple(faults))
