"""How to talk to an actor: tell it something, ask it something, learn that it is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, final

import trio

from actors.runtime.errors import ActorDown, ActorError, AskTimeout, SelfAsk
from actors.runtime.reply import ReplyTo

if TYPE_CHECKING:
    from actors.runtime.actor import Down
    from actors.runtime.cell import Cell
    from actors.runtime.deadlines import Expiring

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


@final
class _Waiter:
    """The task that waits for `left` answers, or until its time is over."""

    __slots__ = ("left", "parked", "task")

    def __init__(self, task: trio.lowlevel.Task, left: int) -> None:
        self.task = task
        self.left = left
        self.parked = False

    @property
    def over(self) -> bool:
        return self.left <= 0

    def one_done(self) -> None:
        self.left -= 1
        if self.left == 0 and self.parked:
            self.parked = False
            trio.lowlevel.reschedule(self.task)

    def expire(self) -> None:
        if self.left > 0:
            self.left = 0
            if self.parked:
                self.parked = False
                trio.lowlevel.reschedule(self.task)

    async def wait(self) -> None:
        """A checkpoint.  Cancelled, it is over as well."""
        if self.left <= 0:
            await trio.lowlevel.checkpoint()
            return
        self.parked = True
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self.parked = False
        self.left = 0
        return trio.lowlevel.Abort.SUCCEEDED


@final
class Ref(Generic[M_contra]):
    """The address of an actor that takes `M_contra`; stays good across its restarts."""

    __slots__ = ("_cell", "_offer")

    def __init__(self, cell: Cell[Any]) -> None:
        self._cell = cell
        self._offer = cell.mailbox.offer

    def __repr__(self) -> str:
        return f"<Ref {self._cell.path}>"

    @property
    def path(self) -> str:
        """Where it is in the tree: ``/rooms/RM_x/session``."""
        return self._cell.path

    def tell(self, message: M_contra) -> bool:
        """Put a message into the mailbox.  Never raises and never waits.

        False when this message will not be read: the actor is gone (a dead letter) or
        the mailbox has no room for it (by the policy of its class).
        """
        if self._offer(message):
            return True
        if self._cell.mailbox.closed:
            self._cell.system.dead_letter(self._cell.path, type(message).__name__)
        return False

    async def ask(self, make: Callable[[ReplyTo[R]], M_contra], *, timeout: float) -> R:
        """Send the message that `make` builds around a `ReplyTo` and wait for the answer.

        Ends in exactly one way: the answer; `ActorDown` when the actor goes down with the
        question, is down already, or has no room for it; `AskTimeout` after `timeout`
        seconds.  The actor is not harmed by an asker that gives up.  Raises `SelfAsk` in
        the actor's own handler.
        """
        cell = self._cell
        task = trio.lowlevel.current_task()
        if cell.task is task:
            raise SelfAsk(f"{cell.path} asked itself")
        waiter = _Waiter(task, 1)
        reply: ReplyTo[R] = ReplyTo(waiter.one_done, self.late)
        message = make(reply)
        cell.system.deadlines.add(timeout, waiter)
        self.send(message, reply)
        try:
            await waiter.wait()
        finally:
            in_time = reply.abandon()
        if not in_time:
            raise AskTimeout(cell.path, timeout)
        return reply.result()

    def send(self, message: M_contra, reply: ReplyTo[Any]) -> None:
        """Queue a question whose answer goes to `reply`; for `ask` and `ask_all`."""
        cell = self._cell
        if cell.mailbox.offer_ask(message, reply):
            return
        if cell.mailbox.closed:
            cell.system.dead_letter(cell.path, type(message).__name__)
            reply.fail(ActorDown(cell.path, cell.reason))
        else:
            reply.fail(ActorDown(cell.path, "its mailbox is full"))

    def keep_deadline(self, timeout: float, waiter: Expiring) -> None:
        """Have `waiter` expire; for `ask_all`."""
        self._cell.system.deadlines.add(timeout, waiter)

    def is_handled_by(self, task: trio.lowlevel.Task) -> bool:
        """Whether `task` runs this actor's handlers; for `ask_all`."""
        return self._cell.task is task

    def late(self, what: str) -> None:
        """An answer came that nobody waits for; for `ReplyTo`."""
        self._cell.system.dead_letter(self._cell.path, what)

    def watch(self, callback: Callable[[Down], object]) -> Callable[[], None]:
        """Have `callback` called once, with a `Down`, when the actor is gone for good.

        At once where it is gone already.  Returns a function that ends the watch.
        Actors use `Context.watch`, which delivers to their `down` hook.
        """
        return self._cell.watch(callback)

    async def gone(self) -> Down:
        """Wait until the actor is gone for good."""
        event = trio.Event()
        seen: list[Down] = []

        def note(down: Down) -> None:
            seen.append(down)
            event.set()

        unwatch = self.watch(note)
        try:
            await event.wait()
        finally:
            unwatch()
        return seen[0]


async def ask_all(
    refs: Iterable[Ref[M_contra]],
    make: Callable[[ReplyTo[R]], M_contra],
    *,
    timeout: float,
) -> list[R | ActorError]:
    """Ask many actors at once under one deadline; nobody waits for a stuck one.

    The list has one outcome for each ref, in order: its answer, `ActorDown` or
    `AskTimeout` as a value, `SelfAsk` for the one who asks.
    """
    asked = list(refs)
    task = trio.lowlevel.current_task()
    waiter = _Waiter(task, len(asked))
    if asked:
        asked[0].keep_deadline(timeout, waiter)
    replies: list[ReplyTo[R]] = []
    for ref in asked:
        reply: ReplyTo[R] = ReplyTo(waiter.one_done, ref.late)
        replies.append(reply)
        if ref.is_handled_by(task):
            reply.fail(SelfAsk(f"{ref.path} asked itself"))
        else:
            ref.send(make(reply), reply)
    try:
        await waiter.wait()
    finally:
        in_time = [reply.abandon() for reply in replies]
    return [
        reply.outcome() if answered else AskTimeout(ref.path, timeout)
        for ref, reply, answered in zip(asked, replies, in_time, strict=True)
    ]
