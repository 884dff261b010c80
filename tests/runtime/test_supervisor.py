"""Restarts: of which actors, when, and the escalation when restarts do not help."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio
import trio.testing

from actors.runtime import (
    ActorDown,
    ActorEnded,
    Backoff,
    ChildSpec,
    Crashed,
    DeadLetter,
    ExitKind,
    Failed,
    GroupEscalated,
    GroupEscalatedError,
    GroupSpec,
    Intensity,
    Overran,
    Restart,
    Restarting,
    Started,
    StartTimeout,
    Strategy,
    open_system,
)
from tests.runtime.world import (
    AT_ONCE,
    BOOM,
    QUIT,
    Boom,
    Diary,
    Do,
    Note,
    Notes,
    Puppet,
    World,
    boom,
    forever,
    names,
    open_world,
    pause,
    stubborn,
)

# ---------------------------------------------------------------- starting


async def test_an_empty_supervisor_starts_and_stops(world: World) -> None:
    group = await world.group()
    assert names(group) == []
    await world.root.stop_child("g").wait()
    assert world.of(ActorEnded)[-1].exit.kind is ExitKind.SHUTDOWN


async def test_children_of_a_group_start_in_order(world: World) -> None:
    await world.group(
        children=tuple(world.spec(name) for name in "abc"), strategy=Strategy.REST_FOR_ONE
    )
    await world.diary.has(("started", "c", 1))
    assert world.diary.lines == [
        (step, name, 1) for name in "abc" for step in ("starting", "started")
    ]


async def test_one_id_is_one_child(world: World) -> None:
    world.start("a")
    with pytest.raises(ValueError, match="has a child 'a' already"):
        world.start("a")
    await world.root.stop_child("a").wait()
    world.start("a")


def puppet() -> Puppet:
    return Puppet("a", Diary())


@pytest.mark.parametrize(
    "make",
    [
        lambda: GroupSpec("g", (ChildSpec("a", puppet), ChildSpec("a", puppet))),
        lambda: ChildSpec("", puppet),
        lambda: ChildSpec("a", puppet, shutdown=-1.0),
        lambda: ChildSpec("a", puppet, start_timeout=-1.0),
        lambda: Intensity(-1),
        lambda: Intensity(within=0.0),
        lambda: Backoff(jitter=1.5),
        lambda: Backoff(factor=0.5),
        lambda: Backoff(first=-1.0),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused_where_it_is_made(make: Any) -> None:
    with pytest.raises(ValueError, match=r"must be|several children"):
        make()


async def test_a_start_that_fails_is_a_crash_and_is_tried_again(world: World) -> None:
    def fail_twice(actor: Puppet) -> None:
        if actor.context.generation <= 2:
            raise Boom

    ref = world.start(on_start=fail_twice)
    ref.tell(Note(1))
    assert await ref.ask(Notes, timeout=1) == (1,)
    assert [signal.generation for signal in world.of(Crashed)] == [1, 2]


async def test_a_constructor_that_fails_is_a_crash(world: World) -> None:
    tries = list[int]()

    def make() -> Puppet:
        tries.append(1)
        if len(tries) == 1:
            raise Boom
        return Puppet("a", world.diary)

    ref = world.root.start_child(ChildSpec("a", make, backoff=AT_ONCE))
    assert await ref.ask(Notes, timeout=1) == ()
    assert len(world.of(Crashed)) == 1


async def test_a_start_that_always_fails_spends_its_budget_and_no_more(world: World) -> None:
    world.start(on_start=boom, intensity=Intensity(2, 1.0))
    await world.until(ActorEnded, actor="/a")
    assert len(world.of(Crashed)) == 3
    assert names(world.root) == []


async def test_a_start_that_hangs_is_cut_off_and_tried_again(world: World) -> None:
    def hang_once(actor: Puppet) -> Any:
        return forever() if actor.context.generation == 1 else None

    ref = world.start(on_start=hang_once, start_timeout=3.0)
    began = trio.current_time()
    assert await ref.ask(Notes, timeout=10) == ()
    assert trio.current_time() == began + 3
    assert isinstance(world.of(Crashed)[0].error, StartTimeout)


async def test_a_start_that_ignores_its_cancellation_is_a_failed_start(world: World) -> None:
    async def take_five_seconds() -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(5.0)

    def start_late(actor: Puppet) -> Any:
        return take_five_seconds() if actor.context.generation == 1 else None

    ref = world.start(on_start=start_late, start_timeout=3.0)
    began = trio.current_time()
    assert await ref.ask(Notes, timeout=10) == ()
    assert trio.current_time() == began + 5
    assert isinstance(world.of(Crashed)[0].error, StartTimeout)


async def test_the_time_to_start_is_no_limit_for_an_actor_that_has_started(world: World) -> None:
    ref = world.start(start_timeout=3.0)
    await trio.sleep(10.0)
    assert await ref.ask(Notes, timeout=1) == ()
    assert world.of(Crashed) == []


async def test_a_start_that_hangs_holds_up_no_sibling_and_no_later_start(world: World) -> None:
    began = trio.current_time()
    world.start("stuck", on_start=forever)
    ref = world.start("b")
    assert await ref.ask(Notes, timeout=1) == ()
    assert trio.current_time() == began


async def test_a_start_that_hangs_can_be_stopped(world: World) -> None:
    world.start(on_start=forever, shutdown=2.0)
    await world.diary.has(("starting", "a", 1))
    began = trio.current_time()
    await world.root.stop_child("a").wait()
    assert trio.current_time() == began + 2
    assert world.of(ActorEnded)[-1].exit.kind is ExitKind.KILLED


async def test_a_child_stopped_before_it_started_never_starts(world: World) -> None:
    ref = world.start()
    ref.tell(Note(1))
    await world.root.stop_child("a").wait()
    assert world.diary.lines == []
    assert world.of(DeadLetter) == [DeadLetter("/a", "Note")]


async def test_an_actor_may_end_itself_while_it_starts(world: World) -> None:
    world.start(on_start=lambda actor: actor.context.stop(), restart=Restart.TRANSIENT)
    (end,) = await world.until(ActorEnded, actor="/a")
    assert end.exit.kind is ExitKind.NORMAL


async def test_a_name_with_a_slash_is_one_step_of_the_path(world: World) -> None:
    ref = world.start("a/b")
    assert ref.path == "/a%2Fb"
    assert world.system.find("/a%2Fb") is ref


# ---------------------------------------------------------------- restart by kind of exit

RESTARTS = {
    # (restart, how it ends): is there another incarnation
    (Restart.PERMANENT, ExitKind.NORMAL): True,
    (Restart.PERMANENT, ExitKind.CRASHED): True,
    (Restart.TRANSIENT, ExitKind.NORMAL): False,
    (Restart.TRANSIENT, ExitKind.CRASHED): True,
    (Restart.TEMPORARY, ExitKind.NORMAL): False,
    (Restart.TEMPORARY, ExitKind.CRASHED): False,
}


@pytest.mark.parametrize("restart, how, again", [(*k, v) for k, v in RESTARTS.items()])
async def test_whether_a_child_is_restarted_by_how_it_ended(
    world: World, restart: Restart, how: ExitKind, again: bool
) -> None:
    ref = world.start(restart=restart)
    ref.tell(QUIT if how is ExitKind.NORMAL else BOOM)
    if again:
        await world.until(Started, generation=2)
        assert world.system.find("/a") is ref
    else:
        (end,) = await world.until(ActorEnded, actor="/a")
        assert (end.exit.kind, end.generation) == (how, 1)
        assert world.system.find("/a") is None


@pytest.mark.parametrize("restart", list(Restart))
async def test_a_child_that_its_supervisor_stopped_is_never_restarted(
    world: World, restart: Restart
) -> None:
    world.start(restart=restart)
    await world.until(Started)
    await world.root.stop_child("a").wait()
    assert world.of(ActorEnded)[-1].exit.kind is ExitKind.SHUTDOWN
    assert world.of(Restarting) == []


@pytest.mark.parametrize("restart", list(Restart))
async def test_a_child_that_was_killed_by_its_supervisor_is_never_restarted(
    world: World, restart: Restart
) -> None:
    ref = world.start(restart=restart, shutdown=0.5)
    ref.tell(Do(forever))
    await trio.testing.wait_all_tasks_blocked()
    await world.root.stop_child("a").wait()
    assert world.of(ActorEnded)[-1].exit.kind is ExitKind.KILLED
    assert world.of(Restarting) == []


async def test_a_crash_harms_no_bystander(world: World) -> None:
    others = [world.start(f"b{n}") for n in range(3)]
    for other in others:
        other.tell(Note(1))
    ref = world.start("a", restart=Restart.TEMPORARY)
    ref.tell(BOOM)
    await world.until(ActorEnded, actor="/a")
    for other in others:
        assert await other.ask(Notes, timeout=1) == (1,)
    assert [signal.actor for signal in world.of(Crashed)] == ["/a"]


async def test_a_crash_loses_only_the_message_in_hand_and_that_one_is_reported(
    world: World,
) -> None:
    ref = world.start()
    crash = Do(boom)
    for message in (Note(1), crash, Note(2), Note(3)):
        ref.tell(message)
    assert await ref.ask(Notes, timeout=1) == (2, 3)
    (crashed,) = world.of(Crashed)
    assert crashed.message is crash
    assert isinstance(crashed.error, Boom)
    counters = world.system.tree().children[0].counters
    assert counters is not None
    assert (counters["failed"], counters["handled"], counters["offered"]) == (1, 4, 5)


async def test_messages_told_while_it_is_down_are_read_by_the_next_incarnation(
    world: World,
) -> None:
    ref = world.start(backoff=Backoff(first=5, jitter=0))
    ref.tell(BOOM)
    await world.until(Restarting)
    for n in range(100):
        assert ref.tell(Note(n))
    assert await ref.ask(Notes, timeout=6) == tuple(range(100))


async def test_a_second_crash_among_the_kept_messages_loses_only_that_message(
    world: World,
) -> None:
    ref = world.start()
    for message in (BOOM, BOOM, Note(1), BOOM, Note(2)):
        ref.tell(message)
    assert await ref.ask(Notes, timeout=1) == (2,)
    assert len(world.of(Crashed)) == 3


async def test_a_crash_while_it_restarts_is_another_restart(world: World) -> None:
    def fail_again(actor: Puppet) -> None:
        if actor.context.generation == 2:
            raise Boom

    ref = world.start(on_start=fail_again)
    ref.tell(BOOM)
    ref.tell(Note(1))
    assert await ref.ask(Notes, timeout=1) == (1,)
    assert world.of(Started)[-1].generation == 3


async def test_a_task_beside_the_handlers_crashes_the_incarnation_and_ends_with_it(
    world: World,
) -> None:
    ended = list[str]()

    async def beside() -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append("beside")

    async def fail() -> None:
        await trio.sleep(1)
        raise Boom

    ref = world.start()
    ref.tell(Do(lambda actor: actor.context.start_soon(beside)))
    ref.tell(Do(lambda actor: actor.context.start_soon(fail)))
    await world.until(Started, generation=2)
    assert ended == ["beside"]
    assert world.of(Crashed)[0].message is None


async def test_several_exceptions_of_one_incarnation_are_all_told(world: World) -> None:
    async def fail() -> None:
        raise Boom

    def both(actor: Puppet) -> None:
        actor.context.start_soon(fail)
        actor.context.start_soon(fail)
        raise KeyError

    world.start(restart=Restart.TEMPORARY).tell(Do(both))
    (crashed,) = await world.until(Crashed)
    assert isinstance(crashed.error, ExceptionGroup)
    kinds = sorted(type(error).__name__ for error in crashed.error.exceptions)
    assert kinds == ["Boom", "Boom", "KeyError"]


# ---------------------------------------------------------------- the budgets


async def test_a_child_that_spends_its_budget_fails_and_its_siblings_live(world: World) -> None:
    other = world.start("b")
    ref = world.start("a", intensity=Intensity(2, 10.0))
    for _ in range(4):
        ref.tell(BOOM)
    (failed,) = await world.until(Failed)
    assert (failed.actor, failed.restarts) == ("/a", 2)
    await world.until(ActorEnded, actor="/a")
    assert await other.ask(Notes, timeout=1) == ()
    assert list(world.root.failed) == [("/a", "crashed: Boom: ")]
    assert not ref.tell(Note(1))


async def test_no_restart_at_all_is_a_budget_of_none(world: World) -> None:
    world.start(intensity=Intensity(0, 1.0)).tell(BOOM)
    assert (await world.until(Failed))[0].restarts == 0
    assert len(world.of(Started)) == 1


async def test_the_budget_is_a_sliding_window(world: World) -> None:
    ref = world.start(intensity=Intensity(2, 10.0))
    for calm in (0, 6, 6, 6, 6):
        await trio.sleep(calm)
        ref.tell(BOOM)
        await trio.testing.wait_all_tasks_blocked()
    assert world.of(Failed) == []
    await trio.sleep(2)
    ref.tell(BOOM)
    await world.until(Failed)


async def test_a_supervisor_that_spends_its_own_budget_escalates_and_stops_everybody(
    world: World,
) -> None:
    group = await world.group(intensity=Intensity(3, 10.0), restart=Restart.TEMPORARY)
    refs = [world.start(name, under=group) for name in "abcd"]
    for ref in refs:
        ref.tell(BOOM)
    (end,) = await world.until(ActorEnded, actor="/g")
    assert len(world.of(Restarting)) == 3
    assert len(world.of(GroupEscalated)) == 1
    assert isinstance(end.exit.error, GroupEscalatedError)
    assert isinstance(end.exit.error.__cause__, Boom)
    assert {signal.actor for signal in world.of(ActorEnded)} >= {f"/g/{name}" for name in "abcd"}
    assert all(world.system.find(ref.path) is None for ref in refs)


async def test_an_escalated_group_is_restarted_by_its_parent_with_its_children(
    world: World,
) -> None:
    group = await world.group(
        children=(world.spec("a"),), intensity=Intensity(1, 10.0), restart=Restart.PERMANENT
    )
    for _ in range(2):
        group.ref("a").tell(BOOM)
    await world.until(GroupEscalated)
    await world.until(Restarting, actor="/g")
    await group.running()
    assert await group.ref("a").ask(Notes, timeout=1) == ()
    assert group.generation == 2


async def test_the_root_that_escalates_cancels_the_block_and_raises_the_cause() -> None:
    async def crash_twice() -> None:
        async with open_world(intensity=Intensity(1, 10.0)) as world:
            ref = world.start()
            ref.tell(BOOM)
            ref.tell(BOOM)
            await trio.sleep_forever()

    with pytest.raises(GroupEscalatedError) as caught:
        await crash_twice()
    assert isinstance(caught.value.__cause__, Boom)


async def test_a_flapping_child_takes_nobody_along(world: World) -> None:
    rooms = await world.group("rooms", intensity=Intensity(1_000_000, 1.0))
    steady = world.start("steady", under=rooms)
    for n in range(50):
        flapping = world.start(f"f{n}", under=rooms, intensity=Intensity(2, 60.0))
        for _ in range(3):
            flapping.tell(BOOM)
    await world.until(Failed, times=50)
    assert await steady.ask(Notes, timeout=1) == ()
    assert world.of(GroupEscalated) == []


# ---------------------------------------------------------------- backoff


async def test_the_pause_before_a_restart_grows_up_to_its_most(world: World) -> None:
    ref = world.start(backoff=Backoff(first=1, factor=2, most=5, jitter=0))
    for _ in range(5):
        ref.tell(BOOM)
    await world.until(Restarting, times=5)
    assert [signal.delay for signal in world.of(Restarting)] == [1, 2, 4, 5, 5]


async def test_the_pause_is_really_made(world: World) -> None:
    ref = world.start(backoff=Backoff(first=7, jitter=0))
    began = trio.current_time()
    ref.tell(BOOM)
    await world.until(Started, generation=2)
    assert trio.current_time() == began + 7


async def test_a_calm_time_makes_the_backoff_begin_anew(world: World) -> None:
    ref = world.start(backoff=Backoff(first=1, most=60, jitter=0, reset_after=30))
    for calm in (0, 1.5, 2.5, 29.0 + 4, 30.0 + 8, 0):
        await trio.sleep(calm)
        ref.tell(BOOM)
    await world.until(Restarting, times=6)
    assert [signal.delay for signal in world.of(Restarting)] == [1, 2, 4, 8, 1, 2]


async def test_the_time_its_siblings_take_to_halt_is_not_calm_time(world: World) -> None:
    """Else a group that halts slowly never backs off."""
    group = await world.group(
        strategy=Strategy.REST_FOR_ONE,
        children=(
            world.spec("a", backoff=Backoff(first=1, jitter=0, reset_after=5)),
            world.spec("b", on_stop=forever, shutdown=10),
        ),
    )
    for generation in (1, 2):
        await world.until(Started, actor="/g/b", generation=generation)
        group.ref("a").tell(BOOM)
    await world.until(Restarting, times=2, actor="/g/a")
    assert [signal.delay for signal in world.of(Restarting)] == [1, 2]


def test_jitter_takes_a_share_away_and_a_seed_repeats_it() -> None:
    backoff = Backoff(first=1, factor=2, most=100, jitter=0.5)
    first = [backoff.delay(n, random.Random(7)) for n in range(1, 8)]
    assert first == [backoff.delay(n, random.Random(7)) for n in range(1, 8)]
    rng = random.Random(1)
    for attempt in range(1, 5_000):
        full = min(100, 2 ** min(attempt - 1, 60))
        assert full / 2 <= backoff.delay(attempt, rng) <= full


async def test_stopping_a_child_ends_its_backoff(world: World) -> None:
    ref = world.start(backoff=Backoff(first=1000, jitter=0))
    ref.tell(BOOM)
    await world.until(Restarting)
    ref.tell(Note(1))
    began = trio.current_time()
    await world.root.stop_child("a").wait()
    assert trio.current_time() == began
    assert DeadLetter("/a", "Note") in world.signals


# ---------------------------------------------------------------- the ladder of a stop


async def test_a_stop_lets_the_queue_be_read_then_closes(world: World) -> None:
    ref = world.start()
    for n in range(200):
        ref.tell(Note(n))
    await world.until(Started)
    gone = world.root.stop_child("a")
    assert not ref.tell(Note(999))
    await gone.wait()
    assert [line[1] for line in world.diary.lines if line[0] == "note"] == list(range(200))
    assert world.diary.lines[-1] == ("stopped", "a")
    assert world.of(DeadLetter) == [DeadLetter("/a", "Note")]


async def test_a_stop_that_hangs_is_cancelled_after_its_time(world: World) -> None:
    world.start(on_stop=forever, shutdown=4.0)
    await world.until(Started)
    began = trio.current_time()
    await world.root.stop_child("a").wait()
    assert trio.current_time() == began + 4
    assert world.of(ActorEnded)[-1].exit.kind is ExitKind.KILLED
    assert world.of(Overran) == []


async def test_no_time_to_stop_is_a_kill_at_once(world: World) -> None:
    ref = world.start(shutdown=0.0)
    ref.tell(Do(forever))
    await trio.testing.wait_all_tasks_blocked()
    began = trio.current_time()
    await world.root.stop_child("a").wait()
    assert trio.current_time() == began
    assert world.of(ActorEnded)[-1].exit.kind is ExitKind.KILLED


async def test_all_the_time_there_is_waits_for_a_slow_stop(world: World) -> None:
    world.start(on_stop=pause(1000), shutdown=float("inf"))
    await world.until(Started)
    await world.root.stop_child("a").wait()
    assert world.of(ActorEnded)[-1].exit.kind is ExitKind.SHUTDOWN


async def test_a_child_that_does_not_even_obey_a_cancel_is_named_and_waited_for(
    world: World,
) -> None:
    ref = world.start(shutdown=1.0)
    ref.tell(Do(stubborn))
    await trio.testing.wait_all_tasks_blocked()
    gone = world.root.stop_child("a")
    (overran,) = await world.until(Overran)
    assert (overran.actor, overran.after) == ("/a", 1.5)
    assert overran.awaiting.startswith("tests.runtime.world.stubborn:")
    assert not gone.is_set()
    await gone.wait()
    assert len(world.of(Overran)) == 1


async def test_a_child_that_was_halted_and_then_stopped_is_named_once(world: World) -> None:
    group = await world.group(
        strategy=Strategy.REST_FOR_ONE,
        children=(world.spec("a"), world.spec("b", shutdown=1.0, on_stop=stubborn)),
    )
    await world.diary.has(("started", "b", 1))
    group.ref("a").tell(BOOM)
    await world.diary.has(("stopping", "b"))
    await world.root.stop_child("g").wait()
    assert len(world.of(Overran)) == 1


async def test_stopping_one_child_holds_up_nobody(world: World) -> None:
    stuck = world.start("stuck", on_stop=forever, shutdown=100.0)
    ref = world.start("b")
    assert await stuck.ask(Notes, timeout=1) == ()
    began = trio.current_time()
    world.root.stop_child("stuck")
    assert await ref.ask(Notes, timeout=1) == ()
    world.start("c")
    await world.root.stop_child("b").wait()
    assert trio.current_time() == began


async def test_to_stop_twice_or_what_is_not_there_is_harmless(world: World) -> None:
    world.start()
    first, second = world.root.stop_child("a"), world.root.stop_child("a")
    await first.wait()
    await second.wait()
    assert world.root.stop_child("nobody").is_set()


async def test_a_crash_during_the_stop_is_reported_and_the_rest_is_dead_letters(
    world: World,
) -> None:
    ref = world.start()
    await world.until(Started)
    for message in (Note(1), BOOM, Note(2)):
        ref.tell(message)
    await world.root.stop_child("a").wait()
    assert len(world.of(Crashed)) == 1
    assert world.of(ActorEnded)[-1].exit.kind is ExitKind.CRASHED
    assert world.of(DeadLetter) == [DeadLetter("/a", "Note")]
    assert world.of(Restarting) == []


async def test_a_crash_in_the_stop_hook_is_reported(world: World) -> None:
    world.start(on_stop=boom)
    await world.until(Started)
    await world.root.stop_child("a").wait()
    assert isinstance(world.of(Crashed)[0].error, Boom)


async def test_a_child_that_ends_by_itself_during_the_shutdown_is_gone_once(world: World) -> None:
    group = await world.group(children=(world.spec("a"), world.spec("b")))
    await world.diary.has(("started", "b", 1))
    group.ref("a").tell(QUIT)
    await world.root.stop_child("g").wait()
    assert [signal.actor for signal in world.of(ActorEnded)].count("/g/a") == 1


async def test_a_supervisor_that_stops_takes_nobody_in(world: World) -> None:
    group = await world.group(children=(world.spec("a", on_stop=forever, shutdown=1),))
    await world.diary.has(("started", "a", 1))
    world.root.stop_child("g")
    await world.diary.has(("stopping", "a"))
    with pytest.raises(RuntimeError, match="is not running"):
        world.start("late", under=group)


async def test_many_children_start_and_stop_in_linear_time(world: World) -> None:
    group = await world.group()
    refs = [world.start(str(n), under=group) for n in range(2000)]
    assert await refs[-1].ask(Notes, timeout=1) == ()
    await world.root.stop_child("g").wait()
    assert (
        len([signal for signal in world.of(ActorEnded) if signal.actor.startswith("/g/")]) == 2000
    )


# ---------------------------------------------------------------- rest_for_one


async def rest_for_one(world: World, **options: Any) -> Any:
    group = await world.group(
        strategy=Strategy.REST_FOR_ONE,
        children=tuple(world.spec(name, **options.pop(name, {})) for name in "abc"),
        **options,
    )
    await world.diary.has(("started", "c", 1))
    world.diary.lines.clear()
    return group


async def test_those_after_a_crash_stop_in_reverse_order_and_start_in_order(
    world: World,
) -> None:
    group = await rest_for_one(world)
    group.ref("a").tell(BOOM)
    await world.diary.has(("started", "c", 2))
    assert world.diary.lines == [
        ("stopping", "c"),
        ("stopped", "c"),
        ("stopping", "b"),
        ("stopped", "b"),
        *((step, name, 2) for name in "abc" for step in ("starting", "started")),
    ]


async def test_those_before_a_crash_are_not_touched(world: World) -> None:
    group = await rest_for_one(world)
    group.ref("a").tell(Note(1))
    group.ref("b").tell(BOOM)
    await world.diary.has(("started", "c", 2))
    assert await group.ref("a").ask(Notes, timeout=1) == (1,)
    assert [signal.generation for signal in world.of(Started) if signal.actor == "/g/a"] == [1]


async def test_the_last_one_restarts_alone(world: World) -> None:
    group = await rest_for_one(world)
    group.ref("c").tell(BOOM)
    await world.diary.has(("started", "c", 2))
    assert world.diary.lines == [("starting", "c", 2), ("started", "c", 2)]


async def test_those_after_wait_for_the_backoff_of_the_one_that_crashed(world: World) -> None:
    group = await rest_for_one(world, a={"backoff": Backoff(first=5, jitter=0)})
    group.ref("a").tell(BOOM)
    began = trio.current_time()
    await world.diary.has(("starting", "b", 2))
    assert trio.current_time() == began + 5


async def test_the_queue_of_a_halted_sibling_is_kept(world: World) -> None:
    group = await rest_for_one(world, a={"backoff": Backoff(first=5, jitter=0)})
    group.ref("a").tell(BOOM)
    await world.diary.has(("stopped", "b"))
    assert group.ref("b").tell(Note(1))
    assert await group.ref("b").ask(Notes, timeout=10) == (1,)
    assert world.of(DeadLetter) == []


async def test_a_sibling_that_fails_to_restart_is_tried_again_and_the_later_ones_wait(
    world: World,
) -> None:
    def fail_second(actor: Puppet) -> None:
        if actor.context.generation == 2:
            raise Boom

    group = await rest_for_one(world, b={"on_start": fail_second})
    group.ref("a").tell(BOOM)
    await world.diary.has(("started", "c", 2))
    starts = [line for line in world.diary.lines if line[0] == "starting"]
    assert starts == [
        ("starting", "a", 2),
        ("starting", "b", 2),
        ("starting", "b", 3),
        ("starting", "c", 2),
    ]


async def test_the_budget_of_the_group_ends_rest_for_one_too(world: World) -> None:
    group = await rest_for_one(world, intensity=Intensity(1, 10.0), restart=Restart.TEMPORARY)
    group.ref("a").tell(BOOM)
    group.ref("a").tell(BOOM)
    (end,) = await world.until(ActorEnded, actor="/g")
    assert isinstance(end.exit.error, GroupEscalatedError)
    assert len(world.of(GroupEscalated)) == 1


async def test_a_halted_sibling_that_had_ended_itself_is_not_brought_back(world: World) -> None:
    group = await rest_for_one(world, b={"restart": Restart.TRANSIENT, "on_stop": pause(1)})
    group.ref("b").tell(QUIT)
    await world.diary.has(("stopping", "b"))
    group.ref("a").tell(BOOM)
    await world.diary.has(("started", "c", 2))
    assert names(group) == ["a", "c"]


async def test_one_that_failed_for_good_does_not_hold_up_those_after_it(world: World) -> None:
    group = await rest_for_one(world, a={"intensity": Intensity(0, 1.0)})
    group.ref("a").tell(BOOM)
    await world.until(Failed)
    group.ref("b").tell(BOOM)
    await world.diary.has(("started", "c", 2))
    assert names(group) == ["b", "c"]


async def test_a_group_stops_in_reverse_order(world: World) -> None:
    await rest_for_one(world)
    await world.root.stop_child("g").wait()
    assert [line[1] for line in world.diary.lines if line[0] == "stopped"] == ["c", "b", "a"]


# ---------------------------------------------------------------- significant children


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_the_end_of_a_significant_child_ends_its_group(
    world: World, restart: Restart
) -> None:
    group = await world.group(
        children=(world.spec("a", significant=True, restart=restart), world.spec("b"))
    )
    group.ref("a").tell(QUIT)
    (end,) = await world.until(ActorEnded, actor="/g")
    assert end.exit.kind is ExitKind.NORMAL
    assert ("stopped", "b") in world.diary.lines


async def test_a_significant_child_that_is_restarted_ends_nothing(world: World) -> None:
    group = await world.group(
        children=(world.spec("a", significant=True, restart=Restart.TRANSIENT),)
    )
    group.ref("a").tell(BOOM)
    assert await group.ref("a").ask(Notes, timeout=1) == ()


async def test_a_significant_child_that_fails_ends_its_group_as_crashed(world: World) -> None:
    ends = list[Any]()
    group = await world.group(
        restart=Restart.TEMPORARY,
        children=(world.spec("a", significant=True, intensity=Intensity(0, 1.0)),),
        on_end=ends.append,
    )
    group.ref("a").tell(BOOM)
    await world.until(ActorEnded, actor="/g")
    assert [end.kind for end in ends] == [ExitKind.CRASHED]


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_the_end_of_any_other_child_ends_nothing(world: World, restart: Restart) -> None:
    group = await world.group(children=(world.spec("a", restart=restart), world.spec("b")))
    group.ref("a").tell(QUIT)
    await world.until(ActorEnded, actor="/g/a")
    assert await group.ref("b").ask(Notes, timeout=1) == ()


async def test_a_significant_child_that_was_stopped_on_purpose_ends_nothing(
    world: World,
) -> None:
    group = await world.group(
        children=(world.spec("a", significant=True, restart=Restart.TRANSIENT), world.spec("b"))
    )
    await group.stop_child("a").wait()
    assert await group.ref("b").ask(Notes, timeout=1) == ()


async def test_significance_climbs_through_nested_groups(world: World) -> None:
    outer = await world.group("outer", restart=Restart.TEMPORARY)
    inner = outer.start_group(
        GroupSpec(
            "inner",
            (world.spec("a", significant=True, restart=Restart.TEMPORARY),),
            significant=True,
        )
    )
    await inner.running()
    inner.ref("a").tell(QUIT)
    (end,) = await world.until(ActorEnded, actor="/outer")
    assert end.exit.kind is ExitKind.NORMAL


# ---------------------------------------------------------------- groups


async def test_whoever_waits_for_a_group_that_is_gone_is_told(world: World) -> None:
    group = await world.group(restart=Restart.TEMPORARY)
    await world.root.stop_child("g").wait()
    with pytest.raises(ActorDown):
        await group.running()


async def test_on_end_is_called_once_and_one_that_raises_harms_nobody(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_end(_: object) -> None:
        ends.append(1)
        raise Boom

    ends = list[int]()
    await world.group(on_end=on_end)
    other = world.start("b")
    await world.root.stop_child("g").wait()
    assert ends == [1]
    assert await other.ask(Notes, timeout=1) == ()
    assert "Boom" in capsys.readouterr().err


async def test_a_sibling_is_an_actor_and_anybody_else_is_a_key_error(world: World) -> None:
    await world.group("g")
    with pytest.raises(KeyError):
        world.root.ref("nobody")
    with pytest.raises(KeyError, match="is a supervisor"):
        world.root.ref("g")


async def test_supervisors_nest(world: World) -> None:
    outer = await world.group("outer")
    inner = outer.start_group(GroupSpec("inner"))
    await inner.running()
    ref = inner.start_child(world.spec("a"))
    assert ref.path == "/outer/inner/a"
    assert await ref.ask(Notes, timeout=1) == ()
    await world.root.stop_child("outer").wait()
    assert world.system.registry == {}


async def test_the_root_keeps_its_own_diary_of_failures_bounded() -> None:
    async with open_system(intensity=Intensity(1_000, 1.0)) as system:
        for n in range(50):
            spec = ChildSpec(
                str(n),
                lambda: Puppet("x", Diary(), on_start=boom),
                backoff=AT_ONCE,
                intensity=Intensity(0, 1.0),
            )
            system.supervisor.start_child(spec)
        await trio.testing.wait_all_tasks_blocked()
        assert len(system.supervisor.failed) == 20
