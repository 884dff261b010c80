"""The plan of a simulation: drawn before the run, so that it can be saved and cut down.

A step is plain numbers.  Their meaning is decided when the step runs, and a step that makes no
sense then (a leave of a person who is not in the room) does nothing.  So any part of a plan is
a plan.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from attrs import astuple, frozen

SECONDS: Final = 120.0
SECONDS_A_MOMENT: Final = 2
"""Steps come at moments, whole seconds of which one in so many is drawn: several at once, some a
second after others."""
ROOMS: Final = 8

ACTIONS: Final[Mapping[str, int]] = {
    # action: its weight among all actions
    "join": 22,
    "leave": 10,
    "vanish": 3,
    "publish": 16,
    "unpublish": 6,
    "mute": 6,
    "unmute": 5,
    "data": 14,
    "text": 3,
    "quality": 5,
    "speak": 5,
    "name": 1,
    "metadata": 1,
    "attributes": 1,
    "room_metadata": 1,
    "attach": 2,
    "permit": 1,
    "record": 1,
}

FAULTS: Final[tuple[str, ...]] = (
    "disconnect",
    "storm",
    "early_storm",
    "gap",
    "duplicate",
    "reorder",
    "late",
    "flood",
    "crash",
    "publisher_crash",
    "poison",
    "slow",
    "manager_crash",
    "reporter_crash",
    "connection_crash",
    "start_fails",
    "start_hangs",
    "stubborn_stop",
    "clock_jump",
    "server_restart",
    "server_unreachable",
    "entry_refused",
    "entry_slow",
    "deleted_while_entering",
    "place_wanted",
    "room_closed",
    "removed",
    "second_job",
    "dispatch_deleted",
    "job_terminated",
    "disk_full",
    "disk_locked",
    "disk_readonly",
    "disk_slow",
    "disk_torn",
    "store_crash",
    "kill",
    "kill_recovering",
    "ends_while_down",
    "suspend",
    "stop",
    "webhook_lost",
    "webhook_doubled",
    "webhook_late",
    "brief_room",
    "half_join",
)
"""All faults of a plan without an endpoint, each with the same weight."""

RECEIVER_FAULTS: Final[tuple[str, ...]] = (
    "receiver_refuses",
    "receiver_redirects",
    "receiver_lies",
    "receiver_busy",
    "receiver_hangs",
    "receiver_dies",
    "receiver_gone",
    "outbox_trouble",
    "outbox_crash",
)
"""The faults that a plan with an endpoint has besides."""

MONITORING_FAULTS: Final[tuple[str, ...]] = (
    "monitor_crash",
    "monitor_slow",
    "monitor_job_deleted",
    "control_down",
)
"""The faults that a plan with monitors has besides."""

ACTING_FAULTS: Final[tuple[str, ...]] = (
    "act_refused",
    "act_unavailable",
    "act_answer_lost",
    "act_slow",
    "act_runner_crash",
)
"""The faults that a plan with rules has besides."""

RULED_SHARE: Final = 0.15
"""Of plans, with rules that act on rooms and people."""
EGRESS_FAULTS: Final[tuple[str, ...]] = (
    "egress_no_redis",
    "egress_no_worker",
    "egress_refused",
    "egress_hangs",
    "egress_late",
    "egress_stays_starting",
    "egress_dies",
)
"""The faults that a plan with recordings has besides."""

RECORDED_SHARE: Final = 0.15
"""Of plans, with rules that record."""

MEASURED_SHARE: Final = 0.2
"""Of plans, with tracks that are measured."""
MEASUREMENTS: Final = 40
MEASURE: Final = "measure"
"""The step that measures the tracks of a room."""

AGENT_SHARE: Final = 0.2
"""Of plans, with voice agents."""
AGENT_STEPS: Final = 60
AGENT: Final = "agent"
"""The step in which an agent, or a person in its place, does something."""

MONITORING_SHARE: Final = 0.15
"""Of plans, with a monitor for each person who joins."""

ENDPOINT_SHARE: Final = 0.15
"""Of plans, with an endpoint for webhooks: the others are not slower for it."""
ENDPOINT_FAULTS: Final = 6

LIMIT_SHARE: Final = 0.1
"""Of plans, with a limit of the people in each room."""
LIMIT: Final = 2
"""People; there are four identities."""


@frozen
class Step:
    """One thing that happens, `at` virtual seconds after the start."""

    at: float
    what: str
    """A key of `ACTIONS`, or one of the faults."""
    room: int
    who: int
    n: int
    x: float
    """0 to 1, for anything else that is drawn."""


@frozen
class Plan:
    """One scenario."""

    seed: int
    """It also seeds the scheduler and the jitter of backoffs."""
    steps: tuple[Step, ...]
    rooms: int = ROOMS
    seconds: float = SECONDS
    webhooks: bool = False
    """Whether LiveKit sends webhooks."""
    reconciled: bool = False
    """Whether a reconciler has every open room watched."""
    outlets: bool = False
    """Whether the program sends webhooks to an endpoint."""
    monitored: bool = False
    """Whether each person who joins is monitored."""
    limit: int = 0
    """People that each room may have; 0: there is no limit."""
    ruled: bool = False
    """Whether there are rules."""
    recorded: bool = False
    """Whether rules record the rooms."""
    measured: bool = False
    """Whether tracks are measured."""
    agents: bool = False
    """Whether there are voice agents."""

    def to_json(self) -> str:
        """One line a step."""
        head = {
            "seed": self.seed,
            "rooms": self.rooms,
            "seconds": self.seconds,
            "webhooks": self.webhooks,
            "reconciled": self.reconciled,
            "outlets": self.outlets,
            "monitored": self.monitored,
            "limit": self.limit,
            "ruled": self.ruled,
            "recorded": self.recorded,
            "measured": self.measured,
            "agents": self.agents,
        }
        steps = ",\n".join(json.dumps(astuple(step)) for step in self.steps)
        return f'{json.dumps(head)[:-1]}, "steps": [\n{steps}\n]}}\n'

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read the text of `to_json`.  ValueError if it is something else."""
        try:
            saved: Any = json.loads(text)
            steps = tuple(Step(*step) for step in saved["steps"])
            plan = cls(
                int(saved["seed"]),
                steps,
                int(saved["rooms"]),
                float(saved["seconds"]),
                webhooks=bool(saved["webhooks"]),
                reconciled=bool(saved["reconciled"]),
                outlets=bool(saved.get("outlets")),
                monitored=bool(saved.get("monitored")),
                limit=int(saved.get("limit", 0)),
                ruled=bool(saved.get("ruled")),
                recorded=bool(saved.get("recorded")),
                measured=bool(saved.get("measured")),
                agents=bool(saved.get("agents")),
            )
        except (TypeError, KeyError, ValueError, RecursionError) as error:
            raise ValueError(f"not a saved plan: {error}") from None
        unknown = {step.what for step in steps} - {
            *ACTIONS,
            *FAULTS,
            *RECEIVER_FAULTS,
            *MONITORING_FAULTS,
            *ACTING_FAULTS,
            *EGRESS_FAULTS,
            MEASURE,
            AGENT,
        }
        if unknown:
            raise ValueError(f"not a saved plan: unknown steps {', '.join(sorted(unknown))}")
        return plan


