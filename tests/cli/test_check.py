"""`check` on a real server, and with each single thing wrong."""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
import trio_asyncio
from attrs import define, field
from livekit.protocol import agent
from trio_websocket import WebSocketConnection

from bridge.cli import check as check_module
from bridge.cli import probes
from bridge.cli.media_probe import MediaPath
from bridge.cli.probes import (
    CLOCK,
    KEY,
    MEDIA,
    NODES,
    PROBES,
    ROOM_SERVICE,
    SERVER,
    VERSION,
    WEBHOOKS,
    WORKER,
    CheckRow,
    ServerCheck,
    version_problem,
)  # fmt: skip
from bridge.config.settings import TABLE
from bridge.lab.server import PrivateServer, find_server
from bridge.lab.server.ports import free_port
from bridge.livekit import server_clock, tokens
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import CHECK_PREFIX, ApiKey
from bridge.store.schema import FILE
from bridge.store.sqlite_archive import open_store
from tests.app.agent_program import running_agent
from tests.cli.conftest import RunCommand, clean_environment
from tests.livekit.worker import server_messages
from tests.livekit.worker.fake_livekit import FakeLiveKit, fake_livekit
from tests.livekit.worker.raw_server import raw_server
from tests.livekit.worker.worker_harness import JobRecorder, make_worker, running
from tests.store.stored_history import History

ANY_KEY = ApiKey("devkey", "a-long-secret-word-of-no-server-at-all")


def environment(server: PrivateServer) -> dict[str, str]:
    return {
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": server.api_key,
        "LIVEKIT_API_SECRET": server.api_secret,
        "ROOM_ACTORS_HTTP": "127.0.0.1:0",
    }


def results_of(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, str]]:
    assert "Traceback" not in done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)["checks"]}


def failed(results: dict[str, dict[str, str]]) -> list[str]:
    return [name for name, row in results.items() if row["status"] == "failed"]


async def probe(endpoint: str, key: ApiKey = ANY_KEY) -> dict[str, CheckRow]:
    async with trio_asyncio.open_loop():
        results = await ServerCheck(Endpoint.parse(endpoint), key, "simple-room-agent").run()
    assert [result.name for result in results] == list(PROBES)
    return {result.name: result for result in results}


def key_of(server: PrivateServer) -> ApiKey:
    return ApiKey(server.api_key, server.api_secret)


# ---------------------------------------------------------------- all is well


def test_where_all_is_well_everything_is_ok_and_so_is_the_exit_code(
    livekit_server: PrivateServer, room_actors: RunCommand
) -> None:
    done = room_actors("check", "--json", **environment(livekit_server))
    results = results_of(done)
    assert failed(results) == []
    assert done.returncode == 0
    assert re.fullmatch(r"making the room room-actors-check-\w+ for a moment, .*\n", done.stderr)
    assert json.loads(done.stdout)["ok"] is True
    machine = ["open-file limit", "data directory", "store", "speech engine", "HTTP port"]
    assert list(results) == [row.flag for row in TABLE] + machine + [*PROBES, WEBHOOKS]
    assert results.pop(WEBHOOKS)["found"] == "cannot arrive: --http has no fixed port"
    # Whether there is an engine depends on the machine.
    assert results.pop("speech engine")["status"] in ("ok", "left out")
    assert {row["status"] for row in results.values()} == {"ok"}
    assert results[MEDIA]["found"] == f"connected over UDP to 127.0.0.1:{livekit_server.media_port}"
    assert results[NODES]["found"] == "one node, without Redis: its rooms end with it"
    assert livekit_server.api_secret not in done.stdout
    assert "LIVEKIT_API_SECRET" in results["--api-secret"]["found"]


def test_the_table_has_a_line_for_each_and_an_end_that_says_it(
    livekit_server: PrivateServer, room_actors: RunCommand
) -> None:
    env = {**environment(livekit_server), "ROOM_ACTORS_KEEP": "90d", "ROOM_ACTORS_KEEP_SIZE": "5GB"}
    done = room_actors("check", "--all", **env)
    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert lines[-1] == "All hold."
    well = [line for line in lines if line.startswith("ok ") and "speech engine" not in line]
    assert len(well) == len(TABLE) + 4 + len(PROBES)
    # Settings that nobody set are left out, and what is wrong comes first.
    done = room_actors("check", "--no-media", **{**env, "LIVEKIT_URL": "ws://127.0.0.1:1"})
    (head, first, *rest), defaults = done.stdout.splitlines(), len(TABLE) - 6
    assert (head.split()[0], first.split()[:2]) == ("tested", ["FAILED", "server"])
    assert rest[-1] == f"{defaults} settings have their default: --all shows them"
    shown = [line.split()[1:3] for line in rest if line.startswith("ok ")]
    assert [words for words in shown if words[0] in ("--keep", "--keep-size", "--keep-events")] == [
        ["--keep", "90d"], ["--keep-size", "5GB"],
    ]  # fmt: skip


