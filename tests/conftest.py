"""What all tests share: a private LiveKit server, and honesty about what was not run."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.server import PrivateServer, ServerUnavailableError, find_server

NEEDS_SERVER = frozenset({"livekit_server", "own_server", "telling_server"})
QUICK_ENDS = {"room": {"departure_timeout": 2, "empty_timeout": 20}}
"""Rooms that end soon after the last one left (whole seconds), so that tests need not wait."""

NOT_RUN = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[NOT_RUN] = []
    config.pluginmanager.import_plugin("tests.watchdog")
    if importlib.util.find_spec("tests.people_fixture"):
        config.pluginmanager.import_plugin("tests.people_fixture")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without a server a test fails where CI is set; elsewhere it is named as not run."""
    if not NEEDS_SERVER.intersection(getattr(item, "fixturenames", ())):
        return
    missing = _why_no_server()
    if missing is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"not run, because {missing}", pytrace=False)
    item.config.stash[NOT_RUN].append(item.nodeid)
    pytest.skip(f"not run, because {missing}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    not_run = terminalreporter.config.stash[NOT_RUN]
    if not not_run:
        return
    terminalreporter.section("NOT RUN: no livekit-server", sep="=", red=True, bold=True)
    for nodeid in not_run:
        terminalreporter.write_line(f"NOT RUN {nodeid}", red=True)
    terminalreporter.write_line(
        f"{len(not_run)} tests were not run. bin/test builds the server they need.", red=True
    )


def _why_no_server() -> str | None:
    try:
        if find_server() is None:
            return "there is no livekit-server on this machine"
    except ServerUnavailableError as error:
        return str(error)
    return None


def _binary() -> Path:
    binary = find_server()
    assert binary is not None
    return binary


@pytest.fixture(scope="session")
def livekit_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateServer]:
    """One LiveKit server for all tests: take room names and agent names of your own."""
    data_dir = tmp_path_factory.mktemp("livekit")
    with PrivateServer.start(_binary(), data_dir, QUICK_ENDS, timeout=60) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[PrivateServer]:
    """A LiveKit server for one test, which may kill and restart it."""
    with PrivateServer.start(_binary(), tmp_path / "livekit", QUICK_ENDS, timeout=60) as server:
        yield server
