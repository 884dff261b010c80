"""A question ends once: with its answer, with `ActorDown`, or at its deadline."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from actors.runtime import (
    ActorDown,
    AskTimeout,
    Backoff,
    Crashed,
    DeadLetter,
    MailboxSpec,
    Ref,
    ReplyTo,
    Restart,
    SelfAsk,
    ask_all,
)
from tests.runtime.world import (
    BOOM,
    QUIT,
    Boom,
    Command,
    Do,
    Note,
    Notes,
    Question,
    World,
    forever,
    pause,
)


async def sleeps(_: object, reply_to: ReplyTo[Any]) -> None:
    await trio.sleep(10)
    reply_to.send("late")


def hangs(reply_to: ReplyTo[Any]) -> Question:
    return Question(reply_to, forever_with_reply)


async def forever_with_reply(_: object, __: object) -> None:
    await trio.sleep_forever()


def booms(reply_to: ReplyTo[Any]) -> Question:
    def answer(_: object, __: object) -> None:
        raise Boom

    return Question(reply_to, answer)


async def test_an_answer_comes_back(world: World) -> None:
    ref = world.start()
    ref.tell(Note(1))
    assert await ref.ask(Notes, timeout=1) == (1,)


async def test_asking_is_a_checkpoint_even_where_the_actor_is_gone(world: World) -> None:
    ref = world.start()
    await world.root.stop_child("a").wait()
    with trio.testing.assert_checkpoints(), pytest.raises(ActorDown):
        await ref.ask(Notes, timeout=1)


async def test_no_answer_in_time_is_a_timeout_at_that_time(world: World) -> None:
    ref = world.start()
    began = trio.current_time()
    with pytest.raises(AskTimeout, match="did not answer within 3 s") as caught:
        await ref.ask(hangs, timeout=3)
    assert trio.current_time() == began + 3
    assert (caught.value.actor, caught.value.timeout) == ("/a", 3)


async def test_a_callers_timeout_does_not_harm_the_actor(world: World) -> None:
    """It crashes the server in triotp 0.3.1."""
    ref = world.start()
    with pytest.raises(AskTimeout):
        await ref.ask(lambda reply_to: Question(reply_to, sleeps), timeout=1)
    ref.tell(Note(1))
    assert await ref.ask(Notes, timeout=60) == (1,)
    assert world.of(Crashed) == []
    assert world.system.find("/a") is ref


async def test_a_question_to_a_crashing_actor_does_not_hang(world: World) -> None:
    """It hangs for ever in triotp 0.3.1."""
    ref = world.start()
    began = trio.current_time()
    with pytest.raises(ActorDown) as caught:
        await ref.ask(booms, timeout=float("inf"))
    assert isinstance(caught.value.__cause__, Boom)
    assert trio.current_time() == began
    assert await ref.ask(Notes, timeout=1) == ()


async def test_a_question_that_waits_behind_a_crash_is_answered_by_the_next_incarnation(
    world: World,
) -> None:
    ref = world.start()
    ref.tell(BOOM)
    ref.tell(Note(1))
    assert await ref.ask(Notes, timeout=1) == (1,)
    assert world.system.tree().children[0].generation == 2


async def test_a_late_answer_is_a_dead_letter_and_is_told_so(world: World) -> None:
    ref, sent = world.start(), list[bool]()

    async def answer(_: object, reply_to: ReplyTo[Any]) -> None:
        await trio.sleep(10)
        sent.append(reply_to.send("late"))

    with pytest.raises(AskTimeout):
        await ref.ask(lambda reply_to: Question(reply_to, answer), timeout=1)
    await world.until(DeadLetter)
    assert sent == [False]
    assert world.of(DeadLetter) == [DeadLetter("/a", "late reply")]
    assert world.system.dead_letters == {"/a late reply": 1}


async def test_a_second_answer_is_a_dead_letter_and_the_first_one_holds(world: World) -> None:
    def answer(_: object, reply_to: ReplyTo[Any]) -> None:
        assert reply_to.send(1)
        assert not reply_to.send(2)

    ref = world.start()
    assert await ref.ask(lambda reply_to: Question(reply_to, answer), timeout=1) == 1
    assert world.of(DeadLetter) == [DeadLetter("/a", "second reply")]


async def test_none_is_an_answer(world: World) -> None:
    ref = world.start()
    answer = await ref.ask(lambda to: Question(to, lambda _, to: to.send(None)), timeout=1)
    assert answer is None


async def test_an_answer_may_be_given_after_the_handler_has_returned(world: World) -> None:
    def answer(actor: Any, reply_to: ReplyTo[Any]) -> None:
        actor.context.start_soon(sleeps, actor, reply_to)

    ref = world.start()
    assert await ref.ask(lambda to: Question(to, answer), timeout=60) == "late"


async def test_whoever_waits_for_a_later_answer_hears_of_the_crash(world: World) -> None:
    kept = list[ReplyTo[Any]]()
    ref = world.start()
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(ActorDown, match="Boom"):
                await ref.ask(lambda to: Question(to, lambda _, to: kept.append(to)), timeout=60)

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        ref.tell(BOOM)
    assert not kept[0].send("too late")


async def test_whoever_waits_for_a_later_answer_hears_of_the_end(world: World) -> None:
    ref = world.start()
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(ActorDown, match="is down: shutdown"):
                await ref.ask(lambda to: Question(to, lambda _, __: None), timeout=60)

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        world.root.stop_child("a")


async def test_a_thousand_later_answers_are_all_given(world: World) -> None:
    kept = list[ReplyTo[Any]]()
    ref, answers = world.start(), list[int]()
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            answers.append(
                await ref.ask(lambda to: Question(to, lambda _, to: kept.append(to)), timeout=60)
            )

        for _ in range(1000):
            nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        for n, reply_to in enumerate(kept):
            reply_to.send(n)
    assert sorted(answers) == list(range(1000))


async def test_a_question_to_an_actor_that_is_gone_is_a_dead_letter(world: World) -> None:
    ref = world.start()
    await world.root.stop_child("a").wait()
    with pytest.raises(ActorDown, match="/a is down: not started"):
        await ref.ask(Notes, timeout=1)
    assert world.of(DeadLetter) == [DeadLetter("/a", "Notes")]


async def test_a_question_left_in_the_queue_at_the_end_hears_of_it(world: World) -> None:
    ref = world.start(restart=Restart.TEMPORARY)
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(ActorDown, match="is down: crashed: Boom") as caught:
                await ref.ask(Notes, timeout=60)
            assert isinstance(caught.value.__cause__, Boom)

        ref.tell(BOOM)
        nursery.start_soon(ask)


async def test_a_question_to_a_full_mailbox_ends_at_once(world: World) -> None:
    ref = world.start(mailbox=MailboxSpec(2))
    ref.tell(Do(forever))
    await trio.testing.wait_all_tasks_blocked()
    ref.tell(Note(1))
    ref.tell(Note(2))
    with pytest.raises(ActorDown, match="its mailbox is full"):
        await ref.ask(Notes, timeout=60)


async def test_a_question_that_the_actor_does_not_know_ends_at_once(world: World) -> None:
    class Unknown:
        def __init__(self, reply_to: ReplyTo[Any]) -> None:
            self.reply_to = reply_to

    ref: Ref[Any] = world.start()
    with pytest.raises(ActorDown, match="does not understand Unknown"):
        await ref.ask(Unknown, timeout=60)


async def test_an_actor_that_asks_itself_is_refused(world: World) -> None:
    seen = list[str]()

    async def ask_myself(actor: Any) -> None:
        with pytest.raises(SelfAsk):
            await actor.context.ref.ask(Notes, timeout=60)
        outcomes = await ask_all([actor.context.ref, other], Notes, timeout=60)
        assert isinstance(outcomes[0], SelfAsk)
        assert outcomes[1] == ()
        seen.append("done")

    other = world.start("other")
    ref = world.start()
    ref.tell(Do(ask_myself))
    await ref.ask(Notes, timeout=60)
    assert seen == ["done"]


async def test_a_task_beside_the_handlers_may_ask_its_own_actor(world: World) -> None:
    answers = list[Any]()

    async def ask(ref: Ref[Any]) -> None:
        answers.append(await ref.ask(Notes, timeout=1))

    ref = world.start()
    ref.tell(Do(lambda actor: actor.context.start_soon(ask, ref)))
    await trio.testing.wait_all_tasks_blocked()
    assert answers == [()]


async def test_an_asker_that_is_cancelled_leaves_a_dead_letter_and_no_waiter(world: World) -> None:
    ref = world.start()
    with trio.move_on_after(1) as scope:
        await ref.ask(lambda to: Question(to, sleeps), timeout=60)
    assert scope.cancelled_caught
    assert await world.until(DeadLetter) == [DeadLetter("/a", "late reply")]


@pytest.mark.parametrize("timeout", [0, -1.0])
async def test_a_deadline_that_is_over_already_is_a_timeout(world: World, timeout: float) -> None:
    ref = world.start()
    with pytest.raises(AskTimeout):
        await ref.ask(hangs, timeout=timeout)


async def test_deadlines_of_all_lengths_are_each_kept(world: World) -> None:
    took = dict[float, float]()
    ref = world.start()
    async with trio.open_nursery() as nursery:

        async def ask(timeout: float) -> None:
            began = trio.current_time()
            with pytest.raises(AskTimeout):
                await ref.ask(hangs, timeout=timeout)
            took[timeout] = trio.current_time() - began

        for timeout in (5, 1, 3, 0.5, 100, 4.0, 1.5):
            nursery.start_soon(ask, timeout)
    assert all(took[timeout] == pytest.approx(timeout) for timeout in took)
    assert world.system.deadlines._queues == {} or len(world.system.deadlines._queues) == 1


async def test_answered_questions_leave_no_deadline_behind(world: World) -> None:
    ref = world.start()
    for _ in range(1000):
        await ref.ask(Notes, timeout=5)
    assert sum(map(len, world.system.deadlines._queues.values())) <= 1


async def test_an_answer_and_a_deadline_at_one_moment_make_one_end(world: World) -> None:
    async def answer(_: object, reply_to: ReplyTo[Any]) -> None:
        await trio.sleep(1)
        reply_to.send("answer")

    for _ in range(50):
        name = f"a{trio.current_time()}"
        ref = world.start(name)
        before = len(world.of(DeadLetter))
        try:
            got = await ref.ask(lambda to: Question(to, answer), timeout=1)
            assert got == "answer"
            late = 0
        except AskTimeout:
            await trio.testing.wait_all_tasks_blocked()
            late = 1
        assert len(world.of(DeadLetter)) - before == late


async def test_asking_all_waits_for_nobody_who_is_stuck(world: World) -> None:
    refs = [world.start(f"a{n}") for n in range(4)]
    refs[1].tell(Do(forever))
    refs[3].tell(Note(7))
    await world.root.stop_child("a2").wait()
    began = trio.current_time()
    first, second, third, fourth = await ask_all(refs, Notes, timeout=1)
    assert trio.current_time() == began + 1
    assert (first, fourth) == ((), (7,))
    assert isinstance(second, AskTimeout)
    assert isinstance(third, ActorDown)


async def test_asking_nobody_is_a_checkpoint(world: World) -> None:
    with trio.testing.assert_checkpoints():
        assert await ask_all(list[Ref[Command]](), Notes, timeout=1) == []


async def test_a_question_before_the_actor_is_ready_waits_for_it(world: World) -> None:
    ref = world.start(on_start=pause(3))
    assert await ref.ask(Notes, timeout=5) == ()


async def test_a_question_during_the_backoff_waits_for_the_next_incarnation(world: World) -> None:
    ref = world.start(backoff=Backoff(first=2, jitter=0))
    ref.tell(BOOM)
    assert await ref.ask(Notes, timeout=5) == ()


async def test_an_actor_that_ends_itself_ends_the_questions_behind_it(world: World) -> None:
    ref = world.start(restart=Restart.TEMPORARY)
    ref.tell(QUIT)
    with pytest.raises(ActorDown, match="is down: normal"):
        await ref.ask(Notes, timeout=5)
