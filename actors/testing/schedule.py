"""trio in virtual time, its scheduler seeded: the same seed runs the same way.

trio shuffles tasks that could run at the same time, so that no program relies on their order.
There is a private switch with which it sorts them first and shuffles them with a random
source that can be seeded; this module is the only place that knows it.  Where a trio has no such
switch `SEEDABLE` is False: then virtual time and plans still hold, only the order of
tasks does not repeat.  A test in tests/testing says loudly when that happens.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, MutableSequence
from contextlib import contextmanager
from math import inf
from random import Random
from typing import Any, Final, TypeVar, TypeVarTuple, Unpack, final

import trio
import trio.testing
from trio._core import _run  # pyright: ignore[reportPrivateUsage]
from trio._core._instrumentation import Instruments

from actors.runtime import Sleepers, TimerClock

T = TypeVar("T")
PosArgs = TypeVarTuple("PosArgs")

_SWITCH: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"

SEEDABLE: Final = hasattr(_run, _SWITCH) and hasattr(getattr(_run, "_r", None), "seed")
"""Whether the scheduler of this trio can be seeded."""

PASSES_A_LOOK: Final = 50
"""Passes of the scheduler from one look outside to the next in a run of tasks alone.  Ctrl-C comes
from outside."""


def run(
    main: Callable[[Unpack[PosArgs]], Awaitable[T]],
    *args: *PosArgs,
    seed: int = 0,
    clock: trio.abc.Clock | None = None,
    instruments: tuple[trio.abc.Instrument, ...] | list[trio.abc.Instrument] = (),
) -> T:
    """As `trio.run`, seeded, on a clock that jumps as soon as all tasks wait for it."""
    with _seeded(seed):
        return trio.run(main, *args, clock=clock or virtual_clock(), instruments=tuple(instruments))


def virtual_clock() -> trio.testing.MockClock:
    """A clock at 0 that stands still while a task can run, and then jumps."""
    return trio.testing.MockClock(autojump_threshold=0.0)


@final
class TasksOnlyClock(TimerClock):
    """A virtual clock for runs of tasks alone: no thread, no socket, no `wait_all_tasks_blocked`.

    trio asks for the time to sleep only when no task can run, so the clock jumps right there.
    A `MockClock` must first see that nothing comes from outside: each jump is an extra pass of
    the scheduler, a third of the passes of a large simulation.  For the same reason trio looks for
    what comes from outside only in one of `PASSES_A_LOOK` passes.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self.sleepers = Sleepers()

    def start_clock(self) -> None:
        _make_passes_lean()

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        deadline = self.sleepers.next_deadline(deadline)
        if deadline == inf:
            return inf
        self._now = max(self._now, deadline)
        self.sleepers.wake(self._now)
        return 0.0


def _make_passes_lean() -> None:
    """Leave out of the passes of the present run what its tasks do not need.  Their order stays."""
    runner: Any = _run.GLOBAL_RUN_CONTEXT.runner
    runner.io_manager = _RareLooks(runner.io_manager)
    runner.instruments = _Hooks(runner.instruments.data)


class _RareLooks:
    """The part of trio that waits for files and sockets, which is asked rarely.

    Each pass of the scheduler asks the system for events, also if a task can run: a system call
    that finds nothing where tasks wait only for each other.
    """

    def __init__(self, manager: Any) -> None:
        self._manager = manager
        self._look = manager.get_events
        self._passes = 0
        self.process_events = manager.process_events

    def get_events(self, timeout: float) -> Any:
        self._passes += 1
        if timeout > 0.0 or self._passes % PASSES_A_LOOK == 0:
            return self._look(timeout)
        return ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._manager, name)


class _Hooks(dict[str, Any]):
    """The instruments of a run.

    trio asks several times a pass whether there is one, of a mapping that is written in Python.
    This one is a `dict`.
    """

    add_instrument = Instruments.add_instrument
    remove_instrument = Instruments.remove_instrument
    call = Instruments.call

    @property
    def data(self) -> dict[str, Any]:
        return self


@contextmanager
def _seeded(seed: int) -> Generator[None, None, None]:
    if not SEEDABLE:
        yield
        return
    seam: Any = _run
    before, random = getattr(seam, _SWITCH), seam._r  # noqa: SLF001
    setattr(seam, _SWITCH, True)
    seam._r = _Shuffler(seed)  # noqa: SLF001
    try:
        yield
    finally:
        setattr(seam, _SWITCH, before)
        seam._r = random  # noqa: SLF001


class _Shuffler(Random):
    """Gives the order that `Random` gives, without two calls for each task of a pass."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        draw = self.getrandbits
        for last in range(len(x) - 1, 0, -1):
            bits = (last + 1).bit_length()
            other = draw(bits)
            while other > last:
                other = draw(bits)
            x[last], x[other] = x[other], x[last]
