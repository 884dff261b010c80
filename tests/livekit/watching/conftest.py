"""A reconciler in virtual time."""

from __future__ import annotations

import pytest
import trio

from tests.livekit.watching.reconciler_scene import ReconcilerScene


@pytest.fixture
def scene(nursery: trio.Nursery, virtual_time: int) -> ReconcilerScene:
    return ReconcilerScene(nursery)
