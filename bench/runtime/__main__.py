"""The runtime beside a bare trio channel and beside pykka, turn by turn in one run."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from bench.measure import Spread, load, machine, save

ROOT: Final = Path(__file__).resolve().parent.parent.parent

LEAST: Final[Mapping[str, float]] = {
    "tells": 1_500_000,
    "asks": 40_000,
    "asks_64": 60_000,
    "starts": 8_000,
}
MOST: Final[Mapping[str, float]] = {"idle_mib": 120}
MEANINGS: Final[Mapping[str, str]] = {
    "channel_tells": "a bare trio channel, messages/s in bursts of 64",
    "tells": "tell to handled, messages/s in bursts of 64",
    "asks": "ask to answer, one at a time, /s",
    "asks_64": "ask to answer, 64 under way, /s",
    "starts": "actors started until each has answered, /s",
    "idle_mib": "a process with 10,000 idle actors, MiB resident",
    "idle_kib_each": "of that for each, KiB",
}


def measure(python: str, module: str, *arguments: str) -> dict[str, float]:
    """One round of one side, in a process of its own."""
    done = subprocess.run(
        [python, "-m", f"bench.runtime.{module}", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/run runtime", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    peer = os.environ["BENCH_PEER_PYTHON"]
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    before = load()
    for number in range(options.runs):
        sys.stderr.write(f"run {number + 1} of {options.runs}\n")
        for found, python, module in ((ours, sys.executable, "ours"), (theirs, peer, "with_pykka")):
            for arguments in ((), ("idle",)):
                for name, value in measure(python, module, *arguments).items():
                    found.setdefault(name, []).append(value)
    Console().print(table(ours, theirs))
    print(f"{options.runs} runs, load {before:.1f} before and {load():.1f} after, {machine()}")
    save(options.json, {"machine": machine(), "ours": ours, "pykka": theirs})
    return 0 if well(ours, theirs) else 1


def table(ours: Mapping[str, list[float]], theirs: Mapping[str, list[float]]) -> Table:
    """Medians with their extremes."""
    shown = Table("", "room-actors", "goal", "pykka", "ratio")
    for name, values in ours.items():
        mine, other = Spread.of(values), theirs.get(name)
        goal = f">= {LEAST[name]:,}" if name in LEAST else f"< {MOST[name]}" if name in MOST else ""
        peer = "" if other is None else Spread.of(other).text(0)
        ratio = "" if other is None else f"{ahead(name, values, other):.1f}"
        shown.add_row(
            MEANINGS[name], mine.text(1 if name.startswith("idle") else 0), goal, peer, ratio
        )
    both = zip(ours["tells"], ours["channel_tells"], strict=True)
    beside = Spread.of(mine / channel for mine, channel in both)
    shown.add_row("tell beside a bare channel in the same run", beside.text(2), "", "", "")
    return shown


def ahead(name: str, ours: list[float], theirs: list[float]) -> float:
    """The peer's median divided by ours."""
    mine, other = Spread.of(ours).median, Spread.of(theirs).median
    return other / mine if name.startswith("idle") else mine / other


def well(ours: Mapping[str, list[float]], theirs: Mapping[str, list[float]]) -> bool:
    """True where every goal is reached, and pykka is behind in everything."""
    return (
        all(Spread.of(ours[name]).median >= least for name, least in LEAST.items())
        and all(Spread.of(ours[name]).median < most for name, most in MOST.items())
        and all(ahead(name, ours[name], other) > 1 for name, other in theirs.items())
    )


if __name__ == "__main__":
    sys.exit(main())
