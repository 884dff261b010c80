"""A room that floods, and others that do not: how much later the others are folded for it.

    bench/run flood [--rate 2000] [--runs 3] [--json FILE] [--help]

One worker, started as its users start it, on a private livekit-server.  In `--rooms` quiet
rooms somebody sends five messages a second, first by themselves, then while somebody in
another room sends `--rate` messages a second, then while somebody there makes as many
changes: mutes, attributes, metadata.

*Lag* is from just before a message of a quiet room is handed to its sender's SDK until the
worker has logged it, which is after the fold and the journal; in whole milliseconds.  The
server and the senders share the cores, so some of it is theirs; *ours* is from when the
native library handed the message to us, and what the goal is for.  *Counted* is what the
session of the loud room has in the end: each in its timeline, or, *as too much*, only in a
number.  It may be less than was sent: LiveKit gives up messages for a subscriber that it
thinks too slow, and sends several changes as one.  *core* is what the worker used of one,
*waited* for how much of the time it wanted one that others had, *machine* how much of all
cores was in use.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from bench.entry import bench_parser, run_bench
from bench.errors import BenchError
from bench.measure import MIB, Cpu, Spread, conclude, load, markdown
from bench.rooms.sides import OURS
from bench.scale.case import PYTHON, Look, Stage
from bench.scale.load import Answer, Load, ensure_load, running_load
from bench.scale.observations import DONE, Verdict, unix
from bench.scale.observers import OBSERVERS, watching
from bridge import __version__
from bridge.lab.server import PrivateServer, ensure_server
from bridge.output.progress import ProgressLine

QUIET_RATE: Final = 5.0
"""Messages a second in a quiet room."""
LEAD: Final = 1.0
"""Seconds for which it floods already, and floods on."""
FLOODS: Final = ("messages", "changes")
LAG_GOAL: Final = 50.0
"""Milliseconds by which a flood may delay others in the worker."""
UNLOGGED: Final = ("messages_not_logged", "changes_not_logged")
LEFT_OUT: Final = ("messages_thinned", "changes_overtaken")


@define(eq=False)
class Flood(Stage):
    loud_load: Load
    counts: Counter[tuple[str, str]] = field(factory=Counter[tuple[str, str]], init=False)
    """Events by loud room and name; of those that stand for several, their number."""
    ours: list[float] = field(factory=list[float], init=False)
    """Milliseconds from the native library to the log, of messages of quiet rooms."""

    def read(self) -> None:
        records = list(self.watching.news())
        self.observations.read(records)
        for one in records:
            if one.get("room") in FLOODS:
                self.counts[one["room"], one["event"]] += one.get("count", 1)
            elif one["event"] == DONE["data"]:
                came = datetime.fromisoformat(one["at"]).timestamp()
                self.ours.append((unix(one) - came) * 1000)

    def phase(self, what: str, rooms: list[str], rate: float, seconds: float) -> dict[str, Any]:
        """The quiet rooms' lags while `what` floods, or nothing does."""
        self.read()
        self.observations.forget()
        self.ours.clear()
        before, waited = Cpu.of_tree(self.watching.pid), self.waited()
        with ThreadPoolExecutor(1) as beside:
            flood = beside.submit(self.flood, what, rate, seconds) if what in FLOODS else None
            did = self.load.do("play", rooms, rate=QUIET_RATE, seconds=seconds, kind="messages")
            loud = None if flood is None else flood.result()
        used, waited = before.until(Cpu.of_tree(self.watching.pid)), self.waited() - waited
        self.settle()
        self.read()
        found = Verdict.of(did.sent, self.observations)
        if found.missing or not found.lags:
            raise BenchError(f"{what}: of the quiet rooms is missing {found.missing}")
        return {
            "lag": _lag([lag * 1000 for lag in found.lags]),
            "ours": _lag(self.ours),
            "core": used.total / used.seconds,
            "waited": waited / used.seconds,
            "machine": used.machine,
            "pss_mib": Look.at(self.watching.pid).memory.pss / MIB,
            **({} if loud is None else self.counted(loud, what)),
        }

    def waited(self) -> float:
        """Seconds in which the worker's threads that run Python had something to do and no core."""
        found = 0.0
        for folder in Path(f"/proc/{self.watching.pid}/task").glob("*"):
            if (folder / "comm").read_text().startswith(PYTHON):
                found += int((folder / "schedstat").read_text().split()[1]) / 1e9
        return found

    def flood(self, what: str, rate: float, seconds: float) -> Answer:
        return self.loud_load.do("play", [what], rate=rate, seconds=seconds + LEAD, kind=what)

    def counted(self, did: Answer, what: str) -> dict[str, float]:
        """The loud room ends, and all that was left out of the log is said."""
        self.loud_load.do("delete", [what])
        self.until(lambda: what in self.observations.ended, lambda: f"{what} has not ended")
        sent = did.sent[what]
        count = sum(len(sent[name] or ()) if name == "data" else sent[name] for name in DONE)
        left_out = sum(self.counts[what, event] for event in LEFT_OUT)
        logged_messages = sum(self.counts[what, event] for event in (*DONE.values(), *UNLOGGED))
        return {
            "sent": count,
            "a_second": count / did.seconds,
            "counted": logged_messages + left_out,
            "left_out": left_out,
        }


