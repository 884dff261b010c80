"""A writer that is killed at any moment loses nothing of what it knew to be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bridge.store.sqlite_reader import open_reader
from tests.store.stored_history import times

ROOT = Path(__file__).parents[2]
TIMES = 50


def test_fifty_writers_killed_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.killed_writer", str(tmp_path), str(TIMES)],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{TIMES} writers killed")
    # Nor does the timeline: it has every message once.
    with open_reader(tmp_path) as reader:
        session = reader.session("RM_1")
    assert session is not None
    assert session.data_messages is not None
    assert times(session, "data_message") == session.data_messages.total
    assert times(session, "data_message") > TIMES
