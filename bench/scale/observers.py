"""The observers: how each is started, and its records."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeAlias

from attrs import define, field, frozen

from bench.rooms.sides import AGENT_NAME, OURS, PEER
from bridge.lab.server import PrivateServer
from bridge.lab.server.guarded_process import IN_ORDER, Guarded
from bridge.lab.server.ports import LOOPBACK, free_port
from bridge.livekit.tokens import ApiKey, room_token

Record: TypeAlias = dict[str, Any]

STOCK: Final = "stock SDK"
FLOOR: Final = "floor"
GO: Final = "Go SDK"

STOP_SECONDS: Final = 20.0
_PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "LANG", "PYTHONPATH", "PYTHONSAFEPATH")
_AGENT: Final = Path(__file__).resolve().parent.parent / "rooms" / "agent.py"


@frozen
class Observer:
    """One row of the comparison."""

    name: str
    sizes: tuple[int, ...]
    """Rooms that it is measured at, where nothing else is asked for."""
    ready: frozenset[str] = frozenset({"worker_registered"})
    """The events that it must have recorded before there is a room."""
    dispatched: bool = True
    """LiveKit sends it to rooms; else it is told of them."""
    counts: bool = True
    """It records events."""


OBSERVERS: Final[Mapping[str, Observer]] = {
    one.name: one
    for one in (
        Observer(OURS, (10, 50, 100, 200)),
        # 15 MiB a room, and a process: more of them would be a measure of swapping.
        Observer(PEER, (10, 20), frozenset({"worker_registered", "process_ready"})),
        Observer(STOCK, (10, 50), dispatched=False),
        Observer(FLOOR, (10, 50, 200), dispatched=False, counts=False),
        Observer(GO, (10, 100, 200), dispatched=False),
    )
}


@define(eq=False)
class Watching:
    """A running observer."""

    observer: Observer
    pid: int
    agent_name: str
    _server: PrivateServer
    _records: Path
    _jobs: IO[str] | None
    unstructured: int = 0
    """Lines that were no records: what SIGUSR1 shows."""
    last_line: str = ""
    """The last of them."""
    _read: dict[Path, int] = field(factory=dict[Path, int])

    def news(self) -> Iterator[Record]:
        """Its records since the last call, in the order of each of its processes."""
        for path in sorted(self._records.glob("*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                whole, _, _ = file.read().rpartition(b"\n")
            if whole:
                self._read[path] = self._read.get(path, 0) + len(whole) + 1
                lines = whole.splitlines()
                records = [line for line in lines if line.startswith(b"{")]
                others = [line for line in lines if not line.startswith(b"{")]
                self.unstructured += len(others)
                if others:
                    self.last_line = others[-1].decode()
                yield from map(json.loads, records)

    def tell(self, rooms: Sequence[str]) -> None:
        """Tell it of rooms, where LiveKit does not."""
        if self.observer.dispatched:
            return
        key = ApiKey(self._server.api_key, self._server.api_secret)
        for room in rooms:
            # Two observers of one identity would drive each other out of the room.
            name = self.agent_name
            token = room_token(key, room=room, identity=name, agent_name=name)
            self._order({"url": self._server.url, "room": room, "token": token})

    def prepare(self) -> None:
        """Before events: rooms are filled, and all that was to be subscribed is."""
        if not self.observer.counts:
            self._order({"floor": True})

    def _order(self, order: Mapping[str, Any]) -> None:
        assert self._jobs is not None
        self._jobs.write(json.dumps(order) + "\n")
        self._jobs.flush()


@contextmanager
def watching(
    observer: Observer,
    server: PrivateServer,
    load_binary: Path,
    folder: Path,
    *,
    agent_name: str = AGENT_NAME,
    program: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[Watching]:
    """Start an observer; it and everything it started end with the block, or with us.

    `program` starts another room-actors for the observer of that name (`BIN/room-actors start
    FLAGS`, to which the flags of a measure are added). `variables` go into its environment.
    """
    records = folder / "records"
    records.mkdir(parents=True)
    jobs = folder / "jobs"
    os.mkfifo(jobs)
    commands = {
        OURS: [
            *(program or (sys.executable, "-P", "-m", "bridge.cli", "start")),
            *("--log-format", "json"),
            *("--agent-name", agent_name, "--data-dir", str(folder / "data")),
            *("--http", f"{LOOPBACK}:{free_port(socket.SOCK_STREAM)}"),
        ],
        PEER: [os.environ.get("BENCH_PEER_PYTHON", "python3"), str(_AGENT), "start"],
        STOCK: [sys.executable, "-P", "-m", "bench.scale.sdk", str(jobs), "stock"],
        FLOOR: [sys.executable, "-P", "-m", "bench.scale.sdk", str(jobs), "floor"],
        GO: [str(load_binary), "watch", str(jobs)],
    }
    environment = {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
        "BENCH_AGENT_NAME": agent_name,
        "BENCH_EXECUTOR": "PROCESS",
        "BENCH_RECORDS": str(records),
        **(variables or {}),
    }
    # The log of some is the record; what others say beside theirs is for whoever looks.
    log = records / "log.jsonl" if observer.name in (OURS, GO) else folder / "log"
    process = Guarded(commands[observer.name], log=log, environment=environment)
    try:
        with os.fdopen(os.open(jobs, os.O_RDWR), "w") as orders:
            yield Watching(observer, process.pid, agent_name, server, records, orders)
    finally:
        process.end(IN_ORDER, STOP_SECONDS)
