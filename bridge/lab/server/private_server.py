"""A livekit-server of our own: loopback only, free ports, ends with us.

Synchronous, so that a pytest fixture can hold one; from trio, start and stop it
through `trio.to_thread.run_sync`.  It may be used from any thread.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from attrs import define, field

from bridge.lab.server.guarded_process import AT_ONCE, IN_ORDER, Guarded
from bridge.lab.server.ports import LOOPBACK, free_port
from bridge.lab.server.server_errors import ServerStartError
from bridge.lab.server.server_scope import ServerScope

Config: TypeAlias = Mapping[str, Any]
"""A part of livekit-server's configuration, as its YAML file would have it."""

PORT_RACES: Final = 5
"""Tries with other ports if another process took one first."""

PORT_WAIT: Final = 5.0
"""Seconds a restarted server waits for its old ports to become free."""

PASSED_ON: Final = ("PATH", "HOME", "TMPDIR", "TZ", "LANG")
"""Environment of the server.  Not ours: it reads LIVEKIT_KEYS, REDIS_HOST, NODE_IP and more."""

TAKEN: Final = "address already in use"


@define(eq=False)
class PrivateServer(ServerScope):
    """A running livekit-server, made by `PrivateServer.start`."""

    url: str
    """``ws://127.0.0.1:PORT``, for SDKs and workers."""
    http_url: str
    """``http://127.0.0.1:PORT``, for the server API."""
    api_key: str
    api_secret: str = field(repr=False)
    data_dir: Path
    port: int
    media_port: int
    """UDP; media over TCP is off, the server would listen for it on every address."""
    _command: tuple[str, ...] = field(alias="command", repr=False)
    _timeout: float = field(alias="timeout", repr=False)
    _process: Guarded | None = field(default=None, init=False, repr=False)

    @classmethod
    def start(
        cls,
        binary: Path,
        data_dir: Path,
        config_overrides: Config | None = None,
        *,
        webhook_urls: Sequence[str] = (),
        timeout: float = 15.0,
    ) -> Self:
        """Start a server and wait until it answers.

        `data_dir` is made if needed; it gets the configuration and the log.
        `config_overrides` is laid over the configuration, table by table, for
        example ``{"room": {"departure_timeout": 2}}`` (whole seconds).
        `webhook_urls` get LiveKit's webhooks, signed with the server's own key.
        `timeout` is in seconds.  Raises `ServerStartError`.
        """
        data_dir.mkdir(parents=True, exist_ok=True)
        for _ in range(PORT_RACES):
            server = cls._prepare(binary, data_dir, config_overrides or {}, webhook_urls, timeout)
            with contextlib.suppress(_PortTakenError):
                server.restart(port_wait=0.0)
                return server
        raise ServerStartError(
            f"livekit-server found its ports taken {PORT_RACES} times; see {data_dir}"
        )

    @classmethod
    def _prepare(
        cls,
        binary: Path,
        data_dir: Path,
        overrides: Config,
        webhook_urls: Sequence[str],
        timeout: float,
    ) -> Self:
        port = free_port(socket.SOCK_STREAM)
        media_port = free_port(socket.SOCK_DGRAM)
        key, secret = f"API{secrets.token_hex(6)}", secrets.token_urlsafe(36)
        config: dict[str, Any] = {
            "port": port,
            "bind_addresses": [LOOPBACK],
            "keys": {key: secret},
            "rtc": {
                "udp_port": media_port,
                "tcp_port": 0,
                "node_ip": LOOPBACK,
                "use_external_ip": False,
                "enable_loopback_candidate": True,
                "ips": {"includes": [f"{LOOPBACK}/32"]},
                # Without one the server sends its clients to a public STUN server.  Nobody
                # answers here.  It must not be the media port: then clients take the
                # server's own checks for answers of the STUN server and never connect.
                "stun_servers": [f"{LOOPBACK}:{port}"],
            },
            "room": {"empty_timeout": 60},
        }
        if webhook_urls:
            config["webhook"] = {"api_key": key, "urls": list(webhook_urls)}
        path = data_dir / "livekit.yaml"
        path.unlink(missing_ok=True)
        path.touch(mode=0o600, exist_ok=False)  # It will hold the secret.
        path.write_text(json.dumps(_overlaid(config, overrides), indent=1))  # JSON is YAML.
        return cls(
            url=f"ws://{LOOPBACK}:{port}",
            http_url=f"http://{LOOPBACK}:{port}",
            api_key=key,
            api_secret=secret,
            data_dir=data_dir,
            port=port,
            media_port=media_port,
            command=(str(binary), "--config", str(path)),
            timeout=timeout,
        )

    @property
    def pid(self) -> int:
        """The server's own process, the newest one after restarts."""
        if self._process is None:
            raise ServerStartError("the private livekit-server does not run")
        return self._process.pid

    @property
    def log_path(self) -> Path:
        """The server's log, over all restarts."""
        return self.data_dir / "livekit-server.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.exit_code is None

    def stop(self, grace: float = 3.0) -> None:
        """End the server in order, or with SIGKILL after `grace` seconds.  Harmless if it ended.

        People in its rooms get ``server_shutdown``.
        """
        self._end(IN_ORDER, grace)

    def kill(self) -> None:
        """End the server with SIGKILL, as a crash would, and wait until it has ended."""
        self._end(AT_ONCE, grace=5.0)

    def restart(self, *, port_wait: float = PORT_WAIT) -> None:
        """Start the server again (stopping it first, if it runs) with the same ports and keys.

        Its rooms have ended, as after any restart of a LiveKit server.  `port_wait`
        is how long to wait, in seconds, for ports that somebody took meanwhile.
        """
        self.stop()
        deadline = time.monotonic() + port_wait
        while True:
            try:
                return self._launch()
            except _PortTakenError as error:
                if time.monotonic() > deadline:
                    raise _PortTakenError(
                        f"port {self.port} or {self.media_port} was taken by another "
                        f"program while the private livekit-server was down"
                    ) from error
                time.sleep(0.1)

    def _launch(self) -> None:
        written = self.log_path.stat().st_size if self.log_path.exists() else 0
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self._process = Guarded(self._command, log=self.log_path, environment=environment)
        try:
            self._wait_until_ready(self._process, written)
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self, process: Guarded, written: int) -> None:
        """Wait until the server answers a call signed with its own key: no other server does."""
        deadline = time.monotonic() + self._timeout
        while not self._answers():
            if process.wait(0.02):
                raise self._ended_early(written)
            if time.monotonic() > deadline:
                raise ServerStartError(
                    f"livekit-server did not answer on {self.http_url} within "
                    f"{self._timeout:g} s; see {self.log_path}"
                )

    def _ended_early(self, written: int) -> ServerStartError:
        with self.log_path.open("rb") as log:
            log.seek(written)
            log_lines = log.read().decode(errors="replace").strip().splitlines()
        if any(TAKEN in line for line in log_lines):
            return _PortTakenError()
        last = log_lines[-1].replace(self.api_secret, "...") if log_lines else "it said nothing"
        return ServerStartError(f"livekit-server ended at once: {last}; see {self.log_path}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=2.0)
        token = _token(self.api_key, self.api_secret, {"roomList": True})
        try:
            connection.request(
                "POST",
                "/twirp/livekit.RoomService/ListRooms",
                body="{}",
                headers={
                    "Content-Type": "application/json",
                    "Authorization": f"Bearer {token}",
                },
            )
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _end(self, how: bytes, grace: float) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end(how, grace)


class _PortTakenError(ServerStartError):
    """Somebody took a port between our choice and the server's bind."""


def _overlaid(base: Config, over: Config) -> dict[str, Any]:
    """`base` with `over` on top of it, table by table."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = _overlaid(below, value) if both else value  # pyright: ignore[reportArgumentType]
    return merged


def _token(key: str, secret: str, grants: Mapping[str, bool]) -> str:
    """A token for the server API that is good for a minute.

    By hand (RFC 7519, HS256): `livekit.api` takes half a second to import, and
    this module must not need it.
    """
    now = int(time.time())
    claims = {"iss": key, "nbf": now - 30, "exp": now + 60, "video": grants}
    parts = [
        _base64(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)
    ]
    signed = b".".join(parts)
    signature = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    return b".".join((signed, _base64(signature))).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
