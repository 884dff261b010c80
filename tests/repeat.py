"""Runs of bin/test in a row beside a process that burns a core: which tests are flaky?

    bin/test --repeat 10                     all of it, ten times
    bin/test --repeat 20 tests/livekit       only these, twenty times

Each run's output is in a file of its own.  A table tells at once how each run ended.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

BURNER: Final = "while True: pass"
FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
STEP: Final = re.compile(r"^FAILED (.+?) +[0-9.]+ s$", re.MULTILINE)


def failures(output: str) -> list[str]:
    """Tests that failed, and steps of bin/test; not those of pytest where a test explains it."""
    tests = [name for name in FAILED.findall(output) if "::" in name]
    steps = [name for name in STEP.findall(output) if not (tests and name.startswith("pytest"))]
    return list(dict.fromkeys([*tests, *steps]))


def repeat(times: int, arguments: Sequence[str]) -> int:
    """Run bin/test with `arguments` so many times; 0 where every run went well."""
    folder = Path(tempfile.mkdtemp(prefix="room-actors-test-"))
    print(f"the output of each run: {folder}/RUN.txt", flush=True)
    failed: Counter[str] = Counter()
    wrong = 0
    burner = subprocess.Popen([sys.executable, "-I", "-c", BURNER])
    try:
        for number in range(1, times + 1):
            file = folder / f"{number}.txt"
            began = time.monotonic()
            with file.open("w") as output:
                done = subprocess.run(
                    [sys.executable, "-m", "tests", *arguments],
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            seconds = time.monotonic() - began
            names = failures(file.read_text(errors="replace")) if done.returncode else []
            wrong += done.returncode != 0
            failed.update(names)
            ended = "ok" if done.returncode == 0 else " ".join(names) or "failed"
            print(f"run {number:>3} {seconds:7.1f} s  {ended}", flush=True)
    finally:
        burner.kill()
        burner.wait()
    print(f"{wrong} of {times} runs failed")
    for name, count in failed.most_common():
        print(f"{count:>7} × {name}")
    return 1 if wrong else 0
