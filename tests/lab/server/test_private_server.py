"""A private server: on loopback only, and gone when we are."""

from __future__ import annotations

import http.client
import http.server
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from bridge.lab.server import PrivateServer, ServerStartError, find_server, ports, private_server

PATIENCE = 60.0
"""Seconds until a test gives up waiting for something that takes milliseconds."""

OWNER = """
import sys, threading
from pathlib import Path
from bridge.lab.server import PrivateServer

def start():
    global server
    server = PrivateServer.start(Path(sys.argv[1]), Path(sys.argv[2]))

thread = threading.Thread(target=start)
thread.start()
thread.join()
print(server.pid, server.port, flush=True)
sys.stdin.read()
"""
"""A program that starts a server from a thread that ends, and then waits."""


@pytest.fixture
def binary(livekit_server: PrivateServer) -> Path:
    server_binary = find_server()
    assert server_binary is not None
    return server_binary


def call(server: PrivateServer, method: str, path: str, body: str = "") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    try:
        connection.request(method, path, body=body)
        return connection.getresponse().status
    finally:
        connection.close()


def start_owner(binary: Path, data_dir: Path) -> tuple[subprocess.Popen[str], psutil.Process]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(binary), str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert owner.stdout is not None
    pid, _ = owner.stdout.readline().split()
    return owner, psutil.Process(int(pid))


def close(owner: subprocess.Popen[str]) -> None:
    for pipe in (owner.stdin, owner.stdout):
        assert pipe is not None
        pipe.close()
    owner.wait(PATIENCE)


def test_a_started_server_answers(livekit_server: PrivateServer):
    assert call(livekit_server, "GET", "/") == http.client.OK
    assert livekit_server.url == f"ws://127.0.0.1:{livekit_server.port}"
    assert livekit_server.running


def test_it_listens_on_loopback_only_media_included(livekit_server: PrivateServer):
    sockets = psutil.Process(livekit_server.pid).net_connections(kind="inet")
    bound = {(s.laddr.ip, s.laddr.port) for s in sockets if s.status in ("LISTEN", "NONE")}
    assert bound == {
        ("127.0.0.1", livekit_server.port),
        ("127.0.0.1", livekit_server.media_port),
    }


def test_its_secret_is_in_no_repr_no_log_and_no_file_of_others(livekit_server: PrivateServer):
    assert livekit_server.api_secret not in repr(livekit_server)
    assert livekit_server.api_secret not in livekit_server.log_path.read_text()
    command = psutil.Process(livekit_server.pid).cmdline()
    assert not any(livekit_server.api_secret in word for word in command)
    mode = (livekit_server.data_dir / "livekit.yaml").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_restart_keeps_address_and_keys(own_server: PrivateServer):
    before = (own_server.url, own_server.api_key, own_server.api_secret)
    first = own_server.pid
    own_server.kill()
    assert not own_server.running
    own_server.restart()
    assert own_server.running
    assert own_server.pid != first
    assert (own_server.url, own_server.api_key, own_server.api_secret) == before
    assert call(own_server, "GET", "/") == http.client.OK


def test_a_restart_says_which_port_was_taken(own_server: PrivateServer):
    own_server.kill()
    with socket.create_server(("127.0.0.1", own_server.port)):
        with pytest.raises(ServerStartError, match=f"port {own_server.port} .* was taken"):
            own_server.restart(port_wait=0.0)
        assert not own_server.running
    own_server.restart()