async def test_nothing_is_left_of_a_check(livekit_server: PrivateServer) -> None:
    await probe(livekit_server.url, key_of(livekit_server))
    async with ServerApi(Endpoint.parse(livekit_server.url), key_of(livekit_server)) as api:
        rooms = await api.list_rooms()
    assert not [room.name for room in rooms if room.name.startswith("room-actors-check-")]


# ---------------------------------------------------------------- what others notice


@define(eq=False)
class Webhooks:
    """The webhooks of a server: each event and its room."""

    received: list[tuple[str, str]] = field(factory=list[tuple[str, str]])
    _news: trio.Event = field(factory=trio.Event)

    async def take(self, stream: trio.SocketStream) -> None:
        request = b""
        while True:
            request += await stream.receive_some()
            head, _, body = request.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if length is not None and len(body) >= int(length[1]):
                break
        said = json.loads(body)
        self.received.append((said["event"], said["room"]["name"]))
        self._news.set()
        self._news = trio.Event()
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    async def until(self, event: str, room: str) -> None:
        with trio.fail_after(60):
            while (event, room) not in self.received:
                await self._news.wait()


@pytest.mark.parametrize("flags", [(), ("--no-media",)], ids=["default", "--no-media"])
async def test_what_others_notice_of_a_check_is_what_it_says(
    flags: tuple[str, ...], tmp_path: Path
) -> None:
    """An unnamed agent of the user's is never offered the room; a webhook tells of it, unless
    none is made."""
    binary, webhooks = find_server(), Webhooks()
    assert binary is not None
    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, webhooks.take, 0, host="127.0.0.1")
        (listener,) = await nursery.start(serve)
        url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
        with PrivateServer.start(binary, tmp_path / "lk", webhook_urls=[url], timeout=60) as server:
            worker, offers = make_worker(server.url, key_of(server), agent_name="")
            async with (
                running(worker),
                ServerApi(Endpoint.parse(server.url), key_of(server)) as api,
            ):
                await receives_rooms(offers, api)
                done = await trio.run_process(
                    [sys.executable, "-m", "bridge.cli", "check", "--json", *flags],
                    capture_stdout=True,
                    capture_stderr=True,
                    check=False,
                    env=clean_environment(
                        {**environment(server), "ROOM_ACTORS_DATA_DIR": str(tmp_path / "data")}
                    ),
                )
                assert await api.list_rooms(["after"]) == []
                await api.create_room("after")
                await offers.until(lambda: "after" in offers.rooms())
                await webhooks.until("room_started", "after")
                rooms = [room.name for room in await api.list_rooms()]
        nursery.cancel_scope.cancel()
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert [name for name in offers.rooms() if name.startswith(CHECK_PREFIX)] == []
    assert [name for name in rooms if name.startswith(CHECK_PREFIX)] == []
    received = [(event, name) for event, name in webhooks.received if name.startswith(CHECK_PREFIX)]
    media = {row["name"]: row for row in json.loads(done.stdout)["checks"]}[MEDIA]
    if flags:
        assert (received, done.stderr) == ([], b"")
        assert (media["status"], media["found"]) == ("left out", "left out (--no-media)")
    else:
        (name,) = {name for _, name in received}
        assert ("room_started", name) in received
        assert done.stderr.decode() == check_module.MAKES_A_ROOM.format(room=name)
        assert media["status"] == "ok"


