"""The time of `start` until LiveKit has the worker, and the memory of the empty worker.

    bench/run start [--runs 7] [--json FILE]

Each run starts `bin/room-actors start` against a private livekit-server, exactly as a
user would, waits for the log's `worker_registered`, lets the worker be for
`--settle` seconds, reads its memory, and ends it.  The clock runs from before the
process is made to the arrival of that line.  One run before them is not counted: it
brings the files into the system's cache.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from attrs import asdict, frozen

from bench.entry import bench_parser
from bench.measure import MIB, Memory, Spread, load, machine, markdown, memory_of_tree, save
from bridge.lab.server import PrivateServer, ensure_server
from bridge.output.progress import ProgressLine

ROOT: Final = Path(__file__).resolve().parent.parent
SECONDS_GOAL: Final = 1.5
RESIDENT_GOAL: Final = 95 * MIB
DEADLINE: Final = 30.0
"""Seconds for one worker to register, or to end."""


@frozen
class Run:
    seconds: float
    """Until registered."""
    memory: Memory
    threads: int


def measure(server: PrivateServer, data_dir: Path, settle: float) -> Run:
    """Start one worker, and end it."""
    command = [str(ROOT / "bin" / "room-actors"), "start", "--log-format", "json"]
    environment = {
        **os.environ,
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
        "ROOM_ACTORS_DATA_DIR": str(data_dir),
        "ROOM_ACTORS_HTTP": "off",
        "ROOM_ACTORS_VENV": sys.prefix,
    }
    began = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment) as worker:
        try:
            assert worker.stderr is not None
            for line in worker.stderr:
                if json.loads(line)["event"] == "worker_registered":
                    break
            else:
                raise SystemExit("bench: the worker ended before it was registered")
            seconds = time.monotonic() - began
            time.sleep(settle)
            status = Path(f"/proc/{worker.pid}/status").read_text()
            threads = int(status.partition("Threads:")[2].split()[0])
            run = Run(seconds, memory_of_tree(worker.pid), threads)
            worker.terminate()
            worker.communicate(timeout=DEADLINE)
            return run
        finally:
            worker.kill()


def report(runs: list[Run]) -> tuple[str, dict[str, Any]]:
    """The table, and the same as data."""
    rows = [
        ("registered after, s", [run.seconds for run in runs], 2, f"< {SECONDS_GOAL}"),
        (
            "resident (RSS), MiB",
            [run.memory.rss / MIB for run in runs],
            1,
            f"< {RESIDENT_GOAL // MIB}",
        ),
        ("proportional (PSS), MiB", [run.memory.pss / MIB for run in runs], 1, ""),
        ("anonymous, MiB", [run.memory.anonymous / MIB for run in runs], 1, ""),
        ("processes", [run.memory.processes for run in runs], 0, ""),
        ("threads", [run.threads for run in runs], 0, ""),
    ]
    table = markdown(
        ("empty worker", "median (min to max)", "goal"),
        [(name, Spread.of(values).text(digits), goal) for name, values, digits, goal in rows],
    )
    data = {name: asdict(Spread.of(values)) for name, values, _, _ in rows}
    return table, data


def main() -> int:
    parser = bench_parser("start", __doc__)
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--settle", type=float, default=3.0, help="seconds before memory is read")
    parser.add_argument("--json", type=Path, help="where to write the result as JSON")
    options = parser.parse_args()
    with ProgressLine(sys.stderr) as progress:
        binary = ensure_server(progress)
    before = load()
    with (
        tempfile.TemporaryDirectory() as folder,
        PrivateServer.start(binary, Path(folder, "livekit")) as server,
    ):
        data_dir = Path(folder, "worker")
        measure(server, data_dir, 0.0)
        runs = [measure(server, data_dir, options.settle) for _ in range(options.runs)]
    table, data = report(runs)
    print(table)
    print(f"\n{options.runs} runs, load {before:.1f} before and {load():.1f} after, {machine()}")
    save(
        options.json,
        {"machine": machine(), "load": [before, load()], "runs": options.runs, "worker": data},
    )
    well = (
        Spread.of(run.seconds for run in runs).median < SECONDS_GOAL
        and Spread.of(run.memory.rss for run in runs).median < RESIDENT_GOAL
    )
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
