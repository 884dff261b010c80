"""Fixtures of all tests: a private LiveKit server, and a list of tests that were not run."""

from __future__ import annotations

import gc
import importlib.util
import os
import socket
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from bridge.lab.demo import expected_session
from bridge.lab.server import PrivateServer, ServerUnavailableError, find_server
from bridge.lab.server.ports import free_port
from tests import closing
from tests.closing import NO_SERVER, not_run

NEEDS_SERVER = frozenset({"livekit_server", "own_server", "telling_server", "egress_server"})
LONG = (
    "test_launcher.py",
    "test_watchdog.py",
    "test_suite.py",
    "test_image_steps.py",
    "test_api_document.py",
    "test_pages.py",
    "test_harness.py",
    "test_rooms_end.py",
    "test_lines_cut.py",
    "test_watching.py",
    "test_sessions.py",
    "test_activity.py",
    "test_voice_agents.py",
)
"""Files whose tests install, or wait for other programs, for ten seconds and more."""
QUICK_ENDS = {"room": {"departure_timeout": 2, "empty_timeout": 20}}
"""Rooms that end soon after the last one left (whole seconds), so that tests need not wait."""

settings.register_profile(
    "everyday",
    max_examples=25,
    # Both are bounds on a clock, which a busy machine exceeds.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "thorough", settings.get_profile("everyday"), max_examples=300
)  # bin/test --chaos
settings.load_profile("everyday")
# hypothesis draws constants of all our modules that were imported by then.  So the examples of a
# test would depend on which other tests run in its process, and a failure would not come back.
LOCAL_CONSTANTS = Constants()
providers._get_local_constants = lambda: LOCAL_CONSTANTS


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(closing, closing.__name__)
    config.pluginmanager.import_plugin("tests.watchdog")
    config.pluginmanager.import_plugin("tests.nginx")
    if importlib.util.find_spec("tests.people_fixture"):
        config.pluginmanager.import_plugin("tests.people_fixture")
    config.pluginmanager.import_plugin("tests.egress_fixture")
    config.pluginmanager.import_plugin("tests.postgres_fixture")
    config.pluginmanager.import_plugin("tests.agents_fixture")


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, and keep it away from the tests and modules later.

    They are two million objects that live as long as the process.  A full collection looked at
    each of them, again and again.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests: no process may begin with one when the others end."""
    if processes := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
        items[:] = shares(items, int(processes))


def shares(items: list[pytest.Item], processes: int) -> list[pytest.Item]:
    """The tests in the order in which pytest-xdist (worksteal) gives each process one share.

    A share has some of the `LONG` files, whole, because a process makes what a file needs once.
    Then it has tests with a server, then others: those are taken over by a process that is done.
    """
    long: dict[str, list[pytest.Item]] = {name: [] for name in LONG}
    served: list[pytest.Item] = []
    quick: list[pytest.Item] = []
    for item in items:
        needs_server = NEEDS_SERVER.intersection(getattr(item, "fixturenames", ()))
        long.get(item.path.name, served if needs_server else quick).append(item)
    first = [list[pytest.Item]() for _ in range(processes)]
    for place, group in enumerate(long.values()):
        first[place % processes].extend(group)
    ordered: list[pytest.Item] = []
    for place in range(processes):
        left = processes - place
        size = (len(items) - len(ordered)) // left
        share = first[place] + served[: len(served) // left]
        del served[: len(served) // left]
        filling = max(0, size - len(share)) if left > 1 else len(quick)
        ordered += share + quick[:filling]
        del quick[:filling]
    return ordered


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test that has no server where CI is set; elsewhere list it as not run."""
    if not NEEDS_SERVER.intersection(getattr(item, "fixturenames", ())):
        return
    missing = _why_no_server()
    if missing is None:
        return
    if os.environ.get("CI"):
        pytest.fail(f"not run, because {missing}", pytrace=False)
    not_run(item, NO_SERVER, missing)


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
    """One LiveKit server for a process of tests: take names of rooms and agents of your own."""
    data_dir = tmp_path_factory.mktemp("livekit")
    with PrivateServer.start(_binary(), data_dir, QUICK_ENDS, timeout=60) as server:
        yield server


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[PrivateServer]:
    """A LiveKit server for one test, which may kill and restart it."""
    with PrivateServer.start(_binary(), tmp_path / "livekit", QUICK_ENDS, timeout=60) as server:
        yield server


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
def late_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo's numbers hold where a busy machine delivers events half a minute late."""
    for lag in ("PUBLISHER_LAG", "TALK_LAG", "MUTE_LAG"):
        monkeypatch.setattr(expected_session, lag, 30.0)