def test_other_ports_are_taken_where_somebody_was_quicker(
    binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with socket.create_server(("127.0.0.1", 0)) as quicker:
        taken = [quicker.getsockname()[1]]

        def free_port(*kinds: socket.SocketKind) -> int:
            return taken.pop() if taken else ports.free_port(*kinds)

        monkeypatch.setattr(private_server, "free_port", free_port)
        with PrivateServer.start(binary, tmp_path) as server:
            assert server.port != quicker.getsockname()[1]
            assert call(server, "GET", "/") == http.client.OK


def test_stopping_twice_and_after_a_kill_is_harmless(own_server: PrivateServer):
    process = psutil.Process(own_server.pid)
    own_server.stop()
    assert not process.is_running()
    own_server.stop()
    own_server.kill()
    with pytest.raises(ServerStartError, match="does not run"):
        _ = own_server.pid


def test_kill_9_of_its_owner_ends_it(binary: Path, tmp_path: Path):
    owner, server = start_owner(binary, tmp_path)
    owner.kill()
    server.wait(PATIENCE)
    close(owner)


def test_the_end_of_the_thread_that_started_it_does_not_end_it(binary: Path, tmp_path: Path):
    owner, server = start_owner(binary, tmp_path)
    assert server.is_running()
    owner.terminate()
    server.wait(PATIENCE)
    close(owner)


@pytest.mark.skipif("sys.platform != 'linux'", reason="death signals are Linux's")
def test_kill_9_of_its_guard_ends_it(own_server: PrivateServer):
    server = psutil.Process(own_server.pid)
    guard = server.parent()
    assert guard is not None
    guard.kill()
    psutil.wait_procs([server, guard], PATIENCE)
    assert not server.is_running()
    assert not own_server.running


def test_ctrl_c_at_the_terminal_is_not_for_it(binary: Path, tmp_path: Path):
    owner, server = start_owner(binary, tmp_path)
    guard = server.parent()
    assert guard is not None
    assert os.getpgid(owner.pid) not in {os.getpgid(server.pid), os.getpgid(guard.pid)}
    os.kill(guard.pid, signal.SIGINT)
    assert server.is_running()
    close(owner)
    server.wait(PATIENCE)


def test_its_configuration_is_not_taken_from_our_environment(
    binary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, value in {
        "LIVEKIT_CONFIG": "port: 1",
        "LIVEKIT_KEYS": "other: key",
        "REDIS_HOST": "127.0.0.1:1",
        "NODE_IP": "192.0.2.1",
        "UDP_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    with PrivateServer.start(binary, tmp_path) as server:
        assert call(server, "GET", "/") == http.client.OK


def test_overrides_are_laid_over_the_configuration(binary: Path, tmp_path: Path):
    overrides = {"room": {"departure_timeout": 3}, "limit": {"num_tracks": 9}}
    with PrivateServer.start(binary, tmp_path, overrides):
        config = json.loads((tmp_path / "livekit.yaml").read_text())
    assert config["room"] == {"empty_timeout": 60, "departure_timeout": 3}
    assert config["limit"] == {"num_tracks": 9}
    assert config["bind_addresses"] == ["127.0.0.1"]


def test_webhooks_reach_the_given_address(binary: Path, tmp_path: Path):
    arrived = threading.Event()
    received: list[dict[str, str]] = []

    class Sink(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append({"event": json.loads(body)["event"], **self.headers})
            self.send_response(http.client.OK)
            self.end_headers()
            arrived.set()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink) as sink:
        threading.Thread(target=sink.serve_forever).start()
        try:
            url = f"http://127.0.0.1:{sink.server_port}/"
            with PrivateServer.start(binary, tmp_path, webhook_urls=[url]) as server:
                create_room(server, "demo")
                assert arrived.wait(PATIENCE)
        finally:
            sink.shutdown()
    assert received[0]["event"] == "room_started"
    assert received[0]["Authorization"]


def create_room(server: PrivateServer, name: str) -> None:
    token = private_server._token(server.api_key, server.api_secret, {"roomCreate": True})
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(
        "POST", "/twirp/livekit.RoomService/CreateRoom", json.dumps({"name": name}), headers
    )
    assert connection.getresponse().status == http.client.OK
    connection.close()


def test_what_is_no_program_is_said_to_be_none(tmp_path: Path):
    binary = tmp_path / "livekit-server"
    binary.write_text("not a program")
    binary.chmod(0o755)
    with pytest.raises(ServerStartError, match=r"cannot be run .*Exec format error"):
        PrivateServer.start(binary, tmp_path / "data")


def test_what_ends_at_once_is_quoted_without_the_secret(tmp_path: Path):
    binary = tmp_path / "livekit-server"
    binary.write_text('#!/bin/sh\ngrep -o \'"API.*"\' "$2"\n')
    binary.chmod(0o755)
    with pytest.raises(ServerStartError, match=r'ended at once: "API\w+": "\.\.\."; see '):
        PrivateServer.start(binary, tmp_path / "data")


def test_what_never_answers_is_given_up(tmp_path: Path):
    binary = tmp_path / "livekit-server"
    binary.write_text("#!/bin/sh\nexec sleep 60\n")
    binary.chmod(0o755)
    before = set(psutil.Process().children(recursive=True))
    with pytest.raises(ServerStartError, match=r"did not answer on http://127\.0\.0\.1:"):
        PrivateServer.start(binary, tmp_path / "data", timeout=0.1)
    started = set(psutil.Process().children(recursive=True)) - before
    _, alive = psutil.wait_procs(started, PATIENCE)
    assert not alive
