"""One run of one side, from the start of its worker to the verdict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from pathlib import Path
from time import time
from typing import Final

import trio
from attrs import define, field, frozen

from bench.errors import BenchError
from bench.measure import Memory, cpu_seconds, memory_of_tree
from bench.rooms import facts, story
from bench.rooms.sides import AGENT_NAME, READY, Record, Worker, running
from bench.rooms.story import Stage
from bridge.lab.people import open_people
from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey

DEADLINE: Final = 60.0
"""Seconds for a worker to register, or for all rooms to be watched."""
LATEST: Final = 40.0
"""Seconds after the last deed for the last record of it.  A goodbye that LiveKit did not read
(its sender closed the socket too soon after it) is told 20 s later, as a timeout."""
LOOK: Final = 0.05
ROOMS_AT_ONCE: Final = 4
"""In which people come or act at the same time: more, and sixty people are the whole load."""
BUSY: Final = 0.5
"""Of a core.  A worker that uses more is still at work on what came before."""
EMPTY_TIMEOUT: Final = 600
"""Seconds for which a room stays without people."""


@frozen
class Plan:
    rooms: int = 20
    first: int = 5
    """Of the rooms: those that are made one at a time."""
    settle: float = 3.0
    """Seconds, again and again until the worker has used less than `BUSY` in them."""
    idle: float = 20.0
    """Seconds over which the CPU of an idle worker is read."""


@frozen
class Outcome:
    """The result of one run of one side.  Seconds, bytes."""

    empty: Memory
    few: Memory
    """With the first rooms."""
    all: Memory
    """With all of them."""
    empty_cpu: float
    """Of a core."""
    all_cpu: float
    people_cpu: float
    """Of a core, by all people together, in the same time."""
    one_by_one: Sequence[float]
    """Dispatch to watched, of the rooms that were made one at a time."""
    at_once: Sequence[float]
    verdict: facts.Verdict


@define(eq=False)
class _Run:
    plan: Plan
    worker: Worker
    stage: Stage
    asked: dict[str, float] = field(factory=dict[str, float])
    """By room: Unix time just before the call that makes it."""

    async def play(self) -> Outcome:
        await self.until(self.is_ready, "the worker is not registered or not ready")
        await self.settle()
        empty, empty_cpu, _ = await self.read()
        first = [f"room-{number}" for number in range(self.plan.first)]
        rest = [f"room-{number}" for number in range(self.plan.first, self.plan.rooms)]
        for room in first:
            await self.open(room)
            await self.until_watched([room])
            await story.fill(self.stage, room)
            await self.settle()
        few = memory_of_tree(self.worker.pid)
        async with trio.open_nursery() as nursery:
            for room in rest:
                nursery.start_soon(self.open, room)
        await self.until_watched(rest)
        await self.settle()
        await self.some_at_once(story.fill, rest)
        await self.settle()
        everything, all_cpu, people_cpu = await self.read()
        await self.some_at_once(story.tell, (*first, *rest))
        verdict = await self.judge()
        latencies = self.latencies()
        return Outcome(
            empty=empty,
            few=few,
            all=everything,
            empty_cpu=empty_cpu,
            all_cpu=all_cpu,
            people_cpu=people_cpu,
            one_by_one=[latencies[room] for room in first],
            at_once=[latencies[room] for room in rest],
            verdict=verdict,
        )

    async def settle(self) -> None:
        """Until the worker is done with what came before.  livekit-agents registers before
        its spare processes are ready, and makes another one for each that got a room."""
        with trio.move_on_after(DEADLINE):
            share = BUSY
            while share >= BUSY:
                used = cpu_seconds([self.worker.pid])
                await trio.sleep(self.plan.settle)
                share = (cpu_seconds([self.worker.pid]) - used) / self.plan.settle

    async def open(self, room: str) -> None:
        self.asked[room] = time()
        await self.stage.api.create_room(room, agents=[AGENT_NAME], empty_timeout=EMPTY_TIMEOUT)

    async def some_at_once(
        self, chapter: Callable[[Stage, str], Awaitable[None]], rooms: Sequence[str]
    ) -> None:
        """Play a chapter of the story in each room."""
        limit = trio.CapacityLimiter(ROOMS_AT_ONCE)

        async def play(room: str) -> None:
            async with limit:
                await chapter(self.stage, room)

        async with trio.open_nursery() as nursery:
            for room in rooms:
                nursery.start_soon(play, room)

    async def read(self) -> tuple[Memory, float, float]:
        """Memory, and the share of a core over `idle` seconds: the worker's, the people's."""
        groups = ([self.worker.pid], self.stage.people.pids)
        before, began = [cpu_seconds(pids) for pids in groups], trio.current_time()
        await trio.sleep(self.plan.idle)
        seconds = trio.current_time() - began
        ours, theirs = (
            (cpu_seconds(pids) - used) / seconds for pids, used in zip(groups, before, strict=True)
        )
        return memory_of_tree(self.worker.pid), ours, theirs

    async def until(self, holds: Callable[[], bool], otherwise: str) -> None:
        deadline = trio.current_time() + DEADLINE
        while not holds():
            if trio.current_time() > deadline:
                raise BenchError(f"{otherwise} after {DEADLINE:g} s")
            await trio.sleep(LOOK)

    def is_ready(self) -> bool:
        events = {one["event"] for one in self.worker.records()}
        return events >= READY[self.worker.side]

    async def until_watched(self, rooms: Sequence[str]) -> None:
        await self.until(
            lambda: self.latencies().keys() >= set(rooms), f"not all of {rooms} are watched"
        )

    def latencies(self) -> dict[str, float]:
        """By room: seconds from the call that made it until the worker said it has it."""
        return {
            one["room"]: _unix(one) - self.asked[one["room"]]
            for one in reversed(self.worker.records())
            if one["event"] == "session_started"
        }

    async def judge(self) -> facts.Verdict:
        """The comparison, as soon as nothing is missing, or in the end."""
        happened = facts.done(deed for room in self.stage.people.truth() for deed in room.deeds)
        verdict = facts.Verdict.of(happened, facts.recorded(self.worker.records()))
        with trio.move_on_after(LATEST):
            while verdict.missing:
                await trio.sleep(LOOK)
                verdict = facts.Verdict.of(happened, facts.recorded(self.worker.records()))
        return verdict


def _unix(record: Record) -> float:
    return datetime.fromisoformat(record["time"]).timestamp()


async def run(side: str, plan: Plan, binary: Path, folder: Path) -> Outcome:
    """Measure one side.  Raises `BenchError`, and leaves nothing running."""
    with PrivateServer.start(binary, folder / "livekit") as server:
        key = ApiKey(server.api_key, server.api_secret)
        with running(side, server, folder / "worker") as worker:
            async with (
                ServerApi(Endpoint.parse(server.url), key) as api,
                open_people(server.url, server.api_key, server.api_secret) as people,
            ):
                return await _Run(plan, worker, Stage(people, api)).play()
