"""Servers whose webhooks reach a worker, and a table of what the runs came to."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from bridge.lab.server import PrivateServer, find_server
from bridge.lab.server.ports import free_port
from tests.chaos.cluster import ACCOUNTS, Cluster, open_cluster
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
async def cluster(own_server: PrivateServer, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster whose server sends no webhooks."""
    async with open_cluster(own_server, tmp_path / "worker") as cluster:
        yield cluster


@pytest.fixture
async def cluster_with_webhooks(
    telling_server: PrivateServer, http_port: int, tmp_path: Path
) -> AsyncIterator[Cluster]:
    """A cluster whose server sends its worker webhooks."""
    async with open_cluster(telling_server, tmp_path / "worker", http_port=http_port) as cluster:
        yield cluster


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if ACCOUNTS:
        terminalreporter.section("chaos: sessions against the truth")
        for line in (HEADER, *(account.row() for account in ACCOUNTS)):
            terminalreporter.write_line(line)
