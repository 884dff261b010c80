"""A harness for trio actors: seeded, in virtual time, every failure replayable.

    from actors.testing import open_sim, run

    async def scenario() -> None:
        async with open_sim(seed) as sim:
            ref = sim.system.supervisor.start_child(ChildSpec("adder", Adder))
            sim.saboteur.raise_at("/adder", 3)
            ...

    run(scenario, seed=seed)

With pytest: the plugin `actors.testing.plugin`.
"""

from __future__ import annotations

from actors.testing.probe import TestProbe
from actors.testing.sabotage import Injected, Saboteur
from actors.testing.schedule import SEEDABLE, run, virtual_clock
from actors.testing.shrink import shrink
from actors.testing.sim import Sim, open_sim
from actors.testing.sweep import sweep

__all__ = [
    "SEEDABLE",
    "Injected",
    "Saboteur",
    "Sim",
    "TestProbe",
    "open_sim",
    "run",
    "shrink",
    "sweep",
    "virtual_clock",
]
