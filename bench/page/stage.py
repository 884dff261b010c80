"""The worker that is looked at, and what is read of it from outside."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Self, final

import httpx2
import trio
from attrs import frozen

from bench.errors import BenchError
from bench.measure import Cpu, descriptors, memory_of_tree
from bench.page.browsers import Browser
from bench.start import ROOT

_BUCKET: Final = re.compile(r'room_actors_event_lag_seconds_bucket\{le="([^"]+)"\} (\S+)')
_LISTENERS: Final = re.compile(r"^room_actors_event_listeners (\S+)", re.MULTILINE)
_DROPPED: Final = re.compile(r"^room_actors_event_listeners_dropped_total (\S+)", re.MULTILINE)
STARTING: Final = 60.0
"""Seconds until all rooms are watched."""


@frozen
class Lag:
    """`room_actors_event_lag_seconds`: how many events were at most so late."""

    counts: Mapping[float, float]

    @classmethod
    def of(cls, metrics: str) -> Self:
        return cls({float(bound): float(count) for bound, count in _BUCKET.findall(metrics)})

    def since(self, before: Lag) -> Lag:
        return Lag({bound: count - before.counts[bound] for bound, count in self.counts.items()})

    @property
    def count(self) -> float:
        return self.counts[float("inf")]

    def quantile(self, share: float) -> float:
        """Evenly spread within a bucket, as Prometheus has it."""
        wanted, low, before = share * self.count, 0.0, 0.0
        for bound, count in self.counts.items():
            if count >= wanted:
                return low + (bound - low) * (wanted - before) / max(count - before, 1.0)
            low, before = bound, count
        return float("inf")


@frozen
class Moment:
    """The figures of one moment."""

    lag: Lag
    listeners: int
    dropped: int
    everybody: Cpu
    """The memory of this process and all that it has started: clients, chromium and the worker."""
    waited: float
    """Seconds for which the worker's loop wanted a core and had none."""
    cpu: Cpu
    """The memory of the worker."""
    rss: int
    descriptors: int
    kernel: int
    """Bytes in the buffers of all TCP connections of this machine."""


def kernel_bytes() -> int:
    """`mem` of TCP in `/proc/net/sockstat`, in pages (proc(5))."""
    said = Path("/proc/net/sockstat").read_text()
    found = re.search(r"^TCP:.* mem (\d+)", said, re.MULTILINE)
    return int(found[1]) * 4096 if found else 0


def waited(pid: int) -> float:
    """The second field of `/proc/PID/schedstat`, of a process' first thread."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


@final
class Served:
    """The running worker."""

    def __init__(self, process: trio.Process, address: str, http: httpx2.AsyncClient) -> None:
        self.address = address
        self.pid = process.pid
        self.http = http
        self._process = process
        self._said = b""

    async def order(self, name: str) -> Any:
        """See `bench.page.served`."""
        assert self._process.stdin is not None
        await self._process.stdin.send_all(f"{name}\n".encode())
        return await self.line()

    async def line(self) -> Any:
        assert self._process.stdout is not None
        with trio.fail_after(STARTING):
            while b"\n" not in self._said:
                piece = await self._process.stdout.receive_some()
                if not piece:
                    raise BenchError("the worker ended; its log says why")
                self._said += piece
        line, _, self._said = self._said.partition(b"\n")
        return json.loads(line)

    async def gaps(self) -> dict[str, float]:
        """Since they were asked for last."""
        return await self.order("gaps")

    async def moment(self) -> Moment:
        text = await self.metrics()
        listeners, dropped = _LISTENERS.search(text), _DROPPED.search(text)
        assert listeners is not None
        assert dropped is not None
        return Moment(
            Lag.of(text),
            int(float(listeners[1])),
            int(float(dropped[1])),
            Cpu.of_tree(os.getpid()),
            waited(self.pid),
            Cpu.of_tree(self.pid),
            memory_of_tree(self.pid).rss,
            descriptors(self.pid),
            kernel_bytes(),
        )

    async def metrics(self) -> str:
        return (await self.http.get("/metrics")).raise_for_status().text

    async def ask(self, path: str) -> tuple[float, dict[str, float]]:
        """Seconds until the answer was here, and the gaps of the loop meanwhile."""
        await self.gaps()
        began = perf_counter()
        (await self.http.get(path)).raise_for_status()
        took = perf_counter() - began
        return took, await self.gaps()


@asynccontextmanager
async def serving(
    data_dir: Path, rooms: int, rate: float, log: Path
) -> AsyncGenerator[Served, None]:
    """The worker for the length of a block.  Its log goes to a file, as a service's does."""
    command = [sys.executable, "-m", "bench.page.served", str(data_dir), str(rooms), str(rate)]
    with log.open("wb") as stderr:
        process = await trio.lowlevel.open_process(
            command, stdin=-1, stdout=-1, stderr=stderr.fileno(), cwd=ROOT
        )
    try:
        async with httpx2.AsyncClient(timeout=30) as http:
            served = Served(process, "", http)
            served.address = (await served.line())["address"]
            http.base_url = f"http://{served.address}"
            yield served
    finally:
        with trio.CancelScope(shield=True):
            assert process.stdin is not None
            await process.stdin.aclose()
            with trio.move_on_after(30):
                await process.wait()
            process.kill()
            await process.wait()


def updates(browsers: list[Browser], probes: list[float]) -> tuple[list[float], int]:
    """Seconds until each browser had each of these, sorted; how many were never seen."""
    found = [browser.seen.get(probe) for browser in browsers for probe in probes]
    return sorted(one for one in found if one is not None), found.count(None)
