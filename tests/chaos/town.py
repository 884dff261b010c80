"""A town: a server, people who come and go in its rooms, a worker that may die, its store."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio
from attrs import define, field

from bridge.people import People, open_people
from bridge.people.process import PeopleError
from bridge.server import PrivateServer
from bridge.store.reader import open_reader
from tests.chaos.verdict import Blind, differences
from tests.program.agent import Agent, running_agent

SOURCES: Final = ("microphone", "camera", "screen")
NAMES: Final = ("alice", "bob", "carol", "dave")
WATCHING: Final = ("session_started", "reconnected")
"""What the log says when a room is watched, for the first time or again."""
SETTLED: Final = 6.0
"""Seconds after the last deed by which a session has settled: the server's tick, and ours."""


@define(eq=False)
class Town:
    """See the module.  Made by `open_town`."""

    nursery: trio.Nursery
    server: PrivateServer
    people: People
    data_dir: Path
    env: dict[str, str]
    webhooks: bool
    worker: Agent | None = None
    blind: list[Blind] = field(factory=list[Blind])
    _since: float = 0.0

    # -- the worker

    async def start_worker(self, *flags: str) -> Agent:
        """Start it and wait until it is registered."""
        agent: Agent = await self.nursery.start(self._run_worker, flags)
        self.worker = agent
        await agent.said("worker_registered")
        return agent

    async def _run_worker(
        self, flags: Sequence[str], *, task_status: trio.TaskStatus[Agent]
    ) -> None:
        async with running_agent(self.server, self.data_dir, *flags, env=self.env) as agent:
            task_status.started(agent)
            await agent.ended(wait=float("inf"))

    async def kill_worker(self) -> None:
        """`kill -9`, and wait until it is gone."""
        assert self.worker is not None
        self._since = time.time()
        self.worker.signal(signal.SIGKILL)
        await self.worker.ended()

    async def watching(self, rooms: Sequence[str]) -> None:
        """Wait until the worker is in all of these rooms; nobody watched since it was killed."""
        agent = self.worker
        assert agent is not None

        def watched(room: str) -> bool:
            return any(agent.events(event, room=room) for event in WATCHING)

        await agent.until(lambda: all(map(watched, rooms)))
        self.blind.append(Blind(self._since, time.time()))

    async def stop_worker(self) -> dict[str, Any]:
        assert self.worker is not None
        return await self.worker.stop()

    # -- its people

    async def bustle(self, room: str, rng: random.Random, over: trio.Event) -> None:
        """Somebody comes, does this and that, and goes, until it is `over`.  One stays on."""
        keeper = await self.people.join(room, "keeper")
        await keeper.publish("microphone")
        while not over.is_set():
            await self.visit(room, rng.choice(NAMES), rng)
        await keeper.leave()

    async def visit(self, room: str, identity: str, rng: random.Random) -> None:
        person = await self.people.join(room, identity)
        try:
            for source in rng.sample(SOURCES, rng.randint(0, 2)):
                track = await person.publish(source)
                if rng.random() < 0.5:
                    await person.mute(track)
            for _ in range(rng.randint(0, 5)):
                await person.send_data(b"{}", topic="chaos")
                await trio.sleep(rng.uniform(0.0, 0.5))
            await trio.sleep(rng.uniform(0.2, 4.0))
        finally:
            with trio.CancelScope(shield=True):
                await person.leave()

    # -- the verdict

    def sessions(self) -> list[dict[str, Any]]:
        """Every session in the store, whole."""
        with open_reader(self.data_dir) as reader:
            rows = reader.sessions(limit=10_000).sessions
            return [whole for row in rows if (whole := reader.session(row["id"])) is not None]

    def differences(self) -> list[str]:
        """Every session against the truth."""
        sessions = self.sessions()
        by_sid = {session["room_sid"]: session for session in sessions}
        found = [] if len(by_sid) == len(sessions) else ["a life of a room has two sessions"]
        for truth in self.people.truth():
            session = by_sid.get(truth.room_sid)
            found += differences(truth, session, blind=self.blind, webhooks=self.webhooks)
        return found


@asynccontextmanager
async def open_town(
    server: PrivateServer, data_dir: Path, *, http_port: int = 0
) -> AsyncGenerator[Town, None]:
    """A town around a server that runs.  Its worker is killed in the end where it still runs.

    `http_port` is where the server's webhooks go; 0: it sends none.
    """
    async with open_people(server.url, server.api_key, server.api_secret) as people:
        env = {"ROOM_ACTORS_HTTP": f"127.0.0.1:{http_port}"}
        async with trio.open_nursery() as nursery:
            yield Town(nursery, server, people, data_dir, env, webhooks=http_port != 0)
            nursery.cancel_scope.cancel()


__all__ = ["PeopleError", "Town", "open_town"]
