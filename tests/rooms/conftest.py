"""A scene of simulated rooms in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from actors.simulation.plan import Plan
from actors.simulation.world import World
from tests.rooms.rooms_scene import RoomsScene


@pytest.fixture
async def scene(virtual_time: int) -> AsyncIterator[RoomsScene]:
    world = World(Plan(0, (), rooms=0))
    scene = RoomsScene(world)
    announce = world.announce

    def record(event: str, /, **fields: Any) -> None:
        scene.announcements.append((event, fields))
        announce(event, **fields)

    world.announce = record
    async with world.running():
        yield scene
