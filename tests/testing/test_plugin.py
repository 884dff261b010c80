"""The pytest plugin by itself, in a folder of somebody else: what it needs, what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
TESTS: Final = """
import sys

import pytest
import trio

@pytest.mark.slow
@pytest.mark.parametrize("text", ["it's", "b"])
@pytest.mark.seeds(3)
async def test_it(sim, text, request):
    assert request.config.getini("xfail_strict")
    assert sys.flags.utf8_mode
    await trio.sleep(1000)
    print("ran with", sim.seed, text)
    assert (sim.seed, text) != (1, "it's")
"""
PLUGIN: Final = ("-p", "actors.testing.plugin")


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-X", "utf8", "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_replay_command_runs_the_failed_test_again_and_no_other(tmp_path: Path) -> None:
    """Options of Python and of pytest, a quote in the name, no trio mode, another folder."""
    (tmp_path / "a folder").mkdir()
    (tmp_path / "a folder" / "test_it.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow: of this test\n")
    options = (*PLUGIN, "-o", "xfail_strict=true", "-m", "slow")
    first = pytest_in(tmp_path / "a folder", *options)
    assert "1 failed, 5 passed" in first.stdout
    (command,) = re.findall(r"^seed 1; again: (.*)$", first.stdout, re.MULTILINE)
    again = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "\n1 failed in " in again.stdout.replace("=", "").replace("\n ", "\n")
    assert "ran with 1 it's" in again.stdout


@pytest.mark.parametrize(
    "arguments, test, shown",
    [
        (
            (*PLUGIN, "-p", "no:trio"),
            "",
            "actors.testing.plugin needs pytest-trio, which runs the async tests: pip install",
        ),
        (PLUGIN, "def test_it(sim): pass", "must be an `async def`"),
        (
            PLUGIN,
            "import pytest\n@pytest.mark.seeds\nasync def test_it(sim): pass",
            "the marker `seeds` needs a number of seeds",
        ),
    ],
    ids=["no pytest-trio", "not async", "no number"],
)
def test_the_plugin_says_what_it_needs(
    tmp_path: Path, arguments: tuple[str, ...], test: str, shown: str
) -> None:
    (tmp_path / "test_it.py").write_text(test)
    done = pytest_in(tmp_path, *arguments)
    assert done.returncode != 0
    assert shown in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
