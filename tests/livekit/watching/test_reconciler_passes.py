"""Passes of the reconciler: rooms, times, and the cost of failures.  In virtual time."""

from __future__ import annotations

import itertools
from typing import cast

import pytest
import structlog.testing
import trio

from bridge.livekit.api_errors import Unavailable
from bridge.livekit.server_api import ServerApi
from bridge.livekit.watching import reconciler as r
from tests.livekit.watching.reconciler_scene import (
    ReconcilerScene,
    SimulatedApi,
    SimulatedWorker,
    names,
)


async def test_rooms_older_than_the_worker_are_dispatched_to_at_once(
    scene: ReconcilerScene,
) -> None:
    scene.start("standup", "retro")
    await trio.sleep(r.NEW_ROOM_GRACE)
    assert set(names(scene.api.dispatched)) == {"standup", "retro"}


async def test_a_room_that_appears_is_dispatched_to_after_a_moment_for_its_maker(
    scene: ReconcilerScene,
) -> None:
    scene.start()
    await trio.sleep(10)
    appeared = trio.current_time()
    scene.api.rooms = ["standup"]
    await trio.sleep(4)
    (at,) = scene.api.times("standup")
    assert r.NEW_ROOM_GRACE / 4 <= at - appeared <= r.INTERVAL + r.NEW_ROOM_GRACE


async def test_a_room_its_maker_dispatches_us_to_gets_one_agent(scene: ReconcilerScene) -> None:
    scene.start()
    await trio.sleep(10)
    scene.api.rooms = ["standup"]
    await scene.api.create_dispatch("standup", "watcher")
    await trio.sleep(3)
    assert len(scene.api.dispatched) == 1


