"""The workers that are compared: how each is started, and what it recorded."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from attrs import define, field

from bridge.lab.server import PrivateServer
from bridge.lab.server.guarded_process import IN_ORDER, Guarded

Record: TypeAlias = dict[str, Any]

AGENT_NAME: Final = "watcher"
OURS: Final = "room-actors"
PEER: Final = "livekit-agents"
PEER_IN_THREADS: Final = "livekit-agents, threads"
SIDES: Final = (OURS, PEER, PEER_IN_THREADS)
_EXECUTORS: Final = {PEER: "PROCESS", PEER_IN_THREADS: "THREAD"}
READY: Final = {
    OURS: {"worker_registered"},
    PEER: {"worker_registered", "process_ready"},
    PEER_IN_THREADS: {"worker_registered"},
}
"""The events that a worker must have recorded before it is dispatched to."""

STOP_SECONDS: Final = 15.0
_PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "LANG", "PYTHONPATH", "PYTHONSAFEPATH")


@define(eq=False)
class Worker:
    """A running worker of one side."""

    side: str
    pid: int
    _folder: Path
    _read: dict[Path, int] = field(factory=dict[Path, int])
    _records: list[Record] = field(factory=list[Record])

    def records(self) -> list[Record]:
        """Everything it recorded until now, in the order of each of its processes."""
        for path in sorted(self._folder.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                whole, _, _ = file.read().rpartition(b"\n")
            if whole:
                self._read[path] = self._read.get(path, 0) + len(whole) + 1
                self._records.extend(json.loads(line) for line in whole.splitlines())
        return self._records


@contextmanager
def running(side: str, server: PrivateServer, folder: Path) -> Iterator[Worker]:
    """Start the worker of a side; it and everything it started end with the block, or with us."""
    records = folder / "records"
    records.mkdir(parents=True)
    environment = {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
    }
    if side == OURS:
        command = [sys.executable, "-P", "-m", "bridge.cli", "start", "--log-format", "json"]
        command += ["--agent-name", AGENT_NAME, "--data-dir", str(folder / "data")]
        command += ["--http", "off"]
        log = records / "log.jsonl"
    else:
        command = [os.environ["BENCH_PEER_PYTHON"], str(Path(__file__).parent / "agent.py")]
        command += ["start"]
        environment |= {
            "BENCH_AGENT_NAME": AGENT_NAME,
            "BENCH_EXECUTOR": _EXECUTORS[side],
            "BENCH_RECORDS": str(records),
        }
        log = folder / "log"
    process = Guarded(command, log=log, environment=environment)
    try:
        yield Worker(side, process.pid, records)
    finally:
        process.end(IN_ORDER, STOP_SECONDS)
