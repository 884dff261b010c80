"""A test that hangs fails after `LIMIT` seconds and shows where everything stood.

Why not pytest-timeout: its signal handler raises in the middle of trio's own loop, which
takes the whole run down.  Here the handler only writes down the stacks of all threads
and the tree of trio's tasks, and then lets Python's own Ctrl-C do the rest: trio hands
that to the main task at a checkpoint, and everything is unwound in order.

`@pytest.mark.limit(400)` allows a test more seconds.  Where even Ctrl-C does not help,
pytest's `faulthandler_timeout` ends the whole run.
"""

from __future__ import annotations

import faulthandler
import linecache
import signal
import sys
from collections.abc import Generator, Iterator
from types import FrameType
from typing import Final

import pytest
import trio

from actors.runtime import render_running

LIMIT: Final = 300.0
"""Seconds for each of a test's set-up, call and tear-down: only a hang takes as long, also on a
machine that gives the tests a tenth of a core."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "limit(seconds): how long the test may take")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts what it puts into the background deaf to Ctrl-C.
        signal.signal(signal.SIGINT, signal.default_int_handler)


def guarded(item: pytest.Item) -> Generator[None, object, object]:
    """Run a phase of a test; fail it where it takes too long."""
    marker = item.get_closest_marker("limit")
    limit: float = LIMIT if marker is None else marker.args[0]
    report: list[str] = []

    def too_long(number: int, frame: FrameType | None) -> None:
        report.extend(task_tree())
        report.extend(["actors:", *render_running().splitlines()])
        sys.stderr.write(f"\n{item.nodeid} did not end within {limit:g} s\n")
        sys.stderr.write("\n".join(report) + "\n")
        sys.stderr.flush()
        faulthandler.dump_traceback(2)  # The real one: pytest captures `sys.stderr`.
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, limit)
    try:
        result = yield
    except BaseException as error:
        if report:
            tree = "\n".join(report)
            pytest.fail(f"did not end within {limit:g} s; then: {error!r}\n{tree}", pytrace=False)
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if report:
        pytest.fail(f"ended only when interrupted after {limit:g} s", pytrace=False)
    return result


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from guarded(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from guarded(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    return (yield from guarded(item))


def task_tree() -> list[str]:
    """The tasks of the trio run that is on this thread, and what each awaits."""
    try:
        root = trio.lowlevel.current_root_task()
    except RuntimeError:
        return ["no trio run on this thread"]
    return ["trio's tasks:"] if root is None else ["trio's tasks:", *branch(root, 1)]


def branch(task: trio.lowlevel.Task, depth: int) -> Iterator[str]:
    where = [
        f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{line}) "
        f"{linecache.getline(frame.f_code.co_filename, line).strip()}"
        for frame, line in task.iter_await_frames()
        if "/trio/" not in frame.f_code.co_filename
    ]
    yield "  " * depth + f"{task.name}: {where[-1] if where else 'in trio itself'}"
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield from branch(child, depth + 1)
