"""Entries that fail, are ended or take long in the simulation: plans that once broke a law."""

from __future__ import annotations

import pytest

from actors.rooms.room_port import RoomJob
from actors.simulation import Plan, Step, play
from actors.simulation.world import World

ALICE = Step(1.0, "join", 0, 0, 1, 0.0)


def plan(*steps: Step) -> Plan:
    return Plan(1, (ALICE, *steps), 1, 20.0, reconciled=True)


PLANS = {
    "an entry into a new room fails": (
        Step(3.0, "room_closed", 0, 0, 1, 0.0),
        Step(4.0, "job_terminated", 0, 0, 1, 0.1),
    ),
    "an entry after a lost connection fails": (Step(4.0, "job_terminated", 0, 0, 1, 0.1),),
    "we connected anew": (
        Step(4.0, "gap", 0, 0, 3, 0.0),
        Step(4.0, "job_terminated", 0, 0, 3, 0.9),
    ),
    "our place in the room is lost at the server": (Step(8.0, "job_terminated", 0, 0, 3, 0.0),),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_job_that_livekit_ends_does_not_end_the_session_where(name: str) -> None:
    outcome = play(plan(*PLANS[name]))
    assert outcome.violations == ()
    assert outcome.injected["job_terminated"] > 0


@pytest.mark.parametrize("name", PLANS)
def test_a_program_that_takes_it_for_a_deleted_dispatch_breaks_a_law_where(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def dispatch_exists(_: World, job: RoomJob) -> bool:
        return not job.dispatch_id

    monkeypatch.setattr(World, "dispatch_exists", dispatch_exists)
    broken = play(plan(*PLANS[name])).violations
    if name == "we connected anew":
        assert broken == (), "there it does not ask: LiveKit would remove it"
    else:
        assert any(one.startswith("dispatches are honoured") for one in broken)


def test_a_dispatch_that_is_deleted_ends_the_session_for_good() -> None:
    outcome = play(plan(Step(8.0, "dispatch_deleted", 0, 0, 1, 0.0)))
    assert outcome.violations == ()
    assert outcome.injected["dispatch_deleted"] == 1


def test_a_room_that_ends_while_a_suspended_program_enters_it_is_not_left_behind() -> None:
    """A room is entered with `Watching` also where its other events wait."""
    suspended = Step(5.0, "suspend", 0, 0, 5, 0.083)
    outcome = play(plan(suspended, Step(5.0, "deleted_while_entering", 0, 2, 3, 0.371)))
    assert outcome.violations == ()
    assert outcome.injected == {"suspend": 1, "deleted_while_entering": 1}
