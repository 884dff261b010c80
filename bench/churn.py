"""A worker's long life: bursts of rooms, then thousands that come and go, and what is left of it.

    bench/run churn [--rooms 2000] [--together N] [--json FILE] [--help]

One worker, started as its users start it, on a private livekit-server:

1. 50 rooms are made within one second: all must be watched, or an offer was lost.  Then
   somebody with a microphone comes into each and leaves, and they are deleted.
2. 100 rooms are made at once, and the same.  *Watched after* runs from before the call that
   made a room to the moment at which the worker says that it watches it.
3. Rooms come and go, `--rooms` of them, `--rate` a second: each is made, somebody
   with a microphone comes in, it lives for `--lives` seconds, he leaves, and a second
   later it is deleted (with him in it, the SDK leaks: see `bench/README.md`).
   After each quarter, when the worker is done with it, its memory, descriptors, threads,
   actors and C heap (by SIGUSR1) are read.  With `--together N` it is no rate that decides:
   N empty rooms are made within a second, and deleted once all are watched, and so on.  That
   is much cheaper for the machine, and misses no room on a busy one.

What a process pays once is paid in 1 and 2 and in 150 rooms more (native threads, caches,
the newest ended sessions, which it keeps); what it holds then is the base that everything
later is held against.  *Growth* is what it holds after the last quarter over that base, for
memory the anonymous one: what a file's pages count for depends on who else has them.  With
`--base N` the base is what it holds after N rooms of 3.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
from attrs import define, frozen

from actors.rooms.room_table import FINISHED_LIMIT
from bench.entry import bench_parser, run_bench
from bench.measure import MIB, conclude, load, markdown
from bench.rooms.sides import AGENT_NAME, OURS
from bench.scale.case import Look, Stage
from bench.scale.load import ensure_load, running_load
from bench.scale.observers import OBSERVERS, watching
from bridge import __version__
from bridge.lab.server import PrivateServer, ensure_server
from bridge.output.progress import ProgressLine

OFFERED: Final = 50
"""Rooms made within one second."""
AT_ONCE: Final = 100
STAYING: Final = FINISHED_LIMIT - OFFERED - AT_ONCE
"""Rooms more, until as many ended sessions are in memory as are kept there."""
WATCHED_GOAL: Final = 5.0
"""Seconds in which all of `AT_ONCE` must be watched."""
GROWTH_GOAL: Final = 0.05
QUARTERS: Final = 4
ACTORS_END_WITHIN: Final = 90.0
"""Seconds for rooms that stay though they were deleted: whoever was joining made them anew,
and they are empty until the server gives them up, after 60 s."""
TELLING: Final = 1.0
"""Seconds for a worker to show its actors."""


@frozen
class RestSample:
    """The worker's memory, descriptors, threads and actors at a moment of rest."""

    after: str
    look: Look
    actors: int
    heap: str
    """The C library's memory, in its own words."""


@define(eq=False)
class LongRun(Stage):
    """A stage on which rooms do not stay."""

    def burst(self, name: str, count: int, over: float) -> list[float]:
        """Make rooms; seconds until each was watched, sorted.  People come and go, and they
        are gone at the end."""
        rooms = [f"{name}-{number}" for number in range(count)]
        asked = self.load.do("create", rooms, agent=AGENT_NAME, over=over).asked
        self.until_watched(rooms)
        self.load.do("fill", rooms, people=1)
        self.until_microphones(rooms)
        self.load.do("leave", rooms)
        self.settle()
        self.load.do("delete", rooms)
        self.until_ended(rooms)
        return sorted(self.observations.watched[room] - asked[room] for room in rooms)

    def churn(self, rooms: Sequence[str], rate: float, lives: float) -> list[str]:
        """Rooms come and go; those that were never watched."""
        self.load.do("churn", rooms, agent=AGENT_NAME, rate=rate, seconds=lives, people=1)
        self.settle()
        self.read()
        watched = [room for room in rooms if room in self.observations.watched]
        self.until_ended(watched)
        return [room for room in rooms if room not in self.observations.watched]

    def rounds(self, rooms: Sequence[str], together: int) -> list[str]:
        """Empty rooms come and go, so many together; none stays unwatched."""
        for begin in range(0, len(rooms), together):
            part = rooms[begin : begin + together]
            self.load.do("create", part, agent=AGENT_NAME, over=1.0)
            self.until_watched(part)
            self.load.do("delete", part)
            self.until_ended(part)
        return []

    def until_ended(self, rooms: Sequence[str]) -> None:
        wanted = set(rooms)
        self.until(
            lambda: self.observations.ended >= wanted,
            lambda: f"sessions still open: {len(wanted - self.observations.ended)}",
        )

    def rest_sample(self, after: str, actors: int) -> RestSample:
        """At rest, once there are no more actors than so many, or after `GONE` seconds."""
        deadline = time.monotonic() + ACTORS_END_WITHIN
        self.settle()
        found = self.actors()
        while found > actors and time.monotonic() < deadline:
            self.settle()
            found = self.actors()
        return RestSample(after, Look.at(self.watching.pid), found, self.watching.last_line)

    def actors(self) -> int:
        """Lines in which SIGUSR1 shows them; they are no records, everything else is."""
        self.read()
        before = self.watching.unstructured
        os.kill(self.watching.pid, signal.SIGUSR1)
        time.sleep(TELLING)
        self.read()
        return self.watching.unstructured - before


