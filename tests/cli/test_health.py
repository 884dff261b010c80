"""`health` asks a worker as the health check of a container does."""

from __future__ import annotations

import pytest
import trio

from bridge.cli import command_line
from bridge.http.health import health
from bridge.http.server.routes import app
from tests.http.site import open_site


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROOM_ACTORS_HTTP", raising=False)


async def asked(*arguments: str) -> int:
    return await trio.to_thread.run_sync(command_line.run, ["health", *arguments])


async def test_a_worker_that_is_alive_and_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    problems = {"store": "disk full"}
    served = app(
        health({"store": lambda: problems.get("store")}, "w"), loopback=False, token="t" * 20
    )
    async with open_site(served) as site:
        address = f"0.0.0.0:{site.address.port}"
        assert await asked("--http", address) == 0
        assert await asked("--http", address, "--ready") == 1
        problems.clear()
        assert await asked("--http", address, "--ready") == 0
    said = capsys.readouterr()
    assert said.out == "alive\nready\n"
    assert "answers 503" in said.err
    assert "disk full" in said.err


async def test_nothing_answers(capsys: pytest.CaptureFixture[str], http_port: int) -> None:
    assert await asked("--http", f"127.0.0.1:{http_port}") == 1
    said = capsys.readouterr().err
    assert said.startswith("room-actors: nothing answers at http://127.0.0.1")
    assert ": Connection refused; start a worker, or name its address by --http ADDRESS" in said
    assert await asked("--http", "off") == 2
    assert "name its --http ADDRESS" in capsys.readouterr().err
