"""The life of one supervised actor: its mailbox, and one incarnation after another."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    TypeAlias,
    TypeVar,
    TypeVarTuple,
    Unpack,
    cast,
    final,
)

import trio

from actors.runtime.actor import Actor, Down
from actors.runtime.errors import ActorDown, Exit, ExitKind, StartTimeout
from actors.runtime.mailbox import Mailbox, Slot
from actors.runtime.ref import Ref
from actors.runtime.signals import Crashed, Started
from actors.runtime.spec import ChildSpec

if TYPE_CHECKING:
    import random

    from actors.runtime.reply import ReplyTo
    from actors.runtime.supervisor import Supervisor
    from actors.runtime.system import ActorSystem

M = TypeVar("M")
N = TypeVar("N")
PosArgs = TypeVarTuple("PosArgs")

_Group: TypeAlias = BaseExceptionGroup[BaseException]

BATCH: Final = 64
"""Messages that are handled before others get their turn."""
REMEMBERED: Final = 8
"""How many classes of last messages are kept for introspection."""


class LifeCycle(Enum):
    """Where an actor or a group is in its life."""

    WAITING = "waiting"
    """For its turn to start."""
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    ENDED = "ended"
    FAILED = "failed"


@final
class Context(Generic[M]):
    """What an actor may do besides handling messages.  One for each incarnation."""

    __slots__ = ("_cell", "_nursery", "generation")

    def __init__(self, cell: Cell[M], nursery: trio.Nursery) -> None:
        self._cell = cell
        self._nursery = nursery
        self.generation = cell.generation

    @property
    def ref(self) -> Ref[M]:
        """The actor's own address, to be given to others."""
        return self._cell.ref

    def sibling(self, child_id: str) -> Ref[Any]:
        """The address of another actor of the same supervisor.

        It need not be up yet; one that the group was made with may also be gone already
        (what it is told is then a dead letter).  KeyError where there never was one.
        """
        return self._cell.parent.sibling(child_id)

    @property
    def random(self) -> random.Random:
        """The system's seeded randomness."""
        return self._cell.system.random

    def start_soon(
        self, task: Callable[[Unpack[PosArgs]], Awaitable[Any]], *args: *PosArgs
    ) -> None:
        """Run a task beside the handlers.  It lives no longer than this incarnation, and
        an exception in it crashes the incarnation."""
        self._nursery.start_soon(task, *args)

    def after(self, seconds: float, message: M) -> trio.CancelScope:
        """Tell oneself `message` later; cancel the returned scope to take it back."""
        scope = trio.CancelScope()
        self._nursery.start_soon(self._deliver, scope, seconds, message)
        return scope

    async def _deliver(self, scope: trio.CancelScope, seconds: float, message: M) -> None:
        with scope:
            await trio.sleep(seconds)
            self._cell.ref.tell(message)

    def watch(self, ref: Ref[Any]) -> Callable[[], None]:
        """Have the actor's `down` hook called once when `ref` is gone for good.

        Returns a function that ends the watch.  A watch outlives a restart of the watcher;
        to watch the same actor again while it is watched changes nothing.
        """
        return self._cell.begin_watch(ref)

    def take_thinned(self, kind: type) -> int:
        """How many messages of a class whose policy drops the oldest were dropped from one's
        own mailbox since this was last asked.  Costs next to nothing where none were."""
        return self._cell.mailbox.take_thinned(kind)

    def stop(self) -> None:
        """End normally after the message in hand.

        What is still queued is left to the next incarnation; where none follows it is dead
        letters.
        """
        if self.generation == self._cell.generation:
            self._cell.end_now()