def run(options: argparse.Namespace, server_binary: Path, load_binary: Path) -> dict[str, Any]:
    """The whole run.  Raises `BenchError`."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        with (
            PrivateServer.start(server_binary, folder / "livekit") as server,
            watching(OBSERVERS[OURS], server, load_binary, folder / "worker") as worker,
            running_load(load_binary, server) as generator,
        ):
            long_run = LongRun(worker, generator)
            long_run.until_ready()
            actors = long_run.actors()
            offered = long_run.burst("offered", OFFERED, 1.0)
            at_once = long_run.burst("at-once", AT_ONCE, 0.0)
            long_run.burst("kept", STAYING, STAYING / options.rate)
            samples = [long_run.rest_sample("the bursts", actors)]
            rooms = [f"churn-{number}" for number in range(options.rooms)]
            missed: list[str] = []
            base = samples[0]
            for begin, end in _parts(len(rooms), options.base):
                if options.together:
                    missed += long_run.rounds(rooms[begin:end], options.together)
                else:
                    missed += long_run.churn(rooms[begin:end], options.rate, options.lives)
                samples.append(long_run.rest_sample(f"{end} rooms", actors))
                if end == options.base:
                    base = samples[-1]
                print(samples[-1], file=sys.stderr, flush=True)
    watched = len(rooms) - len(missed)
    return {
        "offered_s": offered,
        "at_once_s": at_once,
        "churned": len(rooms),
        "not_watched": missed,
        "sessions_too_many": long_run.observations.logged["session_started"]
        - FINISHED_LIMIT
        - watched,
        "held": [attrs.asdict(one) for one in samples],
        "growth": {
            name: _growth(base, samples[-1], name)
            for name in ("anonymous", "descriptors", "threads", "actors")
        },
    }


def _parts(rooms: int, base: int) -> list[tuple[int, int]]:
    """The rooms up to the base, then quarters: begin and end of each part."""
    quarter = max(1, -(-(rooms - base) // QUARTERS))
    ends = sorted({base, *range(base, rooms, quarter), rooms} - {0})
    return list(zip([0, *ends], ends, strict=False))


def _value(sample: RestSample, name: str) -> float:
    return {
        "anonymous": sample.look.memory.pss_anonymous / MIB,
        "descriptors": sample.look.descriptors,
        "threads": sample.look.threads,
        "actors": sample.actors,
    }[name]


def _growth(base: RestSample, end: RestSample, name: str) -> float:
    return _value(end, name) / _value(base, name) - 1


def show(result: dict[str, Any]) -> None:
    for name, key in (
        (f"{OFFERED} within a second", "offered_s"),
        (f"{AT_ONCE} at once", "at_once_s"),
    ):
        found = result[key]
        print(
            f"{name}: watched after {found[len(found) // 2]:.2f} s (half of them), "
            f"{found[-1]:.2f} s (all)"
        )
    print(
        f"{result['churned']} rooms came and went, {len(result['not_watched'])} never watched; "
        f"{result['sessions_too_many']} sessions of rooms that nobody made\n"
    )
    head = ("after", "PSS, MiB", "anonymous, MiB", "descriptors", "threads", "actors", "heap")
    print(markdown(head, map(_row, result["held"])), end="\n\n")


def _row(sample: Mapping[str, Any]) -> Sequence[str]:
    look = sample["look"]
    memory = look["memory"]
    return (
        sample["after"],
        f"{memory['pss'] / MIB:.1f}",
        f"{memory['pss_anonymous'] / MIB:.1f}",
        *(str(count) for count in (look["descriptors"], look["threads"], sample["actors"])),
        sample["heap"].removeprefix("C heap: "),
    )


def unmet(result: dict[str, Any]) -> list[str]:
    found = [
        f"{name} grew by {growth:.1%}"
        for name, growth in result["growth"].items()
        if growth > GROWTH_GOAL
    ]
    if result["at_once_s"][-1] > WATCHED_GOAL:
        found.append(f"{AT_ONCE} at once: watched after {result['at_once_s'][-1]:.1f} s")
    if result["sessions_too_many"]:
        found.append(f"{result['sessions_too_many']} sessions of rooms that nobody made")
    if result["not_watched"]:
        found.append(f"{len(result['not_watched'])} rooms were never watched")
    return found


def main() -> int:
    parser = bench_parser("churn", __doc__)
    parser.add_argument("--rooms", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=20.0, help="rooms a second")
    parser.add_argument("--lives", type=float, default=2.0, help="seconds that each lives")
    parser.add_argument("--together", type=int, default=0, help="empty rooms at a time")
    parser.add_argument("--base", type=int, default=0, help="rooms before the base is read")
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    parser.add_argument("--keep", type=Path, help="a folder for all logs, to be looked at")
    options = parser.parse_args()
    before = load()
    with ProgressLine(sys.stderr) as progress:
        binaries = ensure_server(progress), ensure_load(progress)
    result = run(options, *binaries)
    show(result)
    return conclude(options.json, before, result, unmet(result), f"{OURS} {__version__}")


if __name__ == "__main__":
    run_bench(main)