def _lag(milliseconds: Iterable[float]) -> dict[str, float]:
    found = sorted(round(one) for one in milliseconds)
    half, most = found[len(found) // 2], found[len(found) * 99 // 100]
    return {"p50_ms": half, "p99_ms": most, "max_ms": found[-1], "count": len(found)}


def run(options: argparse.Namespace, server_binary: Path, load_binary: Path) -> dict[str, Any]:
    """All phases once.  Raises `BenchError`."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        with (
            PrivateServer.start(server_binary, folder / "livekit") as server,
            watching(OBSERVERS[OURS], server, load_binary, folder / "worker") as worker,
            running_load(load_binary, server) as generator,
            running_load(load_binary, server) as loud,
        ):
            flood = Flood(worker, generator, loud)
            flood.until_ready()
            quiet = [f"quiet-{number}" for number in range(options.rooms)]
            for rooms, by in ((quiet, generator), (list(FLOODS), loud)):
                by.do("create", rooms, agent="watcher")
                flood.until_watched(rooms)
                by.do("fill", rooms, people=1)
            flood.settle()
            return {
                what: flood.phase(what, quiet, options.rate, options.seconds)
                for what in ("nothing", *FLOODS)
            }


_COLUMNS: Final[Mapping[str, Callable[[dict[str, Any]], float | None]]] = {
    "sent": lambda one: one.get("sent"),
    "counted": lambda one: one.get("counted"),
    "as too much": lambda one: one.get("left_out"),
    "lag p50, ms": lambda one: one["lag"]["p50_ms"],
    "p99": lambda one: one["lag"]["p99_ms"],
    "ours p50, ms": lambda one: one["ours"]["p50_ms"],
    "ours p99": lambda one: one["ours"]["p99_ms"],
    "core, %": lambda one: one["core"] * 100,
    "waited, %": lambda one: one["waited"] * 100,
    "machine, %": lambda one: one["machine"] * 100,
    "PSS, MiB": lambda one: one["pss_mib"],
}


def show(runs: list[dict[str, Any]]) -> None:
    rows: list[list[str]] = []
    for what in runs[0]:
        cells = [[value(one[what]) for one in runs] for value in _COLUMNS.values()]
        known = [[one for one in cell if one is not None] for cell in cells]
        rows.append([what, *(Spread.of(cell).text(0) if cell else "" for cell in known)])
    print(markdown(["while there flood", *_COLUMNS], rows))


def unmet(runs: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for what in FLOODS:
        later = Spread.of(
            one[what]["ours"]["p99_ms"] - one["nothing"]["ours"]["p99_ms"] for one in runs
        ).median
        if later > LAG_GOAL:
            found.append(f"a flood of {what} makes others {later:.0f} ms later (p99)")
    return found


def main() -> int:
    parser = bench_parser("flood", __doc__)
    parser.add_argument("--rate", type=float, default=2000.0, help="a second, in the loud room")
    parser.add_argument("--rooms", type=int, default=10, help="quiet ones")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each phase")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path, help="where to write what was measured, run by run")
    parser.add_argument("--keep", type=Path, help="a folder for the logs of a single run")
    options = parser.parse_args()
    before = load()
    with ProgressLine(sys.stderr) as progress:
        binaries = ensure_server(progress), ensure_load(progress)
    runs = [run(options, *binaries) for _ in range(options.runs)]
    show(runs)
    return conclude(options.json, before, {"runs": runs}, unmet(runs), f"{OURS} {__version__}")


if __name__ == "__main__":
    run_bench(main)
