"""The whole of the actors of a program: the root supervisor, the registry, what is reported."""

from __future__ import annotations

import random
import sys
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias, TypeVar, final

import trio
from attrs import frozen

from actors.runtime.actor import Actor
from actors.runtime.cell import Cell
from actors.runtime.deadlines import Deadlines
from actors.runtime.errors import Exit, ExitKind
from actors.runtime.ref import Ref
from actors.runtime.signals import ActorEnded, DeadLetter, Signal
from actors.runtime.spec import GroupSpec, Intensity
from actors.runtime.supervisor import Supervisor

A = TypeVar("A")
Prepare: TypeAlias = Callable[[str, Actor[Any]], object]

DEAD_LETTERS_REMEMBERED: Final = 100
ROOT_INTENSITY: Final = Intensity(restarts=10, within=10.0)


@frozen
class Node:
    """One actor or supervisor as introspection shows it."""

    path: str
    kind: str
    """"actor" or "supervisor"."""
    state: str
    generation: int
    restarts: int
    queued: int = 0
    counters: dict[str, int] | None = None
    last: tuple[str, ...] = ()
    """Class names of the last messages, newest last."""
    awaiting: str = ""
    """Where the handlers' task waits: ``module.function:line``."""
    children: tuple[Node, ...] = ()


