"""One case: one observer, so many rooms, everything measured once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from attrs import define, evolve, field, frozen

from bench.errors import BenchError
from bench.measure import Cpu, Memory, Used, cpu_seconds, descriptors, memory_of_tree, threads
from bench.rooms.sides import AGENT_NAME
from bench.scale.load import Load, running_load
from bench.scale.observations import Observations, Verdict
from bench.scale.observers import Observer, Watching, watching
from bridge.lab.server import PrivateServer

DEADLINE: Final = 90.0
"""Seconds for an observer to be ready, or for all rooms to be watched."""
PATIENCE: Final = 3.0
"""Seconds for one job, where it may be that LiveKit sends none."""
PROBES: Final = 10
LATEST: Final = 20.0
"""Seconds after the last event for the last record of one."""
LOOK: Final = 0.25
ARRIVING: Final = 0.5
"""Seconds that an event which was just sent may need, before anything is read."""
SETTLE: Final = 3.0
"""Seconds; also LiveKit's tick, by which all people are announced."""
BUSY: Final = 0.5
"""Of a core: an observer that uses more is still at work."""
PYTHON: Final = ("python", "Trio thread")
"""Names of the threads that run Python: the interpreter's, and trio's.  The native
library's threads also run Python for a moment, in its callback: that is the floor's part."""


@frozen
class Plan:
    people: int = 3
    """People in each room; the first has a microphone and does everything."""
    idle: float = 10.0
    """Seconds over which the CPU of rooms in which nothing happens is read: two of LiveKit's
    looks at the quality of all connections."""
    rates: tuple[float, ...] = (2.8, 10.8)
    """Events a second and room."""
    seconds: float = 6.0
    """Of events, at each rate."""
    passing: int = 10
    """Rooms that come and go beside those that stay, one after the other."""
    a_second: float = 2.0
    """Of them."""
    room_seconds: float = 1.0
    """Seconds that there is somebody in each."""


@frozen
class Look:
    """The resources of an observer at one moment."""

    memory: Memory
    descriptors: int
    threads: int

    @classmethod
    def at(cls, pid: int) -> Look:
        return cls(memory_of_tree(pid), descriptors(pid), threads(pid))


@frozen
class Events:
    """The cost of events at one rate."""

    rate: float
    verdict: Verdict
    used: Used
    seconds: float
    """In which they were sent."""
    late: float
    """Seconds by which the load generator was behind its plan, at most."""


@frozen
class Passing:
    """Rooms that came and went, with one person each."""

    rooms: int
    missed: int
    """Of them: those that were never watched."""
    used: Used


@frozen
class Case:
    observer: Observer
    rooms: int
    empty: Look
    full: Look
    idle: Used
    watched: Sequence[float]
    """Seconds from the call that made a room until it was watched; all made at once."""
    events: Sequence[Events]
    passing: Passing | None
    """None where LiveKit does not send the observer to rooms."""
    counted: int | None = None
    """Messages of the observer's own final summary, where it has one."""


