"""Webhooks out on the real server: from an event to the first byte of its request.

    bench/run webhooks [--rooms 100] [--rate 2] [--seconds 30] [--runs 3] [--json FILE] [--help]

One worker, started as its users start it, on a private livekit-server.  Every room has `--people`
people, and `--rate` things happen in it each second: messages, mutes, attributes, metadata.  An
endpoint wants all events, signed.  Its receiver is in this process; it notes the first byte of each
request and answers 204.

*Lag* is from the event, as the worker has its time, until the first byte.  *From the sender* is
the same for messages, from just before one is handed to its sender's SDK: LiveKit's part is in it.
*Missing* are messages that were sent and did not come, *out of order* requests whose sequence is
not above the one before in their session.  Server, senders and receiver share the cores; *machine*
is how much of all was in use.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from bench.entry import bench_parser, run_bench
from bench.errors import BenchError
from bench.measure import Cpu, Spread, conclude, load, markdown
from bench.outlets.receiver import Received, Receiver
from bench.rooms.sides import AGENT_NAME, OURS
from bench.scale.case import Stage
from bench.scale.load import ensure_load, running_load
from bench.scale.observations import TOPIC
from bench.scale.observers import OBSERVERS, watching
from bridge import __version__
from bridge.lab.server import PrivateServer, ensure_server
from bridge.output.progress import ProgressLine

GOALS: Final[Mapping[str, float]] = {"p50_ms": 150.0, "p99_ms": 400.0}
LATEST: Final = 20.0
"""Seconds after the last event for its request."""
LOOK: Final = 0.25
CONFIG: Final = """
[[webhook]]
name = "bench"
url = "{url}"
secret = "bench-secret-of-more-than-32-characters"
events = ["*"]
"""


def received_since(receiver: Receiver, since: float) -> list[tuple[Received, dict[str, Any]]]:
    """Requests about events after `since`, Unix seconds, in the order in which they came."""
    bodies = [(one, one.body()) for one in tuple(receiver.received)]
    return [(one, body) for one, body in bodies if _unix(body) >= since]


def _unix(body: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(body["timestamp"]).timestamp()


def lags(milliseconds: Sequence[float]) -> dict[str, float]:
    if not milliseconds:
        raise BenchError("nothing came")
    ordered = sorted(milliseconds)
    return {
        "events": float(len(ordered)),
        "p50_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[len(ordered) * 99 // 100],
        "max_ms": ordered[-1],
    }


def messages_of(
    requests: Sequence[tuple[Received, Mapping[str, Any]]],
) -> dict[str, list[float]]:
    """By room: when the request of each message of the load came, in the order of the session."""
    found = defaultdict[str, list[tuple[int, float]]](list)
    for one, body in requests:
        if body["type"] == "data_message" and body["data"]["topic"] == TOPIC:
            found[body["room"]].append((body["sequence"], one.at))
    return {room: [at for _, at in sorted(ones)] for room, ones in found.items()}


def out_of_order(requests: Sequence[tuple[Received, Mapping[str, Any]]]) -> int:
    newest: dict[str, int] = {}
    count = 0
    for _, body in requests:
        count += body["sequence"] <= newest.get(body["session"], -1)
        newest[body["session"]] = body["sequence"]
    return count


def run(options: argparse.Namespace, server_binary: Path, load_binary: Path) -> dict[str, Any]:
    """Everything once.  Raises `BenchError`."""
    with tempfile.TemporaryDirectory() as temporary, Receiver() as receiver:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "webhooks.toml"
        config.touch(mode=0o600)
        config.write_text(CONFIG.format(url=receiver.url))
        start = (sys.executable, "-P", "-m", "bridge.cli", "start", "--config", str(config))
        with (
            PrivateServer.start(server_binary, folder / "livekit") as server,
            watching(
                OBSERVERS[OURS], server, load_binary, folder / "worker", program=start
            ) as worker,
            running_load(load_binary, server) as generator,
        ):
            stage = Stage(worker, generator)
            stage.until_ready()
            rooms = [f"room-{number}" for number in range(options.rooms)]
            generator.do("create", rooms, agent=AGENT_NAME)
            stage.until_watched(rooms)
            generator.do("fill", rooms, people=options.people)
            stage.until_microphones(rooms)
            stage.settle()
            before, since = Cpu.of_tree(worker.pid), time.time()
            did = generator.do("play", rooms, rate=options.rate, seconds=options.seconds)
            used = before.until(Cpu.of_tree(worker.pid))
            sent = {room: did.sent[room]["data"] for room in rooms}
            wanted = sum(map(len, sent.values()))
            deadline = time.monotonic() + LATEST
            while True:
                requests = received_since(receiver, since)
                came = messages_of(requests)
                if sum(map(len, came.values())) >= wanted or time.monotonic() > deadline:
                    break
                time.sleep(LOOK)
    from_sender = [
        (at - begun) * 1000
        for room in rooms
        if len(came.get(room, ())) == len(sent[room])
        for begun, at in zip(sent[room], came[room], strict=True)
    ]
    return {
        "lag": lags([(one.at - _unix(body)) * 1000 for one, body in requests]),
        "from_sender": lags(from_sender),
        "missing": wanted - sum(map(len, came.values())),
        "out_of_order": out_of_order(requests),
        "posts": len(requests) / options.seconds,
        "machine": used.machine,
    }


def show(runs: Sequence[Mapping[str, Any]]) -> None:
    def row(title: str, values: Sequence[float], goal: float | None = None) -> tuple[str, str, str]:
        return title, Spread.of(values).text(0), "" if goal is None else f"at most {goal:g}"

    rows = [
        row(f"{title} {name[:-3]}, ms", [one[key][name] for one in runs], goal)
        for key, title in (("lag", "lag"), ("from_sender", "from the sender"))
        for name, goal in (
            *((name, GOALS[name] if key == "lag" else None) for name in GOALS),
            ("max_ms", None),
        )
    ]
    rows += [
        row("requests a second", [one["posts"] for one in runs]),
        row("missing", [one["missing"] for one in runs], 0),
        row("out of order", [one["out_of_order"] for one in runs], 0),
        row("machine, %", [one["machine"] * 100 for one in runs]),
    ]
    print(markdown(("webhooks of the real server", "median", "goal"), rows))
    print()


def unmet(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    faults = [
        f"{name}: {median:.0f} ms, at most {goal:g}"
        for name, goal in GOALS.items()
        if (median := Spread.of([one["lag"][name] for one in runs]).median) > goal
    ]
    return faults + [
        f"{name}: {count}"
        for name in ("missing", "out_of_order")
        if (count := sum(one[name] for one in runs))
    ]


def main() -> int:
    parser = bench_parser("webhooks", __doc__)
    parser.add_argument("--rooms", type=int, default=100)
    parser.add_argument("--people", type=int, default=3, help="in each room")
    parser.add_argument("--rate", type=float, default=2.0, help="events a second in each room")
    parser.add_argument("--seconds", type=float, default=30.0)
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
