"""The real command line, as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).parents[2]
RunCommand: TypeAlias = Callable[..., subprocess.CompletedProcess[str]]


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Ours without any setting, then `extra`.

    Without `PYTHONUNBUFFERED` too: it hides what is lost in a buffer at the end.
    """
    settings = ("LIVEKIT_", "ROOM_ACTORS_", "PYTHONUNBUFFERED")
    ours = {k: v for k, v in os.environ.items() if not k.startswith(settings)}
    return {**ours, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **extra}


@pytest.fixture
def room_actors(tmp_path: Path) -> RunCommand:
    """Runs `room-actors` with these arguments in an empty folder, to its end."""

    def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "bridge.cli", *args],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            timeout=60,
            env=clean_environment({"XDG_DATA_HOME": str(tmp_path / "data"), **env}),
        )

    return run
