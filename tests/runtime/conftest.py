"""A world for each test; its clock jumps to the next deadline when nothing else can run."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.runtime.world import World, open_world


@pytest.fixture
async def world(virtual_time: int) -> AsyncIterator[World]:
    async with open_world() as world:
        yield world
