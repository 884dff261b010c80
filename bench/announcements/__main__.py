"""See the package."""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import wave
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import trio
import trio_asyncio

import bench.announcements
from bench.announcements.ears import Ear, listening
from bench.measure import MIB, cpu_seconds, load, machine, markdown, memory_of_tree, save, threads
from bridge.cli.api_connection import ApiConnection
from bridge.http.api.answer_types import AnnouncementView
from bridge.lab.server import PrivateServer, ensure_server
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from bridge.output.progress import ProgressLine

ROOT: Final = Path(__file__).resolve().parents[2]
TOKEN: Final = "a-token-of-this-bench"
PEER_AGENT: Final = "peer-player"
PLAYS: Final = 30.0
"""Seconds of the long tone."""
LOOK: Final = 10.0
"""Seconds over which CPU is taken."""
SETTLE: Final = 6.0
P95_GOAL: Final = 0.5
LAST_GOAL: Final = 1.0
CPU_RATIO_GOAL: Final = 1 / 3
MEMORY_RATIO_GOAL: Final = 1 / 15
AFTER_GOAL: Final = 10 * MIB


def write_tone(path: Path, seconds: float) -> None:
    one = array("h", (int(10_000 * math.sin(2 * math.pi * 440 * i / 48_000)) for i in range(4_800)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(one.tobytes() * round(seconds * 10))


class Worker:
    """A worker in a process of its own, with its JSON log."""

    def __init__(self, server: PrivateServer, folder: Path) -> None:
        self._log = folder / "worker.log"
        environment = {
            **os.environ,
            "LIVEKIT_URL": server.url,
            "LIVEKIT_API_KEY": server.api_key,
            "LIVEKIT_API_SECRET": server.api_secret,
            "ROOM_ACTORS_DATA_DIR": str(folder / "data"),
            "ROOM_ACTORS_HTTP": "127.0.0.1:0",
            "ROOM_ACTORS_HTTP_TOKEN": TOKEN,
        }
        command = [sys.executable, "-m", "bridge.cli", "start", "--log-format", "json"]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log, env=environment, cwd=ROOT)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def logged(self, event: str, count: int = 1) -> Mapping[str, Any]:
        with trio.fail_after(120):
            while True:
                whole = self._log.read_text().rpartition("\n")[0].splitlines()
                entries = [one for one in map(json.loads, whole) if one["event"] == event]
                if len(entries) >= count:
                    return entries[-1]
                await trio.sleep(0.1)

    async def play(self, room: str, sound: Path) -> float:
        """Order it, and return when it is over.  Gives Unix seconds of the order."""
        address = (await self.logged("http_listening"))["address"]
        api = ApiConnection(f"http://{address}", TOKEN)
        body = await trio.Path(sound).read_bytes()
        at = time.time()
        record = await trio.to_thread.run_sync(
            api.post, f"/api/v1/rooms/{room}/announcements", AnnouncementView, body, "audio/wav"
        )
        while not record.over:
            await trio.sleep(0.2)
            own = f"/api/v1/announcements/{record.id}"
            record = await trio.to_thread.run_sync(api.get, own, AnnouncementView)
        failed = [part for part in record.rooms if part.state == "failed"]
        if failed:
            raise RuntimeError(f"{len(failed)} rooms heard nothing: {failed[0].error}")
        return at

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(30)


async def rate(pid: int) -> float:
    """Thousandths of a core over `LOOK` seconds."""
    before, at = cpu_seconds([pid]), time.monotonic()
    await trio.sleep(LOOK)
    return 1000 * (cpu_seconds([pid]) - before) / (time.monotonic() - at)


async def measure_ours(
    server: PrivateServer, folder: Path, options: argparse.Namespace
) -> dict[str, Any]:
    short, long = folder / "short.wav", folder / "long.wav"
    write_tone(short, 0.3)
    write_tone(long, PLAYS)
    rooms = [f"all-{n}" for n in range(options.rooms)]
    loud = [f"some-{n}" for n in range(options.together)]
    worker = Worker(server, folder)
    try:
        async with listening(server, [*rooms, *loud]) as ears:
            await worker.logged("session_started", len(ears))
            await worker.play("all-*", short)  # The parts that publish are loaded now.
            await trio.sleep(SETTLE)
            first = await _first_sounds(worker, {room: ears[room] for room in rooms}, short)
            await trio.sleep(SETTLE)
            idle, memory, before = await rate(worker.pid), _memory(worker.pid), threads(worker.pid)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.play, "some-*", long)
                await trio.sleep(5.0)
                speaking, more = await rate(worker.pid), _memory(worker.pid)
            for _ in range(options.count // len(loud)):
                await worker.play("some-*", short)
            await trio.sleep(2 * SETTLE)  # trio keeps a thread of its own for 10 s.
            after = {
                "threads": threads(worker.pid) - before,
                "memory": _memory(worker.pid) - memory,
            }
    finally:
        await trio.to_thread.run_sync(worker.end)
    return {
        "first": sorted(first),
        "cpu": (speaking - idle) / len(loud),
        "memory": (more - memory) / len(loud),
        "after": after,
    }


async def _first_sounds(worker: Worker, ears: Mapping[str, Ear], sound: Path) -> list[float]:
    for ear in ears.values():
        ear.first_loud = None
    at = await worker.play("all-*", sound)
    return [math.inf if ear.first_loud is None else ear.first_loud - at for ear in ears.values()]


def _start(command: Sequence[str], log: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as file:
        return subprocess.Popen(command, stderr=file, env=env)


def _memory(pid: int) -> int:
    return memory_of_tree(pid).pss_anonymous


async def measure_peer(server: PrivateServer, folder: Path, python: str, count: int) -> Any:
    """None where its agent does not play."""
    sound = folder / "long.wav"
    environment = {
        **os.environ,
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
        "BENCH_AGENT_NAME": PEER_AGENT,
        "BENCH_SOUND": str(sound),
    }
    agent = Path(bench.announcements.__file__).with_name("peer_agent.py")
    rooms = [f"peer-{n}" for n in range(count)]
    key = ApiKey(server.api_key, server.api_secret)
    process = _start([python, str(agent), "start"], folder / "peer.log", environment)
    try:
        async with (
            listening(server, rooms) as ears,
            ServerApi(Endpoint.parse(server.url), key) as api,
        ):
            await trio.sleep(3 * SETTLE)
            idle, memory = await rate(process.pid), _memory(process.pid)
            for room in rooms:
                await api.create_dispatch(room, PEER_AGENT)
            with trio.move_on_after(60):
                while any(ear.first_loud is None for ear in ears.values()):  # noqa: ASYNC110
                    await trio.sleep(0.2)
            playing = [ear for ear in ears.values() if ear.first_loud is not None]
            if not playing:
                return None
            speaking, more = await rate(process.pid), _memory(process.pid)
    finally:
        process.terminate()
        await trio.to_thread.run_sync(process.wait)
    return {
        "rooms": len(playing),
        "cpu": (speaking - idle) / len(playing),
        "memory": (more - memory) / len(playing),
    }


async def measure(server: PrivateServer, folder: Path, options: argparse.Namespace) -> Any:
    peer_python = None if options.no_peer else os.environ.get("BENCH_PEER_PYTHON")
    async with trio_asyncio.open_loop():
        ours = await measure_ours(server, folder, options)
        peer = None
        if peer_python is not None:
            peer = await measure_peer(server, folder, peer_python, min(4, options.together))
    return {"ours": ours, "peer": peer}


def table(run: Mapping[str, Any]) -> tuple[list[Sequence[str]], bool]:
    """The rows, and whether every goal is met."""
    ours, peer = run["ours"], run["peer"]
    first = ours["first"]
    p95 = first[math.ceil(0.95 * len(first)) - 1]
    after = ours["after"]
    rows: list[Sequence[str]] = [
        ["order to first sound, p95, s", f"{p95:.2f}", f"<= {P95_GOAL:g}", ""],
        ["order to first sound, last, s", f"{first[-1]:.2f}", f"<= {LAST_GOAL:g}", ""],
        ["CPU a room, mcore", f"{ours['cpu']:.1f}", "<= 1/3", f"{peer['cpu']:.1f}" if peer else ""],
        [
            "memory a room, MiB",
            f"{ours['memory'] / MIB:.2f}",
            "<= 1/15",
            f"{peer['memory'] / MIB:.1f}" if peer else "",
        ],
        ["threads more afterwards", f"{after['threads']:.0f}", "0", ""],
        [
            "memory more afterwards, MiB",
            f"{after['memory'] / MIB:.1f}",
            f"<= {AFTER_GOAL / MIB:g}",
            "",
        ],
    ]
    well = p95 <= P95_GOAL and first[-1] <= LAST_GOAL
    well = well and after["threads"] <= 0 and after["memory"] <= AFTER_GOAL
    if peer:
        well = well and ours["cpu"] <= CPU_RATIO_GOAL * peer["cpu"]
        well = well and ours["memory"] <= MEMORY_RATIO_GOAL * peer["memory"]
    return rows, well


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/run announcements",
        description=bench.announcements.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rooms", type=int, default=20)
    parser.add_argument("--together", type=int, default=10)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--no-peer", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with ProgressLine(sys.stderr) as line:
        binary = ensure_server(line)
    with (
        tempfile.TemporaryDirectory(prefix="bench-announcements-") as folder,
        PrivateServer.start(binary, Path(folder) / "livekit") as server,
    ):
        run = trio.run(measure, server, Path(folder), options)
    rows, well = table(run)
    print(markdown(["announcements", "room-actors", "goal", "livekit-agents"], rows))
    print(f"\nload {load():.1f}")
    save(options.json, {"machine": machine(), "runs": [run]})
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
