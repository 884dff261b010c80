"""Everything that must hold, one step after the other; what `bin/test` runs.

Tests marked `chaos` are left out (pyproject.toml) unless the first argument is `--chaos`.
Every step runs even where an earlier one failed, so that one run tells all.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from bridge.progress import ProgressLine
from bridge.server import ServerUnavailableError, ensure_server

ROOT: Final = Path(__file__).resolve().parent.parent
CODE: Final = ("actors", "bridge", "tests", "bin", "bench")
LINT_IMPORTS: Final = "from importlinter.cli import lint_imports_command as main; main()"
"""import-linter has no module to run, and its script would hold the environment's old path."""


def livekit_server() -> bool:
    with ProgressLine(sys.stderr) as progress:
        try:
            print(ensure_server(progress))
        except ServerUnavailableError as error:
            progress.close()
            print(f"bin/test: {error}", file=sys.stderr)
            # Where CI is set every test that needs it fails anyway, each by its name.
            return not os.environ.get("CI")
    return True


def python(*arguments: str) -> Callable[[], bool]:
    def run() -> bool:
        return subprocess.run([sys.executable, *arguments], check=False).returncode == 0

    return run


def existing(*folders: str) -> list[str]:
    return [folder for folder in folders if (ROOT / folder).is_dir()]


def pytest(*arguments: str) -> Callable[[], bool]:
    return python("-m", "pytest", *arguments)


def every_step(*options: str) -> dict[str, Callable[[], bool]]:
    linted = existing(*CODE)
    return {
        "livekit-server": livekit_server,
        "ruff check": python("-m", "ruff", "check", *linted),
        "ruff format": python("-m", "ruff", "format", "--check", *linted),
        "basedpyright": python("-m", "basedpyright", "--pythonpath", sys.executable),
        "import rules": python("-c", LINT_IMPORTS, "--no-cache"),
        "pytest": pytest(*options),
    }


def main(arguments: list[str]) -> int:
    """Run the steps, or with `arguments` only pytest; the exit code of the whole.

    `--chaos` before them adds the chaos tests.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # Ends the step too.
    chaos = arguments[:1] == ["--chaos"]
    if chaos:
        arguments = arguments[1:]
    options = ("-m", "") if chaos else ()  # An empty expression undoes the one of pyproject.toml.
    if not arguments:
        os.chdir(ROOT)
        steps = every_step(*options)
    else:
        steps = {"livekit-server": livekit_server, "pytest": pytest(*options, *arguments)}
    results: list[tuple[str, bool, float]] = []
    for name, step in steps.items():
        print(f"--- {name}", flush=True)
        began = time.monotonic()
        results.append((name, step(), time.monotonic() - began))
    print("---")
    for name, well, seconds in results:
        print(f"{'ok    ' if well else 'FAILED'} {name:<16} {seconds:7.1f} s")
    return 0 if all(well for _, well, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
