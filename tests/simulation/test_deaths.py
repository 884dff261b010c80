"""The program dies in the simulation, and the next run goes on where it was."""

from __future__ import annotations

import pytest
import trio

from actors.journal.store_actor import Flush
from actors.session import SessionState
from actors.simulation import Plan, Step, play
from actors.simulation.people_actions import room_name
from actors.simulation.simulated_program import HEARTBEAT
from actors.simulation.world import World
from actors.testing.schedule import run

TALK = tuple(Step(4.0 + n / 2, "data", n % 2, 0, 1, 0.0) for n in range(8))
JOIN = tuple(Step(1.0, "join", n, 0, 1, 0.0) for n in range(2))


def plan(*steps: Step, webhooks: bool = False) -> Plan:
    """Two rooms in which alice talks from second 4 to 8, and what strikes."""
    ordered = sorted((*JOIN, *TALK, *steps), key=lambda step: step.at)
    return Plan(1, tuple(ordered), 2, 20.0, webhooks=webhooks, reconciled=True)


@pytest.mark.parametrize("what", ["kill", "kill_recovering", "ends_while_down"])
def test_at_whatever_step_it_is_killed_every_law_holds(what: str) -> None:
    for n in range(40):
        outcome = play(plan(Step(6.0, what, 0, n % 2, 3, n / 40), webhooks=n % 3 == 0))
        assert outcome.injected[what] == 1
        assert outcome.violations == (), f"killed at step {n}"


def test_it_is_killed_after_a_suspension_that_did_not_reach_the_disk() -> None:
    """The time in which it did not run is no watched time."""
    suspended, dies = Step(3.0, "suspend", 0, 0, 5, 0.0), Step(8.6, "kill", 0, 0, 2, 0.5)
    outcome = play(plan(suspended, Step(7.0, "disk_full", 0, 0, 7, 0.0), dies))
    assert set(outcome.injected) == {"suspend", "disk_full", "kill"}
    assert outcome.violations == ()


@pytest.mark.parametrize("trouble", ["disk_full", "disk_locked", "disk_readonly", "disk_slow"])
def test_it_is_killed_while_the_disk_is_in_trouble(trouble: str) -> None:
    for n in range(10):
        struck = Step(3.0, trouble, 0, 0, 7, 0.0)
        outcome = play(plan(struck, Step(6.0, "kill", 0, n % 2, 2, n / 10)))
        assert outcome.injected[trouble] > 0
        assert outcome.violations == (), f"killed at step {n}"


def test_a_clock_that_jumps_makes_an_old_session_of_a_new_one() -> None:
    """A run is given only sessions of the last minutes; a webhook that comes twice then makes
    another.  Where the clock does not jump there is one."""
    twice = Step(4.0, "webhook_doubled", 0, 2, 7, 0.6)
    ends = Step(4.5, "room_closed", 0, 0, 1, 0.7)
    jump = Step(6.0, "clock_jump", 0, 0, 1, 0.712)
    dies = Step(8.0, "kill", 0, 3, 4, 0.0)
    for steps in ((twice, ends, jump, dies), (twice, ends, dies)):
        assert play(plan(*steps, webhooks=True)).violations == ()


def one_session_of(what: str) -> SessionState:
    """The disk's rows of room 0 after a run in which `what` struck."""
    world = World(plan(Step(6.0, what, 1, 0, 5, 0.0)))
    run(world.main)
    assert world.violations == []
    (state,) = [one for one in world.disk.sessions if one.room == room_name(0)]
    return state


@pytest.mark.parametrize("what, most", [("kill", 6.5), ("stop", 4.4)])
def test_the_session_goes_on_in_the_next_run_with_a_gap(what: str, most: float) -> None:
    state = one_session_of(what)
    assert len(state.job_ids) == 2
    assert state.ended_at is not None
    gap = state.ended_at - state.started_at - state.watched.seconds
    assert 3.5 < gap < most
    assert [len(person.joins) for person in state.past.values()] == [1]


async def test_a_disk_that_cannot_be_read_at_first_costs_no_session_its_name(
    virtual_time: int,
) -> None:
    """Events from before earlier runs were known continue in their sessions."""
    world = World(Plan(0, (), rooms=0, reconciled=True))
    async with world.running():
        room = world.rooms.room("atlas")
        alice = room.join("alice")
        world.assign(room)
        await trio.sleep(5.0)
        assert await world.program.store.ask(Flush, timeout=10.0)
        world.kill()
        world.disk.refusal = "database is locked"
        await world.run_again(1.0)
        await trio.sleep(HEARTBEAT + 1.0)
        assert not await world.program.store.ask(Flush, timeout=10.0)
        alice.send_data(b"{}", topic="t")
        room.join("bob")
        await trio.sleep(1.0)
        assert world.program.backlog.health.trouble
        world.disk.heal()
        await trio.sleep(10.0)
        assert await world.program.store.ask(Flush, timeout=10.0)
        (state,) = world.disk.sessions
        assert (state.messages.total, state.joins, state.current) == (1, 2, 2)
        assert not state.ended
        assert world.program.backlog.health.trouble == ""
        assert virtual_time == 0
