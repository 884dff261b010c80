"""`bench/run pair`."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

import attrs

import bench.pair
from bench.entry import bench_parser, run_bench
from bench.errors import BenchError
from bench.measure import load, machine, save
from bench.pair.case import Plan, measure
from bench.pair.checkouts import Checkouts, Side
from bench.pair.figures import Pairs, alone, figures
from bench.rooms.sides import PEER
from bench.scale.load import ensure_load
from bench.scale.observers import GO, OBSERVERS, STOCK
from bridge.lab.server import ServerError, ensure_server
from bridge.lab.server.guarded_process import AT_ONCE, Guarded
from bridge.lab.voice_agent.agents_environment import AgentsUnavailableError, ensure_agents
from bridge.output.progress import ProgressLine

MOST_ROOMS: Final = 500
"""As many as a worker of the default settings watches."""
_KEEPER: Final = ("sh", "-c", "trap '' TERM; while :; do sleep 60; done")
"""Lives until after the workers, whose files it guards."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = bench_parser("pair", bench.pair.__doc__)
    plan = Plan()
    parser.add_argument("revisions", nargs="*", metavar="REV", help="commits; else HEAD")
    parser.add_argument("--rooms", type=int, default=plan.rooms)
    parser.add_argument("--people", type=int, default=plan.people, help="in each room")
    parser.add_argument("--rate", type=float, default=plan.rate, help="events a second and room")
    parser.add_argument("--seconds", type=float, default=plan.seconds, help="of events")
    parser.add_argument("--idle", type=float, default=plan.idle, help="seconds")
    parser.add_argument("--idle-only", action="store_true", help="no events")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="also each by itself, after each run")
    parser.add_argument(
        "--flags",
        action="append",
        default=[],
        help="the working tree once more, with flags of `start`, repeatable: --flags='--x off'",
    )
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        help="the working tree once more on this Python, repeatable",
    )
    parser.add_argument("--go", action="store_true", help=f"LiveKit's {GO} beside them")
    parser.add_argument("--agents", action="store_true", help=f"{PEER} beside them")
    parser.add_argument("--sdk", action="store_true", help=f"the {STOCK} beside them")
    parser.add_argument("--json", type=Path, help="where to write what was measured, run by run")
    parser.add_argument("--show", type=Path, metavar="FILE", help="print it again; nothing is run")
    parser.add_argument("--keep", type=Path, help="a folder for all logs, to be looked at")
    options = parser.parse_args(arguments)
    for name, least, most in (
        ("rooms", 1, MOST_ROOMS),
        ("people", 1, 10),
        ("rate", 0.1, 2000),
        ("seconds", 0.1, 600),
        ("idle", 0.1, 600),
        ("runs", 1, 1000),
    ):
        if not least <= getattr(options, name) <= most:
            parser.error(f"--{name} must be {least} to {most}")
    return options


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder that does not outlive us, however we end."""
    with tempfile.TemporaryDirectory(prefix="bench-pair-") as folder:
        keeper = Guarded(
            _KEEPER,
            log=Path(os.devnull),
            environment={"PATH": os.environ.get("PATH", os.defpath)},
            folder=Path(folder),
        )
        try:
            yield Path(folder)
        finally:
            keeper.end(AT_ONCE)


def all_sides(options: argparse.Namespace, folder: Path) -> list[Side]:
    """The first one is what the others are held against."""
    checkouts = Checkouts(folder)
    sides = [checkouts.commit(one) for one in dict.fromkeys(options.revisions or ["HEAD"])]
    sides.append(checkouts.tree())
    sides += [checkouts.tree(flags=flags) for flags in dict.fromkeys(options.flags)]
    sides += [checkouts.tree(python=python) for python in dict.fromkeys(options.python)]
    asked = {GO: options.go, PEER: options.agents, STOCK: options.sdk}
    if options.agents:
        try:
            os.environ["BENCH_PEER_PYTHON"] = str(ensure_agents())
        except AgentsUnavailableError as error:
            raise BenchError(str(error)) from None
    return sides + [Side(name, OBSERVERS[name]) for name, wanted in asked.items() if wanted]


def run_all(
    options: argparse.Namespace, plan: Plan, sides: Sequence[Side], folder: Path
) -> dict[str, Any]:
    """All runs. What is measured is in the file at once, and a run that fails is noted."""
    with ProgressLine(sys.stderr) as progress:
        server, generator = ensure_server(progress), ensure_load(progress)
    result: dict[str, Any] = {
        "machine": machine(),
        "plan": attrs.asdict(plan),
        "load": [load()],
        "runs": [],
        "alone": [],
        "failed": [],
    }

    def one(those: Sequence[Side], number: int, name: str) -> dict[str, Any]:
        logs = (options.keep or folder) / f"{name}-{number + 1}"
        print(f"bench: {name} {number + 1} of {options.runs}", file=sys.stderr, flush=True)
        return figures(measure(those, number, plan, server, generator, logs), number)

    for number in range(options.runs):
        try:
            result["runs"].append(one(sides, number, "run"))
            if options.alone:
                order = [(place + number) % len(sides) for place in range(len(sides))]
                found = {place: one([sides[place]], number, f"alone-{place}") for place in order}
                result["alone"].append([found[place] for place in sorted(found)])
        except (BenchError, ServerError, OSError) as error:
            result["failed"].append(f"run {number + 1}: {error}")
        save(options.json, result)
    result["load"].append(load())
    save(options.json, result)
    return result


def show(result: dict[str, Any]) -> int:
    """Print it; the exit code."""
    faults = [f"FAILED: {one}" for one in result["failed"]]
    if result["runs"]:
        pairs = Pairs(result["runs"])
        print(f"{pairs.tables()}\n")
        if result["alone"]:
            print(f"Each alone on a server:\n\n{Pairs(alone(result['alone'])).tables()}\n")
        faults += [f"NOT EQUAL: {one}" for one in pairs.differences()]
        faults += [f"LOST OR TWICE: {one}" for one in pairs.faults()]
        print(_conditions(pairs, result))
    for one in faults or ["All events were recorded, and equally often by all checkouts."]:
        print(one)
    return 1 if faults else 0


def _conditions(pairs: Pairs, result: dict[str, Any]) -> str:
    plan = result["plan"]
    server = pairs.absolute("server_cpu_us")
    used = pairs.absolute("machine")
    events = (
        "no events"
        if server is None or used is None
        else f"{plan['rate']:g} events a second and room; livekit-server "
        f"{server.text(0)} µs an event for all together, machine at {used.median:.0%}"
    )
    text = " to ".join(f"{one:.1f}" for one in result["load"])
    return (
        f"Medians (minimum to maximum), runs: {len(pairs.runs)}; {plan['rooms']} rooms with "
        f"{plan['people']} people, {events}; load {text}, {result['machine']}"
    )


def _stop(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> int:
    options = parse()
    if options.show:
        return show(json.loads(options.show.read_text()))
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)  # So that everything is ended, as after Ctrl-C.
    seconds = 0.0 if options.idle_only else options.seconds
    plan = Plan(options.rooms, options.people, options.rate, seconds, options.idle)
    try:
        with temporary() as folder:
            return show(run_all(options, plan, all_sides(options, folder), folder))
    except (BenchError, ServerError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    run_bench(main)
