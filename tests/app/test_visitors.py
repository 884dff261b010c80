"""Visitors of the page, bad ones too, do not disturb the watching of rooms."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import trio

from actors.simulation.simulated_rooms import SimulatedRoom
from bridge.app.simulated_app import SimulatedApp
from bridge.app.web import application
from bridge.config.http_address import HttpAddress
from bridge.config.settings import load
from bridge.http.server import http1_stream, listener
from bridge.http.server.listener import serve
from tests.app.simulated import World, open_world

HANG = 60.0
"""Seconds; only bounds a test that would hang."""
EVENTS = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: loc"


class Visited:
    """A world that is shown at an address."""

    def __init__(self, world: World, address: HttpAddress, http: httpx2.AsyncClient) -> None:
        self.world = world
        self.address = address
        self.http = http

    async def open(self, said: bytes) -> trio.SocketStream:
        stream = await trio.open_tcp_stream(self.address.host, self.address.port)
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4_096)
        await stream.send_all(said)
        return stream

    async def value(self, name: str) -> float:
        """A number of `/metrics`."""
        text = (await self.http.get("/metrics")).raise_for_status().text
        found = re.search(rf"^room_actors_{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found is not None
        return float(found[1])

    async def collects(self, rooms: Iterable[SimulatedRoom], messages: int = 20) -> None:
        """Events in the rooms of this moment are recorded."""
        for room in rooms:
            journal = self.world.record_of(room).journal
            wanted = journal.state.messages.total + messages
            for _ in range(messages):
                room.people["alice"].send_data(b"{}")
            with trio.fail_after(HANG):
                while journal.state.messages.total < wanted:  # noqa: ASYNC110 (nothing tells of it)
                    await trio.sleep(0.01)


@asynccontextmanager
async def visited(data_dir: Path) -> AsyncGenerator[Visited, None]:
    flags = {"api-key": "none", "api-secret": "none-" * 8, "data-dir": str(data_dir)}
    settings = load({**flags, "http": "127.0.0.1:0"}, {})
    assert settings.http is not None
    async with open_world(data_dir) as world, httpx2.AsyncClient(timeout=HANG) as http:
        ports = SimulatedApp(world.actors, world.system, settings).web_ports()
        site = application(settings, ports)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.beside)
            address: HttpAddress = await nursery.start(serve, settings.http, site.app)
            http.base_url = f"http://{address}"
            yield Visited(world, address, http)
            nursery.cancel_scope.cancel()


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_half_open_connections_stop_neither_collection_nor_the_page_and_are_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "CONNECTIONS", 40)
    async with visited(tmp_path) as site, AsyncExitStack() as stack:
        rooms = await site.world.watch("first", "second")
        before = descriptors()
        streams = [
            await stack.enter_async_context(await site.open(HALF if number % 2 else b""))
            for number in range(100)
        ]
        await site.collects(rooms)
        assert "second" in (await site.http.get("/")).raise_for_status().text
        # Ours, and of the server's side no more than it may have, and what reads the store.
        assert descriptors() < before + len(streams) + 40 + 20
        for stream in streams[:50]:  # the longest waiting had to make place
            with trio.fail_after(HANG):
                assert await stream.receive_some() == b""
        monkeypatch.setattr(listener, "HEAD_SECONDS", 0.2)
        late = await stack.enter_async_context(await site.open(HALF))
        with trio.fail_after(HANG):
            assert b" 408 " in await late.receive_some()


async def test_who_takes_no_events_is_dropped_and_counted_and_nobody_else_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http1_stream, "STALL_SECONDS", 0.5)
    async with visited(tmp_path) as site, AsyncExitStack() as stack:
        rooms = await site.world.watch("first", "second")
        for _ in range(3):
            await stack.enter_async_context(await site.open(EVENTS))
        with trio.fail_after(HANG):
            while await site.value("event_listeners") < 3:  # noqa: ASYNC110 (nothing tells of it)
                await trio.sleep(0.01)
            while await site.value("event_listeners_dropped_total") < 3:
                await site.collects(rooms, 300)
        assert await site.value("event_listeners") == 0
