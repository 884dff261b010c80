"""The whole program and a real server: every room is watched, by one worker, whatever happens."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit.server_api import ServerApi
from tests.app.agent_program import WAIT, Agent, agents_in, environment, running_agent

LONG = 300
"""Seconds that rooms must live in which there are only agents, who do not keep them."""


def flags(name: str, *more: str) -> tuple[str, ...]:
    """For an agent that watches the rooms of one test."""
    return ("--agent-name", name, "--watch", f"{name}*", "--http", "off", *more)


async def test_an_agent_removed_by_hand_is_back_in_the_same_session(
    livekit_server: PrivateServer, api: ServerApi, name: str, tmp_path: Path
) -> None:
    async with running_agent(livekit_server, tmp_path, *flags(name)) as agent:
        room = await api.create_room(name, empty_timeout=LONG)
        await agent.logged("session_started", room=name)
        (removed,) = await agents_in(api, name)
        await api.remove_participant(name, removed)
        await agent.logged("session_ended", room_sid=room.sid, reason="removed")
        await agent.logged("reconnected", room_sid=room.sid)
        assert (await agent.stop())["rooms"] == 1


async def test_a_room_that_ends_and_begins_again_at_once_is_two_sessions(
    livekit_server: PrivateServer, api: ServerApi, name: str, tmp_path: Path
) -> None:
    async with running_agent(livekit_server, tmp_path, *flags(name)) as agent:
        await agent.logged("worker_registered")
        first = await api.create_room(name)
        await agent.logged("session_started", room_sid=first.sid)
        async with trio.open_nursery() as nursery:
            # Its answer comes seconds after the room is gone.
            nursery.start_soon(api.delete_room, name)
            await agent.logged("session_ended", room_sid=first.sid, reason="room_deleted")
            second = await api.create_room(name)
            assert second.sid != first.sid
            await agent.logged("session_started", room_sid=second.sid)
        assert (await agent.stop())["rooms"] == 2


async def test_of_two_workers_in_a_room_the_second_goes_and_the_first_keeps_it(
    livekit_server: PrivateServer, people: People, api: ServerApi, name: str, tmp_path: Path
) -> None:
    async with running_agent(
        livekit_server, tmp_path / "1", *flags(name, "--max-rooms", "1")
    ) as first:
        room = await api.create_room(name, empty_timeout=LONG)
        # The last free place is for a room with somebody in it.
        await people.join(name, "alice")
        await first.logged("session_started", room_sid=room.sid)
        (identity,) = await agents_in(api, name)
        async with running_agent(livekit_server, tmp_path / "2", *flags(name)) as second:
            await second.logged("worker_registered")
            # The first one is full: this goes to the second, which does not know better.
            await api.create_dispatch(name, name)
            await second.logged("session_started", room_sid=room.sid)
            await second.logged("room_left_to_another", room_sid=room.sid)
            await second.logged("session_ended", room_sid=room.sid, reason="removed")
            assert await agents_in(api, name) == [identity]
            assert (await second.stop())["rooms"] == 1
        assert first.events("session_ended") == []
        await first.stop()


async def test_rooms_that_lived_through_a_killed_worker_are_watched_again(
    livekit_server: PrivateServer, api: ServerApi, name: str, tmp_path: Path
) -> None:
    rooms = 20
    for number in range(rooms):
        await api.create_room(f"{name}-{number}", empty_timeout=LONG)
    async with running_agent(livekit_server, tmp_path, *flags(name)) as agent:
        for some in (rooms // 2, rooms):
            await agent.logged("session_started", times=some)
        agent.process.kill()
        await agent.ended()
    async with running_agent(livekit_server, tmp_path, *flags(name)) as agent:
        # Begun anew is what the store had not written when the worker was killed.
        with trio.fail_after(2 * WAIT):
            while len(agent.events("reconnected") + agent.events("session_started")) < rooms:
                await agent._more.wait()
        assert len(agent.events("room_started")) == rooms
        assert (await agent.stop())["rooms"] == rooms


async def test_a_thousand_and_twenty_four_open_files_hold_eighty_rooms(
    livekit_server: PrivateServer, people: People, api: ServerApi, name: str, tmp_path: Path
) -> None:
    async with agent_with_open_files(1024, livekit_server, tmp_path, name) as agent:
        await agent.logged("worker_registered")
        assert (await agent.logged("max_rooms"))["rooms"] == 80
        async with trio.open_nursery() as nursery:
            for number in range(72):
                nursery.start_soon(partial(api.create_room, f"{name}-{number}", empty_timeout=LONG))
        for rooms in (20, 40, 60, 72):
            await agent.logged("session_started", times=rooms)
        # A tenth of the places is left for rooms with people.
        async with trio.open_nursery() as nursery:
            for number in range(72, 80):
                nursery.start_soon(people.join, f"{name}-{number}", "alice")
        await agent.logged("session_started", times=80)
        assert agent.events("room_entry_failed") == []
        assert agent.events("job_refused") == []
        assert (await agent.stop())["rooms"] == 80


@asynccontextmanager
async def agent_with_open_files(
    open_files: int, server: PrivateServer, data_dir: Path, name: str
) -> AsyncGenerator[Agent, None]:
    """`start` under a hard limit of open files."""
    start = [sys.executable, "-m", "bridge.cli", "start", "--log-format", "json", *flags(name)]
    command = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *start]
    async with trio.open_nursery() as nursery:
        run = partial(
            trio.run_process,
            command,
            env=environment(server, data_dir),
            capture_stderr=False,
            stderr=-1,
            check=False,
        )
        process: trio.Process = await nursery.start(run)
        agent = Agent(process)
        nursery.start_soon(agent.read)
        try:
            yield agent
        finally:
            if process.returncode is None:
                process.kill()
