"""Rooms to resume, and bursts that LiveKit would launch late, are claimed.  In virtual time."""

from __future__ import annotations

from typing import cast

import trio

from bridge.livekit.server_api import ServerApi
from bridge.livekit.watching import reconciler as r
from bridge.livekit.watching.room_candidates import MAX_PROMPT_LAUNCHES
from bridge.livekit.watching.watch_state import OurRooms
from tests.livekit.watching.reconciler_scene import (
    ReconcilerScene,
    many,
    names,
)


async def test_a_burst_beyond_what_livekit_launches_is_claimed_as_fast_as_rooms_are_entered(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = many(100)
    scene.worker.on_claim = scene.worker.begin_to_enter
    scene.start()
    await trio.sleep(1)
    # A few lookers are past the question when the last place at the doors is taken.
    assert (
        r.MAX_OPEN_CLAIMS <= len(scene.worker.claims) < r.MAX_OPEN_CLAIMS + r.PARALLEL_INSPECTIONS
    )
    for _ in range(40):
        scene.worker.enter(min(4, scene.worker.pending_entries))
        await trio.sleep(0.1)
    claimed = names(scene.worker.claims)
    assert sorted([*claimed, *names(scene.api.dispatched)]) == sorted(scene.api.rooms)
    assert len(scene.api.dispatched) <= MAX_PROMPT_LAUNCHES, "the rest LiveKit may place"


async def test_a_claim_that_brings_nothing_is_followed_by_a_dispatch(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = many(MAX_PROMPT_LAUNCHES + 1)
    scene.start()
    await trio.sleep(3)
    assert len(scene.worker.claims) == MAX_PROMPT_LAUNCHES + 1
    assert scene.api.dispatched == []
    await trio.sleep(2)
    assert sorted(names(scene.api.dispatched)) == sorted(scene.api.rooms)
    assert len(scene.worker.claims) == MAX_PROMPT_LAUNCHES + 1


async def test_rooms_whose_entry_is_refused_are_tried_ever_more_rarely(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = many(100)

    async def fail(sid: str) -> None:
        await trio.sleep(0.3)
        scene.worker.rooms -= {sid}
        scene.worker.free += 1
        scene.worker.enter(1)

    def begin_in_vain(sid: str) -> None:
        scene.worker.begin_to_enter(sid)
        scene.nursery.start_soon(fail, sid)

    scene.worker.on_claim = begin_in_vain
    scene.start()
    await trio.sleep(120)
    tries = len(scene.worker.claims) + len(scene.api.dispatched)
    assert 400 <= tries <= 600, "5 or 6 for each in two minutes"
    assert scene.worker.free == 100


async def test_rooms_that_are_wanted_are_claimed_at_once_whatever_watch_says_and_only_once(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup", "retro", "other"]
    scene.api.agents = {"standup": "here"}  # Ours, from before we were killed.
    scene.resumable = {"RM_standup", "RM_retro", "RM_long-gone"}
    scene.worker.registered = False

    def go_on_with(sid: str) -> None:
        scene.worker.take_sids(sid)
        scene.resumable.discard(sid)

    scene.worker.on_claim = go_on_with
    scene.start(watch=())
    await trio.sleep(10)
    scene.worker.registered = True
    scene.worker.registration.set()
    await trio.sleep(0.01)
    assert {*names(scene.worker.claims)} == {"standup", "retro"}
    scene.worker.rooms = frozenset()  # Sent out again.
    await trio.sleep(100)
    assert len(scene.worker.claims) == 2
    assert scene.api.dispatched == []


async def test_a_wanted_room_that_ended_before_the_look_is_not_made_anew(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup"]
    scene.api.ended = {"standup"}
    scene.resumable = {"RM_standup"}
    scene.start(watch=())
    await trio.sleep(1)
    assert scene.worker.claims == []


async def test_a_worker_without_a_name_only_goes_on_with_what_it_watched(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup", "retro"]
    scene.resumable = {"RM_standup"}
    reconciler = r.Reconciler(
        cast("ServerApi", scene.api),
        scene.worker,
        "",
        "here",
        (),
        OurRooms(resumable=lambda: scene.resumable),
    )
    scene.nursery.start_soon(reconciler.run)
    await trio.sleep(5)
    assert {*names(scene.worker.claims)} == {"standup"}
    assert len(scene.worker.claims) == 2, "tried again"
    assert scene.api.dispatched == []
