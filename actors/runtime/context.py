"""The context of an actor: it starts tasks and timers, watches others, and ends itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from random import Random
from typing import Any, Generic, Protocol, TypeVar, TypeVarTuple, Unpack, final

import trio

from actors.runtime.deadlines import Deadlines, Timer
from actors.runtime.no_constructor import NoPublicConstructor
from actors.runtime.ref import Ref

M = TypeVar("M")
M_contra = TypeVar("M_contra", contravariant=True)
PosArgs = TypeVarTuple("PosArgs")


class ContextOwner(Protocol[M_contra]):
    """The cell behind a context."""

    generation: int

    @property
    def ref(self) -> Ref[M_contra]: ...

    @property
    def random(self) -> Random: ...

    @property
    def deadlines(self) -> Deadlines: ...

    @property
    def live(self) -> bool: ...

    def sibling(self, child_id: str) -> Ref[Any]: ...

    def begin_watch(self, ref: Ref[Any]) -> Callable[[], None]: ...

    def take_dropped(self, kind: type) -> int: ...

    def end_now(self) -> None: ...


@final
class Context(Generic[M], metaclass=NoPublicConstructor):
    """An actor's tasks, timers, watches and its own end.  One for each incarnation."""

    __slots__ = ("_cell", "_nursery", "generation")

    def __init__(self, cell: ContextOwner[M], nursery: trio.Nursery) -> None:
        self._cell = cell
        self._nursery = nursery
        self.generation = cell.generation

    @property
    def ref(self) -> Ref[M]:
        """The actor's own address, to give to others."""
        return self._cell.ref

    def sibling(self, child_id: str) -> Ref[Any]:
        """The address of another actor of the same supervisor.

        The actor need not be up yet.  One that is in the spec of the group may also have
        ended; messages to it are then dead letters.  KeyError if there never was one.
        """
        return self._cell.sibling(child_id)

    @property
    def random(self) -> Random:
        """The system's seeded randomness."""
        return self._cell.random

    def start_soon(
        self, task: Callable[[Unpack[PosArgs]], Awaitable[Any]], *args: *PosArgs
    ) -> None:
        """Run a task beside the handlers.  It ends with this incarnation at the latest, and
        an exception in it crashes the incarnation."""
        self._nursery.start_soon(task, *args)

    def after(self, seconds: float, message: M) -> Timer:
        """Tell the actor itself `message` later.  Cancel the returned timer to take it back.

        It is not delivered after the end of this incarnation.
        """
        return self._cell.deadlines.after(seconds, partial(self._deliver, message))

    def _deliver(self, message: M) -> None:
        if self._cell.live and self._cell.generation == self.generation:
            self._cell.ref.tell(message)

    def watch(self, ref: Ref[Any]) -> Callable[[], None]:
        """Have the actor's `down` hook called once when the actor of `ref` has ended for good.

        Returns a function that ends the watch.  A watch outlives a restart of the watcher.
        A second watch of the same actor changes nothing.
        """
        return self._cell.begin_watch(ref)

    def take_dropped(self, kind: type) -> int:
        """The number of messages of a `DROP_OLDEST` class that the actor's own mailbox dropped
        since the last call.  Cheap if there were none."""
        return self._cell.take_dropped(kind)

    def stop(self) -> None:
        """End normally after the message in hand.

        The next incarnation reads the queue.  If none follows, the queued messages are dead
        letters.
        """
        if self.generation == self._cell.generation:
            self._cell.end_now()
