"""Long work on the loop's thread holds up nobody."""

from __future__ import annotations

from collections.abc import Generator

import pytest
import trio

from bridge.http.server import time_slices
from bridge.http.server.time_slices import in_slices


def steps(count: int) -> Generator[None, None, str]:
    for _ in range(count):
        yield
    return "done"


async def test_others_have_their_turn_between_the_steps_of_long_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time_slices, "SLICE", 0.0)
    had = 0

    async def other() -> None:
        nonlocal had
        while True:
            await trio.lowlevel.checkpoint()
            had += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        assert await in_slices(steps(50)) == "done"
        nursery.cancel_scope.cancel()
    assert had >= 40


async def test_short_work_is_done_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_slices, "SLICE", 60.0)
    with trio.CancelScope() as scope:
        scope.cancel()  # a checkpoint would end it
        assert await in_slices(steps(50)) == "done"
    assert not scope.cancelled_caught
