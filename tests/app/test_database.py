"""A worker whose sessions are in PostgreSQL, as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import psycopg
import trio

from bridge.lab.people import People
from bridge.lab.postgres_server import PrivatePostgres
from bridge.lab.server import PrivateServer
from bridge.store.schema import FILE
from tests.app.agent_program import WAIT, environment, hears, running_agent

PASSWORD = "hunter2-of-the-database"


class Outage:
    """Takes a database away from everybody, and gives it back."""

    def __init__(self, server: PrivatePostgres, database: str) -> None:
        self._server, self._database = server, database

    def set(self, *, away: bool) -> None:
        with psycopg.connect(self._server.url(), autocommit=True) as db:
            allowed = str(not away).lower()
            db.execute(f"ALTER DATABASE {self._database} ALLOW_CONNECTIONS {allowed}".encode())
            if away:
                db.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    (self._database,),
                )


async def readiness(http: httpx2.AsyncClient, status: int) -> str:
    with trio.fail_after(WAIT):
        while True:
            answer = await http.get("/readyz")
            if answer.status_code == status:
                return answer.text
            await trio.sleep(0.05)


async def test_a_worker_stores_its_sessions_there_and_outlives_an_outage(
    livekit_server: PrivateServer,
    people: People,
    postgres: PrivatePostgres,
    empty_database: str,
    tmp_path: Path,
) -> None:
    room = f"database-{uuid4().hex[:8]}"
    url = empty_database.replace("postgres@", f"postgres:{PASSWORD}@")
    env = {"ROOM_ACTORS_DATABASE_URL": url}
    outage = Outage(postgres, url.rpartition("/")[2])
    alice = await people.join(room, "alice")
    async with running_agent(livekit_server, tmp_path, "--watch", room, env=env) as agent:
        await agent.logged("participant_found", room=room)
        address = (await agent.logged("http_listening"))["address"]
        async with httpx2.AsyncClient(base_url=f"http://{address}") as http:
            await readiness(http, 200)
            await hears(agent, alice, b"before", topic="first")
            outage.set(away=True)
            await agent.logged("store_trouble")
            assert "store" in await readiness(http, 503)
            await hears(agent, alice, b"meanwhile", topic="second")
            outage.set(away=False)
            await agent.logged("store_recovered")
            await readiness(http, 200)
            answer = (await http.get("/api/v1/rooms")).json()
            assert [one["room"] for one in answer["rooms"]] == [room]
        await agent.stop()
        assert PASSWORD not in "\n".join(agent.lines)
    assert not (tmp_path / FILE).exists()
    await commands_work_on_it(livekit_server, tmp_path, room, env)


def rules_file(folder: Path) -> Path:
    path = folder / "rules.toml"
    path.write_text('[[rule]]\nname = "alone"\nwhen = {people = "== 1"}\nthen = [{alert = "x"}]\n')
    return path


async def commands_work_on_it(
    server: PrivateServer, data_dir: Path, room: str, env: dict[str, str]
) -> None:
    async def run(*args: str) -> subprocess.CompletedProcess[bytes]:
        return await trio.run_process(
            [sys.executable, "-m", "bridge.cli", *args],
            env=environment(server, data_dir, **env),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )

    async def read(*args: str) -> Any:
        done = await run(*args)
        assert not done.returncode, done.stderr
        return json.loads(done.stdout)

    (session,) = (await read("sessions", "--json"))["sessions"]
    assert session["end_reason"] == "worker_stopped"
    report = await read("report", room, "--json")
    assert report["data_messages"]["by_topic"] == {"first": 1, "second": 1}
    assert [entry["event"] for entry in report["timeline"]][-1] == "session_ended"
    assert (await read("rooms", "--json"))["rooms"] == []
    for command, way_out in (("backup", b"pg_dump --format"), ("restore", b"pg_restore --single")):
        refused = await run(command, "file")
        assert refused.returncode == 2
        assert way_out in refused.stderr
        assert PASSWORD.encode() not in refused.stderr
    tried = await run("rules", "try", str(rules_file(data_dir)), "--since", "1d")
    assert b"alone" in tried.stdout, tried.stderr
    checked = await read("check", "--json", "--no-media")
    (row,) = (one for one in checked["checks"] if one["name"] == "store")
    assert row["status"] == "ok"
    assert "1 sessions are kept, 0 workers run" in str(row)
    erased = await read("forget", "alice", "--json")
    assert (erased["all_erased"], erased["store"]["sessions"]) == (True, 1)
    assert "alice" not in str(await read("report", room, "--json"))
