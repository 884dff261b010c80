"""The port of publishing on the shared server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio_asyncio

from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.publishing.livekit_publishing import LiveKitPublishing
from tests.livekit.conftest import key_of


@pytest.fixture
async def publishing(livekit_server: PrivateServer) -> AsyncIterator[LiveKitPublishing]:
    """Nothing of it may fail, and nobody may be left behind."""
    async with trio_asyncio.open_loop() as loop:
        port = LiveKitPublishing(Endpoint.parse(livekit_server.url), key_of(livekit_server), loop)
        yield port
        assert not port.participants
        assert not port.faults
