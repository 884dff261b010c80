"""Watching, the registry, introspection, timers; and that nothing is left behind."""

from __future__ import annotations

import random
from collections.abc import Generator
from typing import Any, cast

import pytest
import trio
import trio.testing

from actors.runtime import (
    Actor,
    ActorEnded,
    AskTimeout,
    Backoff,
    ChildSpec,
    Crashed,
    DeadLetter,
    Down,
    ExitKind,
    MailboxSpec,
    Node,
    Overflow,
    Policy,
    Ref,
    Restart,
    Service,
    Started,
    open_system,
    receives,
    render_running,
    render_tree,
)
from actors.runtime.cell import Cell
from actors.runtime.deadlines import FEW
from tests.runtime.world import (
    BOOM,
    OFTEN,
    QUIT,
    Boom,
    Do,
    Note,
    Notes,
    Stranger,
    World,
    boom,
    forever,
    open_world,
    pause,
    stubborn,
)

# ---------------------------------------------------------------- watching


async def test_a_watch_gives_exactly_one_down_with_how_it_ended(world: World) -> None:
    downs = list[Down]()
    ref = world.start(restart=Restart.TEMPORARY)
    ref.watch(downs.append)
    ref.tell(BOOM)
    assert await ref.wait_down() == Down("/a", 1, ExitKind.CRASHED, "crashed: Boom: ")
    assert downs == [await ref.wait_down()]


async def test_a_restart_is_no_down(world: World) -> None:
    downs = list[Down]()
    ref = world.start()
    ref.watch(downs.append)
    for _ in range(3):
        ref.tell(BOOM)
    assert await ref.ask(Notes, timeout=1) == ()
    assert downs == []
    await world.root.stop_child("a").wait()
    assert downs == [Down("/a", 4, ExitKind.SHUTDOWN, "shutdown")]


async def test_whoever_watches_too_late_is_told_at_once(world: World) -> None:
    ref, downs = world.start(), list[Down]()
    await world.root.stop_child("a").wait()
    ref.watch(downs.append)
    assert [down.actor for down in downs] == ["/a"]


async def test_a_watch_that_was_ended_tells_nothing(world: World) -> None:
    ref, downs = world.start(), list[Down]()
    ref.watch(downs.append)()
    await world.root.stop_child("a").wait()
    assert downs == []


async def test_a_watcher_that_raises_harms_neither_supervisor_nor_other_watchers(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    ref, other, downs = world.start("a"), world.start("b"), list[Down]()
    ref.watch(boom)
    ref.watch(downs.append)
    await world.root.stop_child("a").wait()
    assert len(downs) == 1
    assert await other.ask(Notes, timeout=1) == ()
    assert "Boom" in capsys.readouterr().err


async def test_an_actor_hears_of_the_end_of_another_before_it_reads_on(world: World) -> None:
    watched, watcher = world.start("watched"), world.start("watcher")
    watcher.tell(Do(lambda actor: actor.context.watch(watched)))
    await world.until(Started, times=2)
    await trio.testing.wait_all_tasks_blocked()
    await world.root.stop_child("watched").wait()
    watcher.tell(Note(1))
    await world.diary.has(("note", 1))
    kinds = [type(line) for line in world.diary.lines[-2:]]
    assert kinds == [Down, tuple]


async def test_an_actors_watch_outlives_its_restart_and_tells_once(world: World) -> None:
    watched = world.start("watched")
    watcher = world.start("watcher", on_start=lambda actor: _watch(actor, watched))
    watcher.tell(BOOM)
    watcher.tell(BOOM)
    assert await watcher.ask(Notes, timeout=1) == ()
    await world.root.stop_child("watched").wait()
    assert await watcher.ask(Notes, timeout=1) == ()
    assert [line for line in world.diary.lines if isinstance(line, Down)] == [
        await watched.wait_down()
    ]


def _watch(actor: Any, ref: Ref[Any]) -> None:
    actor.context.watch(ref)


async def test_an_actor_that_is_gone_leaves_no_watch_behind(world: World) -> None:
    watched = world.start("watched")
    for n in range(10):
        world.start(f"w{n}", on_start=lambda actor: _watch(actor, watched))
    await world.until(Started, times=11)
    for n in range(10):
        await world.root.stop_child(f"w{n}").wait()
    assert cast("Cell[Any]", watched._cell)._watchers == []


async def test_an_actor_may_watch_one_that_is_gone_and_end_a_watch(world: World) -> None:
    gone, watched = world.start("gone"), world.start("watched")
    await world.root.stop_child("gone").wait()
    watcher = world.start("watcher")
    watcher.tell(Do(lambda actor: actor.context.watch(gone)))
    watcher.tell(Do(lambda actor: actor.context.watch(watched)()))
    await watcher.ask(Notes, timeout=1)
    await world.root.stop_child("watched").wait()
    await watcher.ask(Notes, timeout=1)
    assert [line.actor for line in world.diary.lines if isinstance(line, Down)] == ["/gone"]


async def test_the_registry_entry_goes_in_the_same_step_as_the_down(world: World) -> None:
    seen = list[object]()
    ref = world.start()
    ref.watch(lambda down: seen.append(world.system.find(down.actor)))
    await world.root.stop_child("a").wait()
    assert seen == [None]
    assert world.system.registry == {}


# ---------------------------------------------------------------- messages


async def test_a_message_without_a_handler_is_a_dead_letter_and_no_crash(world: World) -> None:
    ref: Ref[Any] = world.start()
    assert ref.tell(Stranger())
    assert await ref.ask(Notes, timeout=1) == ()
    assert world.of(DeadLetter) == [DeadLetter("/a", "Stranger")]
    assert world.system.tree().children[0].counters["dead_lettered"] == 1  # type: ignore[index]


async def test_a_declared_message_without_a_handler_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="Broken has no @receives handler for Note"):

        class Broken(Actor[Note | Notes]):
            @receives(Notes)
            def tell_notes(self, message: Notes) -> None: ...


