"""Where nobody listens, what goes wrong is written to stderr, with the actor's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from actors.runtime import (
    ActorDown,
    ActorEnded,
    ChildSpec,
    GroupEscalatedError,
    GroupSpec,
    Intensity,
    Ref,
    ReplyTo,
    Restart,
    open_system,
)
from tests.runtime.world import AT_ONCE, BOOM, Boom, Diary, Do, Note, Notes, Puppet, World, boom
from tests.runtime.world import stubborn as ignore_cancel

NEVER = Intensity(restarts=0)


def puppet(name: str = "a", **spec: Any) -> ChildSpec[Any]:
    return ChildSpec(name, lambda: Puppet(name, Diary()), backoff=AT_ONCE, **spec)


async def test_a_crash_a_failed_actor_and_the_first_dead_letter_are_written(
    virtual_time: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_system() as system:
        ref = system.supervisor.start_child(puppet(intensity=NEVER))
        ref.tell(Do(boom))
        await ref.wait_down()
        ref.tell(Note(1))
        ref.tell(Note(2))
    shown = capsys.readouterr().err
    assert "actor /a crashed (incarnation 1) with the message Do(what=<function boom" in shown
    assert "    raise Boom\n" in shown
    assert "actor /a failed: it spent its budget of 0 restarts and stays down (Boom())" in shown
    assert shown.count("dead letter: actor /a does not read Note; further ones are only") == 1
    assert shown.count("dead letter") == 1


async def test_a_stop_that_takes_too_long_and_an_escalation_are_written(
    virtual_time: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def main() -> None:
        async with open_system(intensity=NEVER) as system:
            slow = system.supervisor.start_child(puppet("slow", shutdown=1.0))
            slow.tell(Do(ignore_cancel))
            await trio.testing.wait_all_tasks_blocked()
            await system.supervisor.stop_child("slow").wait()
            system.supervisor.start_child(puppet()).tell(BOOM)
            await trio.sleep_forever()

    with pytest.raises(GroupEscalatedError, match="supervisor / spent its restart budget"):
        await main()
    shown = capsys.readouterr().err
    where = "tests.runtime.world.stubborn:"
    assert "actor /slow still runs 1.5 s after it was asked to stop; it waits at " + where in shown
    assert "supervisor / spent its restart budget: the last crash was that of /a" in shown


async def test_an_orderly_run_and_a_system_that_asked_for_silence_write_nothing(
    virtual_time: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_system() as system:
        ref = system.supervisor.start_child(puppet())
        ref.tell(Note(1))
        assert await ref.ask(Notes, timeout=1) == (1,)
    async with open_system(on_signal=None) as system:
        ref = system.supervisor.start_child(puppet(intensity=NEVER))
        ref.tell(BOOM)
        await ref.wait_down()
        ref.tell(Note(1))
    assert capsys.readouterr().err == ""


async def test_a_message_that_cannot_be_shown_hides_no_crash(
    virtual_time: int, capsys: pytest.CaptureFixture[str]
) -> None:
    class Hidden(Do):
        def __repr__(self) -> str:
            raise Boom

    async with open_system() as system:
        ref = system.supervisor.start_child(
            ChildSpec("a", lambda: Reader(Diary()), restart=Restart.TEMPORARY)
        )
        ref.tell(Hidden(boom))
        await ref.wait_down()

    class Endless(Do):
        def __repr__(self) -> str:
            return "x" * 1_000_000

    async with open_system() as system:
        ref = system.supervisor.start_child(
            ChildSpec("b", lambda: Reader(Diary()), restart=Restart.TEMPORARY)
        )
        ref.tell(Endless(boom))
        await ref.wait_down()
    shown = capsys.readouterr().err
    assert "actor /a crashed (incarnation 1) with the message <Hidden>:" in shown
    assert "actor /b crashed (incarnation 1) with the message xxxx" in shown
    assert len(shown) < 20_000


class Reader(Puppet):
    """A puppet that takes subclasses of its messages."""

    def __init__(self, diary: Diary) -> None:
        super().__init__("reader", diary)
        table = type(self).handlers
        self.handlers: Any = _AnySubclass(table)


class _AnySubclass:
    def __init__(self, table: Any) -> None:
        self._table = table

    def get(self, kind: type) -> Any:
        return self._table.get(kind) or (self._table[Do] if issubclass(kind, Do) else None)


# ---------------------------------------------------------------- later questions


async def test_a_later_question_to_a_failed_actor_has_its_cause(world: World) -> None:
    ref = world.start(intensity=NEVER)
    ref.tell(BOOM)
    await ref.wait_down()
    with pytest.raises(ActorDown, match="actor /a is down: crashed: Boom") as caught:
        await ref.ask(Notes, timeout=1)
    assert isinstance(caught.value.__cause__, Boom)


async def test_a_group_that_ended_says_so_with_its_cause(world: World) -> None:
    group = await world.group(intensity=NEVER)
    world.start("a", under=group).tell(BOOM)
    await world.until(ActorEnded, actor="/g")
    with pytest.raises(ActorDown, match="actor /g is down: crashed: GroupEscalatedError") as caught:
        await group.running()
    assert isinstance(caught.value.__cause__, GroupEscalatedError)


# ---------------------------------------------------------------- the sender, in debug mode


def line_of(mark: str) -> str:
    """The line of this file that ends with the comment `mark`, as ``file:line``."""
    lines = Path(__file__).read_text().splitlines()
    (number,) = [n for n, line in enumerate(lines, 1) if line.endswith(f"# {mark}")]
    return f"{__file__}:{number}"


async def test_in_debug_mode_a_wrong_message_is_shown_with_the_line_that_sent_it(
    virtual_time: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_system(debug=True) as system:
        ref: Ref[Any] = system.supervisor.start_child(puppet())
        ref.tell(Note(1))
        ref.tell("text")  # before it has started
        assert await ref.ask(Notes, timeout=1) == (1,)
        ref.tell(7)  # while it runs
        assert await ref.ask(Notes, timeout=1) == (1,)
        assert ref._cell.senders is not None
        assert ref._cell.senders._lines == {}
        await system.supervisor.stop_child("a").wait()
        ref.tell(Note(1))  # after its end
        late: Ref[Any] = system.supervisor.start_child(puppet("b"))
        late.tell(Note(2))  # never started
    shown = capsys.readouterr().err.splitlines()
    assert shown == [
        f"dead letter: actor /a does not read str, sent at {line_of('before it has started')}",
        f"dead letter: actor /a does not read int, sent at {line_of('while it runs')}",
        f"dead letter: actor /a does not read Note, sent at {line_of('after its end')}",
        f"dead letter: actor /b does not read Note, sent at {line_of('never started')}",
    ]


async def test_a_wrong_message_of_a_timer_says_that_it_is_one(
    virtual_time: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def wind(actor: Any) -> None:
        actor.context.after(1.0, "text")

    async with open_system(debug=True) as system:
        system.supervisor.start_child(puppet()).tell(Do(wind))
        await trio.sleep(2)
    assert "does not read str, sent at a timer (Context.after)" in capsys.readouterr().err


async def test_without_debug_mode_no_sender_is_noted(virtual_time: int) -> None:
    async with open_system(on_signal=None, debug=False) as system:
        ref: Ref[Any] = system.supervisor.start_child(puppet())
        ref.tell("text")
        await ref.ask(Notes, timeout=1)
        assert [letter.sender for letter in system.recent_dead_letters] == [""]


# ---------------------------------------------------------------- errors name the actor


async def test_errors_name_the_actor_or_the_supervisor(world: World) -> None:
    world.start("a")
    group = world.root.start_group(GroupSpec("g"))
    with pytest.raises(ValueError, match="supervisor / has a child 'a' already"):
        world.start("a")
    with pytest.raises(KeyError, match="supervisor / has no child 'b'"):
        world.root.ref("b")
    with pytest.raises(RuntimeError, match="supervisor /g is not running, so 'c' cannot start"):
        group.start_child(puppet("c"))
    with pytest.raises(TypeError, match="child 'a': `start` is called for each incarnation"):
        ChildSpec("a", Puppet("a", Diary()))  # type: ignore[arg-type]


async def test_a_question_of_a_wrong_class_names_the_actor(world: World) -> None:
    class Unknown:
        def __init__(self, reply_to: ReplyTo[Any]) -> None:
            self.reply_to = reply_to

    ref: Ref[Any] = world.start()
    with pytest.raises(ActorDown, match="actor /a is down: does not understand Unknown"):
        await ref.ask(Unknown, timeout=1)
