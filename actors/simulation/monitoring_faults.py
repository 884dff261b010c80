"""Faults of participant monitors.  They do nothing in a plan without monitors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import trio

from actors.simulation.people_actions import PlayStep
from actors.simulation.plan import Step
from actors.simulation.simulated_monitoring import MonitoringRun

if TYPE_CHECKING:
    from actors.simulation.world import World


def _of_a_monitor(what: Callable[[World, MonitoringRun, str, Step], object]) -> PlayStep:
    """Strikes one of the monitors that run, by its first job."""

    def play(world: World, step: Step) -> None:
        run = None if world.monitoring is None else world.monitoring.newest
        if run is None:
            return
        records = run.monitors.records()
        if records:
            what(world, run, records[step.n % len(records)].job.job_id, step)

    return play


def _crash(_: World, run: MonitoringRun, job_id: str, step: Step) -> None:
    run.program.saboteur.raise_at(f"/monitors/{job_id}", 1 + step.who, "monitor_crash")


def _slow(world: World, run: MonitoringRun, job_id: str, step: Step) -> None:
    world.inject("monitor_slow")
    run.program.saboteur.slow_at(f"/monitors/{job_id}", 1 + step.who, float(step.n))


def _job_deleted(world: World, run: MonitoringRun, job_id: str, _: Step) -> None:
    world.inject("monitor_job_deleted")
    run.monitors.terminate(job_id)


def _control_down(world: World, step: Step) -> None:
    if world.monitoring is not None:
        world.monitoring.control_down_until = trio.current_time() + step.n


MONITORING_STEPS: Final[Mapping[str, PlayStep]] = {
    "monitor_crash": _of_a_monitor(_crash),
    "monitor_slow": _of_a_monitor(_slow),
    "monitor_job_deleted": _of_a_monitor(_job_deleted),
    "control_down": _control_down,
}
"""Their keys are `plan.MONITORING_FAULTS`."""
