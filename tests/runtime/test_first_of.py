"""The first of several functions to return wins."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from actors.runtime import first_of


async def test_the_first_result_is_returned_and_the_others_are_cancelled(
    autojump_clock: MockClock,
) -> None:
    cancelled: list[float] = []

    async def after(seconds: float) -> float:
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            cancelled.append(seconds)
            raise
        return seconds

    assert await first_of(lambda: after(3), lambda: after(1), lambda: after(2)) == 1
    assert sorted(cancelled) == [2, 3]
    assert trio.current_time() == 1


async def test_an_exception_cancels_the_others(autojump_clock: MockClock) -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError):
        await first_of(trio.sleep_forever, fail)
    assert trio.current_time() == 0
