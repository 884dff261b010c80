"""`bench/run rooms`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio
from attrs import frozen

import bench.rooms
from bench.entry import bench_parser
from bench.errors import BenchError
from bench.measure import MIB, Spread, load, machine, markdown, save, verdict
from bench.rooms.run import Outcome, Plan, run
from bench.rooms.sides import OURS, PEER, SIDES
from bridge import __version__
from bridge.lab.people import PeopleError
from bridge.lab.server import ServerError, ensure_server
from bridge.livekit.api_errors import ApiError
from bridge.output.progress import ProgressLine

MEMORY_GOAL: Final = 10.0
"""The factor by which a room must cost the peer more memory."""


@frozen
class Row:
    """One line of the table: all values of one side, over all runs."""

    name: str
    key: str
    digits: int
    values: dict[str, list[float]]

    def spread(self, side: str) -> Spread:
        return Spread.of(self.values[side])

    def ratio(self) -> float | None:
        """The peer's figure divided by ours, by the medians."""
        if not {OURS, PEER} <= self.values.keys() or not self.spread(OURS).median:
            return None
        return self.spread(PEER).median / self.spread(OURS).median


def rows(plan: Plan, outcomes: dict[str, list[Outcome]]) -> list[Row]:
    """Everything that is shown."""
    added = plan.rooms - plan.first

    def row(name: str, key: str, digits: int, value: Any) -> Row:
        return Row(name, key, digits, {side: value(runs) for side, runs in outcomes.items()})

    def each(name: str, key: str, digits: int, value: Any) -> Row:
        return row(name, key, digits, lambda runs: [value(one) for one in runs])

    def every(name: str, key: str, digits: int, value: Any) -> Row:
        return row(name, key, digits, lambda runs: [v for one in runs for v in value(one)])

    return [
        each(
            "memory a room (PSS), MiB",
            "room_pss_mib",
            2,
            lambda one: (one.all.pss - one.few.pss) / added / MIB,
        ),
        each(
            f"memory with {plan.rooms} rooms (PSS), MiB",
            "all_pss_mib",
            0,
            lambda one: one.all.pss / MIB,
        ),
        each("memory with no room (PSS), MiB", "empty_pss_mib", 0, lambda one: one.empty.pss / MIB),
        each(f"processes with {plan.rooms} rooms", "processes", 0, lambda one: one.all.processes),
        each(
            "CPU an idle room, thousandths of a core",
            "room_mcore",
            2,
            lambda one: (one.all_cpu - one.empty_cpu) * 1000 / plan.rooms,
        ),
        each(
            "CPU with no room, thousandths of a core",
            "empty_mcore",
            1,
            lambda one: one.empty_cpu * 1000,
        ),
        every(
            "dispatch to watched, one at a time, s",
            "one_by_one_s",
            2,
            lambda one: one.one_by_one,
        ),
        every(f"dispatch to watched, {added} at once, s", "at_once_s", 2, lambda one: one.at_once),
        each("events that happened", "happened", 0, lambda one: one.verdict.happened),
        each("events missing", "missing", 0, lambda one: one.verdict.missing.total()),
        each("events too much", "surplus", 0, lambda one: one.verdict.surplus.total()),
    ]


def table(shown: list[Row], sides: Sequence[str]) -> str:
    def ratio(row: Row) -> str:
        found = row.ratio()
        return "" if found is None else f"{found:.1f}"

    head = ("median (min to max)", *sides, "ratio")
    return markdown(
        head,
        [
            (row.name, *(row.spread(side).text(row.digits) for side in sides), ratio(row))
            for row in shown
        ],
    )


