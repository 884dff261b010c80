"""Floods, rooms that cannot be entered, few open files, an SDK that has changed inside."""

from __future__ import annotations

from bisect import bisect
from datetime import datetime
from pathlib import Path
from typing import Any

import trio

from actors.rooms.room_port import RoomRefused
from actors.runtime import BATCH
from bridge.lab.people import People, Person
from bridge.lab.server import PrivateServer
from tests.app.agent_program import Agent, hears, running_agent
from tests.app.simulated import Logged, open_world

NAMES = ("--agent-name", "pressure-test")
SENDERS = 2
AT_ONCE = 25
"""Messages of one sender that are under way at the same time."""
EACH = 600


async def test_a_flood_in_one_room_is_counted_and_does_not_hold_up_another(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    flags = (*NAMES, "--watch", "flood-*")
    async with running_agent(livekit_server, tmp_path, *flags) as agent:
        quinn = await people.join("flood-quiet", "quinn")
        names = [f"lou-{number}" for number in range(SENDERS)]
        loud = [await people.join("flood-loud", name, own_process=True) for name in names]
        await hears(agent, quinn, b"1")
        for number, lou in enumerate(loud):
            await hears(agent, lou, bytes(2 + number))
        sent = 0
        async with trio.open_nursery() as quiet:

            async def talk() -> None:
                nonlocal sent
                while True:
                    await quinn.send_data(b"quiet", topic="quiet")
                    sent += 1
                    await trio.sleep(0.05)

            quiet.start_soon(talk)
            async with trio.open_nursery() as nursery:
                for lou in loud:
                    for _ in range(AT_ONCE):
                        nursery.start_soon(send, lou, EACH // AT_ONCE)
            quiet.cancel_scope.cancel()
        for lou in loud:
            await hears(agent, lou, b"the end", topic="end")
        for person in (quinn, *loud):
            await person.leave()
        ended = await agent.logged("session_ended", room="flood-loud")
        summary = await agent.stop()
    lines = agent.events("data_message", room="flood-loud")
    left_out = counts(agent, "messages_not_logged") + counts(agent, "messages_thinned")
    total = ended["session"]["data_messages"]["total"]
    assert total == len(lines) + left_out
    assert summary["messages"] == total + len(agent.events("data_message", room="flood-quiet"))
    # A server gives up messages itself where it thinks that a subscriber is too slow.
    assert total > SENDERS * EACH / 2
    flood_logged = sorted(map(logged, agent.events("data_message", topic="flood")))
    waited = sorted(
        bisect(flood_logged, logged(line)) - bisect(flood_logged, came(line))
        for line in agent.events("data_message", topic="quiet")
    )
    assert len(waited) > sent / 2
    assert waited[len(waited) // 2] <= 3 * BATCH, "messages of the flood that went first"


async def send(person: Person, messages: int) -> None:
    for _ in range(messages):
        await person.send_data(b"flood", topic="flood")


def counts(agent: Agent, event: str) -> int:
    return sum(line["count"] for line in agent.events(event))


def came(line: dict[str, Any]) -> datetime:
    """The time at which the native library's callback gave the message."""
    return datetime.fromisoformat(line["at"])


def logged(line: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(line["time"])


BREAK_THE_SEAMS = """
import attrs
from bridge.livekit.rooms import seams

def moved():
    raise AttributeError("the SDK has changed")

for name, seam in seams.SEAMS.items():
    seams.SEAMS[name] = attrs.evolve(seam, probe=moved)
"""


async def test_with_an_sdk_that_has_changed_inside_everything_is_watched_all_the_same(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    flags = (*NAMES, "--watch", "moved-*")
    async with running_agent(livekit_server, tmp_path, *flags, first=BREAK_THE_SEAMS) as agent:
        alice = await people.join("moved-1", "alice")
        microphone = await alice.publish("microphone")
        await agent.logged("track_published", sid=microphone, source="microphone")
        await people.join("moved-2", "bob")
        await agent.logged("participant_found", identity="bob")
        await hears(agent, alice, b"hello")
        await alice.send_text("hello")
        await agent.logged("data_message", topic="lk.chat", identity="alice")
        await alice.mute(microphone)
        await agent.logged("track_muted", sid=microphone)
        await alice.leave()
        await agent.logged("participant_disconnected", identity="alice", reason="client_initiated")
        await agent.logged("session_ended", room="moved-1", reason="room_closed")
        summary = await agent.stop()
    assert {key: summary[key] for key in ("rooms", "participants", "tracks", "messages")} == {
        "rooms": 2,
        "participants": 2,
        "tracks": 1,
        "messages": 2,
    }
    lost = [line["seam"] for line in agent.events("sdk_seam_lost", level="warning")]
    assert {
        "demux",
        "room_filter",
        "pause_track",
        "any_stream",
        "native_logs",
        "timer_slack",
    } == set(lost)
    assert len(lost) == len(set(lost)), "each is logged once"
    assert agent.events("room_callback_failed") == []


FEW_FILES = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (300, 300))
"""


async def test_more_rooms_than_open_files_are_lowered_and_it_is_logged(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    flags = (*NAMES, "--watch", "files-*", "--max-rooms", "400")
    async with running_agent(livekit_server, tmp_path, *flags, first=FEW_FILES) as agent:
        lowered = await agent.logged("max_rooms_lowered", level="warning")
        limit = await agent.logged("max_rooms", open_files=300)
        await people.join("files-1", "alice")
        await agent.logged("participant_found", identity="alice")
        await agent.stop()
    assert (lowered["asked"], lowered["open_files"]) == (400, 300)
    assert lowered["max_rooms"] == limit["rooms"] < 30


async def test_a_hundred_rooms_that_cannot_be_entered_leave_the_others_alone(
    tmp_path: Path,
) -> None:
    failed: list[Any] = []

    def take(event: Logged) -> None:
        if event["event"] == "actor_failed":
            failed.append(event["actor"])

    async with open_world(tmp_path, take) as world:
        world.rooms.fault = lambda job: (
            RoomRefused("401") if job.room.startswith("refused") else None
        )
        [good] = await world.watch("good")
        world.assign(*(f"refused-{number}" for number in range(100)))
        [other] = await world.watch("other")
        await world.until(lambda: world.ended.total() == 100)
        assert world.ended[None] == 0, "each of them failed"
        assert world.actors.table.records.keys() == {good.sid, other.sid}
        good.people["alice"].send_data(b"{}")
        good.close()
        await world.until(lambda: world.ended[None] == 1)
    assert len(failed) <= 100