async def test_a_flood_is_read_in_batches_so_that_others_get_their_turn(world: World) -> None:
    flooded, other = world.start("flooded"), world.start("other")
    await other.ask(Notes, timeout=1)
    for n in range(1000):
        flooded.tell(Note(n))
    other.tell(Note(-1))
    await world.diary.has(("note", -1))
    assert ("note", 999) not in world.diary.lines


async def test_what_is_lost_to_an_overflow_is_told_to_the_actor_once(world: World) -> None:
    ref = world.start(mailbox=MailboxSpec(3))
    await world.until(Started)
    assert [ref.tell(Note(n)) for n in range(5)] == [True] * 3 + [False] * 2
    assert await world_notes(ref) == (0, 1, 2)
    assert world.diary.lines.count(("overflowed", "a")) == 1
    assert world.of(DeadLetter) == []


async def world_notes(ref: Ref[Any]) -> Any:
    await trio.testing.wait_all_tasks_blocked()
    return await ref.ask(Notes, timeout=1)


async def test_policies_hold_for_an_actor(world: World) -> None:
    policy = Policy(Overflow.COALESCE, key=lambda note: note.n % 2)
    ref = world.start(mailbox=MailboxSpec(10, {Note: policy}))
    for n in range(6):
        ref.tell(Note(n))
    assert await ref.ask(Notes, timeout=1) == (4, 5)


# ---------------------------------------------------------------- timers


async def test_a_message_to_oneself_comes_later_and_can_be_taken_back(world: World) -> None:
    def plan(actor: Any) -> None:
        actor.context.after(5, Note(1))
        actor.context.after(6, Note(2)).cancel()

    ref = world.start()
    ref.tell(Do(plan))
    await trio.sleep(4)
    assert await ref.ask(Notes, timeout=1) == ()
    await trio.sleep(3)
    assert await ref.ask(Notes, timeout=1) == (1,)


async def test_timers_that_were_cancelled_take_no_room(world: World) -> None:
    def plan(actor: Any) -> None:
        for n in range(1_000):
            actor.context.after(3600 + n, Note(n)).cancel()

    ref = world.start()
    ref.tell(Do(plan))
    await ref.ask(Notes, timeout=1)
    assert len(world.system.deadlines._timers) <= FEW


async def test_a_message_to_oneself_dies_with_the_incarnation(world: World) -> None:
    ref = world.start()
    ref.tell(Do(lambda actor: actor.context.after(5, Note(1))))
    ref.tell(BOOM)
    await trio.sleep(6)
    assert await ref.ask(Notes, timeout=1) == ()


async def test_the_context_of_an_earlier_incarnation_does_not_stop_a_later_one(
    world: World,
) -> None:
    contexts = list[Any]()
    ref = world.start(on_start=lambda actor: contexts.append(actor.context))
    ref.tell(BOOM)
    await ref.ask(Notes, timeout=1)
    contexts[0].stop()
    assert await ref.ask(Notes, timeout=1) == ()
    assert world.of(ActorEnded) == []


