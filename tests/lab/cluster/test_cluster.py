"""The simulated cluster: every law holds, and each law finds what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actors.journal.archive import Batch
from actors.rooms.lease_keeper import LeaseKeeper
from actors.simulation.simulated_database import SimulatedDatabase, SimulatedDatabaseArchive
from actors.simulation.simulated_disk import SimulatedDisk
from bridge.lab.cluster import (
    ClusterFault,
    ClusterOutcome,
    ClusterPlan,
    draw_cluster,
    play_cluster,
)
from bridge.lab.cluster.cluster_plan import FAULT_KINDS
from bridge.livekit.watching.leased_watching import LeasedWatching


def test_a_plan_has_every_kind_of_fault_and_comes_from_its_seed() -> None:
    plan = draw_cluster(7, 5, 60)
    assert {fault.kind for fault in plan.faults} == set(FAULT_KINDS)
    assert plan == draw_cluster(7, 5, 60)
    assert plan != draw_cluster(8, 5, 60)


def play(*faults: ClusterFault) -> ClusterOutcome:
    return play_cluster(ClusterPlan(1, 3, 24, faults))


def laws_broken(outcome: ClusterOutcome) -> set[str]:
    return {violation.split(":")[0] for violation in outcome.violations}


def skip(*_args: Any, **_kwargs: Any) -> None:
    return None


def test_a_worker_that_writes_after_its_lease_breaks_one_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The database does not refuse its batch."""

    def admit(_archive: SimulatedDatabaseArchive, _sid: str, _session: int) -> bool:
        return True

    monkeypatch.setattr(SimulatedDatabaseArchive, "_admits", admit)
    cut = [ClusterFault("cut_from_database", n, 15.0 + n) for n in range(2)]
    outcome = play(*cut)
    assert "one owner" in laws_broken(outcome)


def test_rooms_of_a_dead_worker_that_nobody_takes_over_break_owned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(SimulatedDatabase, "end_epochs", skip)
    assert "owned" in laws_broken(play(ClusterFault("worker_killed", 0, 20.0)))


def test_a_worker_that_stays_in_a_room_that_it_lost_breaks_watched_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(LeaseKeeper, "_lose", skip)
    outcome = play(ClusterFault("cut_from_database", 0, 15.0))
    assert "watched once" in laws_broken(outcome)


def test_a_worker_that_takes_all_rooms_breaks_even(monkeypatch: pytest.MonkeyPatch) -> None:
    async def share(watching: LeasedWatching, _unowned: object) -> int:
        return 1_000 if watching.instance == "worker-0" else 0

    monkeypatch.setattr(LeasedWatching, "_share", share)
    assert "even" in laws_broken(play())


def test_a_row_that_is_not_stored_breaks_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    append: Callable[[SimulatedDisk, Batch], None] = SimulatedDisk.append

    def lose(disk: SimulatedDisk, batch: Batch) -> None:
        append(disk, batch)
        for row in batch.rows:
            if row.seq == 0:
                del disk.rows[row.session][0]

    monkeypatch.setattr(SimulatedDisk, "append", lose)
    assert laws_broken(play()) == {"numbers"}
