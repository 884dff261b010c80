"""The harness itself: the same seed runs the same way, faults strike, small plans still fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve, frozen

from actors.runtime import Actor, ChildSpec, Crashed, ReplyTo, receives, sleep, sleep_until
from actors.simulation import (
    ACTING_FAULTS,
    EGRESS_FAULTS,
    FAULTS,
    MONITORING_FAULTS,
    RECEIVER_FAULTS,
    Plan,
    draw,
    play,
    shrunk,
    world,
)
from actors.simulation.plan import ACTIONS, AGENT, MEASURE, _below
from actors.simulation.plan_steps import STEPS
from actors.testing import (
    SEEDABLE,
    Injected,
    Saboteur,
    Sim,
    TestProbe,
    open_sim,
    run,
    schedule,
    shrink,
    sweep,
)
from actors.testing.schedule import TasksOnlyClock
from bridge.cli import simulate

ROOT = Path(__file__).parent.parent.parent


@frozen
class Add:
    amount: int


@frozen
class Total:
    reply_to: ReplyTo[int]


class Adder(Actor[Add | Total]):
    def __init__(self) -> None:
        self.total = 0

    @receives(Add)
    async def add(self, message: Add) -> None:
        await trio.sleep(0.01)
        self.total += message.amount

    @receives(Total)
    def tell_total(self, message: Total) -> None:
        message.reply_to.send(self.total)


ADDER = ChildSpec("adder", Adder)


# ---------------------------------------------------------------- the schedule


def test_this_trio_lets_its_scheduler_be_seeded() -> None:
    """Canary: where this fails, `actors.testing.schedule` has to find trio's new switch."""
    assert SEEDABLE


def order(seed: int) -> list[int]:
    async def main() -> list[int]:
        seen = list[int]()

        async def task(n: int) -> None:
            for _ in range(5):
                await trio.lowlevel.checkpoint()
            seen.append(n)

        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(task, n)
        return seen

    return run(main, seed=seed)


def test_the_same_seed_gives_the_same_order_of_tasks_and_another_seed_another() -> None:
    assert order(1) == order(1)
    assert order(1) != order(2)


def test_virtual_time_passes_at_once() -> None:
    async def main() -> float:
        await trio.sleep(80_000)
        return trio.current_time()

    assert run(main) == 80_000


def test_a_clock_of_tasks_wakes_sleepers_and_trios_deadlines_in_one_order() -> None:
    """Sleepers that the clock wakes itself, cancelled ones, and cancel scopes of trio."""

    async def main() -> list[tuple[float, str]]:
        order = list[tuple[float, str]]()

        async def wait(seconds: float, name: str) -> None:
            await sleep(seconds)
            order.append((trio.current_time(), name))

        async def wait_in_scope(seconds: float, name: str) -> None:
            with trio.move_on_after(seconds):
                await sleep(10.0)
            order.append((trio.current_time(), name))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, 3.0, "third")
            nursery.start_soon(wait, 1.0, "first")
            nursery.start_soon(wait_in_scope, 2.0, "second")
            nursery.start_soon(wait, -1.0, "at once")
            await sleep_until(4.0)
        return order

    assert run(main, clock=TasksOnlyClock()) == [
        (0.0, "at once"),
        (1.0, "first"),
        (2.0, "second"),
        (3.0, "third"),
    ]


def test_without_trios_switch_virtual_time_still_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.testing.schedule.SEEDABLE", False)
    test_virtual_time_passes_at_once()


@pytest.mark.parametrize(
    "hash_seed", [0, *(pytest.param(n, marks=pytest.mark.chaos) for n in range(1, 5))]
)
def test_a_seed_gives_one_trace_in_every_process(hash_seed: int) -> None:
    script = "from bridge.cli.simulate import play_lot; print(play_lot(range(4)).trace)"
    told = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert told == f"{simulate.play_lot(range(4)).trace}\n"