# ---------------------------------------------------------------- services


async def test_a_service_runs_ends_and_is_restarted_like_any_actor(world: World) -> None:
    runs = list[float]()

    async def work() -> None:
        runs.append(trio.current_time())
        await trio.sleep(1)
        if len(runs) < 3:
            raise Boom

    spec = ChildSpec(
        "s", lambda: Service(work), restart=Restart.TRANSIENT, backoff=Backoff(first=1, jitter=0)
    )
    world.root.start_child(spec)
    (end,) = await world.until(ActorEnded, actor="/s")
    assert len(runs) == 3
    assert end.exit.kind is ExitKind.NORMAL
    assert len(world.of(Crashed)) == 2


# ---------------------------------------------------------------- introspection


async def test_the_tree_tells_everything_of_a_stuck_actor(world: World) -> None:
    group = await world.group()
    ref = world.start("a", under=group)
    ref.tell(BOOM)
    ref.tell(Note(1))
    ref.tell(Do(forever))
    await trio.testing.wait_all_tasks_blocked()
    ref.tell(Note(2))
    (node,) = world.system.tree().children[0].children
    assert (node.path, node.kind, node.state) == ("/g/a", "actor", "running")
    assert (node.generation, node.restarts, node.queued) == (2, 1, 2)
    assert node.counters == {
        "offered": 4,
        "handled": 1,
        "dropped": 0,
        "coalesced": 0,
        "dead_lettered": 0,
        "failed": 1,
        "queued": 2,
    }
    assert node.last == ("Do", "Note", "Do")
    assert node.awaiting.startswith("tests.runtime.world.forever:")
    text = render_tree(world.system.tree())
    assert text.splitlines()[0] == "/ [running] generation 1"
    assert "    a [running] generation 2; restarts 1; queued 2 (" in text
    assert "last Do Note Do; at tests.runtime.world.forever:" in text


def made_of(steps: Generator[None, None, Node]) -> Node:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


async def test_a_tree_may_be_looked_at_in_steps_while_actors_come_and_go(world: World) -> None:
    world.start("a")
    world.start("b")
    await trio.testing.wait_all_tasks_blocked()
    steps = world.system.tree_in_steps()
    next(steps)
    await world.system.supervisor.stop_child("b").wait()
    world.start("c")
    assert [node.path for node in made_of(steps).children] == ["/a", "/b"]
    assert [node.path for node in world.system.tree().children] == ["/a", "/c"]


async def test_every_state_of_a_life_can_be_seen(world: World) -> None:
    async def look() -> None:
        await trio.testing.wait_all_tasks_blocked()
        seen.append(world.system.tree().children[0].state)

    seen = list[str]()
    ref = world.start(on_start=pause(5), on_stop=pause(5), backoff=Backoff(first=5, jitter=0))
    seen.append(world.system.tree().children[0].state)
    await look()
    await trio.sleep(5)
    await look()
    ref.tell(BOOM)
    await look()
    await trio.sleep(10)
    world.root.stop_child("a")
    await look()
    assert seen == ["waiting", "starting", "running", "backoff", "stopping"]


