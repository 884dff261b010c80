"""What stands before every row: is this our host, may this client, what a browser may do."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Collection
from typing import Final, final

from bridge.http.address import is_loopback
from bridge.http.exchange import App, Message
from bridge.http.problem import problem

SAFE_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""Of every answer; a row that sets one itself has the last word."""

ASK_TOKEN: Final = {"www-authenticate": 'Bearer realm="room-actors"'}

Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


@final
class Guard:
    """An ASGI application around another."""

    def __init__(
        self, inner: App, *, loopback: bool, token: str | None, open_paths: Collection[str]
    ) -> None:
        self._inner = inner
        self._loopback = loopback
        self._token = f"Bearer {token}".encode() if token else None
        self._open = open_paths

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                given += [row for row in SAFE_HEADERS if row[0] not in names]
                message = {**message, "headers": given}
            await send(message)

        headers = dict(scope["headers"])
        if self._loopback and not _names_this_machine(headers.get(b"host", b"")):
            answer = problem(421, "Host must be localhost or a loopback address")
        elif not self._may(scope["path"], headers.get(b"authorization", b"")):
            answer = problem(401, "Authorization: Bearer TOKEN is missing or wrong", ASK_TOKEN)
        else:
            answer = self._inner
        await answer(scope, receive, safely)

    def _may(self, path: str, shown: bytes) -> bool:
        if self._token is None or path in self._open:
            return True
        scheme, _, word = shown.partition(b" ")
        return hmac.compare_digest(scheme.title() + b" " + word.strip(), self._token)


def _names_this_machine(host: bytes) -> bool:
    name = host.decode("latin-1")
    bare, _, port = name.rpartition(":")
    # Without a port the last colon is none, or one inside of [::1].
    bare = bare if port.isdecimal() and bare else name
    return is_loopback(bare.removeprefix("[").removesuffix("]"))
