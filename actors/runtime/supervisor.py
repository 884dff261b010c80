"""Supervisors start actors, notice when they end, and decide whether they are restarted.

A supervisor is a nursery with a policy.  Each child has a task of its own, the *runner*,
which runs one incarnation after another.  So no start, stop or backoff of one child makes
another wait, and no task can outlive the supervisor's nursery.

Two budgets limit restarts.  A child that spends its own becomes `failed` and its
siblings live on, unless it is significant: then the supervisor ends as crashed.  When
the supervisor as a whole spends its budget it *escalates*: it stops everybody and ends
as crashed, and its parent decides.

rest_for_one is one rule instead of a procedure: an incarnation may start only while every
earlier sibling is up and every later one is down.  After a crash the later siblings are
asked to halt, in reverse order; by the rule they then start again, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, TypeVar, cast, final

import trio

from actors.runtime.cell import Cell, LifeCycle
from actors.runtime.deadlines import Timer
from actors.runtime.errors import ActorDown, Exit, ExitKind, GroupEscalatedError
from actors.runtime.no_constructor import NoPublicConstructor
from actors.runtime.ref import Ref
from actors.runtime.signals import ActorEnded, Failed, GroupEscalated, Overran, Restarting
from actors.runtime.spec import AnySpec, ChildSpec, GroupSpec, RestartBudget, Strategy
from actors.runtime.system_core import SystemCore

M = TypeVar("M")

REPORT_OVERRUN_AFTER: Final = 0.5
"""Seconds between the cancellation of a child and the report that it does not obey."""
FAILED_REMEMBERED: Final = 20
"""How many failed children a supervisor keeps for introspection."""


@final
class Child:
    """A supervisor's record of one child."""

    __slots__ = (
        "attempt",
        "budget",
        "ended",
        "halted",
        "overrun",
        "pause",
        "spec",
        "stop_requested",
        "unit",
    )

    def __init__(self, spec: AnySpec, unit: Cell[Any] | Supervisor) -> None:
        self.spec = spec
        self.unit = unit
        self.budget = RestartBudget(spec.intensity)
        self.attempt = 0
        """Restarts in a row, for the backoff."""
        self.stop_requested = False
        self.halted = False
        """An earlier sibling restarts, so this child was asked to end."""
        self.ended = trio.Event()
        self.pause: trio.CancelScope | None = None
        """The backoff it sleeps in."""
        self.overrun: Timer | None = None
        """Reports a child that does not end in time."""

    @property
    def up(self) -> bool:
        """Ready, or ended for good: its later siblings may start."""
        return self.ended.is_set() or (self.unit.live and self.unit.state is LifeCycle.RUNNING)


