"""Servers whose webhooks reach a worker, and a table of what the runs came to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.lab.server import PrivateServer
from tests.chaos.cluster import ACCOUNTS, Cluster, open_cluster
from tests.chaos.verdict import HEADER


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