@final
class ActorSystem:
    """Made by `open_system`."""

    def __init__(
        self,
        *,
        rng: random.Random,
        on_signal: Callable[[Signal], object] | None,
        intensity: Intensity,
        prepare: Prepare,
    ) -> None:
        self.random = rng
        self.prepare = prepare
        self.deadlines = Deadlines()
        """Of all questions under way."""
        self.registry: dict[str, Cell[Any] | Supervisor] = {}
        """Path to whatever is not gone yet."""
        self.dead_letters: Counter[str] = Counter()
        """How many, by actor's path and message: ``/a/b Add``; bounded (see `dead_letter`)."""
        self.recent_dead_letters: deque[DeadLetter] = deque(maxlen=DEAD_LETTERS_REMEMBERED)
        self.supervisor = Supervisor(self, "", GroupSpec("", intensity=intensity))
        """The root: start everything under it."""
        self._listeners: list[Callable[[Signal], object]] = []
        if on_signal is not None:
            self._listeners.append(on_signal)

    # -- reports

    def listen(self, listener: Callable[[Signal], object]) -> Callable[[], None]:
        """Call `listener` with every signal, synchronously.  Returns the way to end it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def emit(self, signal: Signal) -> None:
        """Tell all listeners."""
        for listener in tuple(self._listeners):
            self.call(listener, signal)

    def call(self, callback: Callable[[A], object], argument: A) -> None:
        """Call what somebody else left with us; one that raises harms nobody but is shown."""
        try:
            callback(argument)
        except Exception as error:  # noqa: BLE001 (shown, and the actors go on)
            sys.excepthook(type(error), error, error.__traceback__)

    def dead_letter(self, actor: str, what: str) -> None:
        """Account for a message that nobody will read."""
        key = f"{actor} {what}"
        if key not in self.dead_letters and len(self.dead_letters) >= DEAD_LETTERS_REMEMBERED:
            key = "(others)"
        self.dead_letters[key] += 1
        letter = DeadLetter(actor, what)
        self.recent_dead_letters.append(letter)
        self.emit(letter)

    # -- the registry

    def register(self, unit: Cell[Any] | Supervisor) -> None:
        """For supervisors: a child begins to exist."""
        self.registry[unit.path] = unit

    def unregister(self, unit: Cell[Any] | Supervisor) -> None:
        """For supervisors: a child is gone."""
        self.registry.pop(unit.path, None)

    def find(self, path: str) -> Ref[Any] | None:
        """The address of the actor at `path`, None where there is none."""
        unit = self.registry.get(path)
        return unit.ref if isinstance(unit, Cell) else None

    # -- introspection

    def tree(self) -> Node:
        """The state of everything, as data."""
        steps = self.tree_in_steps()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    def tree_in_steps(self) -> Generator[None, None, Node]:
        """The same, one actor a step; what happens between steps may show in one part only.

        For whoever has a thousand actors and must not hold them up to look at them.
        """
        return _node(self.supervisor, 0)


def _node(unit: Cell[Any] | Supervisor, restarts: int) -> Generator[None, None, Node]:
    if isinstance(unit, Supervisor):
        children: list[Node] = []
        for child in tuple(unit.children.values()):
            children.append((yield from _node(child.unit, child.budget.spent)))  # noqa: PERF401
        return Node(
            path=unit.path or "/",
            kind="supervisor",
            state=unit.state.value,
            generation=unit.generation,
            restarts=restarts,
            children=tuple(children),
        )
    yield
    counters = unit.mailbox.counters
    return Node(
        path=unit.path,
        kind="actor",
        state=unit.state.value,
        generation=unit.generation,
        restarts=restarts,
        queued=counters.queued,
        counters=counters.as_dict(),
        last=tuple(kind.__name__ for kind in unit.last),
        awaiting=unit.awaiting(),
    )


def render_tree(node: Node, indent: str = "") -> str:
    """The tree as text, one line an actor: for a person with a stuck process."""
    name = node.path.rsplit("/", 1)[-1] or "/"
    parts = [f"{indent}{name} [{node.state}] generation {node.generation}"]
    if node.restarts:
        parts.append(f"restarts {node.restarts}")
    if node.counters is not None:
        counts = ", ".join(f"{key} {value}" for key, value in node.counters.items() if value)
        parts.append(f"queued {node.queued}" + (f" ({counts})" if counts else ""))
    if node.last:
        parts.append("last " + " ".join(node.last))
    if node.awaiting:
        parts.append(f"at {node.awaiting}")
    lines = ["; ".join(parts)]
    lines += [render_tree(child, indent + "  ") for child in node.children]
    return "\n".join(lines)


_RUNNING: Final[list[ActorSystem]] = []
"""Systems whose block is open, for whoever has to look at a stuck process."""


def render_running() -> str:
    """The trees of all systems that run in this process, as text.

    Safe in a signal handler: it only reads.
    """
    return "\n".join(render_tree(system.tree()) for system in _RUNNING)


@asynccontextmanager
async def open_system(
    *,
    rng: random.Random | None = None,
    on_signal: Callable[[Signal], object] | None = None,
    intensity: Intensity = ROOT_INTENSITY,
    prepare: Prepare = lambda _, __: None,
) -> AsyncGenerator[ActorSystem, None]:
    """A root supervisor for the length of a block.

    When the block ends every actor is stopped in order; when it raises they are cancelled,
    and what it raised is raised.  When the root escalates the block is cancelled and
    `Escalated` is raised, its cause the exception that was one too many.  `rng` draws the
    jitter of backoffs.  `prepare` is shown every incarnation, by path, before it starts:
    the way in for tests, `actors.testing.sabotage`.
    """
    system = ActorSystem(
        rng=rng or random.Random(), on_signal=on_signal, intensity=intensity, prepare=prepare
    )
    root = system.supervisor
    end: Exit | None = None
    failure: Exception | None = None

    async with trio.open_nursery() as nursery:
        # Whoever asks from outside has its deadline until the last actor is gone.
        keeping = trio.CancelScope(shield=True)

        async def keep_deadlines() -> None:
            with keeping:
                await system.deadlines.run()

        async def run_root() -> None:
            nonlocal end
            try:
                end = await root.live_once()
            finally:
                keeping.cancel()
                _RUNNING.remove(system)
            if end.kind is ExitKind.CRASHED:
                nursery.cancel_scope.cancel()

        _RUNNING.append(system)
        nursery.start_soon(keep_deadlines, name="deadlines /")
        nursery.start_soon(run_root, name="supervisor /")
        await root.running()
        try:
            yield system
        except Exception as error:  # noqa: BLE001 (raised below)
            failure = error
            nursery.cancel_scope.cancel()
        finally:
            root.request_stop(final=True)
    end = end or Exit(ExitKind.KILLED)
    root.gone(end)
    system.emit(ActorEnded("/", root.generation, end))
    _raise(failure, end.error)


def _raise(*errors: BaseException | None) -> None:
    """Raise what there is: plain where it is one, together where it is several."""
    found = [error for error in errors if error is not None]
    if len(found) == 1:
        raise found[0]
    if found:
        raise BaseExceptionGroup("a block and its actors failed", found)
