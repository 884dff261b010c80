"""`serve`: everything that the workers of a database show, without one of them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import psycopg
import pytest
import trio

from bridge.app.followed_sessions import FollowedSessions, joined
from bridge.app.serve_role import ServeProgram, open_serve_program, serve_settings
from bridge.cli import main
from bridge.config.settings import read_settings
from bridge.postgres.postgres_archive import open_database_store
from bridge.postgres.postgres_reader import open_database_reader
from tests.app.agent_program import WAIT
from tests.store.stored_history import History

MESSAGE = b'"event":"data_message"'


async def receive_until(stream: trio.SocketStream, wanted: bytes, times: int = 1) -> bytes:
    """Read a response until it has this so often.  Gives all of it."""
    got = b""
    with trio.fail_after(WAIT):
        while got.count(wanted) < times:
            more = await stream.receive_some()
            assert more, got
            got += more
    return got


@asynccontextmanager
async def events_of(program: ServeProgram, after: str = "") -> AsyncGenerator[trio.SocketStream]:
    """The server-sent events of a server, after an id where one is given."""
    await program.http_ready.wait()
    address = program.http
    assert address is not None
    last = f"Last-Event-ID: {after}\r\n" if after else ""
    async with await trio.open_tcp_stream(address.host, address.port) as stream:
        request = f"GET /api/v1/events HTTP/1.1\r\nHost: {address}\r\n{last}\r\n"
        await stream.send_all(request.encode())
        yield stream


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
        b.begin("room-of-b", "RM_b")
        await b.write_to(second)
        with psycopg.connect(database_url, autocommit=True) as db:
            change = "UPDATE room_actors.workers SET expires = {} WHERE instance = '{}'"
            for expires, name in (("'infinity'", "a"), ("now() - interval '1 minute'", "b")):
                db.execute(change.format(expires, name).encode())  # b is lost
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
                system = (await http.get("/system")).text
                assert ">running</td>" in system
                assert ">lost</td>" in system
                assert [f">{one}</bdi></th>" in system for one in "ab"] == [True, True]
                assert (await http.get("/api/v1/sessions/RM_b")).json()["worker"] == "worker"
                workers = (await http.get("/api/v1/workers")).json()["workers"]
                assert [(one["id"], one["state"], one["answers"]) for one in workers] == [
                    ("a", "running", False), ("b", "lost", False),
                ]  # fmt: skip
                metrics = (await http.get("/metrics")).text
                assert 'room_actors_workers{state="running"} 1.0' in metrics
                assert 'room_actors_workers{state="lost"} 1.0' in metrics
                assert "room_actors_worker_registered" not in metrics
                assert "room_actors_rooms" not in metrics
                assert (await http.post("/livekit/webhook", content=b"{}")).status_code == 404


async def test_an_event_id_of_one_server_is_good_at_another(
    database_url: str, tmp_path: Path
) -> None:
    """A place for each worker: nothing is left out, nothing comes twice."""
    flags = {"database-url": database_url, "http": "127.0.0.1:0", "data-dir": str(tmp_path)}
    settings = serve_settings(read_settings(flags, {}))
    a, b = History(), History()
    async with (
        open_database_store(database_url, instance="a") as first,
        open_database_store(database_url, instance="b") as second,
        open_serve_program(settings) as one_server,
        open_serve_program(settings) as other_server,
    ):
        of_a, of_b = a.begin("room-of-a", "RM_a"), b.begin("room-of-b", "RM_b")
        await a.write_to(first)
        await b.write_to(second)
        async with events_of(one_server) as stream:
            await receive_until(stream, b"id: ")  # It follows from here on.
            a.talk(of_a)
            await a.write_to(first)
            got = await receive_until(stream, MESSAGE)
        last = re.findall(rb"id: (\S+)", got)[-1].decode()
        assert last.count(":") == 2  # A place of each of the two workers.
        b.talk(of_b)
        await b.write_to(second)
        a.talk(of_a)
        await a.write_to(first)
        # A worker whose row was deleted since has a place in it too.
        async with events_of(other_server, f"{last},99999:17-1") as stream:
            got = await receive_until(stream, MESSAGE, times=2)
        assert b"event: gap" not in got
        rooms = re.findall(rb'"room":"([^"]+)"[^\n]*"event":"data_message"', got)
        assert sorted(rooms) == [b"room-of-a", b"room-of-b"]


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
