"""The order in which the processes of bin/test get the tests."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import LONG, shares


def item(name: str, *fixtures: str) -> Any:
    return SimpleNamespace(path=Path("tests", name), fixturenames=fixtures)


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_each_process_begins_with_its_share_of_the_long_files(processes: int) -> None:
    quick = [item("test_quick.py") for _ in range(60)]
    served = [item("test_served.py", "livekit_server") for _ in range(20)]
    long = [item(name) for name in LONG for _ in range(2)]
    items = [*quick, *served, *long]
    ordered = shares(items, processes)
    assert sorted(map(id, ordered)) == sorted(map(id, items))
    begun: list[str] = []
    while ordered:
        begun.append(ordered[0].path.name)
        left = processes + 1 - len(begun)
        del ordered[: len(ordered) // left]  # As pytest-xdist gives them out.
    assert begun == list(LONG[:processes])


def test_a_run_of_a_few_tests_has_each_of_them_once() -> None:
    items = [item(LONG[0]) for _ in range(7)] + [item("test_quick.py")]
    assert sorted(map(id, shares(list(items), 4))) == sorted(map(id, items))
