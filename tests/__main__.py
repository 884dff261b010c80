"""Everything that must hold, one step after the other; what `bin/test` runs.

Tests marked `chaos` are left out (pyproject.toml) unless the first argument is `--chaos`.
Every step runs even where an earlier one failed, so that one run tells all.

The tests run in several processes (pytest-xdist), each with a LiveKit server and people of
its own.  The types are checked beside them.  `chaos` tests run after them in one process.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeAlias
from xml.etree import ElementTree as ET

from bridge.lab.server import ServerUnavailableError, ensure_server
from bridge.output.progress import ProgressLine
from tests.repeat import repeat

ROOT: Final = Path(__file__).resolve().parent.parent
CODE: Final = ("actors", "bridge", "tests", "bin", "bench", "library", "docs")
LINT_IMPORTS: Final = "from importlinter.cli import lint_imports_command as main; main()"
"""import-linter has no module to run, and its script would hold the environment's old path."""
THOROUGH: Final = ("--hypothesis-profile", "thorough")
Step: TypeAlias = Callable[[], bool]
"""Gives whether it went well."""
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


def python(*arguments: str) -> Step:
    def run() -> bool:
        return subprocess.run([sys.executable, *arguments], check=False).returncode == 0

    return run


def existing(*folders: str) -> list[str]:
    return [folder for folder in folders if (ROOT / folder).is_dir()]


def processes() -> int:
    """The processes that run tests: more than there are cores, because tests wait a lot.

    Each collects all tests, which is 9 s of CPU: three a core are no faster than two.
    """
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return min(2 * cores, MOST_PROCESSES)


def pytest(*arguments: str) -> Step:
    return python("-m", "pytest", *arguments)


class Background:
    """A step that begins at once; when it is its turn it waits and shows the output."""

    def __init__(self, *arguments: str) -> None:
        self.seconds = 0.0
        """Its duration; 0 until it has ended."""
        self._began = time.monotonic()
        self._output = b""
        self._process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        self._output, _ = self._process.communicate()
        self.seconds = time.monotonic() - self._began

    def __call__(self) -> bool:
        self._reader.join()
        sys.stdout.write(self._output.decode(errors="replace"))
        return self._process.returncode == 0

    def stop(self) -> None:
        self._process.terminate()
        self._reader.join()


def every_step(
    results: Path, types: Background, agents: Background, *, chaos: bool
) -> dict[str, Step]:
    """`results` is the folder that gets what each run of pytest counted."""
    linted = existing(*CODE)
    parallel = ("-n", str(processes()), "--dist", "worksteal")
    thorough = THOROUGH if chaos else ()
    steps: dict[str, Step] = {
        "livekit-server": livekit_server,
        "ruff check": python("-m", "ruff", "check", *linted),
        "ruff format": python("-m", "ruff", "format", "--check", *linted),
        "import rules": python("-c", LINT_IMPORTS, "--no-cache"),
        "pytest": pytest(*parallel, *thorough, f"--junit-xml={results / 'parallel.xml'}"),
        "basedpyright": types,
        "livekit-agents": lambda: agents() or not os.environ.get("CI"),
    }
    if chaos:
        steps["pytest, chaos"] = pytest(
            "-m", "chaos", *thorough, f"--junit-xml={results / 'chaos.xml'}"
        )
    return steps


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
    parts = {
        "failed": counts["failures"],
        "passed": passed,
        "skipped": counts["skipped"],
        "error" if counts["errors"] == 1 else "errors": counts["errors"],
    }
    counted = ", ".join(f"{count} {name}" for name, count in parts.items() if count)
    return f" {counted or 'no tests ran'} in {seconds:.2f}s ".center(80, "=")


def main(arguments: list[str]) -> int:
    """Run the steps, or with `arguments` only pytest; the exit code of the whole.

    `--chaos` before them adds the chaos tests.  `--repeat N` before everything runs that N
    times.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # Ends the step too.
    # Some containers set it.  Hundreds of processes would then compile all modules anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if arguments[:1] == ["--repeat"]:
        if not arguments[1:] or not arguments[1].isdecimal():
            print("bin/test: --repeat needs a number of runs", file=sys.stderr)
            return 2
        return repeat(int(arguments[1]), arguments[2:])
    chaos = arguments[:1] == ["--chaos"]
    if chaos:
        arguments = arguments[1:]
    if arguments:
        # An empty expression undoes the one of pyproject.toml.
        options = ("-m", "", *THOROUGH) if chaos else ()
        steps = {"livekit-server": livekit_server, "pytest": pytest(*options, *arguments)}
        return run(steps)
    os.chdir(ROOT)
    # The tests that need livekit-agents wait until they are installed.
    agents = Background("-m", "bridge.lab.voice_agent.agents_environment")
    types = Background("-m", "basedpyright", "--pythonpath", sys.executable)
    try:
        with tempfile.TemporaryDirectory() as results:
            code = run(every_step(Path(results), types, agents, chaos=chaos))
            print(closing_line(Path(results)))
        return code
    finally:
        agents.stop()
        types.stop()


def run(steps: Mapping[str, Step]) -> int:
    """Run every step, also after one that failed, and print a table of them."""
    results: list[tuple[str, bool, float]] = []
    for name, step in steps.items():
        print(f"--- {name}", flush=True)
        began = time.monotonic()
        well = step()
        seconds = step.seconds if isinstance(step, Background) else time.monotonic() - began
        results.append((name, well, seconds))
    print("---")
    for name, well, seconds in results:
        print(f"{'ok    ' if well else 'FAILED'} {name:<16} {seconds:7.1f} s")
    return 0 if all(well for _, well, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