def test_the_seeded_order_of_tasks_is_the_one_that_random_gives() -> None:
    for size in (0, 1, 2, 3, 40):
        order, same = list(range(size)), list(range(size))
        mine, real = schedule._Shuffler(7), Random(7)
        mine.shuffle(order)
        real.shuffle(same)
        assert (order, mine.getstate()) == (same, real.getstate())


def test_a_run_of_tasks_alone_still_hears_from_outside() -> None:
    async def main() -> int:
        token, heard = trio.lowlevel.current_trio_token(), list[int]()
        thread = Thread(target=token.run_sync_soon, args=(heard.append, 1))
        thread.start()
        thread.join()
        passes = 0
        while not heard:
            passes += 1
            await trio.lowlevel.checkpoint()
        return passes

    assert run(main, clock=TasksOnlyClock()) <= schedule.PASSES_A_LOOK + 2


def test_a_run_of_tasks_alone_has_trios_instruments() -> None:
    class Steps(trio.abc.Instrument):
        counted = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.counted += 1

    first, second = Steps(), Steps()

    async def main() -> None:
        trio.lowlevel.add_instrument(second)
        for _ in range(5):
            await trio.lowlevel.checkpoint()
        trio.lowlevel.remove_instrument(second)
        await trio.lowlevel.checkpoint()

    run(main, clock=TasksOnlyClock(), instruments=(first,))
    assert second.counted == 5
    assert first.counted > 6


def test_a_run_leaves_trios_source_of_random_order_as_it_was() -> None:
    before = schedule._run._r
    assert run(trio.sleep, 1.0) is None
    assert schedule._run._r is before


def test_a_world_is_freed_without_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = list[world.World]()
    init = world.World.__init__

    def noted(self: world.World, plan: Plan) -> None:
        init(self, plan)
        worlds.append(self)

    monkeypatch.setattr(world.World, "__init__", noted)
    outcome = play(evolve(draw(3), steps=()))
    assert outcome.checked["agreement"]
    assert [vars(one) for one in worlds] == [{}]


# ---------------------------------------------------------------- plans


def test_a_plan_draws_the_numbers_that_random_draws() -> None:
    mine, real = Random(7), Random(7)
    for limit in (1, 2, 3, 4, 7, 8, 61):
        assert [_below(limit, mine.getrandbits) for _ in range(20)] == [
            real.randrange(limit) for _ in range(20)
        ]


def test_a_plan_can_be_saved_and_is_the_same_afterwards() -> None:
    plan = draw(7)
    assert Plan.from_json(plan.to_json()) == plan
    assert draw(7) == plan
    assert draw(8) != plan


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"seed": 1, "rooms": 1, "seconds": 1, "steps": [[1]]}',
        '{"seed": 1, "rooms": 1, "seconds": 1, "steps": [[0, "dance", 0, 0, 0, 0]]}',
    ],
)
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Plan.from_json(text)


def test_every_word_of_a_plan_has_its_step() -> None:
    faults = {*FAULTS, *RECEIVER_FAULTS, *MONITORING_FAULTS, *ACTING_FAULTS, *EGRESS_FAULTS}
    assert STEPS.keys() == ACTIONS.keys() | faults | {MEASURE, AGENT}


def test_shrinking_keeps_exactly_what_is_needed() -> None:
    needed = {3, 57, 58, 99}
    assert set(shrink(range(100), needed.issubset)) == needed
    assert shrink(range(100), lambda _: True) == ()
    assert len(shrink(range(100), needed.issubset, most_runs=3)) > 4


# ---------------------------------------------------------------- the simulation


@pytest.mark.parametrize("seed", range(20))
def test_every_law_holds_under_this_seed(seed: int) -> None:
    outcome = play(draw(seed))
    assert outcome.violations == ()


def test_every_fault_of_the_list_strikes_within_a_hundred_seeds() -> None:
    tally = simulate.SimulationTally()
    for seed in range(1000, 1100):
        tally.add(seed, play(draw(seed, actions=60, faults=20)))
        if not tally.never_injected:
            break
    assert tally.never_injected == []
    assert tally.failed == {}


