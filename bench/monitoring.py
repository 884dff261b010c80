"""Many people monitored at once: how soon, and what it costs beside the room's one connection.

    bench/run monitoring [--people 50] [--json FILE]

A private livekit-server, one room with so many people who publish nothing, and one worker that
watches it.  The agent `participant-monitor` is dispatched once.  Measured are the seconds from
that call to the first and to the last monitor (times of the log), and what memory, threads and
sockets the worker has more afterwards.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import trio

from bench.measure import MIB, load, machine, markdown, memory_of_tree, save
from bridge.lab.people import open_people
from bridge.lab.server import PrivateServer, ensure_server
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from bridge.output.progress import ProgressLine

ROOT: Final = Path(__file__).resolve().parent.parent
ROOM: Final = "monitored"
AGENT: Final = "participant-monitor"
LAST_GOAL: Final = 1.0
MEMORY_GOAL: Final = 2 * MIB
SETTLE: Final = 5.0
"""Seconds for silent people to be announced, and for memory to be still."""


class Worker:
    """A worker in a process of its own, with its JSON log."""

    def __init__(self, server: PrivateServer, data_dir: Path) -> None:
        command = [str(ROOT / "bin" / "room-actors"), "start", "--log-format", "json"]
        self._log = data_dir.with_suffix(".log")
        environment = {
            **os.environ,
            "LIVEKIT_URL": server.url,
            "LIVEKIT_API_KEY": server.api_key,
            "LIVEKIT_API_SECRET": server.api_secret,
            "ROOM_ACTORS_DATA_DIR": str(data_dir),
            "ROOM_ACTORS_HTTP": "off",
            "ROOM_ACTORS_VENV": sys.prefix,
        }
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, "--job-types", "room,participant"], stderr=log, env=environment
            )

    def events(self, event: str) -> list[Mapping[str, Any]]:
        whole = self._log.read_text().rpartition("\n")[0].splitlines()
        return [entry for entry in map(json.loads, whole) if entry["event"] == event]

    async def logged(self, event: str, count: int) -> None:
        with trio.fail_after(60):
            while len(self.events(event)) < count:  # noqa: ASYNC110 (a file)
                await trio.sleep(0.1)

    def cost(self) -> dict[str, float]:
        pid = self.process.pid
        status = Path(f"/proc/{pid}/status").read_text()
        links = [str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()]
        return {
            "memory": float(memory_of_tree(pid).pss_anonymous),
            "threads": float(status.partition("Threads:")[2].split()[0]),
            "sockets": float(sum(link.startswith("socket:") for link in links)),
        }

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)


async def measure(server: PrivateServer, data_dir: Path, people: int) -> dict[str, Any]:
    key = ApiKey(server.api_key, server.api_secret)
    async with (
        open_people(server.url, server.api_key, server.api_secret) as crowd,
        ServerApi(Endpoint.parse(server.url), key) as api,
    ):
        limit = trio.CapacityLimiter(4)

        async def join(number: int) -> None:
            async with limit:
                await crowd.join(ROOM, f"person-{number}")

        async with trio.open_nursery() as nursery:
            for number in range(people):
                nursery.start_soon(join, number)
        worker = Worker(server, data_dir)
        try:
            await worker.logged("worker_registered", 2)
            await worker.logged("participant_found", people)
            await trio.sleep(SETTLE)
            before, began = worker.cost(), time.time()
            await api.create_dispatch(ROOM, AGENT)
            await worker.logged("monitored_connected", people)
            await trio.sleep(SETTLE)
            after = worker.cost()
            agents = [one for one in await api.list_participants(ROOM) if one.permission.agent]
            times = [
                datetime.fromisoformat(one["time"]).timestamp() - began
                for one in worker.events("monitored_connected")
            ]
        finally:
            await trio.to_thread.run_sync(worker.end)
    return {
        "people": people,
        "first": min(times),
        "last": max(times),
        "agents": len(agents),
        **{name: after[name] - before[name] for name in before},
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench/run monitoring", description=__doc__)
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with ProgressLine(sys.stderr) as line:
        binary = ensure_server(line)
    with (
        tempfile.TemporaryDirectory(prefix="bench-monitoring-") as folder,
        PrivateServer.start(binary, Path(folder) / "livekit") as server,
    ):
        run = trio.run(measure, server, Path(folder) / "worker", options.people)
    rows = [
        ["first monitor after, s", f"{run['first']:.2f}", ""],
        ["last monitor after, s", f"{run['last']:.2f}", f"<= {LAST_GOAL:g}"],
        ["memory more, MiB", f"{run['memory'] / MIB:.2f}", f"<= {MEMORY_GOAL / MIB:g}"],
        ["sockets more", f"{run['sockets']:.0f}", "0"],
        ["threads more", f"{run['threads']:.0f}", "0"],
        ["agents in the room", f"{run['agents']}", "1"],
    ]
    print(markdown([f"{run['people']} people monitored", "measured", "goal"], rows))
    print(f"\nload {load():.1f}")
    save(options.json, {"machine": machine(), "runs": [run]})
    well = run["last"] <= LAST_GOAL and run["memory"] <= MEMORY_GOAL
    return 0 if well and run["sockets"] <= 0 and run["agents"] == 1 else 1


if __name__ == "__main__":
    sys.exit(main())
