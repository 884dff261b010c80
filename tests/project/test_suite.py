"""The suite in several processes says at its end what it says in one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.__main__ import closing_line
from tests.repeat import failures

ROOT: Final = Path(__file__).resolve().parents[2]
TESTS: Final = """
import pytest
from tests.closing import FIGURES

def test_needs_a_server(livekit_server):
    pass

def test_measures(request):
    request.node.user_properties.append((FIGURES, "a figure: 3 s"))

def test_wrong():
    assert False
"""


def suite(folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """The tests above, in a process of their own, on a machine without a livekit-server."""
    (folder / "test_some.py").write_text(TESTS)
    here = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.conftest", "--rootdir", str(folder)),
            *("-n", "1", f"--junit-xml={folder / 'counts.xml'}", str(folder / "test_some.py")),
        ],
        cwd=ROOT,
        env={**here, "ROOM_ACTORS_LIVEKIT_SERVER": str(folder / "missing"), **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_was_not_run_is_named_and_figures_are_told(tmp_path: Path):
    done = suite(tmp_path)
    lines = done.stdout.splitlines()
    assert "= NOT RUN: no livekit-server =" in done.stdout
    assert "NOT RUN test_some.py::test_needs_a_server" in lines
    assert "1 tests were not run. bin/test builds the server they need." in lines
    assert lines.count("a figure: 3 s") == 1
    assert done.returncode == 1, "one is wrong"
    assert closing_line(tmp_path).strip("= ").startswith("1 failed, 1 passed, 1 skipped in ")


def test_in_ci_a_test_that_is_not_run_fails(tmp_path: Path):
    done = suite(tmp_path, CI="true")
    assert "Failed: not run, because" in done.stdout
    assert "NOT RUN" not in done.stdout
    assert closing_line(tmp_path).strip("= ").startswith("1 failed, 1 passed, 1 error in ")


OUTPUT: Final = """
FAILED tests/a/test_one.py::test_wrong[an upgrade] - assert False
ERROR tests/a/test_one.py::test_no_fixture - RuntimeError
FAILED tests/a/test_one.py::test_wrong[an upgrade] - assert False
ok     ruff check           0.3 s
FAILED basedpyright        30.9 s
FAILED pytest             373.1 s
"""


def test_of_repeated_runs_each_failed_test_is_named_once_a_run():
    assert failures(OUTPUT) == [
        "tests/a/test_one.py::test_wrong[an upgrade]", "tests/a/test_one.py::test_no_fixture",
        "basedpyright",
    ]  # fmt: skip
    assert failures("FAILED basedpyright        30.9 s\n") == ["basedpyright"]
