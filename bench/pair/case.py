"""One run: all sides in the same rooms of one server, everything measured once."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from bench.errors import BenchError
from bench.measure import Cpu, Used, cpu_seconds
from bench.pair.checkouts import Side
from bench.rooms.sides import PEER
from bench.scale.case import (
    ARRIVING,
    BUSY,
    DEADLINE,
    LATEST,
    LOOK,
    PROBES,
    SETTLE,
    Look,
    Stage,
)
from bench.scale.load import Load, running_load
from bench.scale.observations import Verdict
from bench.scale.observers import Record, watching
from bridge.lab.server import PrivateServer

PATIENCE: Final = 6.0
"""Seconds in which a worker finds a room by itself: it looks every 1.5 s."""
UNCOUNTED: Final = frozenset(
    {
        "dispatch_taken_back",
        "job_terminated",
        "report_room",
        "room_claimed",
        "room_dispatched",
        "room_left_to_another",
        "room_status",
    }
)
"""Lines about a room that are no event in it: a timer's, or of the way in which the worker came
to have the room, where it has the choice."""


@frozen
class Plan:
    rooms: int = 50
    people: int = 3
    """People in each room; the first has a microphone and does everything."""
    rate: float = 10.8
    """Events a second and room."""
    seconds: float = 6.0
    """Of events; none where it is 0."""
    idle: float = 10.0
    """Seconds over which the CPU at rest is read, before the events and after them."""


@frozen
class Events:
    verdict: Verdict
    used: Used


@frozen
class Part:
    """The figures of one side in a run."""

    side: Side
    empty: Look
    full: Look
    end: Look
    """After the events, at rest."""
    idle: Used
    idle_after: Used | None
    events: Events | None
    """None, as `idle_after`, where there were no events."""
    kinds: Mapping[str, int]
    """Lines of the log that name a room, by kind."""


@frozen
class Run:
    rooms: int
    parts: Sequence[Part]
    server: Used | None
    """While the events happened."""
    late: float
    """Seconds by which the load generator was behind its plan, at most."""


@define(eq=False)
class _Place(Stage):
    """A side that runs."""

    side: Side
    rooms: frozenset[str]
    kinds: Counter[str] = field(factory=Counter[str], init=False)

    def read(self) -> None:
        self.observations.read(self._count(self.watching.news()))

    def _count(self, records: Iterable[Record]) -> Iterable[Record]:
        for one in records:
            if one.get("room") in self.rooms and one["event"] not in UNCOUNTED:
                self.kinds[one["event"]] += 1
            yield one

    @property
    def pid(self) -> int:
        return self.watching.pid

    def until_registered(self) -> None:
        ready = self.side.observer.ready
        self.comes(lambda: self.observations.logged.keys() >= ready or not self._runs(), DEADLINE)
        if not self.observations.logged.keys() >= ready:
            raise BenchError(f"{self.side.label} did not register: --keep FOLDER has its log")

    def _runs(self) -> bool:
        return Path(f"/proc/{self.pid}").exists()


def settle(pids: Sequence[int], seconds: float = SETTLE) -> None:
    """Until none of them is at work any more."""
    deadline, share = time.monotonic() + DEADLINE, BUSY
    while share >= BUSY and time.monotonic() < deadline:
        before = [cpu_seconds([pid]) for pid in pids]
        time.sleep(seconds)
        now = [cpu_seconds([pid]) for pid in pids]
        share = max((b - a) / seconds for a, b in zip(before, now, strict=True))


def _used(pids: Sequence[int], work: Callable[[], object]) -> list[Used]:
    """The CPU time that the processes use meanwhile."""
    before = [Cpu.of_tree(pid) for pid in pids]
    work()
    return [one.until(Cpu.of_tree(pid)) for one, pid in zip(before, pids, strict=True)]


@define(eq=False)
class _Scene:
    plan: Plan
    places: Sequence[_Place]
    load: Load
    server_pid: int
    rooms: Sequence[str]
    agent: str
    """The agent that LiveKit dispatches; checkouts find rooms by themselves."""

    def run(self) -> Run:
        for place in self.places:
            place.until_registered()
        self.settle()
        empty = self.look()
        self.open()
        full = self.look()
        idle = self.rest()
        verdicts, used, late = self.happen() if self.plan.seconds else ([], [], 0.0)
        none: list[None] = [None] * len(self.places)
        events, idle_after, end = none, none, full
        if used:
            self.settle()
            events, idle_after, end = map(Events, verdicts, used), self.rest(), self.look()
        self.close()
        parts = [
            Part(place.side, *each, kinds=dict(place.kinds))
            for place, *each in zip(
                self.places, empty, full, end, idle, idle_after, events, strict=True
            )
        ]
        return Run(len(self.rooms), parts, used[-1] if used else None, late)

    def settle(self) -> None:
        settle([place.pid for place in self.places])

    def look(self) -> list[Look]:
        return [Look.at(place.pid) for place in self.places]

    def rest(self) -> list[Used]:
        pids = [place.pid for place in self.places]
        return _used(pids, lambda: time.sleep(self.plan.idle))

    def open(self) -> None:
        """Make all rooms, and let people come into them."""
        probes = self.probe()
        self.load.do("create", self.rooms, agent=self.agent)
        for place in self.places:
            place.watching.tell(self.rooms)
        for place in self.places:
            place.until_watched(self.rooms)
        self.load.do("delete", probes)
        self.load.do("fill", self.rooms, people=self.plan.people)
        for place in self.places:
            place.until_microphones(self.rooms)
        self.settle()

    def probe(self) -> list[str]:
        """Rooms made one by one until every side that finds rooms has the last one: see
        `bench.scale.case`."""
        rooms: list[str] = []
        seekers = [place for place in self.places if place.side.observer.dispatched]
        while seekers and len(rooms) < PROBES:
            rooms.append(f"probe-{len(rooms)}")
            self.load.do("create", rooms[-1:], agent=self.agent)
            if all(
                place.comes(lambda place=place: rooms[-1] in place.observations.watched, PATIENCE)
                for place in seekers
            ):
                self.settle()
                return rooms
        if seekers:
            raise BenchError(f"none of {PROBES} rooms was watched by all")
        rooms = ["probe-0"]
        self.load.do("create", rooms)
        return rooms

    def happen(self) -> tuple[list[Verdict], list[Used], float]:
        """The events; what each side used, and the server at last."""
        for place in self.places:
            place.read()
            place.observations.forget()
        pids = [*(place.pid for place in self.places), self.server_pid]
        plan = self.plan
        verdicts: list[Verdict] = []
        late = 0.0

        def work() -> None:
            nonlocal late
            did = self.load.do("play", self.rooms, rate=plan.rate, seconds=plan.seconds)
            late = did.late
            time.sleep(ARRIVING)
            deadline = time.monotonic() + LATEST
            while True:
                for place in self.places:
                    place.read()
                verdicts[:] = [Verdict.of(did.sent, place.observations) for place in self.places]
                if all(one.complete for one in verdicts) or time.monotonic() > deadline:
                    return
                time.sleep(LOOK)

        return verdicts, _used(pids, work), late

    def close(self) -> None:
        """People leave and rooms are deleted, so that each log has all of each session."""
        self.load.do("leave", self.rooms)
        self.settle()
        self.load.do("delete", self.rooms)
        wanted = set(self.rooms)
        for place in self.places:
            if place.side.checkout:
                place.until(
                    lambda place=place: place.observations.ended >= wanted,
                    lambda place=place: f"{place.side.label} has sessions that have not ended",
                )


def measure(
    sides: Sequence[Side],
    turn: int,
    plan: Plan,
    server_binary: Path,
    load_binary: Path,
    folder: Path,
) -> Run:
    """Measure once; leaves nothing running. `turn` says with which side the start begins.

    Raises `BenchError`.
    """
    rooms = [f"room-{number}" for number in range(plan.rooms)]
    with ExitStack() as stack:
        server = stack.enter_context(PrivateServer.start(server_binary, folder / "livekit"))
        load = stack.enter_context(running_load(load_binary, server))
        places: dict[int, _Place] = {}
        for number in sorted(range(len(sides)), key=lambda one: (one + turn) % len(sides)):
            side = sides[number]
            watcher = watching(
                side.observer,
                server,
                load_binary,
                folder / f"side-{number}",
                agent_name=f"side-{number}",
                program=side.program,
                variables={"ROOM_ACTORS_VENV": str(side.environment)} if side.checkout else {},
            )
            places[number] = _Place(stack.enter_context(watcher), load, side, frozenset(rooms))
        in_order = [places[number] for number in range(len(sides))]
        agent = next(
            (one.watching.agent_name for one in in_order if one.side.observer.name == PEER), ""
        )
        return _Scene(plan, in_order, load, server.pid, rooms, agent).run()
