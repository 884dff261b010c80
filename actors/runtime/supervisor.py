"""Supervisors: who starts an actor, who notices its end, and what follows from it.

A supervisor is a nursery with a policy.  Each child has a task of its own, the
*runner*, that lives one incarnation after another; so no start, stop or backoff of one
child makes another wait, and no task can outlive the supervisor's nursery.

Two budgets limit restarts.  A child that spends its own becomes `failed` and its
siblings live on, unless it is significant: then the supervisor ends as crashed.  When
the supervisor as a whole spends its budget it *escalates*: it stops everybody and ends
as crashed, and its parent decides.

rest_for_one is kept by one rule instead of a procedure: an incarnation may start only
while every earlier sibling is up and every later one is down.  A crash asks the later
siblings to halt, in reverse order; the rule brings them back, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

import trio

from actors.runtime.cell import Cell, LifeCycle
from actors.runtime.errors import ActorDown, Escalated, Exit, ExitKind
from actors.runtime.ref import Ref
from actors.runtime.signals import ActorEnded, Failed, GroupEscalated, Overran, Restarting
from actors.runtime.spec import AnySpec, ChildSpec, GroupSpec, RestartBudget, Strategy

if TYPE_CHECKING:
    from actors.runtime.system import ActorSystem

M = TypeVar("M")

REPORT_OVERRUN_AFTER: Final = 0.5
"""Seconds between the cancellation of a child and the report that it does not obey."""
FAILED_REMEMBERED: Final = 20
"""How many failed children a supervisor keeps for introspection."""


@final
class Child:
    """A supervisor's book-keeping about one child."""

    __slots__ = (
        "attempt",
        "budget",
        "gone",
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
        """It was asked to end because an earlier sibling restarts."""
        self.gone = trio.Event()
        self.pause: trio.CancelScope | None = None
        """The backoff it sleeps in."""
        self.overrun: trio.CancelScope | None = None
        """Reports when it does not end in time after it was asked to."""

    @property
    def up(self) -> bool:
        """Ready, or gone for good: what depends on it may start."""
        return self.gone.is_set() or (self.unit.live and self.unit.state is LifeCycle.RUNNING)


@final
class Supervisor:
    """A running group of children.  All methods but `live_once` are synchronous."""

    def __init__(
        self,
        system: ActorSystem,
        path: str,
        spec: GroupSpec,
        parent: Supervisor | None = None,
    ) -> None:
        self.system = system
        self._parent = parent
        self.path = path
        self.spec = spec
        self.generation = 0
        self.state = LifeCycle.WAITING
        self.reason = "not started"
        self.children: dict[str, Child] = {}
        self.failed: deque[tuple[str, str]] = deque(maxlen=FAILED_REMEMBERED)
        """(path, reason) of children that spent their budget, newest last."""
        self._members: dict[str, Ref[Any]] = {}
        """Of the children that are in the spec: those who depend on each other."""
        self._budget = RestartBudget(spec.intensity)
        self._nursery: trio.Nursery | None = None
        self._end = trio.Event()
        self._changed = trio.Event()
        self._escalated: Exit | None = None
        self._asked = False

    # -- what others ask for

    def start_child(self, spec: ChildSpec[M]) -> Ref[M]:
        """Start an actor and return its address at once; messages wait until it is ready.

        Raises ValueError where a child of that id exists.
        """
        cell = Cell(self.system, self._path_of(spec), spec, self)
        self._adopt(spec, cell)
        return cell.ref

    def start_group(self, spec: GroupSpec) -> Supervisor:
        """Start a group of actors under a supervisor of its own."""
        group = Supervisor(self.system, self._path_of(spec), spec, self)
        self._adopt(spec, group)
        return group

    def _path_of(self, spec: AnySpec) -> str:
        return f"{self.path}/{spec.id.replace('/', '%2F')}"

    def ref(self, child_id: str) -> Ref[Any]:
        """The address of a child that is an actor.  KeyError where there is none."""
        unit = self.children[child_id].unit
        if not isinstance(unit, Cell):
            raise KeyError(f"{unit.path} is a supervisor, not an actor")
        return unit.ref

    def sibling(self, child_id: str) -> Ref[Any]:
        """See `Context.sibling`."""
        return self._members.get(child_id) or self.ref(child_id)

    def stop_child(self, child_id: str) -> trio.Event:
        """Ask a child to end for good; the event is set when it is gone.

        The ladder: it is asked; after its shutdown time it is cancelled; if it still runs
        that is reported.  It is never abandoned.
        """
        child = self.children.get(child_id)
        if child is None:
            gone = trio.Event()
            gone.set()
            return gone
        self._stop(child)
        return child.gone

    def request_stop(self, *, final: bool) -> None:  # noqa: ARG002 (as a cell's)
        """End the whole group, as its parent asks.  A group has no queue to keep."""
        self._asked = True
        self._end.set()

    @property
    def live(self) -> bool:
        """Its nursery is open."""
        return self._nursery is not None

    async def running(self) -> None:
        """Wait until children can be started.  Raises `ActorDown` where that will not be."""
        over = (LifeCycle.ENDED, LifeCycle.FAILED)
        await self._until(lambda: self.state is LifeCycle.RUNNING or self.state in over)
        if self.state in over:
            raise ActorDown(self.path, self.reason)

    # -- its own life

    async def live_once(self) -> Exit:
        """Run the group until it is asked to end, a significant child ends, or it escalates."""
        self.generation += 1
        self.state = LifeCycle.STARTING
        self._end, self._asked, self._escalated = trio.Event(), False, None
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
                await self._stop_everybody()
                nursery.cancel_scope.cancel()  # only overrun reporters are left
        finally:
            self._nursery = None
            self.children.clear()
        if self._escalated is not None:
            error = Escalated(f"{self.path} spent its restart budget: {self._escalated.reason}")
            error.__cause__ = self._escalated.error
            end = Exit(ExitKind.CRASHED, error)
        else:
            end = Exit(ExitKind.SHUTDOWN if self._asked else ExitKind.NORMAL)
        self.reason = end.reason
        return end

    async def _stop_everybody(self) -> None:
        """In reverse order of their start where they depend on each other, else all at once."""
        children = list(reversed(self.children.values()))
        if self.spec.strategy is Strategy.ONE_FOR_ONE:
            for child in children:
                self._stop(child)
        for child in children:
            self._stop(child)
            await child.gone.wait()

    def gone(self, end: Exit) -> None:
        """Nothing of the group runs any more."""
        if self.state is not LifeCycle.FAILED:
            self.state = LifeCycle.ENDED
        self.changed()
        self.system.call(self.spec.on_end, end)

    # -- the life of a child

    def _adopt(self, spec: AnySpec, unit: Cell[Any] | Supervisor) -> None:
        if self._nursery is None or self.state is LifeCycle.STOPPING:
            raise RuntimeError(f"supervisor {self.path} is not running")
        if spec.id in self.children:
            raise ValueError(f"{self.path} has a child {spec.id!r} already")
        child = self.children[spec.id] = Child(spec, unit)
        self.system.register(unit)
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
        if was_live and isinstance(unit, Cell) and not child.overrun and self._nursery is not None:
            child.overrun = trio.CancelScope()
            self._nursery.start_soon(self._report_overrun, unit, child.overrun)

    async def _report_overrun(self, cell: Cell[Any], scope: trio.CancelScope) -> None:
        limit = cell.spec.shutdown + REPORT_OVERRUN_AFTER
        with scope:
            await trio.sleep(limit)
            self.system.emit(Overran(cell.path, limit, cell.awaiting()))

    async def _run(self, child: Child) -> None:
        """The runner: one incarnation after another, until there is to be no other."""
        end: Exit | None = None
        try:
            while True:
                await self._until(lambda: child.stop_requested or self._may_start(child))
                if child.stop_requested:
                    break
                began, end = trio.current_time(), None
                end = await child.unit.live_once()
                lived = trio.current_time() - began
                halted = self._was_halted(child)
                self.changed()
                if child.stop_requested:
                    break
                if halted and end.kind is not ExitKind.NORMAL:
                    continue
                if not child.spec.restart.applies_to(end) or not self._afford(child, end):
                    break
                await self._halt_later(child)
                await self._back_off(child, lived)
        finally:
            self._bury(child, end)

    def _was_halted(self, child: Child) -> bool:
        if child.overrun is not None:
            child.overrun.cancel()
            child.overrun = None
        halted, child.halted = child.halted, False
        return halted

    def _afford(self, child: Child, end: Exit) -> bool:
        """Charge a restart to both budgets."""
        now = trio.current_time()
        unit = child.unit
        if not child.budget.charge(now):
            unit.state = LifeCycle.FAILED
            self.failed.append((unit.path, end.reason))
            self.system.emit(Failed(unit.path, child.budget.spent - 1, end.error))
            return False
        if not self._budget.charge(now):
            self._escalated = end
            self.system.emit(GroupEscalated(self.path, unit.path, end.error))
            self._end.set()
            return False
        return True

    async def _back_off(self, child: Child, lived: float) -> None:
        backoff = child.spec.backoff
        child.attempt = 1 if lived >= backoff.reset_after else child.attempt + 1
        delay = backoff.delay(child.attempt, self.system.random)
        unit = child.unit
        unit.state = LifeCycle.BACKOFF
        self.system.emit(Restarting(unit.path, unit.generation, child.attempt, delay))
        with trio.CancelScope() as child.pause:
            if not child.stop_requested:
                await trio.sleep(delay)
        child.pause = None
        unit.state = LifeCycle.WAITING

    def _bury(self, child: Child, end: Exit | None) -> None:
        """The child is gone: registry, Down and events in one synchronous step."""
        unit = child.unit
        self.system.unregister(unit)
        if self.children.get(child.spec.id) is child:
            del self.children[child.spec.id]
        never_ran = Exit(ExitKind.SHUTDOWN if child.stop_requested else ExitKind.KILLED)
        unit.gone(end or never_ran)
        counters = unit.mailbox.counters if isinstance(unit, Cell) else None
        self.system.emit(ActorEnded(unit.path, unit.generation, end or never_ran, counters))
        child.gone.set()
        self.changed()
        if child.spec.significant and not child.stop_requested:
            if unit.state is LifeCycle.FAILED:
                self._escalated = end
            self._end.set()

    # -- rest_for_one

    def _may_start(self, child: Child) -> bool:
        if self.spec.strategy is Strategy.ONE_FOR_ONE:
            return True
        seen = False
        for other in self.children.values():
            if other is child:
                seen = True
            elif other.unit.live if seen else not other.up:
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

    # -- waiting for a change of state

    def changed(self) -> None:
        """Something that a child may wait for has changed; children say so too."""
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()
