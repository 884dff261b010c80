"""Everything that must hold, one step after the other; what `bin/test` runs.

Tests marked `chaos` are left out (pyproject.toml) unless the first argument is `--chaos`.
Every step runs even where an earlier one failed, so that one run tells all.

The tests run in several processes (pytest-xdist), each with a LiveKit server and people of
its own.  Those marked `alone` run after them in one process, because they measure what a
busy machine falsifies.  `chaos` tests belong to these.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from bridge.lab.server import ServerUnavailableError, ensure_server
from bridge.output.progress import ProgressLine

ROOT: Final = Path(__file__).resolve().parent.parent
CODE: Final = ("actors", "bridge", "tests", "bin", "bench")
LINT_IMPORTS: Final = "from importlinter.cli import lint_imports_command as main; main()"
"""import-linter has no module to run, and its script would hold the environment's old path."""
THOROUGH: Final = ("--hypothesis-profile", "thorough")
MOST_PROCESSES: Final = 8
"""Each of them also has a LiveKit server and a process of people."""


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


def processes() -> int:
    """How many run tests at once: more than there are cores, because tests wait a lot."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(cores + (cores + 1) // 2, MOST_PROCESSES)


def pytest(*arguments: str) -> Callable[[], bool]:
    return python("-m", "pytest", *arguments)


def every_step(results: Path, *, chaos: bool) -> dict[str, Callable[[], bool]]:
    """`results` is the folder that gets what each run of pytest counted."""
    linted = existing(*CODE)
    together = ("-n", str(processes()), "--dist", "worksteal", "-m", "not alone and not chaos")
    alone = ("-m", "alone or chaos" if chaos else "alone and not chaos")
    thorough = THOROUGH if chaos else ()
    return {
        "livekit-server": livekit_server,
        "ruff check": python("-m", "ruff", "check", *linted),
        "ruff format": python("-m", "ruff", "format", "--check", *linted),
        "basedpyright": python("-m", "basedpyright", "--pythonpath", sys.executable),
        "import rules": python("-c", LINT_IMPORTS, "--no-cache"),
        "pytest": pytest(*together, *thorough, f"--junit-xml={results / 'together.xml'}"),
        "pytest, alone": pytest(*alone, *thorough, f"--junit-xml={results / 'alone.xml'}"),
    }


def closing_line(results: Path) -> str:
    """The sum of all runs of pytest, as pytest itself would say it."""
    counts: Counter[str] = Counter()
    seconds = 0.0
    for file in sorted(results.glob("*.xml")):
        for suite in ET.parse(file).getroot().iter("testsuite"):
            for name in ("tests", "failures", "errors", "skipped"):
                counts[name] += int(suite.get(name, 0))
            seconds += float(suite.get("time", 0))
    passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    told = {
        "failed": counts["failures"],
        "passed": passed,
        "skipped": counts["skipped"],
        "error" if counts["errors"] == 1 else "errors": counts["errors"],
    }
    what = ", ".join(f"{count} {name}" for name, count in told.items() if count)
    return f" {what or 'no tests ran'} in {seconds:.2f}s ".center(80, "=")


def main(arguments: list[str]) -> int:
    """Run the steps, or with `arguments` only pytest; the exit code of the whole.

    `--chaos` before them adds the chaos tests.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # Ends the step too.
    chaos = arguments[:1] == ["--chaos"]
    if chaos:
        arguments = arguments[1:]
    if arguments:
        # An empty expression undoes the one of pyproject.toml.
        options = ("-m", "", *THOROUGH) if chaos else ()
        steps = {"livekit-server": livekit_server, "pytest": pytest(*options, *arguments)}
        return run(steps)
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as results:
        code = run(every_step(Path(results), chaos=chaos))
        print(closing_line(Path(results)))
    return code


def run(steps: Mapping[str, Callable[[], bool]]) -> int:
    """Each step, whatever became of those before it, and a table of them."""
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
