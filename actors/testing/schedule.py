"""trio in virtual time, its scheduler seeded: the same seed runs the same way.

trio shuffles tasks that could run at the same time, so that no program relies on their order.
There is a private switch with which it sorts them first and shuffles them with a random
source that can be seeded; `run` is the only place that knows it.  Where a trio has no such
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

from actors.runtime import Sleepers, TimerClock

T = TypeVar("T")
PosArgs = TypeVarTuple("PosArgs")

_SWITCH: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"

SEEDABLE: Final = hasattr(_run, _SWITCH) and hasattr(getattr(_run, "_r", None), "seed")
"""Whether the scheduler of this trio can be seeded."""


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
    the scheduler, a third of the passes of a large simulation.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self.sleepers = Sleepers()

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        deadline = self.sleepers.next_deadline(deadline)
        if deadline == inf:
            return inf
        self._now = max(self._now, deadline)
        self.sleepers.wake(self._now)
        return 0.0


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
    """Shuffles as `Random` does.  Most passes run one task: there is nothing to shuffle."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        if len(x) > 1:
            super().shuffle(x)
