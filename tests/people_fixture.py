"""The fixture `people`: real WebRTC participants at the shared server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bridge.people import People, open_people
from bridge.server import PrivateServer


@pytest.fixture
async def people(livekit_server: PrivateServer) -> AsyncIterator[People]:
    """A process of people at `livekit_server`.  Take room names of your own."""
    async with open_people(
        livekit_server.url, livekit_server.api_key, livekit_server.api_secret
    ) as everyone:
        yield everyone
