"""The API of a worker, for commands: one request at a time, every answer bounded.

Standard library only, so a command starts fast.  A redirect is not followed: it would take the
token to an address that nobody named.
"""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from typing import Final, TypeVar, final
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from actors.journal.archive import ArchiveTrouble
from bridge.config.settings import SettingsError
from bridge.output.harmless import harmless

T = TypeVar("T")

MOST_BYTES: Final = 64 << 20
"""Of one answer.  A page of 500 sessions has about one megabyte."""
PATIENCE: Final = 15.0
"""Seconds to connect, and between two pieces of an answer."""
_SCHEMES: Final = ("http", "https")


class ApiTrouble(ArchiveTrouble):
    """The API gave no answer that can be shown.  The text says why and what to do."""


class NotThere(ApiTrouble):
    """404: what was asked for does not exist."""


class WrongCursor(ApiTrouble):
    """400 because of the cursor."""


@final
class ApiConnection:
    """Requests at one base URL, as `https://rooms.example.org` or `https://example.org/rooms`."""

    def __init__(self, url: str, token: str | None) -> None:
        """Raises `SettingsError` for what is no such URL, or no token."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        try:
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            raise SettingsError("--api: the port must be a number from 1 to 65535") from None
        if parts.scheme not in _SCHEMES or not self._host or parts.query or parts.fragment:
            raise SettingsError("--api: give the address of a worker, as https://rooms.example.org")
        if parts.username or parts.password:
            raise SettingsError("--api: a URL has no user or password here; give --token")
        if token is not None and not (token.isascii() and token.isprintable() and token):
            raise SettingsError("--token: it must be printable ASCII text")
        self._tls = parts.scheme == "https"
        self._root = parts.path.rstrip("/").removesuffix("/api/v1")
        self._token = token
        self.shown: Final = f"{parts.scheme}://{parts.netloc}{self._root}"
        """The address, for people."""

    def get(self, path: str, kind: type[T], query: Mapping[str, object] | None = None) -> T:
        """The answer as this class.  `path` begins with a slash.

        Raises `ApiTrouble`: `NotThere` for 404, `WrongCursor` for a cursor that nobody gave.
        """
        values = {key: str(value) for key, value in (query or {}).items()}
        asked = path + (f"?{urlencode(values)}" if values else "")
        return self._ask("GET", asked, kind, cursor="cursor" in values)

    def post(
        self, path: str, kind: type[T], body: bytes = b"", content_type: str = "application/json"
    ) -> T:
        """Send `body`; the answer as this class.  Raises `ApiTrouble`."""
        return self._ask("POST", path, kind, body, content_type)

    def _ask(
        self,
        method: str,
        target: str,
        kind: type[T],
        sent: bytes | None = None,
        sent_type: str = "",
        *,
        cursor: bool = False,
    ) -> T:
        headers = {} if sent is None else {"Content-Type": sent_type}
        status, content_type, body, location = self._answer(
            method, f"{self._root}{target}", sent, headers
        )
        if status not in (http.client.OK, http.client.ACCEPTED):
            raise self._error(status, body, location, cursor=cursor)
        if content_type.partition(";")[0].strip() != "application/json":
            raise self._not_ours()
        try:
            try:
                return msgspec.json.decode(body, type=kind)
            except msgspec.DecodeError:
                # A lone surrogate, which msgspec refuses; a participant may have one in a name.
                return msgspec.convert(json.loads(body), kind)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise ApiTrouble(
                f"{self.shown} answers in another form: this is another version of room-actors, "
                "or another program"
            ) from None

    def _answer(
        self, method: str, target: str, sent: bytes | None, more: Mapping[str, str]
    ) -> tuple[int, str, bytes, str]:
        connection = self._connection()
        headers = {"Accept": "application/json", **more}
        if self._token is not None:
            headers["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(method, target, sent, headers)
            response = connection.getresponse()
            body = response.read(MOST_BYTES + 1)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ApiTrouble(self._unreachable(error)) from None
        finally:
            connection.close()
        if len(body) > MOST_BYTES:
            raise ApiTrouble(
                f"{self.shown}: the answer has more than {MOST_BYTES >> 20} MiB: give --limit"
            )
        kind, location = response.getheader("content-type"), response.getheader("location")
        return response.status, kind or "", body, location or ""

    def _connection(self) -> http.client.HTTPConnection:
        if self._tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(
                self._host, self._port, timeout=PATIENCE, context=context
            )
        return http.client.HTTPConnection(self._host, self._port, timeout=PATIENCE)

    # ------------------------------------------------------------ errors

    def _unreachable(self, error: Exception) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{self.shown}: its certificate is not trusted: {error.verify_message}"
        if isinstance(error, ssl.SSLError):
            return f"{self.shown}: no TLS there ({error.reason}): try http://"
        if isinstance(error, socket.gaierror):
            return f"{self.shown}: this host is not known: see --api"
        if isinstance(error, TimeoutError):
            return f"{self.shown} does not answer within {PATIENCE:g} s"
        if isinstance(error, ConnectionRefusedError):
            return (
                f"{self.shown}: connection refused: no worker listens there (its --http, or the "
                "port of its proxy)"
            )
        if isinstance(error, OSError):
            return f"{self.shown}: {error.strerror or error}"
        return f"what answers at {self.shown} speaks no HTTP: see --api"

    def _not_ours(self) -> ApiTrouble:
        return ApiTrouble(f"what answers at {self.shown} is not room-actors: see --api")

    def _error(self, status: int, body: bytes, location: str, *, cursor: bool) -> ApiTrouble:
        detail = _detail(body)
        if status == http.client.UNAUTHORIZED:
            if self._token is None:
                return ApiTrouble(
                    f"{self.shown} wants a token: give --token, or ROOM_ACTORS_HTTP_TOKEN"
                )
            return ApiTrouble(f"{self.shown}: the token is wrong: see --token")
        if 300 <= status < 400:
            to = f" to {harmless(location, 200)}" if location else ""
            return ApiTrouble(f"{self.shown} redirects{to}: name that address by --api")
        if detail is None:
            return self._not_ours()
        text = f"{self.shown}: {detail or http.client.responses.get(status, status)}"
        if status == http.client.NOT_FOUND:
            return NotThere(text)
        if status == http.client.BAD_REQUEST and cursor:
            return WrongCursor(text)
        return ApiTrouble(text)


def _detail(body: bytes) -> str | None:
    """What a problem (RFC 9457) says; None where the body is none of ours."""
    try:
        problem = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(problem, dict) or problem.get("type") != "about:blank":
        return None
    detail = problem.get("detail", "")
    return harmless(detail, 300) if isinstance(detail, str) else ""


def path_of(*parts: str) -> str:
    """A path of these parts, each quoted."""
    return "".join(f"/{quote(part, safe='', errors='replace')}" for part in parts)
