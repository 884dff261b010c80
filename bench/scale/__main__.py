"""`bench/run scale`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

import bench.scale
from bench.entry import bench_parser, run_bench
from bench.errors import BenchError
from bench.measure import load, machine, save
from bench.rooms.__main__ import peer_version
from bench.rooms.sides import OURS
from bench.scale.case import Plan, measure
from bench.scale.figures import Results, figures, judge
from bench.scale.load import ensure_load
from bench.scale.observers import OBSERVERS, Observer
from bench.scale.show import draw, short_table, tables
from bridge import __version__
from bridge.lab.server import ServerError, ensure_server
from bridge.output.progress import ProgressLine

DOCS: Final = Path(__file__).resolve().parent.parent.parent / "docs"
TRIES: Final = 2
"""Of a case, so that nobody has to sit by for one that fails; that it failed is said."""


def parse() -> argparse.Namespace:
    parser = bench_parser("scale", bench.scale.__doc__)
    sizes = ", ".join(f"{one.name} {'/'.join(map(str, one.sizes))}" for one in OBSERVERS.values())
    parser.add_argument("--observer", nargs="+", choices=OBSERVERS, help="only these")
    parser.add_argument("--rooms", nargs="+", type=int, help=f"only these; else {sizes}")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--people", type=int, default=Plan().people, help="in each room")
    parser.add_argument("--idle", type=float, default=Plan().idle, help="seconds")
    parser.add_argument("--seconds", type=float, default=Plan().seconds, help="of events")
    parser.add_argument("--json", type=Path, help="where to write what was measured, run by run")
    parser.add_argument("--add", action="store_true", help="to what that file has")
    parser.add_argument("--show", type=Path, metavar="FILE", help="tables of it; nothing is run")
    parser.add_argument("--short", action="store_true", help="the short table, nothing else")
    parser.add_argument("--plot", action="store_true", help="draw docs/scale-*.svg")
    parser.add_argument("--keep", type=Path, help="a folder for all logs, to be looked at")
    return parser.parse_args()


def cases(options: argparse.Namespace) -> Iterator[tuple[int, Observer, int]]:
    """Run, observer, rooms: all once, then all once more, so that a busy hour hits all."""
    for run in range(options.runs):
        for name in options.observer or OBSERVERS:
            observer = OBSERVERS[name]
            for rooms in options.rooms or observer.sizes:
                yield run, observer, rooms


def run_all(options: argparse.Namespace, plan: Plan, before: dict[str, Any]) -> dict[str, Any]:
    """Measure all cases, what fails once more.  What is measured is in the file at once."""
    with ProgressLine(sys.stderr) as progress:
        server, generator = ensure_server(progress), ensure_load(progress)
    result: dict[str, Any] = {
        "machine": machine(),
        "versions": [f"{OURS}=={__version__}", peer_version()],
        "plan": attrs.asdict(plan),
        "load": [load()],
        "cases": [],
        **before,
        "failed": [],
    }
    earlier = max((one["run"] + 1 for one in result["cases"]), default=0)
    for run, observer, rooms in cases(options):
        for attempt in range(TRIES):
            about = f"run {run + 1}, {observer.name}, {rooms} rooms" + " again" * attempt
            with tempfile.TemporaryDirectory() as temporary:
                folder = (options.keep or Path(temporary)) / about.replace(", ", "-")
                try:
                    case = measure(observer, rooms, plan, server, generator, folder)
                except (BenchError, ServerError, OSError) as error:
                    result["failed"].append(f"{about}: {error}")
                    print(f"bench: {about}: {error}", file=sys.stderr, flush=True)
                    continue
            found = figures(case, earlier + run)
            print(f"{about}: {json.dumps(found)[:300]}", file=sys.stderr, flush=True)
            result["cases"].append(found)
            break
        save(options.json, result)
    result["load"].append(load())
    save(options.json, result)
    return result


def main() -> int:
    options = parse()
    plan = Plan(people=options.people, idle=options.idle, seconds=options.seconds)
    if options.show:
        result = json.loads(options.show.read_text())
    else:
        had = options.add and options.json and options.json.exists()
        result = run_all(options, plan, json.loads(options.json.read_text()) if had else {})
    results = Results(result["cases"])
    if not results.cases:
        return 1
    if options.short:
        print(short_table(results))
        return 0
    print(tables(results))
    print(f"\n{_conditions(results, result)}")
    if options.plot:
        for path in draw(results, DOCS):
            print(f"drawn: {path.relative_to(DOCS.parent)}")
    findings = judge(results)
    for line in (
        *(one.text() for one in findings),
        *(f"FAILED: {one}" for one in result["failed"]),
    ):
        print(line)
    return 1 if result["failed"] or any(one.failed for one in findings) else 0


def _conditions(results: Results, result: dict[str, Any]) -> str:
    """Under which all this was measured."""
    runs = sorted({len(results.of(*row)) for row in results.rows()})
    load = " to ".join(f"{one:.1f}" for one in result["load"])
    return (
        f"Runs of each row: {' to '.join(map(str, runs))}; load {load}, {result['machine']}; "
        f"{', '.join(result['versions'])}"
    )


if __name__ == "__main__":
    run_bench(main)
