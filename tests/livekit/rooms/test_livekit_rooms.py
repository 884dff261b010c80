"""Real rooms keep the contract: LiveKit's SDK and a real server.

Both ways of an event: past the SDK's queues, and through them, which is what a worker
falls back to when the SDK has changed inside.
"""

from __future__ import annotations

import pytest

from bridge.livekit.rooms.sdk_options import SdkOptions
from tests.livekit.rooms.room_contract import Contract
from tests.livekit.rooms.room_stage import RealStage


@pytest.fixture
def stage(real: RealStage) -> RealStage:
    return real


class TestLiveKitRooms(Contract):
    """The contract."""


@pytest.mark.parametrize("options", [SdkOptions(demux=False)], ids=["stock"])
class TestLiveKitRoomsWithoutTheDemux(Contract):
    """The contract."""
