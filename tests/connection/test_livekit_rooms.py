"""Real rooms keep the contract: LiveKit's SDK and a real server."""

from __future__ import annotations

import pytest

from tests.connection.contract import Contract
from tests.connection.stage import RealStage


@pytest.fixture
def stage(real: RealStage) -> RealStage:
    return real


class TestLiveKitRooms(Contract):
    """The contract."""
