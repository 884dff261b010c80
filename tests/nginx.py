"""A real nginx before a site of ours, for the tests that want one.

Without nginx these tests are named as not run, in red, at the end, or fail where
ROOM_ACTORS_NGINX is `required`.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from bridge.config.http_address import HttpAddress
from bridge.lab.server.ports import LOOPBACK, free_port
from tests.closing import NO_NGINX, not_run

PLACES: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin"
"""Debian has it where only root looks."""
BEGIN: Final = 10.0
"""Seconds; only bounds a test that would hang."""

StartNginx: TypeAlias = Callable[[HttpAddress], HttpAddress]
"""Starts nginx before a site; its address."""

CONFIG: Final = """
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log {folder}/errors warn;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen {listen};
        proxy_set_header Host rooms.example.org;
        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
        proxy_set_header X-Forwarded-Proto $scheme;
        {shipped}
        location /cut/rooms/ {{ proxy_pass http://{site}/; }}
    }}
}}
"""
"""`/rooms/` is passed on whole, as to `--http-root /rooms`, by the file that we ship; of
`/cut/rooms/` nginx takes the path away."""
SHIPPED: Final = (Path(__file__).resolve().parents[1] / "deploy" / "nginx.conf").read_text()


def nginx_path() -> str | None:
    return shutil.which("nginx", path=PLACES)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if "start_nginx" in getattr(item, "fixturenames", ()) and nginx_path() is None:
        if os.environ.get("ROOM_ACTORS_NGINX") == "required":
            pytest.fail("there is no nginx, and ROOM_ACTORS_NGINX=required", pytrace=False)
        not_run(item, NO_NGINX, "there is no nginx on this machine")


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[StartNginx]:
    """Starts nginx, which ends with the test."""
    folder = tmp_path / "nginx"
    folder.mkdir()
    running: list[subprocess.Popen[bytes]] = []

    def start(site: HttpAddress) -> HttpAddress:
        address = HttpAddress(LOOPBACK, free_port(socket.SOCK_STREAM))
        config = folder / "nginx.conf"
        shipped = SHIPPED.replace("127.0.0.1:8088", str(site)).replace("$host", "rooms.example.org")
        config.write_text(CONFIG.format(folder=folder, listen=address, site=site, shipped=shipped))
        path = nginx_path()
        assert path is not None
        command = [path, "-p", str(folder), "-c", str(config), "-e", str(folder / "errors")]
        running.append(subprocess.Popen(command))
        _wait_for(address, running[-1])
        return address

    yield start
    for process in running:
        process.terminate()
        process.wait()


def _wait_for(address: HttpAddress, process: subprocess.Popen[bytes]) -> None:
    for _ in range(int(BEGIN / 0.05)):
        try:
            socket.create_connection((address.host, address.port)).close()
        except ConnectionRefusedError:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        else:
            return
    raise AssertionError(f"nginx does not listen at {address}")
