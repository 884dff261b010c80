"""The process that is looked at: `start`'s actors, store, log and HTTP server, in simulated rooms.

    python -m bench.page.served DATA_DIR ROOMS RATE

Says `{"address": "HOST:PORT"}` on stdout once all rooms are watched and people talk in
them; then it answers each line on stdin, and ends with it:

    gaps      how long the loop was away since it was asked last: seconds, the longest and
              the 99th percentile, by the clock and by the CPU that its thread used
    probes    what `Traffic.probes` has
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Final, final

import trio

from actors.rooms.room_port import RoomJob
from bench.page.traffic import Traffic
from bridge.app.full_collections import FullCollections
from bridge.app.interpreter import tune_interpreter
from bridge.app.simulated_app import NoReports, open_simulated_app
from bridge.app.web import application
from bridge.app.worker_role import FlushPerTick
from bridge.config.settings import Settings, load
from bridge.http.server.listener import serve
from bridge.log.structured_log import running_log

BEAT: Final = 0.001
"""Seconds between two looks at the clock."""


@final
class Gaps:
    """The delay of a task that wants a turn every `BEAT`."""

    def __init__(self) -> None:
        self._found: list[float] = []
        self._used: list[float] = []

    async def watch(self) -> None:
        """Never ends."""
        at, used = time.perf_counter(), time.thread_time()
        while True:
            await trio.sleep(BEAT)
            now, cpu = time.perf_counter(), time.thread_time()
            self._found.append(now - at - BEAT)
            self._used.append(cpu - used)
            at, used = now, cpu

    def take(self) -> dict[str, float]:
        """Since this was called last."""
        found, used = sorted(self._found), sorted(self._used)
        self._found, self._used = [], []
        if not found:
            return {"longest": 0.0, "p99": 0.0, "longest_cpu": 0.0}
        return {
            "longest": found[-1],
            "p99": found[len(found) * 99 // 100],
            "longest_cpu": used[-1],
        }


async def answer(orders: dict[str, Any]) -> None:
    """Each line of stdin, until it ends."""
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        print(json.dumps(orders[line.strip()]()), flush=True)


async def main(settings: Settings, traffic: Traffic) -> None:
    assert settings.http is not None
    gaps = Gaps()
    async with (
        open_simulated_app(settings, traffic.rooms, settings.data_dir, NoReports()) as running,
        trio.open_nursery() as nursery,
    ):
        site = application(settings, running.web_ports())
        for number, room in enumerate(traffic.rooms.live):
            running.actors.assign(
                RoomJob(f"AJ_{number}", room.name, room.sid, "simulated", "none", "agent")
            )
        while not all(room.watchers for room in traffic.rooms.live):  # noqa: ASYNC110
            await trio.sleep(0.05)
        nursery.start_soon(site.beside)
        address = await nursery.start(serve, settings.http, site.app)
        for task in (traffic.talk, traffic.probe, gaps.watch, FullCollections().run):
            nursery.start_soon(task)
        print(json.dumps({"address": str(address)}), flush=True)
        await answer({"gaps": gaps.take, "probes": lambda: traffic.probes})
        nursery.cancel_scope.cancel()


def run(data_dir: str, rooms: str, rate: str) -> None:
    """Starts a worker as `start` does, but without LiveKit."""
    flags = {"api-key": "none", "api-secret": "none-" * 8, "data-dir": data_dir}
    settings = load({**flags, "http": "127.0.0.1:0", "max-rooms": rooms}, {})
    traffic = Traffic([f"room-{number}" for number in range(int(rooms))], float(rate))
    with running_log(settings) as (_, sink):
        tune_interpreter()
        trio.run(main, settings, traffic, instruments=[FlushPerTick(sink)])


if __name__ == "__main__":
    run(*sys.argv[1:])