@final
class Cell(Generic[M]):
    """A place in the tree: outlives the incarnations of its actor."""

    __slots__ = (
        "_deferred",
        "_deferred_most",
        "_down",
        "_downs",
        "_ending",
        "_final",
        "_scope",
        "_watchers",
        "_watching",
        "generation",
        "last",
        "mailbox",
        "parent",
        "path",
        "reason",
        "ref",
        "spec",
        "state",
        "system",
        "task",
    )

    def __init__(
        self,
        system: ActorSystem,
        path: str,
        spec: ChildSpec[M],
        parent: Supervisor,
    ) -> None:
        self.system = system
        self.parent = parent
        self.path = path
        self.spec = spec
        self.mailbox: Mailbox[M] = Mailbox(spec.mailbox)
        self.ref: Ref[M] = Ref(self)
        self.generation = 0
        self.state = LifeCycle.WAITING
        self.reason = "not started"
        """Why it is down, where it is."""
        self.last: deque[type] = deque(maxlen=REMEMBERED)
        self.task: trio.lowlevel.Task | None = None
        """The task that runs the handlers of the current incarnation."""
        self._scope: trio.CancelScope | None = None
        self._final = False
        self._ending = False
        self._downs: list[Down] = []
        self._deferred: list[ReplyTo[Any]] = []
        """Questions that were read and are not known to be answered."""
        self._deferred_most = BATCH
        """Length from which it is looked through."""
        self._watchers: list[Callable[[Down], object]] = []
        self._watching: dict[str, Callable[[], None]] = {}
        """Path of whom the actor watches, to the way to end that."""
        self._down: Down | None = None

    # -- what the supervisor asks for

    @property
    def live(self) -> bool:
        """There is an incarnation."""
        return self.task is not None

    def request_stop(self, *, final: bool) -> None:
        """Ask the incarnation to end within the spec's shutdown time.

        `final`: no other incarnation follows; the mailbox is closed and what is queued is
        still handled.  Otherwise it ends after the message in hand and the queue is kept.
        """
        if final:
            self._final = True
            self.mailbox.close()
        if not self.live or (self._ending and not final):
            return
        self._ending = True
        self.state = LifeCycle.STOPPING
        assert self._scope is not None
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + self.spec.shutdown)
        self.mailbox.attend()

    def end_now(self) -> None:
        """The actor stops itself."""
        self._final = False
        self._ending = True
        self.mailbox.attend()

    async def live_once(self) -> Exit:
        """Run one incarnation to its end.  Raises nothing but a cancellation from outside."""
        self.generation += 1
        self.state = LifeCycle.STARTING
        self.task = trio.lowlevel.current_task()
        self._ending = False
        scope = self._scope = trio.CancelScope()
        end = Exit(ExitKind.KILLED)
        try:
            with scope:
                async with trio.open_nursery() as nursery:
                    await self._incarnate(nursery)
                    nursery.cancel_scope.cancel()
            if not scope.cancelled_caught:
                end = Exit(ExitKind.SHUTDOWN if self._was_asked() else ExitKind.NORMAL)
        except BaseException as exc:
            cancelled, error = _without_cancelled(exc)
            if error is not None:
                if not isinstance(error, Exception):
                    raise  # KeyboardInterrupt, SystemExit: not ours to judge
                end = Exit(ExitKind.CRASHED, error)
            if cancelled is not None:
                raise cancelled from None  # a crash on the way is told as any other
        finally:
            self._close_incarnation(end)
        return end

    def _was_asked(self) -> bool:
        return self.state is LifeCycle.STOPPING

    async def _incarnate(self, nursery: trio.Nursery) -> None:
        actor = self.spec.start()
        actor.context = Context(self, nursery)
        self.system.prepare(self.path, actor)
        with trio.move_on_after(self.spec.start_timeout) as starting:
            await actor.started()
        if starting.cancelled_caught:
            raise StartTimeout(f"{self.path} did not start within {self.spec.start_timeout:g} s")
        if self.state is LifeCycle.STARTING:
            self.state = LifeCycle.RUNNING
        self.parent.changed()
        self.system.emit(Started(self.path, self.generation))
        mailbox = self.mailbox
        while not self._ending or (self._final and len(mailbox)):
            await mailbox.wait()
            if mailbox.wanted:
                self._attend(actor)
            await self._handle_batch(actor)
        await actor.stopping()

    async def _handle_batch(self, actor: Actor[M]) -> None:
        mailbox = self.mailbox
        handlers = actor.handlers
        remember = self.last.append
        if self._ending and not self._final:
            return
        for item in mailbox.batch(BATCH):
            handler = handlers.get(item.__class__)
            if handler is not None:
                remember(item.__class__)
                result = handler(actor, item)
                if result is not None:
                    await result
            elif type(item) is Slot:
                await self._answer(actor, item)
            else:
                self._not_understood(type(item))
            if self._ending and not self._final:
                mailbox.done()
                return

    async def _answer(self, actor: Actor[M], item: Slot) -> None:
        kind, reply = type(item.message), item.reply
        assert reply is not None
        handler = actor.handlers.get(kind)
        if handler is None:
            self._not_understood(kind)
            reply.fail(ActorDown(self.path, f"does not understand {kind.__name__}"))
            return
        self.last.append(kind)
        deferred = self._deferred
        deferred.append(reply)
        result = handler(actor, item.message)
        if result is not None:
            await result
        # An answer may be given later than its handler returns; until then it is kept.
        if reply.over and deferred[-1] is reply:
            deferred.pop()
        elif len(deferred) > self._deferred_most:
            deferred[:] = [kept for kept in deferred if not kept.over]
            self._deferred_most = max(BATCH, 2 * len(deferred))

    def _attend(self, actor: Actor[M]) -> None:
        self.mailbox.wanted = False
        if self.mailbox.overflowed:
            self.mailbox.overflowed = False
            actor.overflowed()
        while self._downs:
            actor.down(self._downs.pop(0))

    def _not_understood(self, kind: type) -> None:
        self.mailbox.unread()
        self.system.dead_letter(self.path, kind.__name__)

    def _close_incarnation(self, end: Exit) -> None:
        """Whatever was begun is ended: the message in hand, and questions not answered yet."""
        self.task = None
        self.state = LifeCycle.WAITING
        self.reason = end.reason
        message = self.mailbox.in_hand
        self.mailbox.fail()
        if end.error is not None:
            self.system.emit(Crashed(self.path, self.generation, end.error, message))
        deferred, self._deferred = self._deferred, []
        for reply in deferred:
            reply.fail(self._down_error(end.error))

    def _down_error(self, cause: BaseException | None = None) -> ActorDown:
        down = ActorDown(self.path, self.reason)
        down.__cause__ = cause
        return down

    # -- being watched, and watching

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
            self._watching[path] = lambda: None  # it may be gone already
            unwatch = ref.watch(self._deliver_down)
            if path in self._watching:
                self._watching[path] = unwatch

        def end_watch() -> None:
            self._watching.pop(path, lambda: None)()

        return end_watch

    def _deliver_down(self, down: Down) -> None:
        """Queue a `Down` in the system lane: read before the next batch, never dropped."""
        del self._watching[down.actor]
        self._downs.append(down)
        self.mailbox.attend()

    def gone(self, end: Exit) -> None:
        """No incarnation follows.  Synchronous: whoever sees the `Down` sees no entry."""
        if self.state is not LifeCycle.FAILED:
            self.state = LifeCycle.ENDED
        for unwatch in self._watching.values():
            unwatch()
        self._watching.clear()
        for message, reply in self.mailbox.empty_into_dead_letters():
            self.system.dead_letter(self.path, type(message).__name__)
            if reply is not None:
                reply.fail(self._down_error(end.error))
        down = self._down = Down(self.path, self.generation, end.kind, self.reason)
        watchers, self._watchers = self._watchers, []
        for callback in watchers:
            self.system.call(callback, down)

    def awaiting(self) -> str:
        """What the handlers' task waits for: innermost function outside trio, with its line."""
        return where(self.task)


def where(task: trio.lowlevel.Task | None) -> str:
    """The innermost function of `task` that is not trio's own, as ``module.function:line``."""
    found = ""
    coroutine: Any = None if task is None else task.coro
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None)
        if frame is not None:
            module = frame.f_globals.get("__name__", "?")
            if module.split(".")[0] != "trio":
                found = f"{module}.{frame.f_code.co_name}:{frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None)
    return found


def _without_cancelled(
    error: BaseException,
) -> tuple[BaseException | None, BaseException | None]:
    """Split into (the cancellation in it, the rest), each None where there is none."""
    if isinstance(error, trio.Cancelled):
        return error, None
    if not isinstance(error, BaseExceptionGroup):
        return None, error
    cancelled, rest = cast("_Group", error).split(trio.Cancelled)
    return cancelled, None if rest is None else _unwrapped(rest)


def _unwrapped(group: _Group) -> BaseException:
    """The only exception of a group that trio put around it, else the group."""
    if len(group.exceptions) != 1:
        return group
    inner = group.exceptions[0]
    return _unwrapped(cast("_Group", inner)) if isinstance(inner, BaseExceptionGroup) else inner
