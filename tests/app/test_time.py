"""Times are those of the server's clock, and none lies where nobody watched."""

from __future__ import annotations

import json
import signal
import time
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import pytest
import trio

from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit.heartbeat import BEAT
from bridge.livekit.server_clock import WORTH_A_WARNING
from bridge.store.sqlite_reader import open_reader
from tests.app.agent_program import Agent, running_agent
from tests.session.session_story import as_json

SHIFTED = """
import signal, time
real, ahead = time.time, [{ahead}]
time.time = lambda: real() + ahead[0]
signal.signal(signal.SIGUSR2, lambda *_: ahead.append(ahead.pop() + {step}))
"""
"""Code that a process runs first: its clock is ahead, and takes a step at SIGUSR2."""

ABOUT: Final = 0.5
"""Seconds by which times may differ on a busy machine; the clocks differ by 4 and more."""


def shifted(ahead: float, step: float = 0.0) -> str:
    return SHIFTED.format(ahead=ahead, step=step)


def unix(text: str | None) -> float:
    assert text is not None
    return datetime.fromisoformat(text).timestamp()


def stored_session(data_dir: Path, room: str) -> dict[str, Any]:
    with open_reader(data_dir) as reader:
        session = reader.session(room)
    assert session is not None
    return as_json(session)


def joins_of(session: dict[str, Any], identity: str) -> list[dict[str, Any]]:
    return [
        join
        for one in session["participants"]
        if one["identity"] == identity
        for join in one["joins"]
    ]


@pytest.fixture
def room() -> str:
    return f"time-{uuid4().hex[:8]}"


async def test_a_clock_that_is_off_is_in_no_time_of_a_session(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    """Several workers with clocks of their own watch the same room."""
    agents: dict[float, Agent] = {}
    offsets = (-120.0, -4.0, 4.0, 120.0)
    async with AsyncExitStack() as stack:
        alice = await people.join(room, "alice")
        await alice.publish("microphone")
        for ahead in offsets:
            name = ("--agent-name", f"{room}{ahead:+.0f}", "--watch", room)
            running = running_agent(
                livekit_server, tmp_path / f"{ahead}", *name, first=shifted(ahead)
            )
            agents[ahead] = await stack.enter_async_context(running)
        for agent in agents.values():
            await agent.logged("track_published", room=room)
        await alice.leave()
        left_at = time.time()
        for agent in agents.values():
            await agent.logged("participant_disconnected", identity="alice")
        for ahead, agent in agents.items():
            warned = await agent.logged("clock_off")
            assert abs(warned["offset"] - ahead) < ABOUT
            await agent.stop()
    stopped_at = time.time()
    for ahead in offsets:
        session = stored_session(tmp_path / f"{ahead}", room)
        (join,) = joins_of(session, "alice")
        assert alice.joined_at is not None
        assert abs(unix(join["joined_at"]) - alice.joined_at) < ABOUT, ahead
        assert abs(unix(join["left_at"]) - left_at) < ABOUT, ahead
        assert abs(session["clock_offset"] - ahead) < ABOUT
        # The session may begin before LiveKit told more than whole seconds.
        assert unix(session["started_at"]) <= left_at + ABOUT
        assert left_at < unix(session["ended_at"]) < stopped_at + ABOUT
        assert 0.0 <= session["entered_after"] < 30.0
        assert (session["coverage"], session["gaps"]) == (1.0, [])


async def test_a_clock_that_is_set_meanwhile_moves_nothing(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    alice = await people.join(room, "alice")
    await alice.publish("microphone")
    first = shifted(0.0, step=3600.0)
    async with running_agent(livekit_server, tmp_path, "--watch", room, first=first) as agent:
        await agent.logged("track_published", room=room)
        agent.signal(signal.SIGUSR2)
        warned = await agent.logged("clock_off")
        assert abs(warned["offset"] - 3600.0) < WORTH_A_WARNING
        bob = await people.join(room, "bob")
        await bob.publish("microphone")
        await agent.logged("track_published", room=room, times=2)
        published_at = time.time()
        await alice.leave()
        left_at = time.time()
        await agent.logged("participant_disconnected", identity="alice")
        summary = await agent.stop()
    session = stored_session(tmp_path, room)
    (join,) = joins_of(session, "alice")
    assert abs(unix(join["left_at"]) - left_at) < ABOUT
    assert abs(unix(session["tracks"][-1]["published_at"]) - published_at) < 2 * ABOUT
    assert abs(session["clock_offset"] - 3600.0) < WORTH_A_WARNING
    assert session["duration"] < 60.0
    assert summary["duration"] < 60.0
    assert (session["coverage"], session["gaps"]) == (1.0, [])


async def test_who_left_while_the_worker_was_stopped_left_when_it_was_stopped(
    livekit_server: PrivateServer, people: People, tmp_path: Path, room: str
) -> None:
    alice = await people.join(room, "alice")
    bob = await people.join(room, "bob")
    for person in (alice, bob):
        await person.publish("microphone")
    async with running_agent(livekit_server, tmp_path, "--watch", room) as agent:
        await agent.logged("track_published", room=room, times=2)
        running_at = time.time()
        agent.signal(signal.SIGSTOP)
        stopped_at = time.time()
        await trio.sleep(1.5)
        await bob.leave()
        await trio.sleep(1.5)
        waking_at = time.time()
        agent.signal(signal.SIGCONT)
        await agent.logged("suspended", room=room)
        await agent.logged("participant_disconnected", identity="bob")
        await agent.stop()
    order = [
        line["event"]
        for line in map(json.loads, agent.lines)
        if line["event"] in ("suspended", "participant_disconnected")
    ]
    assert order[:2] == ["suspended", "participant_disconnected"]
    session = stored_session(tmp_path, room)
    (gap,) = session["gaps"]
    assert gap["reason"] == "suspended"
    assert running_at - BEAT - ABOUT < unix(gap["from"]) < stopped_at + ABOUT
    assert waking_at - ABOUT < unix(gap["to"]) < waking_at + 2 * ABOUT
    (join,) = joins_of(session, "bob")
    assert (join["left_at"], join["leave_reason"]) == (gap["from"], "client_initiated")
    unseen = unix(gap["to"]) - unix(gap["from"])
    assert session["coverage"] == pytest.approx(1.0 - unseen / watched_for(session), abs=0.02)


def watched_for(session: dict[str, Any]) -> float:
    """Seconds since our first entry."""
    (began,) = [one["at"] for one in session["timeline"] if one["event"] == "session_started"]
    return unix(session["ended_at"]) - unix(began)
