"""Run several functions and take the result of the first that returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def first_of(*functions: Callable[[], Awaitable[T]]) -> T:
    """Return what the first of `functions` to return returned; the others are cancelled.

    If one of them raises, all are cancelled and the exception leaves in a group.
    """
    results: list[T] = []
    async with trio.open_nursery() as nursery:

        async def run(function: Callable[[], Awaitable[T]]) -> None:
            results.append(await function())
            nursery.cancel_scope.cancel()

        for function in functions:
            nursery.start_soon(run, function)
    return results[0]
