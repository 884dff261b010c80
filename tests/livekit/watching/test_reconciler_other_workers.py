"""Several workers and several agents of one name share the rooms.  In virtual time."""

from __future__ import annotations

import pytest
import structlog.testing
import trio

from bridge.livekit.watching import reconciler as r
from bridge.livekit.watching.room_inspection import OWN_ROOM_PAUSE
from bridge.livekit.watching.watch_log import MAX_NAMESAKES
from bridge.livekit.worker.job_refusals import OUR_DISPATCH
from tests.livekit.watching.reconciler_scene import (
    ReconcilerScene,
    names,
)


async def test_a_room_another_worker_watches_is_left_to_it_until_its_agent_goes(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup"]
    scene.api.agents = {"standup": "elsewhere"}
    scene.start()
    await trio.sleep(100)
    assert scene.api.dispatched == []
    left_at = trio.current_time()
    scene.api.agents = {}
    await trio.sleep(6)
    assert scene.api.times("standup")[0] - left_at <= 5


async def test_an_agent_that_our_crash_left_behind_is_no_watcher(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup"]
    scene.api.agents = {"standup": "here"}
    await scene.api.create_dispatch("standup", "watcher", OUR_DISPATCH)
    scene.start()
    await trio.sleep(0.5)
    assert len(scene.api.times("standup")) == 2


@pytest.mark.parametrize("started_ago, taken", [(0.0, 2), (40.0, 1)])
async def test_an_agent_of_our_former_id_is_no_watcher_soon_after_the_start(
    started_ago: float, taken: int, scene: ReconcilerScene
) -> None:
    """A later agent of that id is another worker's, which had the same one before."""
    scene.start(former=["before"])
    await trio.sleep(started_ago)
    scene.api.rooms = ["standup"]
    scene.api.agents = {"standup": "before"}
    await scene.api.create_dispatch("standup", "watcher", OUR_DISPATCH)
    await trio.sleep(3)
    assert len(scene.api.times("standup")) == taken


async def test_a_worker_with_the_same_instance_id_is_noticed_and_not_fought_for_ever(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup"]
    scene.api.agents = {"standup": "here"}
    scene.start()
    with structlog.testing.capture_logs() as logs:
        await trio.sleep(600)
    assert 1 <= len(scene.api.dispatched) <= 4
    assert [line["event"] for line in logs].count("instance_shared") == 1


async def test_looking_at_the_rooms_of_others_is_thinned_out_when_they_are_many(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = [f"room-{number}" for number in range(500)]
    scene.api.agents = dict.fromkeys(scene.api.rooms, "elsewhere")
    scene.start()
    await trio.sleep(50)
    before = scene.api.looks
    await trio.sleep(100)
    assert (scene.api.looks - before) / 100 <= 1.2 * r.INSPECTIONS_PER_SECOND


async def test_two_reconcilers_that_dispatch_in_the_same_moment_leave_one_dispatch(
    scene: ReconcilerScene,
) -> None:
    scene.start("standup", "retro", instance="here")
    scene.start(instance="there")
    await trio.sleep(1)
    for name in scene.api.rooms:
        assert len(await scene.api.list_dispatch(name)) == 1


async def test_a_wanted_room_that_another_worker_watches_or_that_is_excluded_is_left_alone(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup", "retro"]
    scene.api.agents = {"standup": "elsewhere"}
    scene.excluded = {"retro"}
    scene.resumable = {"RM_standup", "RM_retro"}
    scene.start()
    await trio.sleep(60)
    assert scene.worker.claims == []


async def test_a_room_in_which_another_worker_was_first_is_left_and_left_alone(
    scene: ReconcilerScene,
) -> None:
    scene.api.rooms = ["standup"]
    scene.worker.take("standup")
    scene.worker.identities = frozenset({"agent-1"})
    scene.start()
    await trio.sleep(5)
    scene.api.agents = {"standup": "elsewhere"}
    scene.api.guests = {"standup": "agent-1@here"}
    came = trio.current_time()
    await trio.sleep(OWN_ROOM_PAUSE.first + 5)
    ((at, *removed),) = scene.api.removed
    assert removed == ["standup", "agent-1"]
    assert at - came <= r.RECHECK_INTERVAL + r.INTERVAL
    scene.worker.rooms = frozenset()
    await trio.sleep(60)
    assert scene.api.dispatched == []


async def test_a_room_in_which_we_were_first_stays_ours(scene: ReconcilerScene) -> None:
    scene.api.rooms = ["standup"]
    scene.api.agents = {"standup": "here"}
    scene.api.guests = {"standup": "agent-1@elsewhere"}
    scene.worker.take("standup")
    scene.worker.identities = frozenset({"agent-0"})
    scene.start()
    await trio.sleep(10)
    assert scene.api.looks == 1
    await trio.sleep(1000)
    assert scene.api.removed == []
    assert 5 <= scene.api.looks <= 12, "a pause of 30 s at first, which doubles up to 240 s"


@pytest.mark.parametrize("outage", ["registration", "connection"])
async def test_after_an_outage_a_room_of_ours_is_inspected_soon(
    scene: ReconcilerScene, outage: str
) -> None:
    scene.api.rooms = ["standup"]
    scene.api.guests = {"standup": "agent-1@here"}
    scene.worker.take("standup")
    scene.worker.identities = frozenset({"agent-1"})
    scene.start()
    await trio.sleep(700)
    if outage == "registration":
        scene.worker.registered = False
        await trio.sleep(10)
        scene.worker.registered = True
        scene.worker.registration.set()
    else:
        scene.disconnected = {"RM_standup"}
        await trio.sleep(10)
        scene.disconnected = set()
    scene.api.agents = {"standup": "elsewhere"}
    back_at = trio.current_time()
    await trio.sleep(60)
    ((at, *removed),) = scene.api.removed
    assert removed == ["standup", "agent-1"]
    assert at - back_at <= OWN_ROOM_PAUSE.first + r.INTERVAL + r.NEW_ROOM_GRACE


async def test_another_agent_of_our_name_is_logged_once_a_room_and_the_room_is_claimed(
    scene: ReconcilerScene,
) -> None:
    """A dispatch could go to that agent again."""
    scene.api.rooms = [f"room-{number}" for number in range(30)]
    scene.api.agents = dict.fromkeys(scene.api.rooms, "")
    scene.worker.on_claim = scene.worker.take_sids
    with structlog.testing.capture_logs() as logs:
        scene.start()
        await trio.sleep(120)
    assert set(names(scene.worker.claims)) | set(names(scene.api.dispatched)) == set(
        scene.api.rooms
    )
    assert len(scene.api.dispatched) <= r.PARALLEL_INSPECTIONS, (
        "only those that were looked at meanwhile"
    )
    lines = [line for line in logs if line["event"] == "agent_name_shared"]
    assert len(lines) == MAX_NAMESAKES
    assert [line["last"] for line in lines].count(True) == 1
    assert {line["identity"] for line in lines} == {"agent-0"}


async def test_rooms_are_claimed_first_and_dispatched_to_if_a_claim_brings_nothing(
    scene: ReconcilerScene,
) -> None:
    scene.start("standup", claims_first=True)
    await trio.sleep(1)
    assert (names(scene.worker.claims), scene.api.dispatched) == (["standup"], [])
    await trio.sleep(5)
    assert set(names(scene.api.dispatched)) == {"standup"}
