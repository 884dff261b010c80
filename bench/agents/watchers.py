"""A worker of a checkout, what it logs, what it uses and what it stored."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import trio

from actors.session import SessionView
from bench.measure import Cpu, memory_of_tree
from bench.pair.checkouts import Side
from bridge.lab.server import PrivateServer
from bridge.lab.server.guarded_process import IN_ORDER, Guarded
from bridge.store.sqlite_reader import open_reader

LOOK: Final = 0.05
WITHIN: Final = 60.0
STOP_SECONDS: Final = 15.0


class Watcher:
    """A running worker."""

    def __init__(self, folder: Path, pid: int) -> None:
        self._data = folder / "data"
        self._log = folder / "log.jsonl"
        self._pid = pid
        self._read = 0
        self._entries: list[dict[str, Any]] = []

    def events(self, *events: str, **fields: Any) -> list[dict[str, Any]]:
        """The lines of one of these events with these fields so far."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            whole, newline, _ = log.read().rpartition(b"\n")
        self._read += len(whole) + len(newline)
        self._entries += map(json.loads, whole.splitlines())
        return [
            entry
            for entry in self._entries
            if entry["event"] in events and fields.items() <= entry.items()
        ]

    async def logged(self, *events: str, **fields: Any) -> dict[str, Any]:
        """Wait for such a line; the first."""
        with trio.fail_after(WITHIN):
            while not (matching := self.events(*events, **fields)):  # noqa: ASYNC110
                await trio.sleep(LOOK)
        return matching[0]

    async def sees(self, room: str, identity: str) -> None:
        await self.logged(
            "participant_found", "participant_connected", room=room, identity=identity
        )

    def cpu(self) -> float:
        """Seconds of a core until now."""
        return sum(seconds for _, seconds in Cpu.of_tree(self._pid).threads.values())

    def memory(self) -> int:
        """Bytes that are no file's."""
        return memory_of_tree(self._pid).pss_anonymous

    async def sessions(self, rooms: Iterable[str]) -> dict[str, SessionView]:
        """The session of each room, once the store has all of them ended."""
        with trio.fail_after(WITHIN):
            while True:
                with open_reader(self._data) as reader:
                    sessions = {room: reader.session(room) for room in rooms}
                whole = {
                    room: session
                    for room, session in sessions.items()
                    if session is not None and session.status == "ended"
                }
                if len(whole) == len(sessions):
                    return whole
                await trio.sleep(LOOK)


@contextmanager
def watcher(
    side: Side, server: PrivateServer, folder: Path, name: str
) -> Generator[Watcher, None, None]:
    """A worker that watches every room; it ends with the block, or with us."""
    folder.mkdir(parents=True)
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
        "ROOM_ACTORS_VENV": str(side.environment),
    }
    flags = ("--log-format", "json", "--agent-name", name, "--data-dir", str(folder / "data"))
    process = Guarded(
        [*side.program, *flags, "--http", "off"],
        log=folder / "log.jsonl",
        environment=environment,
    )
    try:
        yield Watcher(folder, process.pid)
    finally:
        process.end(IN_ORDER, STOP_SECONDS)
