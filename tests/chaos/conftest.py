"""Servers whose webhooks reach a worker, and a table of what the runs came to."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bridge.lab.server import PrivateServer, find_server
from bridge.lab.server.ports import free_port
from tests.chaos.cluster import ACCOUNTS, Town, open_town
from tests.chaos.verdict import HEADER
from tests.conftest import QUICK_ENDS


@pytest.fixture
def http_port() -> int:
    """A free port, for a worker whose address the server has to know before."""
    return free_port(socket.SOCK_STREAM)


@pytest.fixture
def telling_server(tmp_path: Path, http_port: int) -> Iterator[PrivateServer]:
    """A server of one test, which sends its webhooks to `http_port`."""
    binary = find_server()
    assert binary is not None
    url = f"http://127.0.0.1:{http_port}/livekit/webhook"
    with PrivateServer.start(
        binary, tmp_path / "lk", QUICK_ENDS, webhook_urls=[url], timeout=60
    ) as server:
        yield server


@pytest.fixture
async def town(own_server: PrivateServer, tmp_path: Path) -> AsyncIterator[Town]:
    """A town whose server sends no webhooks."""
    async with open_town(own_server, tmp_path / "worker") as town:
        yield town


@pytest.fixture
async def told(
    telling_server: PrivateServer, http_port: int, tmp_path: Path
) -> AsyncIterator[Town]:
    """A town whose server tells its worker by webhooks."""
    async with open_town(telling_server, tmp_path / "worker", http_port=http_port) as town:
        yield town


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ACCOUNTS:
        terminalreporter.section("chaos: sessions against the truth")
        for line in (HEADER, *(account.row() for account in ACCOUNTS)):
            terminalreporter.write_line(line)