@define(eq=False)
class Stage:
    """An observer, those who give it something to do, and what it recorded of it."""

    watching: Watching
    load: Load
    observations: Observations = field(factory=Observations, init=False)

    def read(self) -> None:
        self.observations.read(self.watching.news())

    def comes(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition at most so many seconds; True where it came to hold."""
        deadline = time.monotonic() + seconds
        self.read()
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK)
            self.read()
        return True

    def until(self, holds: Callable[[], bool], otherwise: Callable[[], str]) -> None:
        """Raises `BenchError` where it does not come to hold."""
        if not self.comes(holds, DEADLINE):
            raise BenchError(f"{otherwise()} after {DEADLINE:g} s")

    def until_ready(self) -> None:
        """Registered and at rest."""
        ready = self.watching.observer.ready
        self.until(lambda: self.observations.logged.keys() >= ready, lambda: "not ready")
        self.settle()

    def until_watched(self, rooms: Sequence[str]) -> None:
        wanted = set(rooms)
        self.until(
            lambda: self.observations.watched.keys() >= wanted,
            lambda: f"not watched: {len(wanted - self.observations.watched.keys())} rooms",
        )

    def until_microphones(self, rooms: Sequence[str]) -> None:
        """Somebody with a microphone is there, in each room."""
        wanted = set(rooms)
        self.until(
            lambda: self.observations.with_microphone >= wanted,
            lambda: (
                f"no microphone seen in {len(wanted - self.observations.with_microphone)} rooms"
            ),
        )

    def settle(self, seconds: float = SETTLE) -> None:
        """Until it is done with what came before: so long at rest."""
        deadline, share = time.monotonic() + DEADLINE, BUSY
        while share >= BUSY and time.monotonic() < deadline:
            used = cpu_seconds([self.watching.pid])
            time.sleep(seconds)
            share = (cpu_seconds([self.watching.pid]) - used) / seconds


@define(eq=False)
class _Play(Stage):
    plan: Plan

    @property
    def observer(self) -> Observer:
        return self.watching.observer

    def run(self, size: int) -> Case:
        self.until_ready()
        empty = Look.at(self.watching.pid)
        rooms = [f"room-{number}" for number in range(size)]
        watched = self.watch(rooms)
        self.fill(rooms)
        self.settle()
        full = Look.at(self.watching.pid)
        idle = self.idle()
        self.watching.prepare()
        events = [self.happen(rooms, rate) for rate in self.plan.rates]
        passing = self.churn() if self.observer.dispatched else None
        return Case(self.observer, size, empty, full, idle, watched, events, passing)

    def watch(self, rooms: Sequence[str]) -> list[float]:
        """Make all rooms at once; seconds until each was watched, sorted."""
        probes = self.probe() if self.observer.dispatched else []
        agent = AGENT_NAME if self.observer.dispatched else ""
        asked = self.load.do("create", rooms, agent=agent).asked
        self.watching.tell(rooms)
        self.until_watched(rooms)
        if probes:
            self.load.do("delete", probes)
        return sorted(self.observations.watched[room] - asked[room] for room in rooms)

    def probe(self) -> list[str]:
        """Rooms made one by one until one of them is watched, the last.

        LiveKit says that a worker is registered a moment before it has jobs for it, and what
        it could not send then is lost.  And livekit-agents refuses what comes at once while
        it has no job at all: of two processes kept ready it takes two jobs to be its limit.
        """
        rooms: list[str] = []
        while len(rooms) < PROBES:
            rooms.append(f"probe-{len(rooms)}")
            self.load.do("create", rooms[-1:], agent=AGENT_NAME)
            if self.comes(lambda: rooms[-1] in self.observations.watched, PATIENCE):
                self.settle()
                return rooms
        raise BenchError(f"none of {PROBES} rooms was watched")

    def fill(self, rooms: Sequence[str]) -> None:
        """People come."""
        self.load.do("fill", rooms, people=self.plan.people)
        self.until_microphones(rooms)

    def idle(self) -> Used:
        before = Cpu.of_tree(self.watching.pid)
        time.sleep(self.plan.idle)
        return before.until(Cpu.of_tree(self.watching.pid))

    def happen(self, rooms: Sequence[str], rate: float) -> Events:
        self.read()
        self.observations.forget()
        before = Cpu.of_tree(self.watching.pid)
        did = self.load.do("play", rooms, rate=rate, seconds=self.plan.seconds)
        # It may be behind: what it still has to do belongs to these events.
        if self.observer.counts:
            time.sleep(ARRIVING)
            self.comes(lambda: Verdict.of(did.sent, self.observations).complete, LATEST)
        else:
            self.settle(ARRIVING)
        used = before.until(Cpu.of_tree(self.watching.pid))
        return Events(rate, Verdict.of(did.sent, self.observations), used, did.seconds, did.late)

    def churn(self) -> Passing:
        """Rooms come, have somebody for a while, and go."""
        rooms = [f"passing-{number}" for number in range(self.plan.passing)]
        before = Cpu.of_tree(self.watching.pid)
        self.load.do(
            "churn",
            rooms,
            agent=AGENT_NAME,
            rate=self.plan.a_second,
            seconds=self.plan.room_seconds,
            people=1,
        )
        self.settle()
        self.read()
        used = before.until(Cpu.of_tree(self.watching.pid))
        return Passing(len(rooms), len(set(rooms) - self.observations.watched.keys()), used)


def measure(
    observer: Observer, size: int, plan: Plan, server_binary: Path, load_binary: Path, folder: Path
) -> Case:
    """Measure once, on a server of its own; leaves nothing running.  Raises `BenchError`."""
    with PrivateServer.start(server_binary, folder / "livekit") as server:
        with (
            watching(observer, server, load_binary, folder / "observer") as running,
            running_load(load_binary, server) as load,
        ):
            play = _Play(running, load, plan)
            case = play.run(size)
        play.read()
    summary = play.observations.summary
    return case if summary is None else evolve(case, counted=summary["messages"])
