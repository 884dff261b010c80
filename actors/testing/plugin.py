"""The pytest plugin: `pytest -p actors.testing.plugin`.  It needs pytest-trio.

    async def test_it_starts(virtual_time): ...        minutes pass in no time

    @pytest.mark.seeds(100)
    async def test_any_order(sim, probe): ...          a hundred schedules

A test that asks for `virtual_time`, or for a fixture that does, runs in virtual time under
a seeded scheduler.  Its seed is 0, or what the marker `seeds` gives it; a failure says
which one it was and how to run only that one again.  pytest-trio's trio mode is not needed for
these tests, since they are marked here.
"""

from __future__ import annotations

import inspect
import os
import shlex
import sys
from collections.abc import AsyncGenerator, Generator
from functools import partial
from typing import Any

import pytest

from actors.testing.probe import TestProbe
from actors.testing.schedule import run
from actors.testing.sim import Sim, open_sim


def pytest_configure(config: pytest.Config) -> None:
    if not any(map(config.pluginmanager.hasplugin, ("trio", "pytest_trio.plugin"))):
        raise pytest.UsageError(
            f"{__name__} needs pytest-trio, which runs the async tests: pip install pytest-trio"
        )
    config.addinivalue_line(
        "markers", "seeds(n, start=0): run the test under n seeds of scheduler and faults"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is None:
        return
    if "seed" not in metafunc.fixturenames:
        pytest.fail("a test with the marker `seeds` needs the fixture `seed` or `sim`")
    if not marker.args:
        pytest.fail("the marker `seeds` needs a number of seeds, as in @pytest.mark.seeds(100)")
    start = marker.kwargs.get("start", 0)
    seeds = range(start, start + marker.args[0])
    metafunc.parametrize("seed", seeds, ids=[f"seed{seed}" for seed in seeds])


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "virtual_time" not in getattr(item, "fixturenames", ()):
            continue
        if not _is_async(item):
            raise pytest.UsageError(
                f"{item.nodeid}: a test in virtual time (`virtual_time`, `sim`, `probe`) must be"
                " an `async def`"
            )
        # Before the marker that pytest-trio's trio mode appends.
        item.add_marker(pytest.mark.trio(run=partial(run, seed=_seed_of(item))), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and "virtual_time" in getattr(item, "fixturenames", ()):
        report.sections.append(("replay", f"seed {_seed_of(item)}; again: {_replay(item)}"))
    return report


def _replay(item: pytest.Item) -> str:
    """A shell command that runs only `item` again: in the same folder, with the same options."""
    option: Any = item.config.option
    flags = [("-p", name) for name in option.plugins if name != "no:terminal"]  # xdist's
    flags += [("-o", text) for text in option.override_ini or ()]
    flags += [("-W", text) for text in option.pythonwarnings or ()]
    flags += [("-c", option.inifilename)] if option.inifilename else []
    flags += [("-m", option.markexpr)] if option.markexpr else []
    flags += [("--rootdir", option.rootdir)] if option.rootdir else []
    in_settings = item.config.getini("addopts")
    words = [
        word
        for flag, value in dict.fromkeys(flags)
        if str(value) not in in_settings
        for word in (flag, str(value))
    ]
    folder = item.config.invocation_params.dir
    which = f"{os.path.relpath(item.path, folder)}::{item.nodeid.partition('::')[2]}"
    command = shlex.join([sys.executable, *_python_flags(), "-m", "pytest", *words, which])
    return f"cd {shlex.quote(str(folder))} && {command}"


def _python_flags() -> list[str]:
    """The flags of the interpreter itself, such as ``-X dev``."""
    flags: list[str] = []
    words = iter(sys.orig_argv[1:])
    for word in words:
        if word in ("-m", "-c") or not word.startswith("-"):
            break
        flags += [word, next(words, "")] if word in ("-W", "-X") else [word]
    return flags


def _is_async(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj)


def _seed_of(item: pytest.Item) -> int:
    callspec: Any = getattr(item, "callspec", None)
    return 0 if callspec is None else callspec.params.get("seed", 0)


@pytest.fixture
def seed() -> int:
    """The seed of this run; see the marker `seeds`."""
    return 0


@pytest.fixture
def virtual_time(seed: int) -> int:
    """Have the test run in virtual time under a seeded scheduler; the seed."""
    return seed


@pytest.fixture
async def sim(virtual_time: int) -> AsyncGenerator[Sim, None]:
    """A running `Sim`; the test fails where a law is broken when it is over."""
    async with open_sim(virtual_time) as sim:
        yield sim


@pytest.fixture
def probe(sim: Sim) -> TestProbe:
    """An actor of `sim` that only listens."""
    return sim.probe()
