"""Actors that do what a test tells them, in a system whose every signal is kept."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio
from attrs import define, field, frozen

from actors.runtime import (
    Actor,
    ActorSystem,
    Backoff,
    ChildSpec,
    Down,
    GroupSpec,
    Intensity,
    Ref,
    ReplyTo,
    Signal,
    Supervisor,
    open_system,
    receives,
)

S = TypeVar("S", bound=Signal)

AT_ONCE = Backoff(first=0.0, jitter=0.0)
"""No pause before a restart, for tests that are about something else."""
OFTEN = Intensity(restarts=1_000_000, within=1.0)


class Boom(Exception):
    """The exception that a handler raises on request."""


@frozen
class Note:
    """Something to remember."""

    n: int


@frozen(eq=False)
class Do:
    """Have the actor call `what` with itself; what it returns is awaited."""

    what: Callable[[Puppet], Any]


@frozen
class Notes:
    """Ask for all notes of this incarnation."""

    reply_to: ReplyTo[tuple[int, ...]]


@frozen(eq=False)
class Question:
    """Ask, with the way to answer in the hands of the test."""

    reply_to: ReplyTo[Any]
    answer: Callable[[Puppet, ReplyTo[Any]], Any] = lambda _, reply_to: reply_to.send("answer")


class Stranger:
    """A message that a puppet has no handler for."""


Command = Note | Do | Notes | Question


@define(eq=False)
class Diary:
    """The history of all incarnations of the puppets that share it, in order."""

    lines: list[Any] = field(factory=list)
    changed: trio.Event = field(factory=trio.Event)

    def add(self, line: Any) -> None:
        self.lines.append(line)
        self.changed.set()
        self.changed = trio.Event()

    async def has(self, line: Any) -> None:
        while line not in self.lines:
            await self.changed.wait()


Hook = Callable[["Puppet"], Awaitable[Any] | None]


class Puppet(Actor[Command]):
    """Writes into `diary`; the hooks are called when it starts and stops."""

    def __init__(
        self,
        name: str,
        diary: Diary,
        on_start: Hook = lambda _: None,
        on_stop: Hook = lambda _: None,
    ) -> None:
        self.name = name
        self.diary = diary
        self.on_start = on_start
        self.on_stop = on_stop
        self.notes: list[int] = []

    async def started(self) -> None:
        self.diary.add(("starting", self.name, self.context.generation))
        result = self.on_start(self)
        if result is not None:
            await result
        self.diary.add(("started", self.name, self.context.generation))

    async def stopping(self) -> None:
        self.diary.add(("stopping", self.name))
        result = self.on_stop(self)
        if result is not None:
            await result
        self.diary.add(("stopped", self.name))

    def overflowed(self) -> None:
        self.diary.add(("overflowed", self.name))

    def down(self, message: Down) -> None:
        self.diary.add(message)

    @receives(Note)
    def note(self, message: Note) -> None:
        self.notes.append(message.n)
        self.diary.add(("note", message.n))

    @receives(Do)
    async def do(self, message: Do) -> None:
        result = message.what(self)
        if isinstance(result, Awaitable):
            await result

    @receives(Notes)
    def tell_notes(self, message: Notes) -> None:
        message.reply_to.send(tuple(self.notes))

    @receives(Question)
    async def answer(self, message: Question) -> None:
        result = message.answer(self, message.reply_to)
        if isinstance(result, Awaitable):
            await result


def boom(_: object = None) -> None:
    raise Boom


BOOM = Do(boom)
QUIT = Do(lambda actor: actor.context.stop())


async def forever(_: object = None) -> None:
    await trio.sleep_forever()


def pause(seconds: float) -> Hook:
    """A hook that takes its time."""

    async def sleep(_: object) -> None:
        await trio.sleep(seconds)

    return sleep


async def stubborn(_: object = None) -> None:
    """Refuse to be cancelled, for a while."""
    with trio.CancelScope(shield=True):
        await trio.sleep(60)


@define(eq=False)
class World:
    """A running system and everything that it reported."""

    system: ActorSystem
    diary: Diary
    signals: list[Signal]
    _changed: list[trio.Event]

    @property
    def root(self) -> Supervisor:
        return self.system.supervisor

    def start(
        self,
        name: str = "a",
        *,
        under: Supervisor | None = None,
        on_start: Hook = lambda _: None,
        on_stop: Hook = lambda _: None,
        **spec: Any,
    ) -> Ref[Command]:
        """A puppet; `spec` are fields of its `ChildSpec`."""
        child = self.spec(name, on_start=on_start, on_stop=on_stop, **spec)
        return (under or self.root).start_child(child)

    def spec(
        self,
        name: str,
        *,
        on_start: Hook = lambda _: None,
        on_stop: Hook = lambda _: None,
        **spec: Any,
    ) -> ChildSpec[Command]:
        spec = {"backoff": AT_ONCE, "intensity": OFTEN} | spec
        return ChildSpec(name, lambda: Puppet(name, self.diary, on_start, on_stop), **spec)

    async def group(self, name: str = "g", **spec: Any) -> Supervisor:
        spec = {"backoff": AT_ONCE, "intensity": OFTEN} | spec
        group = self.root.start_group(GroupSpec(name, **spec))
        await group.running()
        return group

    def of(self, kind: type[S]) -> list[S]:
        return [signal for signal in self.signals if isinstance(signal, kind)]

    async def until(self, kind: type[S], times: int = 1, **fields: Any) -> list[S]:
        """Wait until `times` signals of this kind, and with these fields, were reported."""
        while True:
            found = [
                signal
                for signal in self.of(kind)
                if all(getattr(signal, name) == value for name, value in fields.items())
            ]
            if len(found) >= times:
                return found
            await self._changed[0].wait()


def names(group: Supervisor) -> list[str]:
    """The children that are not gone."""
    return list(group.children)


@asynccontextmanager
async def open_world(**options: Any) -> AsyncGenerator[World, None]:
    """A system with a fixed random source, and its world."""
    signals: list[Signal] = []
    changed = [trio.Event()]

    def on_signal(signal: Signal) -> None:
        signals.append(signal)
        changed[0].set()
        changed[0] = trio.Event()

    options = {"rng": random.Random(1), "intensity": OFTEN} | options
    async with open_system(on_signal=on_signal, **options) as system:
        yield World(system, Diary(), signals, changed)
