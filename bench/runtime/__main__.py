"""The runtime beside a bare trio channel and beside pykka, turn by turn in one run.

    python -m bench.runtime [ROUNDS]

Medians of at least five rounds.  pykka, the newest, is put into an environment of its
own under the temporary folder.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GOALS = {
    # figure: (least, or most where negative)
    "tells": 1_500_000,
    "asks": 40_000,
    "asks_64": 60_000,
    "starts": 8_000,
    "idle_mib": -120,
}


def pykka_python() -> str:
    folder = Path(tempfile.gettempdir()) / f"room-actors-bench-pykka-{os.getuid()}"
    python = folder / "bin" / "python"
    if not python.exists():
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--upgrade"]
    subprocess.run([*pip, "--disable-pip-version-check", "pykka"], check=True)
    return str(python)


def measure(python: str, module: str, *arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [python, "-m", f"bench.runtime.{module}", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main(rounds: int) -> None:
    pykka = pykka_python()
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", file=sys.stderr)
        for found, python, module in (
            (ours, sys.executable, "ours"),
            (theirs, pykka, "with_pykka"),
        ):
            for arguments in ((), ("idle",)):
                for name, value in measure(python, module, *arguments).items():
                    found.setdefault(name, []).append(value)
    print(f"{'':16}{'room-actors':>14}{'goal':>12}{'pykka':>12}{'ratio':>8}")
    for name, values in ours.items():
        value = statistics.median(values)
        goal = GOALS.get(name)
        other = statistics.median(theirs[name]) if name in theirs else None
        shown = "" if goal is None else f"{'<' if goal < 0 else '>='} {abs(goal):,}"
        if other is None:
            print(f"{name:16}{value:>14,.1f}{shown:>12}")
        else:
            ratio = other / value if name.startswith("idle") else value / other
            print(f"{name:16}{value:>14,.1f}{shown:>12}{other:>12,.1f}{ratio:>7.1f}x")
    ratio = statistics.median(
        [a / b for a, b in zip(ours["tells"], ours["channel_tells"], strict=True)]
    )
    print(f"tells, of a bare channel's in the same round: {ratio:.2f}")


if __name__ == "__main__":
    main(max(5, int(sys.argv[1]) if len(sys.argv) > 1 else 5))
