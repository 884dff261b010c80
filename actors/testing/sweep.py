"""The cancel sweep: cancel at every step of a run, and see that nothing is left behind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import trio

from actors.testing.schedule import run

MOST_STEPS: Final = 100_000


class _CancelAt(trio.abc.Instrument):
    """Cancels a scope when the scheduler has run `step` tasks."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.scope: trio.CancelScope | None = None

    def before_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002
        if self.scope is None:
            return
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


def sweep(
    main: Callable[[], Awaitable[object]],
    *,
    check: Callable[[], object] = lambda: None,
    seed: int = 0,
    every: int = 1,
) -> int:
    """Run `main` again and again, cancelled at step 1, 2, 3, ... until it ends by itself.

    After each run only the tasks from before may live, then `check` is called.  `every`
    leaves out steps.  Returns how often it was cancelled.  What `main` raises is raised,
    with a note that says at which step it was cancelled.
    """
    for step in range(1, MOST_STEPS, every):
        try:
            if not run(_one, main, step, seed=seed):
                return step // every
            check()
        except BaseException as error:
            error.add_note(f"cancelled at step {step}, seed {seed}")
            raise
    raise AssertionError(f"it does not end within {MOST_STEPS} steps")


async def _one(main: Callable[[], Awaitable[object]], step: int) -> bool:
    before = trio.lowlevel.current_statistics().tasks_living
    cancel_at = _CancelAt(step)
    trio.lowlevel.add_instrument(cancel_at)
    with trio.CancelScope() as cancel_at.scope:
        await main()
    trio.lowlevel.remove_instrument(cancel_at)
    left = trio.lowlevel.current_statistics().tasks_living - before
    if left:
        raise AssertionError(f"{left} tasks were left behind")
    return cancel_at.scope.cancelled_caught
