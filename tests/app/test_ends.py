"""The begin, failure and end of `start`: exit codes, signals, and what stays behind."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from bridge.app.shutdown import Shutdown
from bridge.lab.people import People, open_people
from bridge.lab.server import PrivateServer
from bridge.log.sink import Sink
from tests.app.agent_program import agents_in, nobody_watches, running_agent, server_api

NAMES = ("--agent-name", "ends-test")


async def test_a_signal_leaves_every_room_and_ends_with_the_summary(
    livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    async with (
        server_api(livekit_server) as api,
        running_agent(livekit_server, tmp_path, *NAMES, "--watch", "ends-*") as agent,
    ):
        for number in range(3):
            await people.join(f"ends-{number}", "alice")
            await agent.logged("participant_found", room=f"ends-{number}")
        agent.signal(signal.SIGINT)
        assert await agent.ended() == 0
        rooms = [f"ends-{number}" for number in range(3)]
        assert [] in [await agents_in(api, room) for room in rooms], "it said goodbye"
        for room in rooms:
            await nobody_watches(api, room)
    assert len(agent.events("session_ended", reason="worker_stopped")) == 3
    assert [agent.events("final_summary")[0][key] for key in ("rooms", "participants")] == [3, 1]
    assert '"agent_stopped"' in agent.lines[-1]


async def test_what_overruns_the_stop_timeout_is_named_and_the_program_ends(
    own_server: PrivateServer, tmp_path: Path
) -> None:
    flags = (*NAMES, "--stop-timeout", "0.5")
    async with (
        open_people(own_server.url, own_server.api_key, own_server.api_secret) as people,
        running_agent(own_server, tmp_path, *flags) as agent,
    ):
        await people.join("stuck", "alice")
        await agent.logged("participant_found", identity="alice")
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            agent.signal()
            code = await agent.ended()
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
    assert code == 1
    assert agent.events("stop_timeout")[0]["waiting_for"] in ("rooms", "the worker's socket")
    assert agent.events("session_ended", room="stuck", reason="worker_stopped")
    assert agent.events("final_summary")[0]["participants"] == 1


async def test_a_second_signal_ends_at_once_and_still_with_the_summary(
    own_server: PrivateServer, tmp_path: Path
) -> None:
    async with (
        open_people(own_server.url, own_server.api_key, own_server.api_secret) as people,
        running_agent(own_server, tmp_path, *NAMES, "--stop-timeout", "60") as agent,
    ):
        await people.join("stuck", "alice")
        await agent.logged("participant_found", identity="alice")
        os.kill(own_server.pid, signal.SIGSTOP)
        try:
            agent.signal(signal.SIGINT)
            await agent.logged("signal_received")
            agent.signal(signal.SIGINT)
            code = await agent.ended()
        finally:
            os.kill(own_server.pid, signal.SIGCONT)
    assert code == 130
    assert agent.events("final_summary")[0]["participants"] == 1
    assert '"agent_stopped"' in agent.lines[-1]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
async def test_a_signal_that_comes_twice_at_once_is_one_request(
    name: str, livekit_server: PrivateServer, people: People, tmp_path: Path
) -> None:
    """A wrapper passes on what its process group gets as well."""
    number = signal.Signals[name]
    room = f"twice-{name}"
    async with running_agent(livekit_server, tmp_path, *NAMES, "--watch", room) as agent:
        await people.join(room, "alice")
        await agent.logged("participant_found", room=room)
        for _ in range(3):
            agent.signal(number)
        assert await agent.ended() == 0
    assert agent.events("signal_received") == agent.events("signal_received", signal=name)[:1]
    assert len(agent.events("session_ended", reason="worker_stopped")) == 1


async def test_a_hangup_that_was_ignored_before_us_is_ignored(
    livekit_server: PrivateServer, tmp_path: Path
) -> None:
    first = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    async with running_agent(livekit_server, tmp_path, *NAMES, first=first) as agent:
        await agent.logged("worker_registered")
        agent.signal(signal.SIGHUP)
        agent.signal(signal.SIGTERM)
        assert await agent.ended() == 0
    assert [said["signal"] for said in agent.events("signal_received")] == ["SIGTERM"]


class Signals:
    """Signals as a receiver gives them, at times of trio's clock."""

    def __init__(self, *those: tuple[float, signal.Signals]) -> None:
        self._those = list(those)

    async def all(self) -> AsyncIterator[int]:
        for at, number in self._those:
            await trio.sleep_until(trio.current_time() + at)
            yield number


