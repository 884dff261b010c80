"""A running worker's API, asked by a command."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from typing import Any, Final, final
from urllib.parse import quote, urlsplit

from bridge.config.http_address import HttpAddress
from bridge.config.settings import SettingsError
from bridge.output.harmless import harmless

TIMEOUT: Final = 30.0
"""Seconds for one answer."""
MOST_ANSWER: Final = 1_000_000
"""Bytes of an answer that are read."""


class WorkerUnreachable(Exception):
    """The worker does not answer, or its answer is not that of a worker."""


class OrderRefused(Exception):
    """The worker answered with an error.  The text is its own."""


@final
class WorkerApi:
    """The API at one address."""

    def __init__(self, url: str, token: str | None) -> None:
        """`url` is as `http://127.0.0.1:8088`, with a proxy's path.  Raises `SettingsError`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise SettingsError(
                f"--api {harmless(url, 200)!r} is no address; give http://HOST:PORT or https://HOST"
            )
        self._url = url
        self._secure = parts.scheme == "https"
        self._netloc = parts.netloc
        self._root = parts.path.rstrip("/")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> Any:
        return self._ask("GET", path, b"", {})

    def post(self, path: str, body: bytes = b"", kind: str = "application/json") -> Any:
        return self._ask("POST", path, body, {"Content-Type": kind})

    def _ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Any:
        try:
            status, content = self._answer(method, path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            why = getattr(error, "strerror", None) or type(error).__name__
            raise WorkerUnreachable(
                f"no worker answers at {self._url} ({why}); start one, or name it by --api"
            ) from None
        try:
            answer = json.loads(content)
        except ValueError:
            raise WorkerUnreachable(
                f"what answers at {self._url} is no worker (status {status})"
            ) from None
        if 200 <= status < 300:
            return answer
        detail = answer.get("detail") if isinstance(answer, dict) else None
        if status == 401:
            detail = "the token is missing or wrong: set --token or ROOM_ACTORS_HTTP_TOKEN"
        raise OrderRefused(harmless(str(detail or f"status {status}"), 400))

    def _answer(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        connection: http.client.HTTPConnection
        if self._secure:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(self._netloc, timeout=TIMEOUT, context=context)
        else:
            connection = http.client.HTTPConnection(self._netloc, timeout=TIMEOUT)
        try:
            connection.request(
                method, f"{self._root}{path}", body or None, {**self._headers, **headers}
            )
            answer = connection.getresponse()
            return answer.status, answer.read(MOST_ANSWER)
        finally:
            connection.close()


def local_url(address: HttpAddress) -> str:
    """The URL of a worker of this machine that listens at `address`."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104
    return f"http://{HttpAddress(host, address.port)}"


def quoted(text: str) -> str:
    """One part of a path."""
    return quote(text, safe="")
