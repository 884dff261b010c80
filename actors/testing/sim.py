"""One run of any actors under one seed, with a check of all laws at its end."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import final

import trio

from actors.runtime import (
    ActorSystem,
    Crashed,
    Intensity,
    Restarting,
    Signal,
    open_system,
    write_to_stderr,
)
from actors.testing import checks
from actors.testing.probe import TestProbe
from actors.testing.sabotage import Injected, Saboteur


@final
class Sim:
    """A running system whose faults are drawn from `seed`.

    Start actors under `system.supervisor`, inject faults with `saboteur`, and draw other
    random values from `random`.  When the block of `open_sim` ends, every law of
    `actors.testing.checks` that holds for any actors is checked.
    """

    def __init__(self, seed: int, system: ActorSystem, saboteur: Saboteur) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.system = system
        self.saboteur = saboteur
        self.signals: list[Signal] = []
        self.restarts: list[tuple[float, Restarting]] = []
        self.expected: tuple[type[BaseException], ...] = (Injected,)
        """Exceptions that may crash an actor; set it where an actor's own are part of the test."""

    def probe(self, name: str = "probe") -> TestProbe:
        """An actor that only records its messages."""
        return TestProbe(self.system, name)

    def violations(self, tasks: tuple[int, int] = (0, 0)) -> list[str]:
        """All broken laws of a run that has ended."""
        specs = self.saboteur.specs
        budgets: dict[str, Intensity] = {path: spec.intensity for path, spec in specs.items()}
        counters = self.saboteur.counters()
        return [
            *checks.counters_balance(counters),
            *checks.nothing_queued(counters),
            *checks.raised_is_reported(self.saboteur.raised, self.signals),
            *checks.crashes_are_expected(self.signals, self.expected),
            *checks.restarts_within_budget(self.restarts, budgets),
            *checks.failed_only_after_budget(self.signals, budgets),
            *checks.ends_once(self.signals, self.saboteur.lives()),
            *checks.faults_happened(self.saboteur.without_effect, self.saboteur.actors),
            *checks.tasks_at_baseline(*tasks),
        ]

    def note(self, signal: Signal) -> None:
        """Take a signal of the system."""
        self.signals.append(signal)
        if isinstance(signal, Crashed) and checks.crashes_are_expected([signal], self.expected):
            write_to_stderr(signal)  # The law below only names it; this shows the traceback.
        if isinstance(signal, Restarting):
            self.restarts.append((trio.current_time(), signal))


@asynccontextmanager
async def open_sim(seed: int) -> AsyncGenerator[Sim, None]:
    """A `Sim` for the length of a block; AssertionError at its end where a law is broken.

    To have the scheduler seeded too, run the whole with `actors.testing.run`.
    """
    before = _tasks()
    saboteur = Saboteur()
    async with open_system(
        rng=random.Random(seed), on_signal=None, prepare=saboteur.prepare, debug=True
    ) as system:
        sim = Sim(seed, system, saboteur)
        system.listen(sim.note)
        yield sim
    broken = sim.violations((before, _tasks()))
    if broken:
        raise AssertionError(f"seed {seed}: " + "; ".join(broken))


def _tasks() -> int:
    """Tasks that could be left behind: children of this one, and those of the system.

    Not all there are: other tests' fixtures come and go beside this run.
    """
    parents = (trio.lowlevel.current_task(), trio.lowlevel.current_root_task())
    nurseries = [nursery for task in parents if task for nursery in task.child_nurseries]
    return sum(len(nursery.child_tasks) for nursery in nurseries)
