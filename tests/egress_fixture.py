"""A LiveKit server with a Redis, and a stand-in for the egress worker that LiveKit records with.

Without a Redis these tests are named as not run, in red, at the end, or fail where
ROOM_ACTORS_REDIS is `required`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest
import trio
from attrs import define

from bridge.lab.egress.redis_server import PrivateRedis, find_redis
from bridge.lab.egress.standin_egress import Leave, StandinEgress, open_standin
from bridge.lab.people import Grants, People, SharedProcess, open_people
from bridge.lab.server import PrivateServer, find_server
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from tests.closing import NO_REDIS, not_run

RECORDER = Grants(hidden=True, recorder=True)


@define(eq=False)
class EgressServer:
    """A LiveKit server that can record, as far as it knows."""

    server: PrivateServer
    redis: PrivateRedis

    @property
    def key(self) -> ApiKey:
        return ApiKey(self.server.api_key, self.server.api_secret)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "egress_server" in getattr(item, "fixturenames", ()) and find_redis() is None:
        if os.environ.get("ROOM_ACTORS_REDIS") == "required":
            pytest.fail("there is no Redis, and ROOM_ACTORS_REDIS=required", pytrace=False)
        not_run(item, NO_REDIS, "there is no Redis on this machine")


@pytest.fixture(scope="session")
def egress_server(
    tmp_path_factory: pytest.TempPathFactory, livekit_server: PrivateServer
) -> Iterator[EgressServer]:
    """One for a process of tests: take names of rooms of your own.

    Asks for the shared server only because a machine without one cannot run this either.
    """
    program, binary = find_redis(), find_server()
    assert program is not None
    assert binary is not None
    folder = tmp_path_factory.mktemp("egress")
    with PrivateRedis.start(program, folder) as redis:
        config = {"redis": {"address": redis.address}, "room": {"departure_timeout": 2}}
        with PrivateServer.start(binary, folder / "livekit", config, timeout=60) as server:
            yield EgressServer(server, redis)


@pytest.fixture
async def egress_api(egress_server: EgressServer) -> AsyncIterator[ServerApi]:
    endpoint = Endpoint.parse(egress_server.server.url)
    async with ServerApi(endpoint, egress_server.key) as api:
        yield api


@pytest.fixture(scope="session")
def kept_egress_people(egress_server: EgressServer) -> Iterator[SharedProcess]:
    """One process for the people of all tests at this server."""
    kept = SharedProcess()
    yield kept
    trio.run(kept.end)


@pytest.fixture
async def egress_people(
    egress_server: EgressServer, kept_egress_people: SharedProcess
) -> AsyncIterator[People]:
    """People at `egress_server`, who have left after the test."""
    server = egress_server.server
    async with open_people(
        server.url, server.api_key, server.api_secret, shared=kept_egress_people
    ) as everyone:
        yield everyone


@pytest.fixture
async def standin(
    egress_server: EgressServer, egress_people: People
) -> AsyncIterator[StandinEgress]:
    """An egress worker that enters rooms as a hidden recorder, and records nothing."""

    async def enter(room: str, egress_id: str) -> Leave:
        recorder = await egress_people.join(room, egress_id, grants=RECORDER)
        return recorder.leave

    async with open_standin(egress_server.redis.port, enter) as worker:
        yield worker
        with trio.CancelScope(shield=True):
            await worker.leave_rooms()