@final
class Supervisor(metaclass=NoPublicConstructor):
    """A running group of children.  All methods but `run_incarnation` and `running` are
    synchronous."""

    def __init__(
        self,
        core: SystemCore,
        path: str,
        spec: GroupSpec,
        parent: Supervisor | None = None,
    ) -> None:
        self._core = core
        self._parent = parent
        self.path = path
        self.spec = spec
        self.name = path or "/"
        """Its path, for people."""
        self.generation = 0
        self.state = LifeCycle.WAITING
        self.reason = "not started"
        self._cause: BaseException | None = None
        self.children: dict[str, Child] = {}
        self.failed: deque[tuple[str, str]] = deque(maxlen=FAILED_REMEMBERED)
        """(path, reason) of children that spent their budget, newest last."""
        self._members: dict[str, Ref[Any]] = {}
        """Refs of the children in the spec, which may depend on each other."""
        self._budget = RestartBudget(spec.intensity)
        self._nursery: trio.Nursery | None = None
        self._end = trio.Event()
        self._changed: trio.Event | None = None
        self._escalated: Exit | None = None
        self._stop_requested = False

    # -- for users

    def start_child(self, spec: ChildSpec[M]) -> Ref[M]:
        """Start an actor and return its address at once.  Messages wait until it is ready.

        Raises ValueError if a child of that id exists.
        """
        path = self._path_of(spec)
        cell = cast("Cell[M]", Cell.runtime_create(self._core, path, spec, self))
        self._adopt(spec, cell)
        return cell.ref

    def start_group(self, spec: GroupSpec) -> Supervisor:
        """Start a group of actors under a supervisor of its own."""
        group = Supervisor.runtime_create(self._core, self._path_of(spec), spec, self)
        self._adopt(spec, group)
        return group

    def _path_of(self, spec: AnySpec) -> str:
        return f"{self.path}/{spec.id.replace('/', '%2F')}"

    def ref(self, child_id: str) -> Ref[Any]:
        """The address of a child that is an actor.  KeyError if there is none."""
        child = self.children.get(child_id)
        if child is None:
            raise KeyError(f"supervisor {self.name} has no child {child_id!r}")
        if not isinstance(child.unit, Cell):
            raise KeyError(f"{child.unit.path} is a supervisor, not an actor")
        return child.unit.ref

    def sibling(self, child_id: str) -> Ref[Any]:
        """See `Context.sibling`."""
        return self._members.get(child_id) or self.ref(child_id)

    def stop_child(self, child_id: str) -> trio.Event:
        """Ask a child to end for good; the event is set when it has ended.

        The ladder: it is asked; after its shutdown time it is cancelled; if it still runs
        that is reported.  It is never abandoned.
        """
        child = self.children.get(child_id)
        if child is None:
            ended = trio.Event()
            ended.set()
            return ended
        self._stop(child)
        return child.ended

    def request_stop(self, *, final: bool) -> None:  # noqa: ARG002 (as a cell's)
        """End the whole group, as its parent asks.  `final` has no meaning for a group."""
        self._stop_requested = True
        self._end.set()

    @property
    def live(self) -> bool:
        """True if its nursery is open."""
        return self._nursery is not None

    async def running(self) -> None:
        """Wait until children can be started.  Raises `ActorDown` if it has ended."""
        over = (LifeCycle.ENDED, LifeCycle.FAILED)
        await self._until(lambda: self.state is LifeCycle.RUNNING or self.state in over)
        if self.state in over:
            raise ActorDown(self.name, self.reason) from self._cause

    # -- the group itself

    async def run_incarnation(self) -> Exit:
        """Run the group until it is asked to end, a significant child ends, or it escalates."""
        self.generation += 1
        self.state = LifeCycle.STARTING
        self._end, self._stop_requested, self._escalated = trio.Event(), False, None
        self._budget = RestartBudget(self.spec.intensity)
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for spec in self.spec.children:
                    self._members[spec.id] = self.start_child(spec)
                self.state = LifeCycle.RUNNING
                self.changed()
                if self._parent is not None:
                    self._parent.changed()
                await self._end.wait()
                self.state = LifeCycle.STOPPING
                await self._stop_all()
        finally:
            self._nursery = None
            self.children.clear()
        if self._escalated is not None:
            error = GroupEscalatedError(
                f"supervisor {self.name} spent its restart budget: {self._escalated.reason}"
            )
            error.__cause__ = self._escalated.error
            end = Exit(ExitKind.CRASHED, error)
        else:
            end = Exit(ExitKind.SHUTDOWN if self._stop_requested else ExitKind.NORMAL)
        self.reason, self._cause = end.reason, end.error
        return end

    async def _stop_all(self) -> None:
        """One by one in reverse order of their start if they depend on each other, else all at
        once."""
        children = list(reversed(self.children.values()))
        if self.spec.strategy is Strategy.ONE_FOR_ONE:
            for child in children:
                self._stop(child)
        for child in children:
            self._stop(child)
            await child.ended.wait()

    def finish(self, end: Exit) -> None:
        """No incarnation follows.  Synchronous, with the removal from the registry."""
        if self.state is not LifeCycle.FAILED:
            self.state = LifeCycle.ENDED
        self.changed()
        self._core.reports.call(self.spec.on_end, end)

    # -- one child

    def _adopt(self, spec: AnySpec, unit: Cell[Any] | Supervisor) -> None:
        if self._nursery is None or self.state is LifeCycle.STOPPING:
            raise RuntimeError(
                f"supervisor {self.name} is not running, so {spec.id!r} cannot start"
                " (after `start_group`, wait for `running()`)"
            )
        if spec.id in self.children:
            raise ValueError(f"supervisor {self.name} has a child {spec.id!r} already")
        child = self.children[spec.id] = Child(spec, unit)
        self._core.register(unit)
        self._nursery.start_soon(self._run, child, name=unit.path)

    def _stop(self, child: Child) -> None:
        if child.stop_requested:
            return
        child.stop_requested = True
        self._ask_to_end(child, final=True)
        if child.pause is not None:
            child.pause.cancel()
        self.changed()

    def _ask_to_end(self, child: Child, *, final: bool) -> None:
        unit = child.unit
        was_live = unit.live
        unit.request_stop(final=final)
        if was_live and isinstance(unit, Cell) and child.overrun is None:
            limit = unit.spec.shutdown + REPORT_OVERRUN_AFTER
            report = partial(self._report_overrun, unit, limit)
            child.overrun = self._core.deadlines.after(limit, report)

    def _report_overrun(self, cell: Cell[Any], limit: float) -> None:
        self._core.reports.emit(Overran(cell.path, limit, cell.awaiting()))

    async def _run(self, child: Child) -> None:
        """The runner: one incarnation after another, until none follows."""
        end: Exit | None = None
        try:
            while True:
                await self._until(lambda: child.stop_requested or self._may_start(child))
                if child.stop_requested:
                    break
                began, end = trio.current_time(), None
                end = await child.unit.run_incarnation()
                lived = trio.current_time() - began
                halted = self._was_halted(child)
                self.changed()
                if child.stop_requested:
                    break
                if halted and end.kind is not ExitKind.NORMAL:
                    continue
                if not child.spec.restart.applies_to(end) or not self._charge_restart(child, end):
                    break
                await self._halt_later(child)
                await self._back_off(child, lived)
        finally:
            self._remove_child(child, end)

    def _was_halted(self, child: Child) -> bool:
        if child.overrun is not None:
            child.overrun.cancel()
            child.overrun = None
        halted, child.halted = child.halted, False
        return halted

    def _charge_restart(self, child: Child, end: Exit) -> bool:
        """Charge a restart to both budgets.  False: one of them is spent."""
        now = trio.current_time()
        unit = child.unit
        if not child.budget.charge(now):
            unit.state = LifeCycle.FAILED
            self.failed.append((unit.path, end.reason))
            self._core.reports.emit(Failed(unit.path, child.budget.spent - 1, end.error))
            return False
        if not self._budget.charge(now):
            self._escalated = end
            self._core.reports.emit(GroupEscalated(self.path, unit.path, end.error))
            self._end.set()
            return False
        return True

    async def _back_off(self, child: Child, lived: float) -> None:
        backoff = child.spec.backoff
        child.attempt = 1 if lived >= backoff.reset_after else child.attempt + 1
        delay = backoff.delay(child.attempt, self._core.random)
        unit = child.unit
        unit.state = LifeCycle.BACKOFF
        self._core.reports.emit(Restarting(unit.path, unit.generation, child.attempt, delay))
        with trio.CancelScope() as child.pause:
            if not child.stop_requested:
                await trio.sleep(delay)
        child.pause = None
        unit.state = LifeCycle.WAITING

    def _remove_child(self, child: Child, end: Exit | None) -> None:
        """The child has ended: registry, `Down` and signals in one synchronous step."""
        unit = child.unit
        self._was_halted(child)
        self._core.unregister(unit)
        if self.children.get(child.spec.id) is child:
            del self.children[child.spec.id]
        never_ran = Exit(ExitKind.SHUTDOWN if child.stop_requested else ExitKind.KILLED)
        unit.finish(end or never_ran)
        counters = unit.mailbox.counters if isinstance(unit, Cell) else None
        self._core.reports.emit(ActorEnded(unit.path, unit.generation, end or never_ran, counters))
        child.ended.set()
        self.changed()
        if child.spec.significant and not child.stop_requested:
            if unit.state is LifeCycle.FAILED:
                self._escalated = end
            self._end.set()

    # -- rest_for_one

    def _may_start(self, child: Child) -> bool:
        if self.spec.strategy is Strategy.ONE_FOR_ONE:
            return True
        is_later = False
        for other in self.children.values():
            if other is child:
                is_later = True
            elif other.unit.live if is_later else not other.up:
                return False
        return True

    async def _halt_later(self, child: Child) -> None:
        if self.spec.strategy is Strategy.ONE_FOR_ONE:
            return
        siblings = list(self.children.values())
        for later in reversed(siblings[siblings.index(child) + 1 :]):
            if later.unit.live and not later.stop_requested:
                later.halted = True
                self._ask_to_end(later, final=False)
                await self._until(lambda later=later: not later.unit.live)

    # -- wait for a change of state

    def changed(self) -> None:
        """Wake all tasks that wait for a change of state.  Children call it too."""
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            if self._changed is None:
                self._changed = trio.Event()
            await self._changed.wait()
