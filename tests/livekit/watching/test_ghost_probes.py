"""Agents that LiveKit lists although their node died with them.  In virtual time."""

from __future__ import annotations

import structlog.testing
import trio

from bridge.livekit.api_errors import TimedOut, Unavailable
from bridge.livekit.watching import ghost_probes as g
from bridge.livekit.watching import reconciler as r
from tests.livekit.watching.reconciler_scene import ReconcilerScene, many, names


async def test_a_room_whose_only_agent_is_a_ghost_is_claimed_and_never_dispatched_to(
    scene: ReconcilerScene,
) -> None:
    """A dispatch goes to the room's node, which is dead."""
    scene.api.agents = {"standup": "elsewhere", "retro": "another"}
    scene.api.ghosts = {"standup"}
    with structlog.testing.capture_logs() as logs:
        scene.start("standup", "retro")
        await trio.sleep(60)
    assert {*names(scene.worker.claims)} == {"standup"}
    assert scene.worker.claims[0][0] <= 3.0 + 2 * r.INTERVAL, "a probe lasts 3 s"
    assert len(scene.worker.claims) >= 3, "tried again"
    assert scene.api.dispatched == []
    (line,) = [line for line in logs if line["event"] == "ghost_listed"]
    assert (line["room"], line["instance"]) == ("standup", "elsewhere")


async def test_a_ghost_in_a_room_of_ours_does_not_make_us_leave(scene: ReconcilerScene) -> None:
    scene.api.agents = {"standup": "elsewhere", "retro": "elsewhere"}
    scene.api.guests = {"standup": "agent-1@here", "retro": "agent-2@here"}
    scene.api.ghosts = {"standup"}
    scene.worker.take("standup", "retro")
    scene.worker.identities = frozenset({"agent-1", "agent-2"})
    scene.start("standup", "retro")
    await trio.sleep(600)
    assert [removed[1:] for removed in scene.api.removed] == [("retro", "agent-2")]


async def test_a_worker_that_lives_may_come_back_into_a_room_whose_node_died(
    scene: ReconcilerScene,
) -> None:
    rooms = many(12)
    scene.api.agents = dict.fromkeys(rooms, "elsewhere")
    scene.start(*rooms)
    await trio.sleep(30)
    scene.api.ghosts = {*rooms[:6]}
    await trio.sleep(15)
    scene.api.ghosts = set()
    await trio.sleep(120)
    assert scene.worker.claims == []
    scene.api.ghosts = {*rooms[:6]}
    died_at = trio.current_time()
    await trio.sleep(g.ANSWER_FRESH + g.RETURN_GRACE)
    assert {*names(scene.worker.claims)} == {*rooms[:6]}
    assert scene.worker.claims[0][0] - died_at >= g.RETURN_GRACE


async def test_the_hundred_rooms_of_a_dead_worker_are_claimed_after_a_few_probes(
    scene: ReconcilerScene,
) -> None:
    rooms = many(100)
    scene.api.agents = dict.fromkeys(rooms, "elsewhere")
    scene.worker.on_claim = scene.worker.take_sids
    scene.worker.free = 200
    scene.start(*rooms)
    await trio.sleep(60)
    scene.api.ghosts = {*rooms}
    died_at, before = trio.current_time(), len(scene.api.probes)
    await trio.sleep(g.RETURN_GRACE + 10)
    assert {*names(scene.worker.claims)} == {*rooms}
    assert scene.worker.claims[0][0] - died_at >= g.RETURN_GRACE - g.INSTANCE_FRESH - r.INTERVAL
    assert len(scene.api.probes) - before <= 40
    # The worker is started again, with the same id: its new agents are no ghosts.
    claimed = len(scene.worker.claims)
    scene.api.rooms.append("review")
    scene.api.agents["review"] = "elsewhere"
    scene.api.joined_at["review"] = trio.current_time()
    await trio.sleep(60)
    assert len(scene.worker.claims) == claimed


async def test_probes_of_workers_that_live_are_few(scene: ReconcilerScene) -> None:
    rooms = many(500)
    scene.api.agents = dict.fromkeys(rooms, "elsewhere")
    scene.start(*rooms)
    await trio.sleep(60)
    before = len(scene.api.probes)
    assert before <= 550, "each agent once"
    await trio.sleep(g.ANSWER_FRESH)
    assert len(scene.api.probes) - before <= 550
    assert scene.worker.claims == []


async def test_a_server_that_cannot_answer_says_nothing_about_a_participant(
    scene: ReconcilerScene,
) -> None:
    for scene.api.probe_error in (TimedOut("no answer"), Unavailable("overloaded")):
        scene.api.agents = {"standup": "elsewhere"}
        scene.start("standup")
        await trio.sleep(100)
        assert scene.worker.claims == []
