"""The program as a user runs it: a process, its log, its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from bridge.lab.people import Person
from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey

WAIT: Final = 60.0
"""Seconds in which anything awaited here must happen."""


def environment(server: PrivateServer, data_dir: Path, **more: str) -> dict[str, str]:
    """The variables that a user would export."""
    inherited = {
        key: os.environ[key] for key in ("PATH", "HOME", "PYTHONPATH") if key in os.environ
    }
    return {
        **inherited,
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
        "ROOM_ACTORS_DATA_DIR": str(data_dir),
        "ROOM_ACTORS_HTTP": "127.0.0.1:0",
        **more,
    }


class Agent:
    """One running `room-actors start`."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._more = trio.Event()
        self._ended = False

    async def read(self) -> None:
        """Take in the log until it ends."""
        assert self.process.stderr is not None
        rest = b""
        async for chunk in self.process.stderr:
            *whole, rest = (rest + chunk).split(b"\n")
            self.lines += [line.decode() for line in whole]
            self._wake()
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        more, self._more = self._more, trio.Event()
        more.set()

    def events(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The lines of an event with these fields in the JSON log so far."""
        matching: list[dict[str, Any]] = []
        for line in self.lines:
            entry = json.loads(line)
            if entry["event"] == event and fields.items() <= entry.items():
                matching.append(entry)
        return matching

    async def logged(self, event: str, *, times: int = 1, **fields: Any) -> dict[str, Any]:
        """Wait until the JSON log has an event with these fields so many times; the last."""
        with trio.move_on_after(WAIT):
            while len(self.events(event, **fields)) < times and not self._ended:
                await self._more.wait()
        matching = self.events(event, **fields)
        assert len(matching) >= times, f"{event} {fields} was not logged: " + "\n".join(self.lines)
        return matching[times - 1]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until the log says enough for `holds` to be true."""
        with trio.fail_after(WAIT):
            while not holds():
                assert not self._ended, "\n".join(self.lines)
                await self._more.wait()

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    async def ended(self, wait: float = WAIT) -> int:
        """Wait for its exit code and the last line of its log."""
        with trio.fail_after(wait):
            code = await self.process.wait()
            while not self._ended:
                await self._more.wait()
        return code

    async def stop(self) -> dict[str, Any]:
        """End it as a user does; its Final Summary."""
        self.signal()
        assert await self.ended() == 0, "\n".join(self.lines)
        return self.events("final_summary")[-1]


@asynccontextmanager
async def running_agent(
    server: PrivateServer,
    data_dir: Path,
    *flags: str,
    env: Mapping[str, str] | None = None,
    first: str = "",
) -> AsyncGenerator[Agent, None]:
    """`start` with a JSON log; killed at the end of the block where it still runs.

    `first` is Python that its process runs before anything else.
    """
    # Whoever runs the tests may ignore it, as nohup does, and a process inherits that.
    hangup = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_DFL)"
    main = f"{hangup}\n{first}\nimport sys, bridge.cli\nsys.exit(bridge.cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", main, "start", "--log-format", "json", *flags]
    async with trio.open_nursery() as nursery:
        run = partial(
            trio.run_process,
            command,
            env=environment(server, data_dir, **(env or {})),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
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


def server_api(server: PrivateServer) -> ServerApi:
    """The server's API with the server's own key."""
    return ServerApi(Endpoint.parse(server.url), ApiKey(server.api_key, server.api_secret))


async def hears(agent: Agent, person: Person, data: bytes, topic: str = "") -> None:
    """Have a person say something that is heard: what comes before the agent's data channel
    is open, some milliseconds after it is in the room, is lost."""
    while True:
        with trio.move_on_after(5):
            await person.send_data(data, topic=topic)
            await agent.logged("data_message", room=person.room, topic=topic, size=len(data))
            return


async def nobody_watches(api: ServerApi, room: str) -> None:
    """Wait until the server knows no agent in a room.

    A goodbye is lost where the server was just writing to whoever says it; the server
    waits 20 s then.
    """
    with trio.fail_after(WAIT):
        while True:
            if not await agents_in(api, room):
                return
            await trio.sleep(0.1)


async def agents_in(api: ServerApi, room: str) -> list[str]:
    """Identities of the agents that the server knows in a room."""
    return [who.identity for who in await api.list_participants(room) if who.kind == who.AGENT]