async def test_occupied_excluded_and_unmatched_rooms_are_left_alone(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["team-1", "team-2", "team-3", "team-4", "private"]
    scene.worker.take("team-1")
    scene.occupied = {"team-2"}
    scene.excluded = {"team-3"}
    scene.start(watch=("team-*",))
    await trio.sleep(30)
    assert set(names(scene.api.dispatched)) == {"team-4"}


async def test_an_empty_watch_list_does_nothing_at_all(scene: ReconcilerScene) -> None:
    scene.start("standup", watch=())
    await trio.sleep(30)
    assert scene.api.lists == 0


async def test_a_dispatch_that_brings_no_job_is_repeated_with_growing_delays(
    scene: ReconcilerScene,
) -> None:
    scene.start("standup")
    await trio.sleep(300)
    times = scene.api.times("standup")
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps[:3] == [pytest.approx(wait, abs=1.5) for wait in (4, 8, 15)]
    assert all(60 <= gap <= 62 for gap in gaps[5:])


async def test_a_room_we_enter_and_lose_at_once_is_not_dispatched_to_at_once_again(
    scene: ReconcilerScene,
) -> None:
    scene.start("standup")
    for _ in range(60):
        before = len(scene.api.dispatched)
        await trio.sleep(1)
        if len(scene.api.dispatched) > before:
            scene.worker.take("standup")
            await trio.sleep(1)
            scene.worker.rooms = frozenset()
    assert 3 <= len(scene.api.dispatched) <= 5


async def test_a_room_we_watched_for_long_and_lost_is_dispatched_to_within_seconds(
    scene: ReconcilerScene,
) -> None:
    scene.start("standup")
    await trio.sleep(0.5)
    scene.worker.take("standup")
    await trio.sleep(60)
    lost = trio.current_time()
    scene.worker.rooms = frozenset()
    await trio.sleep(3)
    assert scene.api.times("standup")[-1] - lost <= 2


async def test_nothing_is_dispatched_while_the_worker_is_not_registered_or_draining(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup"]
    scene.worker.registered = False
    scene.start()
    await trio.sleep(60)
    assert scene.api.dispatched == []
    scene.worker.draining = True
    scene.worker.registered = True
    scene.worker.registration.set()
    await trio.sleep(60)
    assert scene.api.dispatched == []
    scene.worker.draining = False
    await trio.sleep(2)
    assert names(scene.api.dispatched) == ["standup"]


async def test_a_server_that_fails_is_survived_and_logged_once_and_its_return_noticed(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup"]
    scene.api.error = Unavailable("RoomService/ListRooms: cannot reach the server")
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(300)
        assert 300 / r.ERROR_BACKOFF.most <= scene.api.lists <= 60
        scene.api.error = None
        await trio.sleep(r.ERROR_BACKOFF.most)
    assert [line["event"] for line in logs][:3] == [
        "reconcile_failed",
        "room_dispatched",
        "reconcile_recovered",
    ]


async def test_one_room_that_fails_does_not_keep_the_others_waiting(scene: ReconcilerScene) -> None:
    scene.api.rooms = ["standup", "retro"]
    scene.api.dispatch_error = Unavailable("no answer")
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(0.5)
        scene.api.dispatch_error = None
        await trio.sleep(30)
    assert {"standup", "retro"} <= set(names(scene.api.dispatched))
    assert logs[0]["event"] == "reconcile_failed"
    assert logs[0]["rooms"] == 2
    # Attempts that failed have no line, and leave no hole in the numbers.
    of_one = [
        line["attempt"] for line in logs if line.get("room") == "standup" and "attempt" in line
    ]
    assert of_one == list(range(1, len(of_one) + 1))
    assert of_one


async def test_a_fault_that_nobody_thought_of_ends_neither_the_reconciler_nor_the_process(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup"]
    scene.api.error = RecursionError("of an odd answer")
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(300)
        assert scene.api.lists <= 60
        scene.api.error = None
        scene.api.dispatch_error = OverflowError("of another")
        await trio.sleep(r.ERROR_BACKOFF.most)
        scene.api.dispatch_error = None
        await trio.sleep(30)
    assert set(names(scene.api.dispatched)) == {"standup"}
    failed = [line["error"] for line in logs if line["event"] == "reconcile_failed"]
    assert list(dict.fromkeys(failed)) == [
        "a fault in this program: RecursionError",
        "a fault in this program: OverflowError",
    ]
    passes = [line["event"] for line in logs if line["event"].startswith("reconcile_")]
    assert passes[-1] == "reconcile_recovered"


# ------------------------------------------------------------------------------ claims


# ------------------------------------------------------------- what we watched before


# ---------------------------------------------------------------------- lives of a room


async def test_another_life_of_a_name_is_watched_while_the_last_one_is_still_being_left(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup"]
    scene.worker.take("standup")
    scene.occupied = {"standup"}
    scene.start()
    await trio.sleep(60)
    scene.api.sids["standup"] = "RM_2"
    scene.occupied = set()  # Its session has ended; the job of its first life has not.
    again = trio.current_time()
    await trio.sleep(3)
    assert scene.api.times("standup")[0] - again <= r.INTERVAL + r.NEW_ROOM_GRACE


async def test_another_life_of_a_room_to_which_our_connection_may_come_back_is_left_to_it(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup"]
    scene.worker.take("standup")
    scene.occupied = {"standup"}
    scene.start()
    await trio.sleep(60)
    scene.api.sids["standup"] = "RM_2"  # The server was killed and came back.
    await trio.sleep(20)
    assert scene.api.dispatched == []
    # It did come back, under the identity of its job, but ended there.
    scene.api.guests = {"standup": "agent-1@here"}
    scene.worker.identities = frozenset({"agent-1"})
    scene.occupied = set()
    await trio.sleep(20)
    assert scene.api.dispatched == []


# ------------------------------------------------------------- two workers in one room


async def test_a_room_of_a_webhook_is_inspected_at_once(scene: ReconcilerScene) -> None:
    reconciler = scene.start()
    await trio.sleep(10.2)
    scene.api.rooms = ["standup"]
    asked_at = trio.current_time()
    reconciler.inspect_now("RM_standup")
    reconciler.inspect_now("RM_that-nobody-knows")
    await trio.sleep(0.01)
    assert scene.api.times("standup") == [asked_at]


async def test_a_webhook_while_draining_or_away_costs_nothing(scene: ReconcilerScene) -> None:
    scene.worker.draining = True
    reconciler = scene.start()
    await trio.sleep(10)
    reconciler.inspect_now("RM_standup")
    await trio.sleep(10)
    assert scene.api.lists == 0


async def test_a_dispatch_before_the_worker_lost_its_socket_is_repeated_at_once(
    scene: ReconcilerScene,
) -> None:
    scene.start("standup")
    await trio.sleep(1)
    assert len(scene.api.dispatched) == 1
    scene.worker.registered = False
    await trio.sleep(1)
    scene.worker.registered = True
    scene.worker.registration.set()
    back = trio.current_time()
    await trio.sleep(r.INTERVAL + r.NEW_ROOM_GRACE)
    assert scene.api.times("standup")[1] - back <= r.INTERVAL + r.NEW_ROOM_GRACE


def test_there_is_no_reconciler_for_an_unnamed_worker() -> None:
    with pytest.raises(ValueError, match="agent name"):
        r.Reconciler(cast("ServerApi", SimulatedApi()), SimulatedWorker(), "", "here", ("*",))


async def test_a_room_that_our_dispatch_made_anew_is_deleted_unless_somebody_is_there(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup"]
    scene.api.made_anew = True
    scene.start()
    await trio.sleep(1)
    assert scene.api.deleted == ["RM_standup_anew"]
    scene.api.rooms, scene.api.people = ["retro"], {"retro"}
    await trio.sleep(10)
    assert "retro" in names(scene.api.dispatched)
    scene.api.rooms, scene.api.made_at = ["owners"], {"owners": 1.0}
    await trio.sleep(10)
    assert "owners" in names(scene.api.dispatched)
    assert scene.api.deleted == ["RM_standup_anew"], "made by its owner, before we asked"


async def test_many_rooms_of_ours_make_no_more_lists_of_all_rooms(scene: ReconcilerScene) -> None:
    ours = [f"room-{number}" for number in range(100)]
    scene.api.rooms = ours
    scene.api.agents = dict.fromkeys(ours, "here")
    scene.worker.take(*ours)
    scene.worker.identities = frozenset({"agent-0"})
    scene.start()
    await trio.sleep(10)
    before = scene.api.lists
    await trio.sleep(150)
    assert scene.api.lists - before <= 150 / r.INTERVAL + 1
