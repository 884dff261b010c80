"""Servers whose webhooks reach a worker, and a table of what the runs came to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.server import PrivateServer, find_server
from tests.conftest import QUICK_ENDS


@pytest.fixture
def http_port() -> int:
    """A free port, for a worker whose address the server has to know before."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def telling_server(tmp_path: Path, http_port: int) -> Iterator[PrivateServer]:
    """A server of one test, which sends its webhooks to `http_port`."""
    binary = find_server()
    assert binary is not None
    url = f"http://127.0.0.1:{http_port}/livekit/webhook"
    with PrivateServer.start(binary, tmp_path / "lk", QUICK_ENDS, webhook_urls=[url]) as server:
        yield server
