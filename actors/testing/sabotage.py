"""Faults inside actors: a handler that raises or is slow, a start that fails, a stubborn stop.

A fault may be planned before its actor exists, and stays planned over restarts until it
happens.  A run of `actors.testing.open_sim` fails if a planned fault never happened.

Works on any actors, unchanged: `open_system(prepare=saboteur.prepare)` gives it every
incarnation before it starts.  It lists the exceptions that it raises, so that `checks` can
see that each was reported.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias, final

import trio
from attrs import define

from actors.runtime import Actor, ChildSpec, Counters, Incarnation, Mailbox, sleep


class Injected(Exception):
    """Raised on purpose."""


Act: TypeAlias = Callable[[Any, Any, Any], Awaitable[None] | None]
"""Runs in place of a handler: takes the handler, the actor and the message."""
Hook: TypeAlias = Callable[[], Awaitable[None]]


@define(eq=False)
class MessageFault:
    """A planned fault in the handling of one message."""

    name: str
    left: int
    """Messages until it takes effect, with that one."""
    act: Act


@define(eq=False)
class StopFault:
    """A planned fault in the stop of an actor."""

    name: str
    act: Hook


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
        self._messages: dict[str, list[MessageFault]] = {}
        self._starts: dict[str, deque[tuple[str, Hook]]] = {}
        self._stops: dict[str, list[StopFault]] = {}
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
            (_, act), started = waiting.popleft(), actor.started

            async def sabotaged() -> None:
                await act()
                await started()

            actor.started = sabotaged
        self._tamper_messages(path, actor)
        self._tamper_stop(path, actor)

    def counters(self) -> dict[str, Counters]:
        """The counters of every mailbox: path and its number there, as ``/a#0``."""
        return {
            f"{path}#{n}": mailbox.counters
            for path, mailboxes in self.mailboxes.items()
            for n, mailbox in enumerate(mailboxes)
        }

    def lives(self) -> dict[str, int]:
        """Path to the number of actors that began there; restarts are of the same one."""
        return {path: len(mailboxes) for path, mailboxes in self.mailboxes.items()}

    def heal(self) -> None:
        """Remove all planned faults that have not happened yet."""
        self._healed = True
        self._starts.clear()
        self._stops.clear()
        self._messages.clear()
        for actor in self.actors.values():
            vars(actor).pop("handlers", None)

    @property
    def without_effect(self) -> list[str]:
        """The planned faults that have not happened, as they were written."""
        return [
            *(
                f"{fault.name} ({fault.left} more messages were needed)"
                for faults in self._messages.values()
                for fault in faults
            ),
            *(name for starts in self._starts.values() for name, _ in starts),
            *(fault.name for faults in self._stops.values() for fault in faults),
        ]

    # -- the faults: each waits for an actor at its path, and outlives its incarnations

    def raise_at(self, path: str, nth: int, kind: str = "crash") -> None:
        """Its n-th message from now on (1, 2, ...) raises in place of its handler."""

        def act(_: Any, __: Any, ___: Any) -> None:
            raise self._injected(kind)

        self._plan(path, MessageFault(f"raise_at({path!r}, {nth})", nth, act))

    def slow_at(self, path: str, nth: int, seconds: float) -> None:
        """Its n-th message from now on takes `seconds` before it is handled."""

        async def act(handler: Any, actor: Any, message: Any) -> None:
            self.done["slow"] += 1
            await sleep(0.0 if self._healed else seconds)
            result = handler(actor, message)
            if result is not None:
                await result

        self._plan(path, MessageFault(f"slow_at({path!r}, {nth}, {seconds:g})", nth, act))

    def fail_start(self, path: str) -> None:
        """Its next start raises."""

        async def act() -> None:
            raise self._injected("start_fails")

        self._starts.setdefault(path, deque()).append((f"fail_start({path!r})", act))

    def hang_start(self, path: str, seconds: float) -> None:
        """Its next start takes `seconds` longer."""

        async def act() -> None:
            self.done["start_hangs"] += 1
            await sleep(seconds)

        self._starts.setdefault(path, deque()).append((f"hang_start({path!r}, {seconds:g})", act))

    def stubborn_stop(self, path: str, seconds: float) -> None:
        """When it is stopped, it ignores even a cancellation for `seconds`."""

        async def act() -> None:
            self.done["stubborn_stop"] += 1
            with trio.CancelScope(shield=True):
                await sleep(seconds)

        fault = StopFault(f"stubborn_stop({path!r}, {seconds:g})", act)
        self._stops.setdefault(path, []).append(fault)
        actor = self.actors.get(path)
        if actor is not None:
            self._tamper_stop(path, actor)

    def _injected(self, kind: str) -> Injected:
        self.done[kind] += 1
        error = Injected(f"{kind} {len(self.raised)}")
        self.raised.append(error)
        return error

    def _plan(self, path: str, fault: MessageFault) -> None:
        self._messages.setdefault(path, []).append(fault)
        actor = self.actors.get(path)
        if actor is not None:
            self._tamper_messages(path, actor)

    def _tamper_messages(self, path: str, actor: Actor[Any]) -> None:
        faults = self._messages.get(path)
        if faults:
            actor.handlers = _Tampered(actor, faults)  # type: ignore[assignment, misc]

    def _tamper_stop(self, path: str, actor: Actor[Any]) -> None:
        if not self._stops.get(path):
            return
        stopping = type(actor).stopping

        async def stubborn() -> None:
            for fault in self._stops.pop(path, ()):
                await fault.act()
            await stopping(actor)

        actor.stopping = stubborn


@final
class _Tampered:
    """A table of handlers in which some calls run something else."""

    def __init__(self, actor: Actor[Any], faults: list[MessageFault]) -> None:
        self._table: Any = type(actor).handlers
        self._faults = faults

    def get(self, kind: type) -> Any:
        """As of a dict."""
        handler = self._table.get(kind)
        if handler is None:
            return None
        for fault in tuple(self._faults):
            fault.left -= 1
            if fault.left == 0:
                self._faults.remove(fault)
                handler = partial(fault.act, handler)
        return handler