INT, TERM, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@pytest.mark.parametrize(
    "those, hurried",
    [
        ([(0, TERM)], False),
        ([(0, TERM), (0.001, TERM), (0.9, HUP)], False),
        ([(0, TERM), (1.1, TERM)], True),
        ([(0, HUP), (1.1, HUP)], True),
        ([(0, INT), (0.001, TERM)], False),
        ([(0, TERM), (0.001, INT)], False),
        ([(0, INT), (0.001, INT)], True),
        ([(0, TERM), (0.1, INT), (0.1, INT)], True),
        ([(0, INT), (1.1, TERM)], True),
    ],
)
async def test_the_hurry_belongs_to_a_second_interrupt_or_a_later_signal(
    those: list[tuple[float, signal.Signals]], hurried: bool, autojump_clock: MockClock
) -> None:
    shutdown = Shutdown(Sink(os.open(os.devnull, os.O_WRONLY), lost_line=str), lambda: None)
    await shutdown.listen(Signals(*those).all())
    assert shutdown.requested.is_set()
    assert (shutdown.hurried.is_set(), shutdown.code) == ((True, 130) if hurried else (False, 0))


async def test_a_wrong_secret_is_one_clear_line_and_exit_code_2(
    livekit_server: PrivateServer, tmp_path: Path
) -> None:
    env = {"LIVEKIT_API_SECRET": "not-the-secret-of-this-server-at-all"}
    async with running_agent(livekit_server, tmp_path, *NAMES, env=env) as agent:
        assert await agent.ended() == 2
    assert "LIVEKIT_API_SECRET" in agent.lines[-1]
    whole = "\n".join(agent.lines)
    assert "Traceback" not in whole
    assert "eyJ" not in whole
    assert env["LIVEKIT_API_SECRET"] not in whole


async def test_a_server_that_is_not_there_yet_is_waited_for(
    own_server: PrivateServer, tmp_path: Path
) -> None:
    own_server.kill()
    async with running_agent(own_server, tmp_path, *NAMES) as agent:
        await agent.logged("worker_connect_failed")
        await trio.to_thread.run_sync(own_server.restart)
        await agent.logged("worker_registered")
        await agent.stop()


async def test_a_server_that_was_killed_gets_its_worker_back_and_new_rooms_are_watched(
    own_server: PrivateServer, tmp_path: Path
) -> None:
    async with (
        server_api(own_server) as api,
        running_agent(own_server, tmp_path, *NAMES) as agent,
    ):
        await agent.logged("worker_registered")
        await api.create_room("before")
        before = await agent.logged("session_started", room="before")
        own_server.kill()
        await agent.logged("worker_disconnected")
        await trio.to_thread.run_sync(own_server.restart)
        await agent.logged("worker_registered", times=2)
        await api.create_room("after")
        await agent.logged("session_started", room="after")
        await agent.logged("session_ended", room_sid=before["room_sid"], reason="server_lost")
        summary = await agent.stop()
    # A server that is back at once has its old room made anew by our own coming back.
    lives = {line["room_sid"] for line in agent.events("session_started")}
    assert summary["rooms"] == len(lives) >= 2


async def test_only_rooms_that_match_are_watched_without_a_dispatch(
    livekit_server: PrivateServer, tmp_path: Path
) -> None:
    async with (
        server_api(livekit_server) as api,
        running_agent(livekit_server, tmp_path, *NAMES, "--watch", "team-*,lobby-7") as agent,
    ):
        await agent.logged("worker_registered")
        for room in ("private-1", "team-1", "lobby-7"):
            await api.create_room(room)
        await agent.logged("session_started", room="team-1")
        await agent.logged("session_started", room="lobby-7")
        summary = await agent.stop()
        assert await agents_in(api, "private-1") == []
    assert summary["rooms"] == 2
