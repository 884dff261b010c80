"""Webhooks out: how soon, how fast, at what cost, and whether anything is lost.

    bench/run outlets [--rooms 100] [--kills 20] [--waiting 120000] [--json FILE] [--help]

The receiver is in this process: it notes the first byte of each request, answers 204 and keeps what
it got.  The sender is a process of its own.  Everything is wanted by the endpoint, signed, over one
connection on loopback.

1. *Lag*: `start`'s actors, store and outbox in `--rooms` simulated rooms with 3 people each and
   `--rate` events a second in each, for `--seconds`: from the time of an event to the first byte of
   its request.
2. *Post*: an outbox alone, over a journal of `--posts` entries: posts a second, and CPU of its
   process a post, the reading of the journal and its own files included.
3. *Kill*: as 1., with `--kill-rooms` rooms, killed by SIGKILL `--kills` times at a moment that is
   drawn, started again each time.  What the store has at the end is compared with what came.
4. *Outage*: an outbox alone and a receiver that is down until `--waiting` entries wait on the disk:
   as many as come in ten minutes from 100 rooms with 2 events a second.  Then the receiver is back.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import trio

from actors.journal.feed import Position
from bench.entry import bench_parser, run_bench
from bench.errors import BenchError
from bench.measure import Cpu, conclude, load, markdown
from bench.outlets.receiver import Received, Receiver
from bench.start import ROOT
from bridge.output.progress import ProgressLine
from bridge.store.sqlite_feed import SqliteFeed

SETTLING: Final = 2.0
"""Seconds of talk before lags are noted."""
PAGE: Final = 1_000
GOALS: Final = {"p50_ms": 150.0, "p99_ms": 400.0, "posts": 1_000.0, "post_us": 250.0}
UNDER_WAY: Final = 101
"""Requests that an outbox may repeat after it was killed: two pages, and one in the air."""


@contextmanager
def running(module: str, *arguments: object) -> Generator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", f"bench.outlets.{module}", *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, cwd=ROOT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    text = process.stdout.readline()
    if not text:
        raise BenchError("the process that is measured ended")
    return text


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


# ---------------------------------------------------------------- the four measures


def lag(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with (
        Receiver() as receiver,
        running("watched", folder, options.rooms, options.rate, receiver.url) as process,
    ):
        line(process)
        time.sleep(SETTLING)
        before, since = Cpu.of_tree(process.pid), time.time()
        time.sleep(options.seconds)
        used = before.until(Cpu.of_tree(process.pid))
        received = [one for one in list(receiver.received) if one.at >= since]
        tell(process)
        line(process)
    lags = sorted((one.at - _time_of(one)) * 1000 for one in received)
    if not lags:
        raise BenchError("nothing came")
    return {
        "events": len(lags),
        "p50_ms": lags[len(lags) // 2],
        "p99_ms": lags[len(lags) * 99 // 100],
        "max_ms": lags[-1],
        "machine": used.machine,
    }


def _time_of(one: Received) -> float:
    return datetime.fromisoformat(one.body()["timestamp"]).timestamp()


def post(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with (
        Receiver() as receiver,
        running("alone", folder, options.posts, receiver.url) as process,
    ):
        line(process)
        tell(process)
        done = json.loads(line(process))
    times = [one.at for one in receiver.received]
    return {
        "posts": done["delivered"],
        "a_second": (len(times) - 1) / (times[-1] - times[0]),
        "post_us": done["cpu"] / done["delivered"] * 1e6,
        **compared(folder, receiver.received),
    }


def kill(options: argparse.Namespace, folder: Path, progress: ProgressLine) -> dict[str, Any]:
    rng, repeated = random.Random(options.seed), list[int]()
    with Receiver() as receiver:
        for number in range(options.kills + 1):
            progress(f"kill {number} of {options.kills}")
            first = len(receiver.received)
            before = {one.body()["id"] for one in receiver.received[max(0, first - 20_000) :]}
            arguments = (folder, options.kill_rooms, options.rate, receiver.url)
            with running("watched", *arguments) as process:
                line(process)
                if number == options.kills:
                    time.sleep(1.0)
                    tell(process)
                    line(process)
                else:
                    time.sleep(rng.uniform(0.5, 2.5))
                    process.kill()
            time.sleep(0.1)
            again = [one.body()["id"] for one in receiver.received[first:]]
            repeated.append(sum(one in before for one in again))
        result = compared(folder, receiver.received)
    return {
        "kills": options.kills,
        "repeated_after_a_kill": max(repeated),
        "by_kill": repeated,
        **result,
    }


def outage(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    with (
        Receiver() as receiver,
        running("alone", folder, options.waiting, receiver.url) as process,
    ):
        line(process)
        receiver.go_down()
        tell(process)
        parked = json.loads(line(process))
        receiver.come_back()
        done = json.loads(line(process))
    times = [one.at for one in receiver.received]
    return {
        "waiting": parked["parked"],
        "parked_a_second": parked["parked"] / parked["seconds"],
        "caught_up_a_second": (len(times) - 1) / (times[-1] - times[0]),
        "post_us": done["cpu"] / done["delivered"] * 1e6,
        **compared(folder, receiver.received),
    }


def compared(folder: Path, received: list[Received]) -> dict[str, Any]:
    """Compare the journal with the deliveries."""
    wanted = set(trio.run(_stored, folder))
    bodies = [one.body() for one in received]
    first = list({one["id"]: one for one in bodies}.values())
    newest, disordered = Counter[str](), 0
    for one in first:
        session = one["id"].partition("-")[0]
        disordered += one["sequence"] < newest[session]
        newest[session] = max(newest[session], one["sequence"])
    came = {one["id"] for one in first}
    return {
        "stored": len(wanted),
        "came": len(bodies),
        "lost": len(wanted - came),
        "twice": len(bodies) - len(came),
        "disordered": disordered,
    }


async def _stored(folder: Path) -> list[str]:
    feed, position, found = SqliteFeed(folder, trio.Event), Position({}), list[str]()
    while entries := (await feed.after(position, PAGE)).entries:
        found += (f"{one.session}-{one.seq}-{one.index}" for one in entries)
        for one in entries:
            position |= one.position
    return found


# ---------------------------------------------------------------- what it says


def rows(result: dict[str, Any]) -> list[list[str]]:
    found = list[list[str]]()
    if one := result.get("lag"):
        found.append(["event to first byte p50, ms", f"{one['p50_ms']:.0f}", "150"])
        found.append(["event to first byte p99, ms", f"{one['p99_ms']:.0f}", "400"])
    if one := result.get("post"):
        found.append(["posts a second, one endpoint", f"{one['a_second']:.0f}", "1,000"])
        found.append(["CPU a post, µs", f"{one['post_us']:.0f}", "250"])
    if one := result.get("kill"):
        what = f"{one['kills']} kills, {one['stored']} events"
        found.append([f"{what}: lost", str(one["lost"]), "0"])
        found.append(["out of order", str(one["disordered"]), "0"])
        most = str(one["repeated_after_a_kill"])
        found.append(["came twice after one kill, at most", most, str(UNDER_WAY)])
    if one := result.get("outage"):
        found.append([f"outage, {one['waiting']} waiting: lost", str(one["lost"]), "0"])
        found.append(["out of order", str(one["disordered"]), "0"])
        found.append(["parked a second", f"{one['parked_a_second']:.0f}", ""])
        found.append(["caught up a second", f"{one['caught_up_a_second']:.0f}", "1,000"])
        found.append(["CPU a post that waited, µs", f"{one['post_us']:.0f}", ""])
    return found


def unmet(result: dict[str, Any]) -> list[str]:
    found = list[str]()
    if one := result.get("lag"):
        found += [
            f"lag {key}: {one[key]:.0f}" for key in ("p50_ms", "p99_ms") if one[key] > GOALS[key]
        ]
    if one := result.get("post"):
        if one["a_second"] < GOALS["posts"]:
            found.append(f"{one['a_second']:.0f} posts a second")
        if one["post_us"] > GOALS["post_us"]:
            found.append(f"{one['post_us']:.0f} µs a post")
    if (one := result.get("kill")) and one["repeated_after_a_kill"] > UNDER_WAY:
        found.append(f"{one['repeated_after_a_kill']} came twice after one kill")
    if (one := result.get("outage")) and one["caught_up_a_second"] < GOALS["posts"]:
        found.append(f"{one['caught_up_a_second']:.0f} caught up a second")
    for what in ("post", "kill", "outage"):
        one = result.get(what, {})
        found += [f"{what}: {one[key]} {key}" for key in ("lost", "disordered") if one.get(key)]
    return found


MEASURES: Final = ("lag", "post", "kill", "outage")


def main() -> int:
    parser = bench_parser("outlets", __doc__)
    parser.add_argument("--only", choices=MEASURES, action="append", help="measure only this")
    parser.add_argument("--rooms", type=int, default=100)
    parser.add_argument("--rate", type=float, default=2.0, help="events a second in each room")
    parser.add_argument("--seconds", type=float, default=20.0, help="of the lag's measure")
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kill-rooms", type=int, default=200)
    parser.add_argument("--waiting", type=int, default=120_000)
    parser.add_argument("--seed", type=int, default=1, help="draws the moments of the kills")
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    before, chosen = load(), options.only or MEASURES
    result: dict[str, Any] = {}
    try:
        with (
            ProgressLine(sys.stderr) as progress,
            tempfile.TemporaryDirectory() as name,
        ):
            for what in (one for one in MEASURES if one in chosen):
                progress(what)
                folder = Path(name) / what
                folder.mkdir()
                if what == "kill":
                    result[what] = kill(options, folder, progress)
                else:
                    result[what] = {"lag": lag, "post": post, "outage": outage}[what](
                        options, folder
                    )
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(markdown(("webhooks out", "reached", "goal"), rows(result)))
    return conclude(options.json, before, result, unmet(result))


if __name__ == "__main__":
    run_bench(main)