def test_a_bug_is_found_cut_down_saved_and_replayed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a manager that does not find out what a crash cost it, as it once was."""
    monkeypatch.setattr("actors.rooms.manager.RoomManager._catch_up", lambda _: None)
    # Few kinds of faults, so that a seed is found soon, and the same one whatever faults are new.
    drawn = partial(draw, among=("manager_crash", "room_closed"))
    monkeypatch.setattr(simulate, "draw", drawn)
    monkeypatch.chdir(tmp_path)
    seed = next(n for n in range(100) if play(drawn(n)).violations)
    small = shrunk(drawn(seed))
    assert len(small.steps) <= 4
    assert any(step.what == "manager_crash" for step in small.steps)
    assert simulate.run_seeds(range(seed, seed + 1), jobs=1) == 1
    printed = capsys.readouterr().out
    assert f"bin/room-actors simulate --replay simulate-{seed}.json" in printed
    saved = tmp_path / f"simulate-{seed}.json"
    assert simulate.replay(saved) == 1
    monkeypatch.undo()
    assert simulate.replay(saved) == 0


def test_a_run_that_never_injected_some_fault_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate.run_seeds(range(1, 2), jobs=1) == 1
    assert "Never injected: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "text, seeds", [("1..3", range(1, 4)), ("7", range(7, 8)), (" 0..0 ", range(1))]
)
def test_seeds_are_named_with_both_ends(text: str, seeds: range) -> None:
    assert simulate.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a..b", "3..1", "1..", "-1", "1...3", "9" * 40])
def test_what_names_no_seeds_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"give A..B|comes before"):
        simulate.parse_seeds(text)


# ---------------------------------------------------------------- the cancel sweep


def test_actors_leave_nothing_behind_wherever_they_are_cancelled() -> None:
    async def main() -> None:
        async with open_sim(1) as sim:
            ref = sim.system.supervisor.start_child(ADDER)
            ref.tell(Add(1))
            await ref.ask(Total, timeout=1.0)
            ref.tell(Add(2))

    assert sweep(main) > 10


def test_rooms_leave_nothing_behind_wherever_they_are_cancelled() -> None:
    plan = draw(5, rooms=2, actions=6, faults=3, seconds=5.0)

    async def main() -> None:
        await world.World(plan).main()

    # Each step is a run of its own, so twice the steps take four times as long.
    assert sweep(main) > 100


def test_the_sweep_finds_a_task_that_is_left_behind() -> None:
    async def main() -> None:
        await trio.lowlevel.checkpoint()
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            trio.lowlevel.spawn_system_task(trio.sleep, 1)
            raise

    with pytest.raises(AssertionError, match="1 tasks were left behind") as caught:
        sweep(main)
    assert "cancelled at step" in caught.value.__notes__[0]


# ---------------------------------------------------------------- somebody else's actors


@pytest.mark.seeds(25)
async def test_an_actor_counts_right_whatever_strikes(sim: Sim) -> None:
    ref = sim.system.supervisor.start_child(ADDER)
    await ref.ask(Total, timeout=1.0)
    sim.saboteur.slow_at("/adder", 3, 5.0)
    for n in range(10):
        ref.tell(Add(n))
    assert await ref.ask(Total, timeout=10.0) == 45


async def test_what_a_saboteur_raises_is_reported_and_the_run_is_well(sim: Sim) -> None:
    ref = sim.system.supervisor.start_child(ADDER)
    await ref.ask(Total, timeout=1.0)
    sim.saboteur.raise_at("/adder", 2)
    sim.saboteur.fail_start("/adder")
    for _ in range(3):
        ref.tell(Add(1))
    assert await ref.ask(Total, timeout=10.0) == 1
    assert [type(crash.error) for crash in sim.signals if isinstance(crash, Crashed)] == [
        Injected,
        Injected,
    ]


async def test_a_fault_may_be_planned_before_its_actor_and_outlives_a_restart(sim: Sim) -> None:
    sim.saboteur.raise_at("/adder", 2)
    sim.saboteur.slow_at("/adder", 4, 5.0)
    ref = sim.system.supervisor.start_child(ADDER)
    began = trio.current_time()
    for _ in range(4):
        ref.tell(Add(1))
    assert await ref.ask(Total, timeout=20.0) == 2  # of the second incarnation
    assert trio.current_time() > began + 5.0
    assert sim.saboteur.done == {"crash": 1, "slow": 1}


@pytest.mark.parametrize(
    "plan, shown",
    [
        (lambda saboteur: saboteur.raise_at("/adder", 9), "raise_at('/adder', 9) (7 more messages"),
        (lambda saboteur: saboteur.slow_at("/ader", 1, 5.0), "slow_at('/ader', 1, 5) (1 more"),
        (lambda saboteur: saboteur.fail_start("/ader"), "fail_start('/ader')"),
        (lambda saboteur: saboteur.hang_start("/ader", 5.0), "hang_start('/ader', 5)"),
        (lambda saboteur: saboteur.stubborn_stop("/ader", 5.0), "stubborn_stop('/ader', 5)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_planned_fault_that_never_happened_fails_the_run(
    plan: Callable[[Saboteur], None], shown: str
) -> None:
    async def main() -> None:
        async with open_sim(5) as sim:
            plan(sim.saboteur)
            ref = sim.system.supervisor.start_child(ADDER)
            ref.tell(Add(1))
            await ref.ask(Total, timeout=1.0)

    with pytest.raises(AssertionError, match="never took effect") as caught:
        run(main)
    assert f"seed 5: the planned fault {shown}" in str(caught.value)
    assert "(actors: /adder)" in str(caught.value)


async def test_a_start_that_hangs_and_a_stubborn_stop(sim: Sim) -> None:
    sim.saboteur.hang_start("/adder", 3.0)
    ref = sim.system.supervisor.start_child(ADDER)
    began = trio.current_time()
    await ref.ask(Total, timeout=5.0)
    assert trio.current_time() == began + 3.0
    sim.saboteur.stubborn_stop("/adder", 7.0)
    await sim.system.supervisor.stop_child("adder").wait()
    assert trio.current_time() == began + 10.0


async def test_an_actor_that_is_stopped_in_its_first_start_ends_once_too(sim: Sim) -> None:
    ref = sim.system.supervisor.start_child(ADDER)
    await ref.ask(Total, timeout=1.0)
    await sim.system.supervisor.stop_child("adder").wait()
    sim.saboteur.hang_start("/adder", 60.0)
    sim.system.supervisor.start_child(ADDER)
    await trio.sleep(0.1)
    await sim.system.supervisor.stop_child("adder").wait()
    assert sim.saboteur.lives() == {"/adder": 2}


async def test_a_probe_hears_everything_in_order(probe: TestProbe, virtual_time: int) -> None:
    probe.ref.tell(Add(1))
    probe.ref.tell("text")
    assert await probe.receive(Add) == Add(1)
    with pytest.raises(AssertionError, match="expected Add, got 'text'"):
        await probe.receive(Add)
    await probe.expect_nothing(during=5.0)
    with pytest.raises(AssertionError, match="no Add within 2 s"):
        await probe.receive(Add, timeout=2.0)


async def test_a_probe_answers_when_the_test_does(probe: TestProbe) -> None:
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            assert await probe.ref.ask(Total, timeout=5.0) == 42

        nursery.start_soon(ask)
        (await probe.receive(Total)).reply_to.send(42)


def test_a_crash_that_nobody_injected_fails_the_run_and_its_traceback_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def main() -> None:
        async with open_sim(5) as sim:
            ref: Any = sim.system.supervisor.start_child(ADDER)
            ref.tell(Add("text"))  # type: ignore[arg-type]
            await ref.ask(Total, timeout=1.0)

    with pytest.raises(AssertionError, match=r"seed 5: /adder: crashed by itself of TypeError"):
        run(main)
    shown = capsys.readouterr().err
    assert "actor /adder crashed (incarnation 1) with the message Add(amount='text')" in shown
    assert "self.total += message.amount" in shown
