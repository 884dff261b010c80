"""Simulated rooms keep the contract, and can be made to do what LiveKit does wrong."""

from __future__ import annotations

import pytest

from tests.connection.contract import Contract
from tests.connection.stage import SimulatedStage


@pytest.fixture
def stage(simulated: SimulatedStage) -> SimulatedStage:
    return simulated


class TestSimulatedRooms(Contract):
    """The contract."""