async def test_it_says_whether_webhooks_arrive_and_passes_beside_a_worker(tmp_path: Path) -> None:
    """Without a worker it listens at the port itself; a worker that runs has the port."""
    binary, port = find_server(), free_port(socket.SOCK_STREAM)
    assert binary is not None
    url = f"http://127.0.0.1:{port}/livekit/webhook"
    with PrivateServer.start(binary, tmp_path / "lk", webhook_urls=[url], timeout=60) as server:
        data = tmp_path / "data"
        env = {
            **environment(server),
            "ROOM_ACTORS_HTTP": f"127.0.0.1:{port}",
            "ROOM_ACTORS_DATA_DIR": str(data),
        }

        async def check() -> dict[str, dict[str, str]]:
            done = await trio.run_process(
                [sys.executable, "-m", "bridge.cli", "check", "--json"],
                capture_stdout=True, capture_stderr=True, check=False, env=clean_environment(env),
            )  # fmt: skip
            results = {row["name"]: row for row in json.loads(done.stdout)["checks"]}
            assert (done.returncode, failed(results)) == (0, []), results
            return results

        alone = await check()
        assert alone[WEBHOOKS]["found"] == f"arrive at {url}"
        assert alone["HTTP port"]["found"] == f"127.0.0.1:{port} is free"
        async with running_agent(server, data, env=env) as agent:
            await agent.logged("http_listening")
            await agent.logged("worker_registered")
            beside = await check()
            assert beside[WEBHOOKS]["found"] == f"arrive at the worker at 127.0.0.1:{port}"
            assert beside["HTTP port"]["found"] == (
                f"127.0.0.1:{port} is that of the worker that runs "
                f"(process {agent.process.pid}): registered"
            )
            assert not agent.events("room_started")


async def receives_rooms(offers: JobRecorder, api: ServerApi) -> None:
    """Wait until an unnamed worker is really sent to each new room."""
    for number in itertools.count():
        await api.create_room(f"before-{number}")
        with trio.move_on_after(1):
            await offers.until(lambda: bool(offers.assigned))
            return


