"""The shared LiveKit server as the worker's tests use it."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator

import pytest

from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey


def key_of(server: PrivateServer) -> ApiKey:
    return ApiKey(server.api_key, server.api_secret)


@pytest.fixture
def name() -> str:
    """A name that no other test uses, for a room or an agent."""
    return f"worker-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def api(livekit_server: PrivateServer) -> AsyncGenerator[ServerApi, None]:
    async with ServerApi(Endpoint.parse(livekit_server.url), key_of(livekit_server)) as server_api:
        yield server_api
