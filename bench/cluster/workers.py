"""The machines of `bench/run cluster`: two nodes of LiveKit, Redis, PostgreSQL, workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import httpx2
import psycopg
import trio
from attrs import define, field

from actors.session.view_types import SessionView
from bridge.lab.egress.redis_server import PrivateRedis, find_redis
from bridge.lab.postgres_server import PrivatePostgres, find_postgres
from bridge.lab.server import PrivateServer, ServerError
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import INSTANCE_ATTRIBUTE, ApiKey
from bridge.postgres.postgres_reader import open_database_reader
from bridge.store.journal_rows import unpack, unpack_chunk

AGENT: Final = "cluster-bench"
LONGEST: Final = 90.0
"""Seconds that bound what would otherwise hang."""
DATABASE: Final = "cluster"
_OWNERS: Final = """
    SELECT room_sid, instance FROM room_leases
    JOIN workers ON owner = worker AND room_leases.epoch = workers.epoch WHERE expires > now()
    """


@define(eq=False)
class WorkerProcess:
    """One `room-actors start`, with a log that can be read at any time."""

    name: str
    node: PrivateServer
    process: subprocess.Popen[bytes]
    log: Path

    def lines(self, event: str) -> list[dict[str, Any]]:
        """The lines of an event, the oldest first."""
        lines = (
            json.loads(line) for line in self.log.read_bytes().splitlines() if line[-1:] == b"}"
        )
        return [line for line in lines if line["event"] == event]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    async def end(self) -> int:
        """As a user ends it; its exit code."""
        self.signal(signal.SIGTERM)
        return await trio.to_thread.run_sync(self.process.wait)

    async def address(self) -> str:
        return str((await until(lambda: self.lines("http_listening")))[-1]["address"])


def unix(line: dict[str, Any]) -> float:
    """The time of a line of the log."""
    return datetime.fromisoformat(line["time"]).timestamp()


async def until(condition: Any, seconds: float = LONGEST) -> Any:
    """Wait until a function gives something; what it gives."""
    with trio.fail_after(seconds):
        while not (found := condition()):  # noqa: ASYNC110 (no event outside)
            await trio.sleep(0.05)
        return found


@define(eq=False)
class Machines:
    """A context manager: leaving it ends all of it."""

    folder: Path
    binary: Path
    nodes: list[PrivateServer] = field(factory=list[PrivateServer])
    workers: dict[str, WorkerProcess] = field(factory=dict[str, WorkerProcess])
    database: str = ""
    postgres: PrivatePostgres = field(init=False)
    _started: int = 0
    _stack: ExitStack = field(factory=ExitStack)

    def __enter__(self) -> Self:
        redis, programs = find_redis(), find_postgres()
        if redis is None or programs is None:
            raise ServerError(
                "this needs a Redis and a PostgreSQL: name them by ROOM_ACTORS_REDIS_SERVER and "
                "ROOM_ACTORS_POSTGRES_BIN (bin/test brings both: see README, Tests)"
            )
        enter = self._stack.enter_context
        address = enter(PrivateRedis.start(redis, self.folder / "redis")).address
        self.postgres = enter(
            PrivatePostgres.start(
                programs, self.folder / "postgres", clusters=self.folder / "clusters", durable=True
            )
        )
        with psycopg.connect(self.postgres.url(), autocommit=True) as db:
            db.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0".encode())
        self.database = self.postgres.url(DATABASE)
        keys: dict[str, str] = {}
        for name in ("a", "b"):
            config: dict[str, Any] = {
                "redis": {"address": address},
                "room": {"empty_timeout": 900, "departure_timeout": 900},
            }
            if keys:
                config["keys"] = keys
            node = PrivateServer.start(self.binary, self.folder / name, config, timeout=60)
            self._stack.callback(node.kill)
            if self.nodes:
                node.api_key, node.api_secret = self.nodes[0].api_key, self.nodes[0].api_secret
            keys = {node.api_key: node.api_secret}
            self.nodes.append(node)
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers.values():
            worker.process.kill()
            worker.process.wait()
        self._stack.close()

    def api(self, node: int = 0) -> ServerApi:
        server = self.nodes[node]
        return ServerApi(Endpoint.parse(server.url), ApiKey(server.api_key, server.api_secret))

    # ------------------------------------------------------------ workers

    async def start(self, name: str, node: int) -> WorkerProcess:
        """Start a worker at a node and wait until it is registered."""
        self._started += 1
        server, log = self.nodes[node], self.folder / f"{name}-{self._started}.log"
        environment = {
            **{key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ},
            "LIVEKIT_URL": server.url,
            "LIVEKIT_API_KEY": server.api_key,
            "LIVEKIT_API_SECRET": server.api_secret,
            "ROOM_ACTORS_DATABASE_URL": self.database,
            "ROOM_ACTORS_DATA_DIR": str(self.folder / f"data-{name}"),
            "ROOM_ACTORS_HTTP": "127.0.0.1:0",
            "ROOM_ACTORS_WORKER_NAME": name,
        }
        command = [sys.executable, "-m", "bridge.cli", "start", "--log-format", "json"]
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: ASYNC220 (it only starts it)
                [*command, "--agent-name", AGENT], env=environment, stderr=output
            )
        worker = self.workers[name] = WorkerProcess(name, server, process, log)
        await until(lambda: worker.lines("worker_registered"))
        return worker

    # ------------------------------------------------------------ what is so

    def query(self, sql: str) -> list[Any]:
        with psycopg.connect(self.database, options="-c search_path=room_actors") as db:
            return db.execute(sql.encode()).fetchall()

    def owners(self) -> dict[str, str]:
        """The owner of each room, by SID."""
        return dict(self.query(_OWNERS))

    def entered(self, since: float) -> dict[str, float]:
        """When each room, by SID, was first watched after a time: Unix seconds."""
        times: dict[str, float] = {}
        for worker in self.workers.values():
            for event in ("session_started", "reconnected"):
                for line in worker.lines(event):
                    at = unix(line)
                    if at >= since:
                        sid = line["room_sid"]
                        times[sid] = min(at, times.get(sid, at))
        return times

    def count(self, event: str, since: float) -> int:
        """Lines of an event in all logs after a time."""
        return sum(
            unix(line) >= since for one in self.workers.values() for line in one.lines(event)
        )

    async def agents(self, api: ServerApi, room: str) -> Counter[str]:
        """The agents in a room, by worker."""
        return Counter(
            one.attributes[INSTANCE_ATTRIBUTE]
            for one in await api.list_participants(room)
            if INSTANCE_ATTRIBUTE in one.attributes
        )

    async def is_ready(self, worker: WorkerProcess) -> bool:
        async with httpx2.AsyncClient() as http:
            return (await http.get(f"http://{await worker.address()}/readyz")).status_code == 200

    def sessions(self, sids: Iterable[str]) -> dict[str, SessionView]:
        """The whole session of each room, by SID."""
        views: dict[str, SessionView] = {}
        with open_database_reader(self.database) as reader:
            for sid in sids:
                view = reader.session(sid)
                assert view is not None
                views[sid] = view
        return views

    def faults(self) -> list[str]:
        """Faults: two sessions of a room, a number that is missing or twice."""
        faults = [
            f"{count} sessions of {sid}"
            for sid, count in self.query("SELECT room_sid, count(*) FROM sessions GROUP BY 1")
            if count > 1
        ]
        rows: dict[int, set[int]] = {}
        for (chunk,) in self.query("SELECT lines FROM chunks"):
            for row in unpack_chunk(chunk):
                rows.setdefault(row.session, set()).add(row.seq)
        for (pack,) in self.query("SELECT lines FROM journal"):
            for row in unpack(pack):
                rows.setdefault(row.session, set()).add(row.seq)
        for session, seqs in rows.items():
            if seqs != set(range(len(seqs))):
                faults.append(f"session {session}: numbers {max(seqs)}, rows {len(seqs)}")
        lost = self.query("SELECT coalesce(sum(lines_lost), 0) FROM sessions")[0][0]
        return [*faults, *([f"{lost} lines lost"] if lost else [])]

    def rows_written_by(self, worker: str, since: float, sids: Iterable[str]) -> int:
        """Rows of the sessions of these rooms in batches of this worker after a time."""
        listed = ", ".join(f"'{sid}'" for sid in sids) or "''"
        sessions = {
            one
            for (one,) in self.query(f"SELECT session FROM sessions WHERE room_sid IN ({listed})")
        }
        packs = self.query(
            "SELECT lines FROM journal JOIN workers USING (worker) "
            f"WHERE instance = '{worker}' AND batch > {int(since * 1e6)}"
        )
        return sum(row.session in sessions for (pack,) in packs for row in unpack(pack))
