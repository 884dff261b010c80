"""The whole of the actors of a program: the root supervisor, the registry, what is reported."""

from __future__ import annotations

import random
import sys
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast, final

import trio

from actors.runtime.cell import Cell
from actors.runtime.deadlines import Deadlines
from actors.runtime.errors import Exit, ExitKind
from actors.runtime.inspection import Node, inspect_in_steps, render_tree
from actors.runtime.mailbox import Counters
from actors.runtime.no_constructor import NoPublicConstructor
from actors.runtime.ref import Ref
from actors.runtime.signals import ActorEnded, DeadLetter, Signal
from actors.runtime.spec import GroupSpec, Intensity
from actors.runtime.stderr_report import write_to_stderr
from actors.runtime.supervisor import Supervisor
from actors.runtime.system_core import Prepare, RegistryEntry, SystemCore

ROOT_INTENSITY: Final = Intensity(restarts=10, within=10.0)


@final
class ActorSystem(metaclass=NoPublicConstructor):
    """A running tree of actors.  `open_system` makes it."""

    def __init__(self, core: SystemCore, supervisor: Supervisor) -> None:
        self._core = core
        self.supervisor = supervisor
        """The root: start all actors and groups under it."""

    # -- reports

    def listen(self, listener: Callable[[Signal], object]) -> Callable[[], None]:
        """Call `listener` with every signal, synchronously.  Returns a function that ends it."""
        return self._core.reports.listen(listener)

    @property
    def dead_letters(self) -> Counter[str]:
        """The number of dead letters by actor's path and message: ``/a/b Add``.  Bounded to 100
        keys; further ones are counted as ``(others)``."""
        return self._core.reports.dead_letters

    @property
    def recent_dead_letters(self) -> deque[DeadLetter]:
        """The newest 100."""
        return self._core.reports.recent_dead_letters

    # -- the registry

    @property
    def registry(self) -> dict[str, RegistryEntry]:
        """By path: every actor and supervisor that has not ended."""
        return self._core.registry

    @property
    def deadlines(self) -> Deadlines:
        """The deadlines of all questions under way."""
        return self._core.deadlines

    def find(self, path: str) -> Ref[Any] | None:
        """The address of the actor at `path`; None if there is none."""
        cell = _as_cell(self._core.registry.get(path))
        return None if cell is None else cell.ref

    # -- inspection

    def mailbox_counters(self) -> Iterator[tuple[str, Counters]]:
        """Path and counters of every actor that has not ended.

        Each is read when it is asked for, so a caller may let other tasks run between two.
        """
        for path, unit in tuple(self._core.registry.items()):
            cell = _as_cell(unit)
            if cell is not None:
                yield path, cell.mailbox.counters

    def tree(self) -> Node:
        """The state of all actors, as data."""
        steps = self.tree_in_steps()
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value

    def tree_in_steps(self) -> Generator[None, None, Node]:
        """The same, one actor a step.  A change between two steps may show in one part only.

        With a thousand actors, the caller can let other tasks run between the steps.
        """
        return inspect_in_steps(self.supervisor)


def _as_cell(unit: RegistryEntry | None) -> Cell[Any] | None:
    return cast("Cell[Any]", unit) if isinstance(unit, Cell) else None


_RUNNING: Final[list[ActorSystem]] = []
"""Systems whose block is open."""


def render_running() -> str:
    """The trees of all systems that run in this process, as text.

    For a process that is stuck.  Safe in a signal handler: it only reads.
    """
    return "\n".join(render_tree(system.tree()) for system in _RUNNING)


@asynccontextmanager
async def open_system(
    *,
    rng: random.Random | None = None,
    on_signal: Callable[[Signal], object] | None = write_to_stderr,
    intensity: Intensity = ROOT_INTENSITY,
    prepare: Prepare = lambda _: None,
    debug: bool | None = None,
) -> AsyncGenerator[ActorSystem, None]:
    """A root supervisor for the length of a block.

    When the block ends, every actor is stopped in order.  When the block raises, the actors
    are cancelled and the exception is raised again.  When the root escalates, the block is
    cancelled and `GroupEscalatedError` is raised; its cause is the exception that spent the
    budget.

    `on_signal` gets everything that happens.  By default crashes, failed actors, escalations,
    overruns and the first dead letter are written to stderr; None silences that.  `rng` draws
    the jitter of backoffs.  `prepare` gets every incarnation before it starts; tests inject
    faults there (`actors.testing.sabotage`).  In debug mode a message for which an actor has no
    handler is reported with the line that sent it; by default that is Python's development mode
    (``python -X dev``).
    """
    core = SystemCore(
        rng=rng or random.Random(),
        on_signal=on_signal,
        prepare=prepare,
        debug=sys.flags.dev_mode if debug is None else debug,
    )
    root = Supervisor.runtime_create(core, "", GroupSpec("", intensity=intensity))
    system = ActorSystem.runtime_create(core, root)
    end: Exit | None = None
    failure: Exception | None = None

    async with trio.open_nursery() as nursery:
        # Shielded: an asker outside the actors has its deadline until the last actor has ended.
        deadline_scope = trio.CancelScope(shield=True)

        async def run_deadlines() -> None:
            with deadline_scope:
                await core.deadlines.run()

        async def run_root() -> None:
            nonlocal end
            try:
                end = await root.run_incarnation()
            finally:
                deadline_scope.cancel()
                _RUNNING.remove(system)
            if end.kind is ExitKind.CRASHED:
                nursery.cancel_scope.cancel()

        _RUNNING.append(system)
        nursery.start_soon(run_deadlines, name="deadlines /")
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
    root.finish(end)
    core.reports.emit(ActorEnded("/", root.generation, end))
    _raise(failure, end.error)


def _raise(*errors: BaseException | None) -> None:
    """Raise a single error as it is, several as a group, and nothing if all are None."""
    raised = [error for error in errors if error is not None]
    if len(raised) == 1:
        raise raised[0]
    if raised:
        raise BaseExceptionGroup("a block and its actors failed", raised)
