"""Make a failing plan small: leave out each step that it can fail without."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def shrink(
    steps: Sequence[T], fails: Callable[[tuple[T, ...]], bool], *, most_runs: int = 400
) -> tuple[T, ...]:
    """A part of `steps`, in order, that still fails and of which no single step can go.

    `fails` is run at most `most_runs` times, after which the smallest so far is returned.
    The whole of `steps` is taken to fail.  (Zeller's ddmin: large parts first.)
    """
    smallest, size, runs = tuple(steps), max(1, len(steps) // 2), 0
    while True:
        at, removed = 0, False
        while at < len(smallest) and runs < most_runs:
            candidate = smallest[:at] + smallest[at + size :]
            runs += 1
            if fails(candidate):
                smallest, removed = candidate, True
            else:
                at += size
        if runs >= most_runs or (size == 1 and not removed):
            return smallest
        size = max(1, size // 2)
