"""Several workers over one database: who watches a room, and how soon after a fault.

    bench/run cluster [--rooms 60] [--burst 40] [--stall 40] [--away 60] [--json FILE] [--help]

Two nodes of LiveKit with one Redis, a durable PostgreSQL, two workers at the first node and one at
the second.  In turn:

1. *slowly*: rooms are made 0.35 s apart.  How evenly do they spread?
2. *burst*: rooms are made at once.  How many entries, and until when are all watched?
3. *killed*: one worker is killed.  Until when are its rooms watched by others?
4. *stalled*: one worker is stopped (SIGSTOP) for `--stall` seconds.  Are new rooms watched, and
   what does it do when it goes on?
5. *restarts*: each worker is restarted.  How long is a room unwatched, and does a session end?
6. *database away*: it takes no connection for `--away` seconds.
7. *machine dead*: the second node and its worker are killed; people come back at the first one.

After each, what must never be: two sessions of a room, missing numbers.  The times are those of the
workers' logs; all is on this machine.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import psycopg
import trio
from attrs import define, field, frozen

from bench.cluster.workers import DATABASE, LONGEST, Machines, WorkerProcess
from bench.entry import bench_parser, run_bench
from bench.measure import conclude, load, markdown
from bridge.lab.people import open_people
from bridge.lab.server import ensure_server
from bridge.livekit.server_api import ServerApi
from bridge.output.progress import ProgressLine

GOALS: Final = {
    "slowly: most rooms of a worker / least": 1.5,
    "burst: entries": 42,
    "burst: all watched after, s": 4.0,
    "killed: its rooms watched by others after, s": 6.0,
    "stalled: a new room watched after, s": 5.0,
    "stalled: rows of it after the take-over": 0,
    "stalled: one agent a room after it goes on, s": 3.0,
    "restarts: longest gap of a room, s": 1.0,
    "restarts: sessions ended": 0,
    "database away: sessions ended": 0,
    "database away: moments ready": 0,
    "machine dead: rooms with people watched after, s": 25.0,
    "faults": 0,
}
"""At most.  A machine that dies: 10 s after people are back, who need up to 15 s."""


@frozen
class Options:
    rooms: int
    burst: int
    stall: float
    away: float
    json: Path | None


@define(eq=False)
class Story:
    """One run.  `figures` fills up."""

    machines: Machines
    api: ServerApi
    progress: ProgressLine
    figures: dict[str, float] = field(factory=dict[str, float])
    faults: list[str] = field(factory=list[str])

    # ------------------------------------------------------------ rooms

    async def make(self, names: Collection[str], every: float = 0.0) -> dict[str, str]:
        """Make rooms; their SIDs, with the names."""
        sids = dict[str, str]()
        doors = trio.CapacityLimiter(8)

        async def one(name: str) -> None:
            async with doors:
                sids[(await self.api.create_room(name)).sid] = name

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(one, name)
                await trio.sleep(every)
        return sids

    async def delete(self, sids: dict[str, str]) -> None:
        for name in sids.values():
            await self.api.delete_room(name)
        await self.owned({})

    async def owned(self, sids: Collection[str], by: Collection[str] = ()) -> dict[str, str]:
        """Wait until live workers, or these, own exactly these rooms."""
        with trio.fail_after(LONGEST):
            while True:
                owners = await trio.to_thread.run_sync(self.machines.owners)
                if owners.keys() == set(sids) and (not by or set(owners.values()) <= set(by)):
                    return owners
                await trio.sleep(0.1)

    async def watched(self, sids: Collection[str], since: float) -> dict[str, float]:
        """Wait until all of these rooms were entered after a time; when each was."""
        with trio.fail_after(LONGEST):
            while True:
                times = self.machines.entered(since)
                if set(sids) <= times.keys():
                    return {sid: times[sid] for sid in sids}
                await trio.sleep(0.1)

    def check(self, after: str) -> None:
        self.faults += [f"after {after}: {fault}" for fault in self.machines.faults()]

    # ------------------------------------------------------------ the faults

    async def slowly(self, rooms: int) -> None:
        self.progress(f"{rooms} rooms, one after the other")
        sids = await self.make([f"slow-{number}" for number in range(rooms)], 0.35)
        counts = Counter((await self.owned(sids)).values())
        least = min(counts[name] for name in self.machines.workers)
        self.figures["slowly: most rooms of a worker / least"] = max(counts.values()) / max(
            least, 0.1
        )
        await self.delete(sids)
        self.check("slowly")

    async def burst(self, rooms: int) -> dict[str, str]:
        self.progress(f"{rooms} rooms at once")
        since = time.time()
        sids = await self.make([f"burst-{number}" for number in range(rooms)])
        times = await self.watched(sids, since)
        await trio.sleep(2.0)
        self.figures["burst: entries"] = self.machines.count("room_started", since)
        self.figures["burst: all watched after, s"] = max(times.values()) - since
        await self.owned(sids)
        self.check("the burst")
        return sids

    async def killed(self, sids: dict[str, str]) -> None:
        self.progress("a worker is killed")
        owners = self.machines.owners()
        victim = self.machines.workers["two"]
        theirs = {sid for sid, owner in owners.items() if owner == "two"}
        since = time.time()
        victim.process.kill()
        times = await self.watched(theirs, since)
        self.figures["killed: its rooms watched by others after, s"] = max(times.values()) - since
        await self.machines.start("two", 0)
        await self.owned(sids)
        self.check("the kill")

    async def stalled(self, sids: dict[str, str], seconds: float) -> dict[str, str]:
        self.progress(f"a worker is stopped for {seconds:g} s")
        worker = self.machines.workers["one"]
        theirs = {sid for sid, owner in self.machines.owners().items() if owner == "one"}
        since = time.time()
        worker.signal(signal.SIGSTOP)
        new = dict[str, str]()
        latest = 0.0
        for number in range(6):
            made_at = time.time()
            made = await self.make([f"new-{number}"])
            latest = max(latest, max((await self.watched(made, made_at)).values()) - made_at)
            new |= made
        self.figures["stalled: a new room watched after, s"] = latest
        await self.watched(theirs, since)
        await trio.sleep(max(0.0, since + seconds - time.time()))
        goes_on = time.time()
        worker.signal(signal.SIGCONT)
        await self._one_agent_each({**sids, **new})
        self.figures["stalled: one agent a room after it goes on, s"] = time.time() - goes_on
        await trio.sleep(2.0)
        self.figures["stalled: rows of it after the take-over"] = self.machines.rows_written_by(
            "one", goes_on - 1.0, theirs
        )
        self.check("the stall")
        return new

    async def _one_agent_each(self, rooms: dict[str, str]) -> None:
        with trio.fail_after(LONGEST):
            while True:
                owners = self.machines.owners()
                agents = {sid: await self.machines.agents(self.api, rooms[sid]) for sid in rooms}
                if all(agents[sid] == {owners.get(sid, ""): 1} for sid in rooms):
                    return

    async def restarts(self, sids: dict[str, str]) -> None:
        for name, node in (("one", 0), ("two", 0), ("three", 1)):
            self.progress(f"worker {name} is restarted")
            code = await self.machines.workers[name].end()
            if code:
                self.faults.append(f"worker {name} ended with {code}")
            await self.machines.start(name, node)
        await self.owned(sids)
        views = self.machines.sessions(sids)
        gaps = [
            _seconds(gap.since, gap.until)
            for view in views.values()
            for gap in view.gaps
            if gap.reason == "worker_stopped"
        ]
        self.figures["restarts: longest gap of a room, s"] = max(gaps, default=0.0)
        self.figures["restarts: sessions ended"] = sum(
            view.ended_at is not None for view in views.values()
        )
        self.check("the restarts")

    async def database_away(self, sids: dict[str, str], seconds: float) -> None:
        self.progress(f"the database is away for {seconds:g} s")
        workers = list(self.machines.workers.values())
        self._allow_connections(allowed=False)
        await trio.sleep(7.0)
        ready, ends_at = 0, time.time() + seconds - 7.0
        while time.time() < ends_at:
            for worker in workers:
                ready += await self.machines.is_ready(worker)
            await trio.sleep(1.0)
        self._allow_connections(allowed=True)
        back = time.time()
        for worker in workers:
            await self._ready(worker)
        self.figures["database away: all ready again after, s"] = time.time() - back
        await self.owned(sids)
        self.figures["database away: moments ready"] = ready
        views = self.machines.sessions(sids)
        ended = sum(view.ended_at is not None for view in views.values())
        self.figures["database away: sessions ended"] = ended
        self.check("the outage")

    async def _ready(self, worker: WorkerProcess) -> None:
        with trio.fail_after(LONGEST):
            while not await self.machines.is_ready(worker):  # noqa: ASYNC110 (no event outside)
                await trio.sleep(0.2)

    def _allow_connections(self, *, allowed: bool) -> None:
        with psycopg.connect(self.machines.postgres.url(), autocommit=True) as db:
            db.execute(
                f"ALTER DATABASE {DATABASE} ALLOW_CONNECTIONS {str(allowed).lower()}".encode()
            )
            if not allowed:
                db.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    (DATABASE,),
                )

    async def machine_dead(self) -> None:
        self.progress("a node and its worker die")
        node = self.machines.nodes[0]
        async with open_people(node.url, node.api_key, node.api_secret) as people:
            names = [f"people-{number}" for number in range(6)]
            since = time.time()
            async with self.machines.api(1) as there:
                sids = {(await there.create_room(name)).sid: name for name in names}
            for name in names:
                await people.join(name, "alice")
            await self.watched(sids, since)
            await trio.sleep(2.0)
            theirs = {sid for sid, owner in self.machines.owners().items() if owner == "three"}
            at = time.time()
            self.machines.workers["three"].process.kill()
            await trio.to_thread.run_sync(self.machines.nodes[1].kill)
            times = await self.watched(theirs & sids.keys(), at)
            self.figures["machine dead: its rooms with people"] = len(times)
            self.figures["machine dead: rooms with people watched after, s"] = (
                max(times.values(), default=at) - at
            )
        self.check("the death of a machine")


def _seconds(since: str, until: str | None) -> float:
    end = datetime.fromisoformat(until) if until else datetime.now().astimezone()
    return (end - datetime.fromisoformat(since)).total_seconds()


async def measure(options: Options, folder: Path, progress: ProgressLine) -> Story:
    binary = ensure_server(progress)
    with Machines(folder, binary) as machines:
        async with machines.api() as api:
            story = Story(machines, api, progress)
            progress("three workers start")
            for name, node in (("one", 0), ("two", 0), ("three", 1)):
                await machines.start(name, node)
            await story.slowly(options.rooms)
            sids = await story.burst(options.burst)
            await story.killed(sids)
            sids |= await story.stalled(sids, options.stall)
            await story.restarts(sids)
            await story.database_away(sids, options.away)
            await story.delete(sids)
            await story.machine_dead()
    story.figures["faults"] = len(story.faults)
    return story


def main() -> int:
    parser = bench_parser("cluster", __doc__)
    parser.add_argument("--rooms", type=int, default=60, help="made one after the other")
    parser.add_argument("--burst", type=int, default=40, help="rooms made at once")
    parser.add_argument("--stall", type=float, default=40.0, help="seconds")
    parser.add_argument("--away", type=float, default=60.0, help="seconds")
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    options = Options(**vars(parser.parse_args()))
    before = load()
    with ProgressLine(sys.stderr) as progress, tempfile.TemporaryDirectory() as folder:
        story = trio.run(measure, options, Path(folder), progress)
    figures: dict[str, Any] = story.figures
    rows = [
        (
            name,
            f"{value:.2f}".rstrip("0").rstrip("."),
            f"at most {GOALS[name]:g}" if name in GOALS else "",
        )
        for name, value in figures.items()
    ]
    print(markdown(("3 workers, 2 nodes", "measured", "goal"), rows))
    print()
    for fault in story.faults:
        print(f"FAULT: {fault}")
    unmet = [
        f"{name}: {figures[name]:g}, at most {goal:g}"
        for name, goal in GOALS.items()
        if figures[name] > goal
    ]
    return conclude(options.json, before, figures, unmet)


if __name__ == "__main__":
    run_bench(main)
