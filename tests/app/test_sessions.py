"""Sessions as the program tells them, with a real server and real people.

One ability a test, and each fault that an observer without a record of the past has.
"""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path

import trio

from actors.journal.session_filters import Filters
from bridge.lab.people import People, Person
from bridge.lab.server import PrivateServer
from bridge.livekit.server_api import ServerApi
from bridge.store.sqlite_reader import open_reader
from tests.app.agent_program import (
    Agent,
    agents_in,
    hears,
    nobody_watches,
    running_agent,
    server_api,
)

NAMES = ("--agent-name", "sessions-test")


async def test_every_kind_of_event_is_logged_and_counted(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    async with (
        server_api(livekit_server) as api,
        running_agent(livekit_server, tmp_path, *NAMES, "--watch", "story-*") as agent,
    ):
        await agent.logged("worker_registered")
        await api.create_room("story-1")
        await agent.logged("session_started", room="story-1")
        alice = await people.join("story-1", "alice", metadata='{"role": "host"}')
        await agent.logged("participant_connected", identity="alice", sid=alice.sid)
        await agent.logged("participant_metadata", identity="alice", metadata='{"role": "host"}')
        microphone = await alice.publish("microphone")
        await agent.logged("track_published", sid=microphone, source="microphone", kind="audio")
        await quality_is_told(agent, people, alice)
        camera = await alice.publish("camera")
        await agent.logged("track_published", sid=camera, source="camera", kind="video")
        await alice.send_data(b'{"a": 1}', topic="poll")
        await agent.logged("data_message", identity="alice", topic="poll", size=8, format="json")
        await alice.send_text("hello")
        await agent.logged("data_message", identity="alice", topic="lk.chat", format="text")
        await api.update_room_metadata("story-1", "now")
        await agent.logged("room_metadata", room="story-1", metadata="now")
        await alice.unpublish(camera)
        await agent.logged("track_unpublished", identity="alice", sid=camera)
        await alice.leave()
        await agent.logged("track_unpublished", identity="alice", sid=microphone)
        await agent.logged("participant_disconnected", identity="alice", reason="client_initiated")
        await agent.logged("session_ended", room="story-1", reason="room_closed")
        summary = await agent.stop()
    # Nothing is configured that acts or sends webhooks: the disk has nothing of it.
    assert stored_tables(tmp_path) == {"sessions", "states", "journal", "chunks", "people", "runs"}
    # Everybody has left by now: a count of who is there would be 0.
    assert {key: summary[key] for key in ("rooms", "participants", "tracks", "messages")} == {
        "rooms": 1,
        "participants": 1,
        "tracks": 2,
        "messages": 2,
    }


def stored_tables(data_dir: Path) -> set[str]:
    """The tables of the one database there is."""
    (path,) = data_dir.glob("*.db")
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return {name for (name,) in rows}


async def test_a_person_key_tells_one_person_under_many_identities(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    key = ("--person-key", "attributes.user_id")
    first = await people.join("key-1", "dora:phone", attributes={"user_id": "dora"})
    async with running_agent(livekit_server, tmp_path, *NAMES, *key, "--watch", "key-*") as agent:
        await agent.logged("participant_found", identity="dora:phone")
        await people.join("key-1", "dora:desk", attributes={"user_id": "dora"})
        told = await agent.logged("participant_connected", identity="dora:desk")
        assert (told["rejoin"], told["reconnect"]) == (False, False), "another device of hers"
        await people.join("key-2", "dora:web", attributes={"user_id": "dora"})
        await agent.logged("session_started", room="key-2")
        await first.leave()
        await agent.logged("participant_disconnected", identity="dora:phone")
        await people.join("key-1", "erik:web", attributes={"user_id": "erik"})
        await agent.logged("participant_connected", identity="erik:web")
        summary = await agent.stop()
    assert (summary["rooms"], summary["participants"]) == (2, 2)
    with open_reader(tmp_path) as reader:
        session = reader.session("key-1")
        assert session is not None
        counts = session.people
        assert (counts.unique, counts.joins, counts.peak) == (2, 3, 2)
        assert {one.person for one in session.participants} == {"dora", "erik"}
        found = reader.sessions(filters=Filters(person="dora")).sessions
        assert {row.room for row in found} == {"key-1", "key-2"}


async def test_who_and_what_was_there_before_the_worker_is_counted(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    alice = await people.join("older-1", "alice")
    camera = await alice.publish("camera")
    async with running_agent(livekit_server, tmp_path, *NAMES, "--watch", "older-*") as agent:
        await agent.logged("participant_found", identity="alice", sid=alice.sid)
        await agent.logged("track_published", sid=camera, existing=True)
        summary = await agent.stop()
    assert (summary["participants"], summary["tracks"]) == (1, 1)


async def test_two_lives_of_one_room_name_are_two_sessions(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    async with (
        server_api(livekit_server) as api,
        running_agent(livekit_server, tmp_path, *NAMES, "--watch", "twice-*") as agent,
    ):
        for identity in ("alice", "bob"):
            person = await people.join("twice-1", identity)
            started = await agent.logged("session_started", room_sid=person.room_sid)
            assert started["room"] == "twice-1"
            await agent.logged("participant_found", identity=identity)
            await api.delete_room("twice-1")
            await agent.logged("session_ended", room_sid=person.room_sid, reason="room_deleted")
        summary = await agent.stop()
    assert (summary["rooms"], summary["participants"]) == (2, 2)


async def test_a_second_job_for_a_room_continues_its_session(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    """It must not overwrite the session, and forget everyone in it."""
    async with (
        server_api(livekit_server) as api,
        running_agent(livekit_server, tmp_path, *NAMES, "--watch", "") as agent,
    ):
        await agent.logged("worker_registered")
        await people.join("jobs-1", "alice")
        first = await api.create_dispatch("jobs-1", NAMES[1])
        await agent.logged("participant_found", identity="alice")
        second = await api.create_dispatch("jobs-1", NAMES[1])
        # Its end is heard only after the job itself was.
        bob = await people.join("jobs-1", "bob")
        await agent.logged("participant_connected", identity="bob")
        assert len(await agents_in(api, "jobs-1")) == 1
        await api.delete_dispatch("jobs-1", second.id)
        await bob.send_data(b"still here")
        await agent.logged("data_message", size=10)
        await api.delete_dispatch("jobs-1", first.id)
        ended = await agent.logged("session_ended", room="jobs-1")
        summary = await agent.stop()
    assert ended["reason"] in ("dispatch_deleted", "removed")
    assert (summary["rooms"], summary["participants"], summary["messages"]) == (1, 2, 1)


async def test_a_removed_agent_comes_back_to_the_same_session(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    async with (
        server_api(livekit_server) as api,
        running_agent(livekit_server, tmp_path, *NAMES, "--watch", "kick-*") as agent,
    ):
        alice = await people.join("kick-1", "alice")
        await agent.logged("participant_found", identity="alice")
        [identity] = await agents_in(api, "kick-1")
        await api.remove_participant("kick-1", identity)
        ended = await agent.logged("session_ended", room="kick-1", reason="removed")
        again = await agent.logged("reconnected", room="kick-1")
        assert again["room_sid"] == ended["room_sid"] == alice.room_sid
        await hears(agent, alice, b"12345")
        summary = await agent.stop()
    assert (summary["rooms"], summary["participants"]) == (1, 1)


async def test_the_agent_is_hidden_and_gone_when_the_program_is(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    async with (
        server_api(livekit_server) as api,
        running_agent(livekit_server, tmp_path, *NAMES, "--watch", "") as agent,
    ):
        await agent.logged("worker_registered")
        await api.create_room("hidden-1")
        await dispatched(agent, api, "hidden-1")
        [watcher] = await api.list_participants("hidden-1")
        assert watcher.permission.hidden
        await agent.stop()
        await nobody_watches(api, "hidden-1")


async def quality_is_told(agent: Agent, people: People, person: Person) -> None:
    """Wait for the quality of somebody.

    LiveKit looks every 5 s, and tells it when somebody is new or changes, to whoever is
    subscribed at that moment: so somebody new comes until it was told.
    """
    for number in itertools.count():
        with trio.move_on_after(7):
            await agent.logged("quality_changed", sid=person.sid, quality="excellent")
            return
        await people.join(person.room, f"newcomer-{number}", kind="agent")


async def dispatched(agent: Agent, api: ServerApi, room: str) -> None:
    """Dispatch until it was heard: for some milliseconds after it registered a worker
    LiveKit finds none."""
    while True:
        with trio.move_on_after(5):
            await api.create_dispatch(room, NAMES[1])
            await agent.logged("session_started", room=room)
            return
