"""The faults of a receiver of webhooks, and of the outbox in front of it.

They do nothing in a plan without an endpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from actors.runtime import sleep
from actors.simulation.people_actions import PlayStep
from actors.simulation.plan import Step
from actors.simulation.simulated_outlets import SimulatedOutlets
from actors.simulation.simulated_receiver import ReceiverFault
from actors.testing.sabotage import Injected

if TYPE_CHECKING:
    from actors.simulation.world import World


def _next_requests(world: World, step: Step) -> None:
    """Counted when a request comes."""
    if world.outlets is not None:
        fault = ReceiverFault(step.what, step.n, taken=step.who % 2 == 0)
        world.outlets.receiver.faults.extend([fault] * step.n)


def _next_request(world: World, step: Step) -> None:
    if world.outlets is not None:
        fault = ReceiverFault(step.what, step.n, taken=step.who % 2 == 0)
        world.outlets.receiver.faults.append(fault)


def _answers_gone(world: World, step: Step) -> None:
    """Somebody enables the endpoint again, seconds after it was disabled."""
    outlets = world.outlets
    if outlets is None:
        return

    def on_gone() -> None:
        world.nursery.start_soon(_enable_later, outlets, 3.0 * step.n)

    outlets.receiver.on_gone = on_gone
    _next_request(world, step)


async def _enable_later(outlets: SimulatedOutlets, seconds: float) -> None:
    await sleep(seconds)
    outlets.enable()


def _outbox_trouble(world: World, step: Step) -> None:
    if world.outlets is not None:
        world.inject(step.what)
        world.outlets.store.trouble = step.n if step.who % 2 else -step.n


def _outbox_crash(world: World, step: Step) -> None:
    """The outbox' actor crashes at its next call of the disk."""
    if world.outlets is not None and world.program.alive:
        world.outlets.store.bug = partial(_raised, world, step)


def _raised(world: World, step: Step) -> Exception:
    world.inject(step.what)
    error = Injected("in the outbox")
    world.program.saboteur.raised.append(error)
    return error


RECEIVER_STEPS: Final[Mapping[str, PlayStep]] = {
    "receiver_refuses": _next_requests,
    "receiver_redirects": _next_requests,
    "receiver_lies": _next_requests,
    "receiver_busy": _next_request,
    "receiver_hangs": _next_request,
    "receiver_dies": _next_request,
    "receiver_gone": _answers_gone,
    "outbox_trouble": _outbox_trouble,
    "outbox_crash": _outbox_crash,
}
