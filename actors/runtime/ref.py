"""The address of an actor: tell it a message, ask it a question, watch for its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Generic, Protocol, TypeVar, final

import trio

from actors.runtime.deadlines import Deadlines, Expiring
from actors.runtime.errors import ActorDown, ActorError, AskTimeout, Down, SelfAsk
from actors.runtime.mailbox import Mailbox
from actors.runtime.no_constructor import NoPublicConstructor
from actors.runtime.reply import ReplyTo
from actors.runtime.reports import Reports
from actors.runtime.senders import Senders, line_of_caller

M_contra = TypeVar("M_contra", contravariant=True)
R = TypeVar("R")


class Addressee(Protocol):
    """The cell behind a ref."""

    path: str
    senders: Senders | None
    task: trio.lowlevel.Task | None

    @property
    def mailbox(self) -> Mailbox[Any]: ...

    @property
    def deadlines(self) -> Deadlines: ...

    @property
    def reports(self) -> Reports: ...

    def down_error(self) -> ActorDown: ...

    def watch(self, callback: Callable[[Down], object]) -> Callable[[], None]: ...


@final
class _Waiter:
    """A task that waits for `left` answers, or until its deadline."""

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
        """A checkpoint.  A cancellation ends the wait for good."""
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
class Ref(Generic[M_contra], metaclass=NoPublicConstructor):
    """The address of an actor that takes `M_contra`.  It stays valid across restarts."""

    __slots__ = ("_cell", "_offer")

    def __init__(self, cell: Addressee) -> None:
        self._cell = cell
        senders, offer = cell.senders, cell.mailbox.offer
        self._offer = offer if senders is None else senders.noting(offer)

    def __repr__(self) -> str:
        return f"<Ref {self._cell.path}>"

    @property
    def path(self) -> str:
        """Where it is in the tree: ``/rooms/RM_x/session``."""
        return self._cell.path

    def tell(self, message: M_contra) -> bool:
        """Put a message into the mailbox.  Never raises and never waits.

        False when this message will not be read: the actor has ended (a dead letter), or
        the mailbox has no room for it (by the policy of its class).
        """
        if self._offer(message):
            return True
        cell = self._cell
        if cell.mailbox.closed:
            sender = "" if cell.senders is None else cell.senders.take(message) or line_of_caller()
            cell.reports.dead_letter(cell.path, type(message).__name__, sender)
        return False

    async def ask(self, make: Callable[[ReplyTo[R]], M_contra], *, timeout: float) -> R:
        """Send the message that `make` builds around a `ReplyTo` and wait for the answer.

        Ends in exactly one way: the answer; `ActorDown` when the actor goes down with the
        question, is down already, or has no room for it; `AskTimeout` after `timeout`
        seconds.  A timeout does not harm the actor.  Raises `SelfAsk` in the actor's own
        handler.
        """
        cell = self._cell
        task = trio.lowlevel.current_task()
        if cell.task is task:
            raise SelfAsk(f"{cell.path} asked itself")
        waiter = _Waiter(task, 1)
        reply: ReplyTo[R] = ReplyTo(waiter.one_done, self.report_late)
        message = make(reply)
        cell.deadlines.add(timeout, waiter)
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
            cell.reports.dead_letter(cell.path, type(message).__name__)
            reply.fail(cell.down_error())
        else:
            reply.fail(ActorDown(cell.path, "its mailbox is full"))

    def add_deadline(self, timeout: float, waiter: Expiring) -> None:
        """Have `waiter` expire; for `ask_all`."""
        self._cell.deadlines.add(timeout, waiter)

    def is_handled_by(self, task: trio.lowlevel.Task) -> bool:
        """True if `task` runs this actor's handlers; for `ask_all`."""
        return self._cell.task is task

    def report_late(self, what: str) -> None:
        """Count an answer that came too late as a dead letter; for `ReplyTo`."""
        self._cell.reports.dead_letter(self._cell.path, what)

    def watch(self, callback: Callable[[Down], object]) -> Callable[[], None]:
        """Have `callback` called once, with a `Down`, when the actor has ended for good.

        Called at once if it has ended already.  Returns a function that ends the watch.
        Actors use `Context.watch`, which delivers to their `down` hook.
        """
        return self._cell.watch(callback)

    async def wait_down(self) -> Down:
        """Wait until the actor has ended for good."""
        event = trio.Event()
        downs: list[Down] = []

        def on_down(down: Down) -> None:
            downs.append(down)
            event.set()

        unwatch = self.watch(on_down)
        try:
            await event.wait()
        finally:
            unwatch()
        return downs[0]


async def ask_all(
    refs: Iterable[Ref[M_contra]],
    make: Callable[[ReplyTo[R]], M_contra],
    *,
    timeout: float,
) -> list[R | ActorError]:
    """Ask many actors at once under one deadline, so that one stuck actor delays no other.

    The list has one outcome for each ref, in order: its answer, or `ActorDown` or
    `AskTimeout` as a value, or `SelfAsk` for the actor that asks.
    """
    addressees = list(refs)
    task = trio.lowlevel.current_task()
    waiter = _Waiter(task, len(addressees))
    if addressees:
        addressees[0].add_deadline(timeout, waiter)
    replies: list[ReplyTo[R]] = []
    for ref in addressees:
        reply: ReplyTo[R] = ReplyTo(waiter.one_done, ref.report_late)
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
        for ref, reply, answered in zip(addressees, replies, in_time, strict=True)
    ]