async def test_a_listener_that_raises_is_shown_and_harms_nobody(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    end = world.system.listen(boom)
    ref = world.start()
    assert await ref.ask(Notes, timeout=1) == ()
    end()
    assert "Boom" in capsys.readouterr().err


async def test_dead_letters_are_counted_by_actor_and_message_and_bounded(world: World) -> None:
    refs = [world.start(f"a{n}") for n in range(150)]
    for n in range(150):
        await world.root.stop_child(f"a{n}").wait()
    for ref in refs:
        ref.tell(Note(1))
        ref.tell(Note(1))
    letters = world.system.dead_letters
    assert letters["/a0 Note"] == 2
    assert letters.total() == 300
    assert len(letters) == 101
    assert len(world.system.recent_dead_letters) == 100


# ---------------------------------------------------------------- the end, and cancellation


async def test_the_end_of_the_block_stops_everybody_in_order() -> None:
    async with open_world() as world:
        group = await world.group()
        ref = world.start("a", under=group)
        ref.tell(Note(1))
        await ref.ask(Notes, timeout=1)
    assert world.diary.lines[-1] == ("stopped", "a")
    assert [signal.actor for signal in world.of(ActorEnded)] == ["/g/a", "/g", "/"]
    assert world.system.registry == {}


async def test_what_the_block_raises_is_raised_plain_and_nobody_is_left() -> None:
    worlds = list[World]()

    async def fail() -> None:
        async with open_world() as world:
            worlds.append(world)
            world.start(on_start=forever)
            await trio.testing.wait_all_tasks_blocked()
            raise Boom

    with pytest.raises(Boom):
        await fail()
    assert worlds[0].system.registry == {}


async def test_a_cancellation_from_outside_ends_everybody_and_is_not_swallowed(
    virtual_time: int,
) -> None:
    worlds = list[World]()
    with trio.move_on_after(5) as scope:
        async with open_world() as world:
            worlds.append(world)
            world.start().tell(Do(forever))
            await trio.sleep_forever()
    assert scope.cancelled_caught
    (end,) = [signal for signal in worlds[0].of(ActorEnded) if signal.actor == "/a"]
    assert end.exit.kind is ExitKind.KILLED
    assert worlds[0].system.registry == {}


async def test_a_crash_while_being_cancelled_is_reported_and_the_cancellation_goes_on(
    virtual_time: int,
) -> None:
    async def crash_on_the_way(_: object) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise Boom

    worlds = list[World]()
    with trio.move_on_after(5) as scope:
        async with open_world() as world:
            worlds.append(world)
            ref = world.start()
            ref.tell(Do(lambda actor: actor.context.start_soon(crash_on_the_way, actor)))
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert [type(crash.error) for crash in worlds[0].of(Crashed)] == [Boom]


async def test_an_exit_of_the_interpreter_is_not_taken_for_a_crash() -> None:
    def leave(_: object) -> None:
        raise SystemExit(3)

    async def main() -> None:
        async with open_system() as system:
            spec = ChildSpec("a", lambda: Quitter(leave))
            system.supervisor.start_child(spec).tell(Note(1))
            await trio.sleep_forever()

    with pytest.RaisesGroup(SystemExit, flatten_subgroups=True, allow_unwrapped=True):
        await main()


class Quitter(Actor[Note]):
    def __init__(self, leave: Any) -> None:
        self._leave = leave

    @receives(Note)
    def note(self, message: Note) -> None:
        self._leave(message)


async def test_a_question_from_outside_keeps_its_deadline_while_the_system_goes_down(
    virtual_time: int,
) -> None:
    ends = list[Any]()
    async with trio.open_nursery() as nursery:

        async def ask(ref: Ref[Any]) -> None:
            began = trio.current_time()
            with pytest.raises(AskTimeout):
                await ref.ask(Notes, timeout=30)
            ends.append(trio.current_time() - began)

        with trio.move_on_after(1):
            async with open_world() as world:
                ref = world.start()
                ref.tell(Do(stubborn))
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(ask, ref)
                await trio.sleep_forever()
    assert ends == [30]


async def test_a_stale_exit_is_not_told_as_the_last_one(virtual_time: int) -> None:
    downs = list[Down]()
    with trio.move_on_after(5):
        async with open_world() as world:
            ref = world.start()
            ref.watch(downs.append)
            ref.tell(BOOM)
            await trio.sleep_forever()
    assert [(down.kind, down.generation) for down in downs] == [(ExitKind.KILLED, 2)]


@pytest.mark.seeds(30)
async def test_under_any_schedule_nothing_is_left_and_every_message_is_accounted_for(
    seed: int, virtual_time: int
) -> None:
    rng, tasks = random.Random(seed), trio.lowlevel.current_statistics().tasks_living
    async with open_world(rng=rng) as world:
        refs = [world.start(f"a{n}", intensity=OFTEN) for n in range(6)]
        for _ in range(100):
            ref = rng.choice(refs)
            ref.tell(rng.choice([Note(1), Note(2), BOOM, QUIT, Do(pass_time)]))
            if rng.random() < 0.2:
                await trio.sleep(rng.random())
        for node in world.system.tree().children:
            assert node.counters is not None
            check_law(node.counters)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    for ref in refs:
        counters = ref._cell.mailbox.counters
        assert counters.balanced
        assert counters.queued == 0


async def pass_time(_: object) -> None:
    await trio.sleep(0.3)


def check_law(counters: dict[str, int]) -> None:
    assert counters["offered"] == sum(n for name, n in counters.items() if name != "offered")


async def test_the_running_systems_can_be_shown_from_anywhere(world: World) -> None:
    world.start("shown")
    await world.until(Started)
    assert "  shown [running] generation 1" in render_running()
    async with open_world():
        assert render_running().count("/ [running]") == 2
    assert render_running().count("/ [running]") == 1
