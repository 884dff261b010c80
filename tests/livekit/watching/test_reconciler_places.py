"""Places are few: the choice of rooms that get one.  In virtual time."""

from __future__ import annotations

import structlog.testing
import trio

from bridge.livekit.watching import reconciler as r
from bridge.livekit.worker.jobs import Reserve
from tests.livekit.watching.reconciler_scene import (
    ReconcilerScene,
    many,
    names,
)


async def test_only_as_many_are_dispatched_to_as_there_are_places_and_it_is_logged_once(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = [f"room-{number}" for number in range(10)]
    scene.api.people = set(scene.api.rooms)
    scene.worker.free = 3
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(0.5)
        taken = names(scene.api.dispatched)
        scene.worker.take(*taken)
        await trio.sleep(60)
    assert len(scene.api.dispatched) == 3
    lines = [line for line in logs if line["event"] == "rooms_not_watched"]
    assert [line["rooms"] for line in lines] == [7]
    assert len(lines[0]["first"]) == 5


async def test_rooms_with_nobody_in_them_leave_places_to_those_with_people(
    scene: ReconcilerScene,
) -> None:
    """Three that were prepared and one with people, for three places."""
    scene.api.rooms = ["empty-1", "empty-2", "empty-3", "standup"]
    scene.api.people = {"standup"}
    scene.worker.free, scene.worker.places_for_people = 3, 1
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(0.5)
        taken = names(scene.api.dispatched)
        scene.worker.take(*taken)
        await trio.sleep(30)
    assert "standup" in taken
    assert len(taken) >= 2
    assert set(names(scene.api.dispatched)) == set(taken)
    assert not [line for line in logs if line["event"] == "rooms_not_watched"]


async def test_an_empty_room_that_has_no_place_is_ours_soon_after_somebody_came(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["empty-1"]
    scene.worker.free, scene.worker.places_for_people = 1, 1
    scene.start()
    await trio.sleep(30)
    assert scene.api.dispatched == []
    came_at = trio.current_time()
    scene.api.people = {"empty-1"}
    await trio.sleep(10)
    assert scene.api.times("empty-1")[0] - came_at <= r.RECHECK_INTERVAL


async def test_an_empty_room_gives_its_place_to_one_with_people_the_newest_first(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["silent", "newer", "older", "standup"]
    scene.worker.free = 3
    scene.worker.take("silent", "newer", "older")
    scene.vacant = ["silent", "newer", "older"]
    scene.api.people = {"silent", "standup"}  # A silent person is announced later.
    scene.start()
    await trio.sleep(2)
    assert scene.given_up == ["RM_newer"]
    assert names(scene.api.dispatched) == ["standup"]


async def test_a_room_with_people_never_gives_its_place_up(scene: ReconcilerScene) -> None:
    scene.api.rooms = ["retro", "standup"]
    scene.api.people = {"retro", "standup"}
    scene.worker.free = 1
    scene.worker.take("retro")
    scene.vacant = ["retro"]
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(30)
    assert (scene.given_up, scene.api.dispatched) == ([], [])
    assert [line["rooms"] for line in logs if line["event"] == "rooms_not_watched"] == [1]


async def test_reserved_places_are_for_the_rooms_of_the_first_pattern(
    scene: ReconcilerScene,
) -> None:
    others = [f"other-{number}" for number in range(5)]
    scene.api.rooms = [*others, "team-1"]
    scene.api.people = {*scene.api.rooms, "team-2"}
    scene.worker.free, scene.worker.reserve = 4, Reserve(2, "team-*")
    scene.start(watch=("team-*", "*"))
    first = set[str]()
    for _ in range(10):
        await trio.sleep(1)
        scene.worker.take(*(set(names(scene.api.dispatched)) - first))
        first = set(names(scene.api.dispatched))
    assert "team-1" in first
    assert len(first) == 3, "one place is reserved for another room of the team"
    scene.api.rooms.append("team-2")
    await trio.sleep(5)
    assert set(names(scene.api.dispatched)) == {*first, "team-2"}


async def test_an_empty_room_that_places_are_reserved_for_keeps_its_place_from_others(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["team-1", "standup"]
    scene.api.people = {"standup"}
    scene.worker.free, scene.worker.reserve = 1, Reserve(1, "team-*")
    scene.worker.take("team-1")
    scene.vacant = ["team-1"]
    scene.start(watch=("team-*", "*"))
    await trio.sleep(30)
    assert (scene.given_up, scene.api.dispatched) == ([], [])


async def test_a_place_that_becomes_free_is_used_within_seconds(scene: ReconcilerScene) -> None:
    scene.api.rooms = ["standup"]
    scene.api.people = {"standup"}
    scene.worker.free = 0
    scene.start()
    await trio.sleep(30)
    assert scene.api.dispatched == []
    scene.worker.free = 1
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(3)
        scene.worker.take("standup")
        await trio.sleep(5)
    assert names(scene.api.dispatched) == ["standup"]
    assert logs[-1]["event"] == "rooms_all_watched"


async def test_wanted_rooms_get_the_places_first(scene: ReconcilerScene) -> None:
    scene.api.rooms = many(30)
    scene.resumable = {f"RM_room-{number}" for number in range(25, 30)}
    scene.worker.free = 5
    scene.worker.on_claim = scene.worker.take_sids
    scene.start()
    await trio.sleep(5)
    assert {f"RM_{name}" for name in names(scene.worker.claims)} == scene.resumable
