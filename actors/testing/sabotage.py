"""Faults inside actors: a handler that raises or is slow, a start that fails, a stubborn stop.

Works on any actors, unchanged: `open_system(prepare=saboteur.prepare)` gives it every
incarnation before it starts.  It lists the exceptions that it raises, so that `checks` can
see that each was reported.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, final

import trio

from actors.runtime import Actor, ChildSpec, Counters, Incarnation, Mailbox, sleep


class Injected(Exception):
    """Raised on purpose."""


Act: TypeAlias = Callable[[Any, Any, Any], Awaitable[None] | None]
"""Runs in place of a handler: takes the handler, the actor and the message."""


@final
class Saboteur:
    """One run's.  Paths are those of actors: ``/rooms/RM_x/session``."""

    def __init__(self, done: Counter[str] | None = None) -> None:
        self.actors: dict[str, Actor[Any]] = {}
        """The newest incarnation at each path."""
        self.mailboxes: dict[str, list[Mailbox[Any]]] = {}
        """Every mailbox that was ever at a path."""
        self.specs: dict[str, ChildSpec[Any]] = {}
        self.raised: list[Injected] = []
        self.done: Counter[str] = Counter() if done is None else done
        """Number of faults that took effect, by kind."""
        self._starts: dict[str, deque[Callable[[], Awaitable[None]]]] = {}
        self._healed = False

    def prepare(self, incarnation: Incarnation) -> None:
        """For `open_system`: an incarnation is about to start."""
        path, actor = incarnation.path, incarnation.actor
        self.actors[path] = actor
        self.specs[path] = incarnation.spec
        known = self.mailboxes.setdefault(path, [])
        if incarnation.mailbox not in known:
            known.append(incarnation.mailbox)
        waiting = self._starts.get(path)
        if waiting:
            act, started = waiting.popleft(), actor.started

            async def sabotaged() -> None:
                await act()
                await started()

            actor.started = sabotaged

    def counters(self) -> dict[str, Counters]:
        """The counters of every mailbox: path and its number there, as ``/a#0``."""
        return {
            f"{path}#{n}": mailbox.counters
            for path, mailboxes in self.mailboxes.items()
            for n, mailbox in enumerate(mailboxes)
        }

    def heal(self) -> None:
        """Remove all planned faults that have not happened yet."""
        self._healed = True
        self._starts.clear()
        for actor in self.actors.values():
            vars(actor).pop("handlers", None)

    # -- the faults

    def raise_at(self, path: str, nth: int, kind: str = "crash") -> None:
        """Its n-th message from now on (1, 2, ...) raises in place of its handler."""

        def act(_: Any, __: Any, ___: Any) -> None:
            raise self._injected(kind)

        self._tamper(path, nth, act)

    def slow_at(self, path: str, nth: int, seconds: float) -> None:
        """Its n-th message from now on takes `seconds` before it is handled."""

        async def act(handler: Any, actor: Any, message: Any) -> None:
            self.done["slow"] += 1
            await sleep(0.0 if self._healed else seconds)
            result = handler(actor, message)
            if result is not None:
                await result

        self._tamper(path, nth, act)

    def fail_start(self, path: str) -> None:
        """Its next start raises."""

        async def act() -> None:
            raise self._injected("start_fails")

        self._starts.setdefault(path, deque()).append(act)

    def hang_start(self, path: str, seconds: float) -> None:
        """Its next start takes `seconds` longer."""

        async def act() -> None:
            self.done["start_hangs"] += 1
            await sleep(seconds)

        self._starts.setdefault(path, deque()).append(act)

    def stubborn_stop(self, path: str, seconds: float) -> None:
        """When it is stopped, it ignores even a cancellation for `seconds`."""
        actor = self.actors.get(path)
        if actor is None:
            return
        stopping = actor.stopping

        async def stubborn() -> None:
            self.done["stubborn_stop"] += 1
            with trio.CancelScope(shield=True):
                await sleep(seconds)
            await stopping()

        actor.stopping = stubborn

    def _injected(self, kind: str) -> Injected:
        self.done[kind] += 1
        error = Injected(f"{kind} {len(self.raised)}")
        self.raised.append(error)
        return error

    def _tamper(self, path: str, nth: int, act: Act) -> None:
        actor = self.actors.get(path)
        if actor is not None:
            actor.handlers = _Tampered(actor, nth, act)  # type: ignore[assignment, misc]


@final
class _Tampered:
    """A table of handlers in which one call runs something else."""

    def __init__(self, actor: Actor[Any], nth: int, act: Act) -> None:
        self._table: Any = type(actor).handlers
        self._left = nth
        self._act = act

    def get(self, kind: type) -> Any:
        """As of a dict."""
        handler = self._table.get(kind)
        if handler is None:
            return None
        self._left -= 1
        if self._left != 0:
            return handler

        def act(actor: Any, message: Any) -> Awaitable[None] | None:
            return self._act(handler, actor, message)

        return act
