"""One supervised actor: its mailbox, and one incarnation after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum
from math import inf
from random import Random
from typing import Any, Final, Generic, Protocol, TypeVar, final

import trio

from actors.runtime.actor import Actor
from actors.runtime.context import Context
from actors.runtime.deadlines import Deadlines
from actors.runtime.errors import (
    ActorDown,
    Down,
    Exit,
    ExitKind,
    StartTimeout,
    without_cancelled,
)
from actors.runtime.mailbox import Mailbox, Slot
from actors.runtime.no_constructor import NoPublicConstructor
from actors.runtime.ref import Ref
from actors.runtime.reply import ReplyTo
from actors.runtime.reports import Reports
from actors.runtime.senders import Senders, sender_of
from actors.runtime.signals import Crashed, Started
from actors.runtime.spec import ChildSpec
from actors.runtime.system_core import Incarnation, SystemCore

M = TypeVar("M")

BATCH: Final = 64
"""Messages that are handled before others get their turn."""
REMEMBERED: Final = 8
"""How many classes of last messages are kept for introspection."""


class LifeCycle(Enum):
    """The state of an actor or a group."""

    WAITING = "waiting"
    """It waits for its turn to start."""
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    ENDED = "ended"
    FAILED = "failed"


class CellParent(Protocol):
    """The supervisor of a cell, as far as the cell knows it."""

    def sibling(self, child_id: str) -> Ref[Any]: ...

    def changed(self) -> None: ...


@final
class Cell(Generic[M], metaclass=NoPublicConstructor):
    """A place in the tree of actors.  It outlives the incarnations of its actor."""

    __slots__ = (
        "_cause",
        "_core",
        "_deferred",
        "_deferred_limit",
        "_down",
        "_downs",
        "_ending",
        "_final",
        "_scope",
        "_stop_deadline",
        "_watchers",
        "_watching",
        "generation",
        "last",
        "mailbox",
        "parent",
        "path",
        "reason",
        "ref",
        "senders",
        "spec",
        "state",
        "task",
    )

    def __init__(
        self,
        core: SystemCore,
        path: str,
        spec: ChildSpec[M],
        parent: CellParent,
    ) -> None:
        self._core = core
        self.parent = parent
        self.path = path
        self.spec = spec
        self.mailbox: Mailbox[M] = Mailbox(spec.mailbox)
        self.senders = Senders() if core.debug else None
        self.ref: Ref[M] = Ref.runtime_create(self)
        self.generation = 0
        self.state = LifeCycle.WAITING
        self.reason = "not started"
        """Why the last incarnation ended."""
        self._cause: BaseException | None = None
        """The exception with which it ended for good."""
        self.last: deque[type] = deque(maxlen=REMEMBERED)
        self.task: trio.lowlevel.Task | None = None
        """The task that runs the handlers of the current incarnation."""
        self._scope: trio.CancelScope | None = None
        self._stop_deadline = inf
        """Time of trio at which a stop that was asked for becomes a cancellation."""
        self._final = False
        self._ending = False
        self._downs: list[Down] = []
        self._deferred: list[ReplyTo[Any]] = []
        """Questions that were read and may still be answered."""
        self._deferred_limit = BATCH
        """Length of `_deferred` at which the answered ones are removed."""
        self._watchers: list[Callable[[Down], object]] = []
        self._watching: dict[str, Callable[[], None]] = {}
        """Path of each actor that this one watches, to the function that ends the watch."""
        self._down: Down | None = None

    # -- for refs and contexts

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines of all questions of the system."""
        return self._core.deadlines

    @property
    def reports(self) -> Reports:
        """The reports of the system."""
        return self._core.reports

    @property
    def random(self) -> Random:
        """See `Context.random`."""
        return self._core.random

    def sibling(self, child_id: str) -> Ref[Any]:
        """See `Context.sibling`."""
        return self.parent.sibling(child_id)

    def take_dropped(self, kind: type) -> int:
        """See `Context.take_dropped`."""
        return self.mailbox.take_dropped(kind)

    # -- for the supervisor

    @property
    def live(self) -> bool:
        """True if an incarnation runs."""
        return self.task is not None

    def request_stop(self, *, final: bool) -> None:
        """Ask the incarnation to end within the spec's shutdown time.

        `final`: no other incarnation follows.  The mailbox is closed, and the queued messages
        are still handled.  Otherwise the incarnation ends after the message in hand, and the
        next one reads the queue.
        """
        if final:
            self._final = True
            self.mailbox.close()
        if not self.live or (self._ending and not final):
            return
        self._ending = True
        self.state = LifeCycle.STOPPING
        assert self._scope is not None
        self._stop_deadline = min(self._stop_deadline, trio.current_time() + self.spec.shutdown)
        self._scope.deadline = min(self._scope.deadline, self._stop_deadline)
        self.mailbox.signal_control()

    def end_now(self) -> None:
        """The actor stops itself."""
        self._final = False
        self._ending = True
        self.mailbox.signal_control()

    async def run_incarnation(self) -> Exit:
        """Run one incarnation to its end.  Raises nothing but a cancellation from outside."""
        self.generation += 1
        self.state = LifeCycle.STARTING
        self.task = trio.lowlevel.current_task()
        self._ending = False
        self._stop_deadline = inf
        end, finished = Exit(ExitKind.KILLED), False
        try:
            async with trio.open_nursery() as nursery:
                # One scope does for the time to start, the time to stop and the tasks.
                scope = self._scope = nursery.cancel_scope
                scope.deadline = trio.current_time() + self.spec.start_timeout
                await self._handle_messages(nursery)
                finished = True
                scope.cancel()
            if finished:
                overran = scope.cancelled_caught and scope.deadline <= trio.current_time()
                if not overran:
                    end = Exit(ExitKind.SHUTDOWN if self._stop_was_requested() else ExitKind.NORMAL)
            elif self._is_starting():
                end = Exit(ExitKind.CRASHED, self._start_timeout())
        except BaseException as exc:
            cancelled, error = without_cancelled(exc)
            if error is not None:
                if not isinstance(error, Exception):
                    raise  # KeyboardInterrupt, SystemExit: they end the program
                end = Exit(ExitKind.CRASHED, error)
            if cancelled is not None:
                raise cancelled from None  # `_close_incarnation` reports a crash, if any
        finally:
            self._close_incarnation(end)
        return end

    def _stop_was_requested(self) -> bool:
        return self.state is LifeCycle.STOPPING

    def _is_starting(self) -> bool:
        return self.state is LifeCycle.STARTING

    def _start_timeout(self) -> StartTimeout:
        return StartTimeout(f"{self.path} did not start within {self.spec.start_timeout:g} s")

    async def _handle_messages(self, nursery: trio.Nursery) -> None:
        actor = self.spec.start()
        actor.context = Context.runtime_create(self, nursery)
        if self.senders is not None:
            self.senders.learn(type(actor).handlers)
        self._core.prepare(Incarnation(self.path, self.generation, actor, self.spec, self.mailbox))
        await actor.started()
        nursery.cancel_scope.deadline = self._stop_deadline
        if self._is_starting():
            if nursery.cancel_scope.cancel_called:
                raise self._start_timeout()
            self.state = LifeCycle.RUNNING
        self.parent.changed()
        self._core.reports.emit(Started(self.path, self.generation))
        mailbox = self.mailbox
        while not self._ending or (self._final and len(mailbox)):
            await mailbox.wait()
            if mailbox.control_pending:
                self._handle_control(actor)
            await self._handle_batch(actor)
        await actor.stopping()

    async def _handle_batch(self, actor: Actor[M]) -> None:
        mailbox = self.mailbox
        handlers = actor.handlers
        record_last = self.last.append
        if self._ending and not self._final:
            return
        for item in mailbox.batch(BATCH):
            handler = handlers.get(item.__class__)
            if handler is not None:
                record_last(item.__class__)
                result = handler(actor, item)
                if result is not None:
                    await result
            elif type(item) is Slot:
                await self._answer(actor, item)
            else:
                self._reject_unknown(item)
            if self._ending and not self._final:
                mailbox.done()
                return

    async def _answer(self, actor: Actor[M], item: Slot) -> None:
        kind, reply = type(item.message), item.reply
        assert reply is not None
        handler = actor.handlers.get(kind)
        if handler is None:
            self._reject_unknown(item.message)
            reply.fail(ActorDown(self.path, f"does not understand {kind.__name__}"))
            return
        self.last.append(kind)
        deferred = self._deferred
        deferred.append(reply)
        result = handler(actor, item.message)
        if result is not None:
            await result
        # The handler may return before it answers.  The question stays listed until then.
        if reply.over and deferred[-1] is reply:
            deferred.pop()
        elif len(deferred) > self._deferred_limit:
            deferred[:] = [question for question in deferred if not question.over]
            self._deferred_limit = max(BATCH, 2 * len(deferred))

    def _handle_control(self, actor: Actor[M]) -> None:
        self.mailbox.control_pending = False
        if self.mailbox.overflowed:
            self.mailbox.overflowed = False
            actor.overflowed()
        while self._downs:
            actor.down(self._downs.pop(0))

    def _reject_unknown(self, message: object) -> None:
        self.mailbox.mark_unhandled()
        sender = sender_of(self.senders, message)
        self._core.reports.dead_letter(self.path, type(message).__name__, sender)

    def _close_incarnation(self, end: Exit) -> None:
        """Account for the message in hand, and fail the questions that are not answered."""
        self.task = None
        self.state = LifeCycle.WAITING
        self.reason = end.reason
        message = self.mailbox.in_hand
        self.mailbox.fail()
        if end.error is not None:
            self._core.reports.emit(Crashed(self.path, self.generation, end.error, message))
        deferred, self._deferred = self._deferred, []
        for reply in deferred:
            reply.fail(self.down_error(end.error))

    def down_error(self, cause: BaseException | None = None) -> ActorDown:
        """The error for a question that nobody will answer.  Its cause is the crash, if any."""
        down = ActorDown(self.path, self.reason)
        down.__cause__ = cause or self._cause
        return down

    # -- watches, in both directions

    def watch(self, callback: Callable[[Down], object]) -> Callable[[], None]:
        """See `Ref.watch`."""
        if self._down is not None:
            callback(self._down)
            return lambda: None
        self._watchers.append(callback)

        def unwatch() -> None:
            if callback in self._watchers:
                self._watchers.remove(callback)

        return unwatch

    def begin_watch(self, ref: Ref[Any]) -> Callable[[], None]:
        """See `Context.watch`."""
        path = ref.path
        if path not in self._watching:
            self._watching[path] = lambda: None  # `watch` below may deliver at once
            unwatch = ref.watch(self._deliver_down)
            if path in self._watching:
                self._watching[path] = unwatch

        def end_watch() -> None:
            self._watching.pop(path, lambda: None)()

        return end_watch

    def _deliver_down(self, down: Down) -> None:
        """Queue a `Down`.  It is read before the next batch of messages and never dropped."""
        del self._watching[down.actor]
        self._downs.append(down)
        self.mailbox.signal_control()

    def finish(self, end: Exit) -> None:
        """No incarnation follows.

        Synchronous, with the removal from the registry: no entry is there at the `Down`.
        """
        if self.state is not LifeCycle.FAILED:
            self.state = LifeCycle.ENDED
        self._cause = end.error
        for unwatch in self._watching.values():
            unwatch()
        self._watching.clear()
        for message, reply in self.mailbox.empty_into_dead_letters():
            sender = sender_of(self.senders, message)
            self._core.reports.dead_letter(self.path, type(message).__name__, sender)
            if reply is not None:
                reply.fail(self.down_error())
        down = self._down = Down(self.path, self.generation, end.kind, self.reason)
        watchers, self._watchers = self._watchers, []
        for callback in watchers:
            self._core.reports.call(callback, down)

    def awaiting(self) -> str:
        """Where the handlers' task waits: innermost function outside trio, with its line."""
        return position_of(self.task)


def position_of(task: trio.lowlevel.Task | None) -> str:
    """The innermost function of `task` that is not trio's own, as ``module.function:line``."""
    position = ""
    coroutine: Any = None if task is None else task.coro
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None:
            module = frame.f_globals.get("__name__", "?")
            if module.split(".")[0] != "trio":
                position = f"{module}.{frame.f_code.co_name}:{frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None)
    return position
