"""What stands before every row: is this our host, may this client, what a browser may do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Final, final
from urllib.parse import quote

from starlette.responses import RedirectResponse

from bridge.http.address import is_loopback
from bridge.http.exchange import App, Message
from bridge.http.problem import problem
from bridge.http.signin import Access, Verdict, client_of

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
SIGN_IN: Final = "/signin"
"""Where a browser that may not is sent."""

Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


@final
class Guard:
    """An ASGI application around another."""

    def __init__(
        self, inner: App, *, loopback: bool, access: Access | None, open_paths: Collection[str]
    ) -> None:
        self._inner = inner
        self._loopback = loopback
        self._access = access
        self._open = open_paths

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                given += [row for row in SAFE_HEADERS if row[0] not in names]
                message = {**message, "headers": given}
            await send(message)

        await self._answer(scope)(scope, receive, safely)

    def _answer(self, scope: Message) -> App:
        headers = dict(scope["headers"])
        if self._loopback and not _names_this_machine(headers.get(b"host", b"")):
            return problem(421, "Host must be localhost or a loopback address")
        verdict = self._may(scope, headers.get(b"authorization", b""))
        if verdict == "yes":
            return self._inner
        if verdict == "wait":
            assert self._access is not None
            wait = str(self._access.wait(client_of(scope)))
            return problem(429, "too many wrong tokens came from there", {"retry-after": wait})
        if self._is_a_page(scope, headers):
            return RedirectResponse(f"{SIGN_IN}?to={quote(_target(scope), safe='')}", 303)
        return problem(401, "Authorization: Bearer TOKEN is missing or wrong", ASK_TOKEN)

    def _may(self, scope: Message, shown: bytes) -> Verdict:
        if self._access is None or scope["path"] in self._open:
            return "yes"
        if not shown:
            return "yes" if self._access.remembers(scope) else "no"
        scheme, _, word = shown.partition(b" ")
        if scheme.title() != b"Bearer":
            return "no"
        return self._access.shown(word.strip(), client_of(scope))

    def _is_a_page(self, scope: Message, headers: dict[bytes, bytes]) -> bool:
        """A person's browser wants it, and there is a form to send it to."""
        html = b"text/html" in headers.get(b"accept", b"")
        return html and scope["method"] == "GET" and SIGN_IN in self._open


def _target(scope: Message) -> str:
    query = scope["query_string"].decode("latin-1")
    return scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")


def _names_this_machine(host: bytes) -> bool:
    name = host.decode("latin-1")
    bare, _, port = name.rpartition(":")
    # Without a port the last colon is none, or one inside of [::1].
    bare = bare if port.isdecimal() and bare else name
    return is_loopback(bare.removeprefix("[").removesuffix("]"))
