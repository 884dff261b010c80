"""The fixture `people`: real WebRTC participants at the shared server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import trio

from bridge.lab.people import People, SharedProcess, open_people
from bridge.lab.server import PrivateServer


@pytest.fixture(scope="session")
def shared_people(livekit_server: PrivateServer) -> Iterator[SharedProcess]:
    """One process for the people of all tests: each start of it costs a second of a core."""
    process = SharedProcess()
    yield process
    trio.run(process.end)


@pytest.fixture
async def people(
    livekit_server: PrivateServer, shared_people: SharedProcess
) -> AsyncIterator[People]:
    """People at `livekit_server`, who have left after the test.  Take room names of your own."""
    async with open_people(
        livekit_server.url, livekit_server.api_key, livekit_server.api_secret, shared=shared_people
    ) as everyone:
        yield everyone
