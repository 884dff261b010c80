"""The two stages of `tests.livekit.rooms.room_stage`, set up."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
import trio_asyncio

from actors.simulation.simulated_rooms import SimulatedRooms
from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.rooms.sdk_options import SdkOptions
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from tests.livekit.rooms.room_stage import RealStage, SimulatedStage


@pytest.fixture
def options() -> SdkOptions:
    """The options of the SDK; a test may choose others."""
    return SdkOptions()


@pytest.fixture
async def rooms(options: SdkOptions) -> AsyncIterator[LiveKitRooms]:
    """The port into real rooms, on an asyncio loop of its own; nothing of it may fail."""
    async with trio_asyncio.open_loop(), LiveKitRooms(options=options) as port:
        yield port
    assert port.busy == 0
    assert not port.faults


@pytest.fixture
async def api(livekit_server: PrivateServer) -> AsyncIterator[ServerApi]:
    key = ApiKey(livekit_server.api_key, livekit_server.api_secret)
    async with ServerApi(Endpoint.parse(livekit_server.url), key) as server_api:
        yield server_api


@pytest.fixture
async def real(
    livekit_server: PrivateServer, rooms: LiveKitRooms, people: People, api: ServerApi
) -> RealStage:
    return RealStage(livekit_server, rooms, people, api)


@pytest.fixture
def simulated() -> SimulatedStage:
    return SimulatedStage(SimulatedRooms(time.time))