def draw(
    seed: int,
    *,
    rooms: int = ROOMS,
    seconds: float = SECONDS,
    actions: int = 160,
    faults: int = 16,
    among: Sequence[str] = FAULTS,
    outlets: bool | None = None,
    monitored: bool | None = None,
    limit: int | None = None,
    ruled: bool | None = None,
    recorded: bool | None = None,
    measured: bool | None = None,
    agents: bool | None = None,
) -> Plan:
    """The plan of this seed.  `among`: the faults that may occur.  `outlets`: whether it has an
    endpoint for webhooks, `monitored`: whether it has monitors, `limit`: the people that a room may
    have, `ruled`: whether it has rules, `recorded`: whether rules record, `measured`: whether
    tracks are measured, `agents`: whether there are voice agents; None to draw that too."""
    rng = random.Random(seed)
    names, weights = list(ACTIONS), list(ACTIONS.values())
    whole = range(int(seconds) + 1)
    moments = rng.sample(whole, -(-len(whole) // SECONDS_A_MOMENT))
    kinds = rng.choices(names, weights, k=actions) + [rng.choice(among) for _ in range(faults)]
    steps = [_step(rng, what, rooms, moments) for what in kinds]
    webhooks = rng.random() < 0.5
    if outlets is None:
        outlets = rng.random() < ENDPOINT_SHARE
    if outlets:
        steps += _faults_of_part(rng, RECEIVER_FAULTS, rooms, moments)
    if monitored is None:
        monitored = rng.random() < MONITORING_SHARE
    if monitored:
        steps += _faults_of_part(rng, MONITORING_FAULTS, rooms, moments)
    if limit is None:
        limit = LIMIT if rng.random() < LIMIT_SHARE else 0
    if ruled is None:
        ruled = rng.random() < RULED_SHARE
    if ruled:
        steps += _faults_of_part(rng, ACTING_FAULTS, rooms, moments)
    if recorded is None:
        recorded = rng.random() < RECORDED_SHARE
    if recorded:
        steps += _faults_of_part(rng, EGRESS_FAULTS, rooms, moments)
    measurements = _measurements(rng, measured, rooms, moments)
    steps += measurements
    of_agents = _agent_steps(rng, agents, rooms, moments)
    steps += of_agents
    steps.sort(key=lambda step: step.at)
    return Plan(
        seed,
        tuple(steps),
        rooms,
        seconds,
        webhooks=webhooks,
        reconciled=True,
        outlets=outlets,
        monitored=monitored,
        limit=limit,
        ruled=ruled,
        recorded=recorded,
        measured=bool(measurements),
        agents=bool(of_agents),
    )


def _measurements(
    rng: random.Random, measured: bool | None, rooms: int, moments: Sequence[int]
) -> list[Step]:
    if measured is None:
        measured = rng.random() < MEASURED_SHARE
    count = MEASUREMENTS if measured else 0
    return [_step(rng, MEASURE, rooms, moments) for _ in range(count)]


def _agent_steps(
    rng: random.Random, agents: bool | None, rooms: int, moments: Sequence[int]
) -> list[Step]:
    if agents is None:
        agents = rng.random() < AGENT_SHARE
    return [_step(rng, AGENT, rooms, moments) for _ in range(AGENT_STEPS if agents else 0)]


def _faults_of_part(
    rng: random.Random, faults: Sequence[str], rooms: int, moments: Sequence[int]
) -> list[Step]:
    """Faults of a part that only some plans have."""
    kinds = [rng.choice(faults) for _ in range(ENDPOINT_FAULTS)]
    return [_step(rng, what, rooms, moments) for what in kinds]


def _step(rng: random.Random, what: str, rooms: int, moments: Sequence[int]) -> Step:
    bits = rng.getrandbits
    return Step(
        float(moments[_below(len(moments), bits)]),
        what,
        _below(rooms, bits),
        _below(4, bits),
        1 + _below(7, bits),
        round(rng.random(), 3),
    )


def _below(limit: int, bits: Callable[[int], int]) -> int:
    """A number as `randrange(limit)` draws it, for half the cost: a plan draws a thousand."""
    width = limit.bit_length()
    number = bits(width)
    while number >= limit:
        number = bits(width)
    return number
