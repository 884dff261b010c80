"""The environment of livekit-agents: made once from `requirements-agents.lock`, in the cache.

    python -m bridge.lab.voice_agent.agents_environment      makes it and prints its Python

It takes 310 MB and about 20 s.  Tests and measures pay for it; the program and its demo do not use
it.  `bin/environment.py` makes it, as it makes the other environments: two at once wait for each
other, and one that was cut off is begun again.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NoReturn

from bridge.lab.server.find import cache_dir

CHECKOUT: Final = Path(__file__).resolve().parents[3]
LOCK: Final = CHECKOUT / "requirements-agents.lock"
MAKER: Final = CHECKOUT / "bin" / "environment.py"


class AgentsUnavailableError(Exception):
    """The environment cannot be made here; the text says why."""


def environment_folder() -> Path:
    """Its folder: another one for each lock and each minor version of Python."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    version = f"{sys.version_info[0]}.{sys.version_info[1]}"
    return cache_dir() / f"livekit-agents-{digest}-{version}"


def ensure_agents() -> Path:
    """Its Python.  Makes the environment, or waits until another process made it.

    Raises `AgentsUnavailableError`.
    """
    command = _command("")
    made = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True)
    if made.returncode:
        last = made.stderr.strip().rpartition("\n")[2]
        raise AgentsUnavailableError(f"livekit-agents cannot be installed: {last}")
    return environment_folder() / "bin" / "python"


def _command(code: str) -> list[str]:
    """Makes it and runs some Python in it."""
    if not LOCK.exists():
        raise AgentsUnavailableError("only a checkout has requirements-agents.lock")
    base = getattr(sys, "_base_executable", sys.executable)
    folder = str(environment_folder())
    return [base, "-I", str(MAKER), "--compile-later", folder, str(LOCK), "-c", code]


def main() -> NoReturn:
    """Become the process that makes it."""
    try:
        command = _command("import sys; print(sys.executable)")
    except AgentsUnavailableError as error:
        sys.exit(f"room-actors: {error}")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