async def test_a_room_that_is_deleted_before_we_come_is_not_left_behind(
    livekit_server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who joins a deleted room makes it anew: it is deleted with its maker."""
    key = key_of(livekit_server)
    lives: list[str] = []
    real = probes.try_media

    async with ServerApi(Endpoint.parse(livekit_server.url), key) as api:

        async def after_its_owner(url: str, token: str, *, deadline: float) -> MediaPath:
            (room,) = [r for r in await api.list_rooms() if r.name.startswith(CHECK_PREFIX)]
            await api.delete_room(room.name)
            path = await real(url, token, deadline=deadline)
            (anew,) = await api.list_rooms([room.name])
            lives.extend((room.sid, anew.sid))
            assert (anew.empty_timeout, anew.departure_timeout) == (probes.ROOM_SECONDS,) * 2
            return path

        monkeypatch.setattr(probes, "try_media", after_its_owner)
        results = await probe(livekit_server.url, key)
        assert results[MEDIA].status == "ok"
        assert len(set(lives)) == 2
        assert not [r for r in await api.list_rooms() if r.name.startswith(CHECK_PREFIX)]


def test_a_proxy_that_is_not_used_is_named(
    livekit_server: PrivateServer, room_actors: RunCommand
) -> None:
    """The SDK would go through it, whatever NO_PROXY says."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        proxy = f"http://user:hunter2@127.0.0.1:{nobody.getsockname()[1]}"
    env = {**environment(livekit_server), "HTTP_PROXY": proxy, "NO_PROXY": "127.0.0.1"}
    done = room_actors("check", "--json", **env)
    results = results_of(done)
    assert (done.returncode, failed(results)) == (0, [])
    assert results[SERVER]["do"].startswith("HTTP_PROXY is not used: LiveKit must be reached")
    assert results[MEDIA]["found"].startswith("connected over")
    assert "hunter2" not in done.stdout + done.stderr


# ---------------------------------------------------------------- one thing wrong


def test_a_wrong_secret_is_named_and_not_shown(
    livekit_server: PrivateServer, room_actors: RunCommand
) -> None:
    wrong = "not-the-secret-of-this-server-at-all"
    done = room_actors(
        "check", "--json", **{**environment(livekit_server), "LIVEKIT_API_SECRET": wrong}
    )
    results = results_of(done)
    assert done.returncode == 1
    assert failed(results) == [KEY]
    assert "secret does not belong to this API key" in results[KEY]["found"]
    assert "LIVEKIT_API_SECRET" in results[KEY]["do"]
    assert [results[n]["status"] for n in (WORKER, VERSION, ROOM_SERVICE, MEDIA)] == ["skipped"] * 4
    assert results[MEDIA]["found"] == f"not tried: fix '{KEY}' first"
    assert wrong not in done.stdout + done.stderr
    assert "eyJ" not in done.stdout + done.stderr


async def test_an_unknown_key_is_named(livekit_server: PrivateServer) -> None:
    results = await probe(livekit_server.url, ANY_KEY)
    assert results[KEY].status == "failed"
    assert "does not know this API key" in results[KEY].detail


def test_a_wrong_setting_is_in_the_table_and_is_exit_code_2(
    room_actors: RunCommand, tmp_path: Path
) -> None:
    done = room_actors("check", "--json", "--max-rooms", "0", "--url", "nowhere")
    results = results_of(done)
    assert done.returncode == 2
    assert failed(results)[:4] == ["--url", "--api-key", "--api-secret", "--max-rooms"]
    assert results["--api-key"]["found"] == "--api-key is missing"
    assert results["--api-key"]["do"] == "set it by --api-key KEY or LIVEKIT_API_KEY"
    assert "set by" not in results["--max-rooms"]["found"]
    assert results["--keep"]["found"] == "90d (default)"
    assert results["--keep-size"]["found"] == "10GB (default)"
    assert results["--status-every"]["found"] == "30s (default)"
    assert results["--visible"]["found"] == "off (default)"
    assert all(results[name]["status"] == "skipped" for name in PROBES)
    assert len(done.stderr.splitlines()) == 1


def test_a_data_directory_that_is_none_and_a_port_that_is_taken(
    livekit_server: PrivateServer, room_actors: RunCommand, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = room_actors(
            "check", "--json", "--data-dir", str(tmp_path / "file"), "--http", address,
            **environment(livekit_server),
        )  # fmt: skip
    results = results_of(done)
    assert done.returncode == 1
    assert failed(results) == ["data directory", "store", "HTTP port"]
    assert "File exists" in results["data directory"]["found"]
    assert "ROOM_ACTORS_DATA_DIR" in results["data directory"]["do"]
    assert results["HTTP port"]["found"] == f"{address}: port is taken by another program"
    assert "ROOM_ACTORS_HTTP" in results["HTTP port"]["do"]


def test_a_full_disk_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(check_module.shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 20))
    read = check_module.read_settings({"data-dir": str(tmp_path)}, {})
    result = check_module._data_dir(read)
    assert result.status == "failed"
    assert "5 MiB free" in result.detail
    assert "at least 100 MiB" in result.do


async def store_check(data_dir: Path) -> CheckRow:
    read = check_module.read_settings({"data-dir": str(data_dir)}, {})
    return await trio.to_thread.run_sync(check_module._store, read)


async def test_the_store_is_looked_at_and_what_is_in_it_is_told(tmp_path: Path) -> None:
    result = await store_check(tmp_path)
    assert (result.status, "sessions" in result.detail) == ("ok", False)
    async with open_store(tmp_path, instance="w") as archive:
        history = History()
        history.begin()
        await history.write_to(archive)
        result = await store_check(tmp_path)
        assert result.status == "ok"
        assert f"1 sessions are kept, a worker runs (process {os.getpid()})" in result.detail
    (tmp_path / FILE).write_bytes(b"?" * 5_000)
    result = await store_check(tmp_path)
    assert result.status == "failed"
    assert str(tmp_path / FILE) in result.detail
    assert "--data-dir" in result.do


def test_too_few_open_files_are_told_with_the_number_that_is_enough(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(check_module.machine.resource, "getrlimit", lambda _: (256, 256))
    result = check_module._open_files()
    assert result.status == "failed"
    assert result.do == "raise it: ulimit -n 304 or more"
    read = check_module.read_settings({"max-rooms": "100"}, {})
    rooms = next(row for row in TABLE if row.name == "max-rooms")
    asked = check_module._setting(rooms, read)
    assert asked.status == "failed"
    assert "100 rooms need 1264 open files, the limit is 256" in asked.detail


async def test_a_server_that_is_not_there(room_actors: RunCommand) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    results = await probe(f"ws://127.0.0.1:{port}")
    assert results[SERVER].detail == f"cannot reach 127.0.0.1:{port}: Connection refused"
    assert "LIVEKIT_URL" in results[SERVER].do
    assert {r.status for name, r in results.items() if name != SERVER} == {"skipped"}


async def test_a_host_that_nobody_knows() -> None:
    results = await probe("ws://no-such-host.invalid")
    assert results[SERVER].status == "failed"
    assert "cannot reach no-such-host.invalid" in results[SERVER].detail


async def test_a_server_that_is_not_livekit() -> None:
    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(answer) as address:
        results = await probe(f"ws://{address}")
    assert results[SERVER].status == "failed"
    assert "no LiveKit worker endpoint at this URL" in results[SERVER].detail
    assert "LIVEKIT_URL" in results[SERVER].do


@pytest.fixture
async def old_server() -> AsyncIterator[FakeLiveKit]:
    async def speak(socket: WebSocketConnection, server: FakeLiveKit) -> None:
        data = await socket.get_message()
        assert isinstance(data, bytes)
        server.receive(agent.WorkerMessage.FromString(data))
        await socket.send_message(server_messages.registered(version="1.7.2"))
        server.receive(agent.WorkerMessage.FromString(bytes(await socket.get_message())))  # pyright: ignore[reportArgumentType]

    async with fake_livekit(speak) as server:
        yield server


async def test_a_server_that_is_too_old(old_server: FakeLiveKit) -> None:
    results = await probe(old_server.url)
    assert results[VERSION].status == "failed"
    assert "1.7.2 is too old" in results[VERSION].detail
    assert results[VERSION].do == "install a newer livekit-server"


async def test_the_worker_that_is_tried_can_get_no_job(old_server: FakeLiveKit) -> None:
    """It registers under a name nobody dispatches, and says at once that it is full."""
    await probe(old_server.url)
    register, status = old_server.received
    assert register.register.agent_name.startswith("room-actors-check-")
    assert status.update_worker.status == agent.WorkerStatus.WS_FULL


@pytest.mark.parametrize("version", ["1.7.2", "0.15.1", "v1.2", "1.7.99-beta"])
def test_versions_that_will_not_do(version: str) -> None:
    assert "1.8.0" in (version_problem(version) or "")


@pytest.mark.parametrize("version", ["1.8.0", "1.13.5", "v2.0", "1.10", "", "main-abc"])
def test_versions_that_will_do_or_tell_nothing(version: str) -> None:
    assert version_problem(version) is None


@pytest.mark.parametrize("seconds, side", [(4, "ahead of"), (-4, "behind"), (120, "ahead of")])
async def test_a_clock_that_is_off_but_stands_in_the_tokens_limit(
    livekit_server: PrivateServer, monkeypatch: pytest.MonkeyPatch, seconds: float, side: str
) -> None:
    shifted = SimpleNamespace(**{**vars(time), "time": lambda: time.time() + seconds})
    monkeypatch.setattr(server_clock, "time", shifted)
    results = await probe(livekit_server.url, key_of(livekit_server))
    assert results[CLOCK].status == "failed"
    offset = re.search(f"([0-9.]+) s {side} the server's", results[CLOCK].detail)
    assert offset is not None
    assert abs(float(offset[1]) - abs(seconds)) <= 0.2
    assert "NTP" in results[CLOCK].do
    assert results[KEY].status == "ok"


async def test_a_clock_that_is_so_far_off_that_no_token_is_taken(
    livekit_server: PrivateServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: time.time() - 3600))
    results = await probe(livekit_server.url, key_of(livekit_server))
    assert results[CLOCK].status == "failed"
    assert "clock differs too much" in results[CLOCK].detail


MEDIA_PROGRAM = """
import json, sys, trio, trio_asyncio
from attrs import asdict
from bridge.cli.probes import ServerCheck
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.tokens import ApiKey

async def main():
    url, key, secret = sys.argv[1:]
    check = ServerCheck(Endpoint.parse(url), ApiKey(key, secret), "a", media_deadline=3.0)
    async with trio_asyncio.open_loop():
        return await check.run()

print(json.dumps({row.name: asdict(row) for row in trio.run(main)}))
"""


def test_media_that_does_not_come_through(livekit_server: PrivateServer, tmp_path: Path) -> None:
    """A server that tells its clients an address nobody answers at.  In a process of its
    own, for it dies of a connection that was given up."""
    binary = find_server()
    assert binary is not None
    nowhere = {"rtc": {"node_ip": "198.51.100.7", "ips": {"includes": ["198.51.100.7/32"]}}}
    with PrivateServer.start(binary, tmp_path, nowhere) as server:
        done = subprocess.run(
            [sys.executable, "-c", MEDIA_PROGRAM, server.url, server.api_key, server.api_secret],
            capture_output=True, text=True, check=False, env=clean_environment({}),
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    results = json.loads(done.stdout)
    assert failed(results) == [MEDIA]
    assert results[MEDIA]["detail"] == "no connection within 3 s"
    assert "rtc.node_ip" in results[MEDIA]["do"]
