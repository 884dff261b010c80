"""A hung test fails by itself, says where it stood, and the next one runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]

TESTS: Final = """
import time
import pytest, trio

@pytest.mark.limit(0.3)
async def test_stuck_in_trio():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever, name="a stuck child")
        await trio.sleep_forever()

@pytest.mark.limit(0.3)
async def test_busy_in_trio():
    while True:
        await trio.sleep(0)

@pytest.mark.limit(0.3)
def test_swallows_everything():
    try:
        time.sleep(60)
    except BaseException:
        pass

@pytest.mark.limit(0.3)
async def test_stuck_in_a_thread():
    await trio.to_thread.run_sync(time.sleep, 0.9)

@pytest.mark.limit(0.3)
def test_stuck_without_trio():
    time.sleep(60)

@pytest.fixture
async def never_ready():
    await trio.sleep_forever()

@pytest.mark.limit(0.3)
async def test_stuck_in_a_fixture(never_ready):
    pass

async def test_well():
    await trio.sleep(0)
"""


@pytest.mark.parametrize("processes", [(), ("-n", "1")], ids=["one", "more"])
def test_a_hung_test_fails_and_the_next_one_runs(tmp_path: Path, processes: tuple[str, ...]):
    hung = tmp_path / "test_hung.py"
    hung.write_text(TESTS)
    options = ["-p", "tests.watchdog", "-o", "trio_mode=true", "-o", "filterwarnings=default"]
    where = ["--rootdir", str(tmp_path), str(hung)]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *processes, *where],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "6 failed, 1 passed" in run.stdout, run.stdout + run.stderr
    assert run.stdout.count("did not end within 0.3 s") >= 5
    assert "ended only when interrupted after 0.3 s" in run.stdout
    assert "a stuck child: in trio itself" in run.stdout
    assert "test_stuck_in_trio (" in run.stdout