def unmet(shown: list[Row], outcomes: dict[str, list[Outcome]]) -> list[str]:
    """The goals that were missed."""
    by_key = {row.key: row for row in shown}
    found: list[str] = []
    memory = by_key["room_pss_mib"].ratio()
    if memory is not None and memory < MEMORY_GOAL:
        found.append(f"memory a room is {memory:.1f} times less, not {MEMORY_GOAL:g}")
    for key in ("one_by_one_s", "at_once_s"):
        sooner = by_key[key].ratio()
        if sooner is not None and sooner <= 1:
            found.append(f"not watched sooner: {by_key[key].name}")
    found.extend(
        f"{kind}: {one.verdict.kinds(facts)}"
        for one in outcomes.get(OURS, ())
        for kind, facts in (("missing", one.verdict.missing), ("too much", one.verdict.surplus))
        if facts
    )
    return found


def as_data(outcome: Outcome) -> dict[str, Any]:
    verdict = outcome.verdict
    return {
        **attrs.asdict(outcome, filter=lambda attribute, _: attribute.name != "verdict"),
        "happened": verdict.happened,
        "missing": verdict.kinds(verdict.missing),
        "surplus": verdict.kinds(verdict.surplus),
    }


def peer_version() -> str:
    lock = Path(bench.rooms.__file__).with_name("peer.lock").read_text().splitlines()
    return next(line.split()[0] for line in lock if line.startswith(f"{PEER}=="))


def parse() -> argparse.Namespace:
    parser = bench_parser("rooms", bench.rooms.__doc__)
    parser.add_argument("--rooms", type=int, default=Plan().rooms)
    parser.add_argument("--first", type=int, default=Plan().first)
    parser.add_argument("--idle", type=float, default=Plan().idle, help="seconds")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--side", action="append", choices=SIDES, help="only this, repeatable")
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    parser.add_argument("--keep", type=Path, help="a folder for all logs, to be looked at")
    return parser.parse_args()


def measure(
    options: argparse.Namespace, plan: Plan, binary: Path, folder: Path
) -> dict[str, list[Outcome]]:
    sides: list[str] = options.side or [OURS, PEER]
    outcomes: dict[str, list[Outcome]] = {side: [] for side in sides}
    for number in range(options.runs):
        for side in sides if number % 2 == 0 else reversed(sides):
            place = folder / f"{number}-{side.replace(', ', '-')}"
            outcome = trio.run(run, side, plan, binary, place)
            outcomes[side].append(outcome)
            print(f"run {number + 1}: {side}: {as_data(outcome)}", file=sys.stderr, flush=True)
    return outcomes


FAILURES: Final = (
    *(BenchError, PeopleError, ApiError, ServerError, trio.TooSlowError),
    KeyboardInterrupt,
)
"""Errors of a machine that is too busy, and the end by its user."""


def first(error: BaseException) -> BaseException:
    """The first that went wrong, of those that went wrong together."""
    return first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def main() -> int:
    options = parse()
    plan = Plan(rooms=options.rooms, first=options.first, idle=options.idle)
    with ProgressLine(sys.stderr) as progress:
        binary = ensure_server(progress)
    before = load()
    failed: BaseException | None = None
    outcomes: dict[str, list[Outcome]] = {}
    try:
        with tempfile.TemporaryDirectory() as temporary:
            outcomes = measure(options, plan, binary, options.keep or Path(temporary))
    except* FAILURES as errors:
        failed = errors
    if failed is not None:
        what = first(failed)
        print(f"bench: {str(what) or type(what).__name__}", file=sys.stderr)
        return 1
    shown = rows(plan, outcomes)
    print(table(shown, list(outcomes)))
    print(f"\n{options.runs} runs, load {before:.1f} before and {load():.1f} after, {machine()}")
    print(f"{OURS} {__version__}, {peer_version()}")
    save(
        options.json,
        {
            "machine": machine(),
            "versions": [f"{OURS}=={__version__}", peer_version()],
            "load": [before, load()],
            "plan": attrs.asdict(plan),
            "rows": {
                row.key: {side: attrs.asdict(row.spread(side)) for side in outcomes}
                | {"ratio": row.ratio()}
                for row in shown
            },
            "runs": {side: [as_data(one) for one in runs] for side, runs in outcomes.items()},
        },
    )
    return verdict(unmet(shown, outcomes))


if __name__ == "__main__":
    sys.exit(main())
