"""`serve`: everything that the workers of a database show, without one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
import trio

from bridge.app.followed_sessions import FollowedSessions, joined
from bridge.app.serve_role import open_serve_program, serve_settings
from bridge.cli import main
from bridge.config.settings import read_settings
from bridge.postgres.postgres_archive import open_database_store
from bridge.postgres.postgres_reader import open_database_reader
from tests.app.agent_program import WAIT
from tests.store.stored_history import History


async def receive_until(stream: trio.SocketStream, wanted: bytes) -> None:
    """Read a response until it has this."""
    got = b""
    with trio.fail_after(WAIT):
        while wanted not in got:
            more = await stream.receive_some()
            assert more, got
            got += more


async def test_it_shows_the_rooms_sessions_and_events_of_all_workers(
    database_url: str, tmp_path: Path
) -> None:
    flags = {"database-url": database_url, "http": "127.0.0.1:0", "data-dir": str(tmp_path)}
    settings = serve_settings(read_settings(flags, {}))
    a, b = History(), History()
    async with (
        open_database_store(database_url, instance="a") as first,
        open_database_store(database_url, instance="b") as second,
    ):
        a.begin("room-of-a", "RM_a")
        await a.write_to(first)
        journal = b.begin("room-of-b", "RM_b")
        await b.write_to(second)
        async with open_serve_program(settings) as program:
            await program.http_ready.wait()
            address = program.http
            assert address is not None
            await program.followed.looked.wait()
            async with httpx2.AsyncClient(base_url=f"http://{address}") as http:
                assert (await http.get("/readyz")).json()["checks"] == {"store": None}
                rooms = (await http.get("/api/v1/rooms")).json()["rooms"]
                assert {one["room"] for one in rooms} == {"room-of-a", "room-of-b"}
                page = (await http.get("/")).text
                assert "room-of-a" in page
                assert "room-of-b" in page
                assert "Worker a" in (await http.get("/system")).text
                assert (await http.get("/api/v1/sessions/RM_b")).json()["worker"] == "worker"
                assert (await http.get("/api/v1/workers")).json() == {"workers": []}
                assert "room_actors_worker_registered 0.0" in (await http.get("/metrics")).text
                assert (await http.post("/livekit/webhook", content=b"{}")).status_code == 404
            async with await trio.open_tcp_stream(address.host, address.port) as stream:
                request = f"GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n\r\n"
                await stream.send_all(request.encode())
                await receive_until(stream, b"id: ")  # It follows from here on.
                b.talk(journal)
                await b.write_to(second)
                await receive_until(stream, b'"room":"room-of-b"')


async def test_a_page_joins_its_own_rooms_and_those_of_other_workers(database_url: str) -> None:
    a, b = History(), History()
    async with (
        open_database_store(database_url, instance="a") as first,
        open_database_store(database_url, instance="b") as second,
        trio.open_nursery() as nursery,
    ):
        own = a.begin("room-of-a", "RM_a")
        await a.write_to(first)
        b.begin("room-of-b", "RM_b")
        await b.write_to(second)
        followed = FollowedSessions(lambda: open_database_reader(database_url), look_every=0.01)
        nursery.start_soon(followed.run)
        await followed.looked.wait()
        a.talk(own)  # not stored yet
        states = {state.room_sid: state for state in joined(lambda: [own.state], followed)}
        assert states.keys() == {"RM_a", "RM_b"}
        assert states["RM_a"] is own.state
        nursery.cancel_scope.cancel()


def test_it_needs_a_database_and_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve"]) == 2
    assert "set --database-url URL" in capsys.readouterr().err
    assert main(["serve", "--database-url", "postgresql://h/d", "--http", "off"]) == 2
    assert "serve needs an address" in capsys.readouterr().err


def test_it_does_not_load_the_sdk() -> None:
    code = (
        "import sys, bridge.app.serve_role\n"
        "print([one for one in sys.modules if one.startswith(('livekit.rtc', 'numpy'))])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
