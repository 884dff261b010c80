"""The checks before every route: the host, the client, its token, and requests of other sites."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final, final
from urllib.parse import quote

from starlette.responses import RedirectResponse

from bridge.config.public_address import PublicAddress
from bridge.http.server.exchange import App, Message
from bridge.http.server.problem import problem
from bridge.http.server.sign_in import Access, Verdict, client_of

SAFE_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)
"""Headers of every answer.  A route can set its own value."""

ASK_TOKEN: Final = {"www-authenticate": 'Bearer realm="room-actors"'}
SIGN_IN: Final = "/signin"
"""A browser without a token is sent here."""

Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]


@final
class Guard:
    """An ASGI application around another."""

    def __init__(
        self,
        inner: App,
        *,
        loopback: bool,
        access: Access | None,
        front: PublicAddress,
        open_paths: Collection[str],
        any_host: Collection[str],
    ) -> None:
        self._inner = inner
        self._loopback = loopback
        self._access = access
        self._front = front
        self._open = open_paths
        self._any_host = any_host

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                names = {name.lower() for name, _ in given}
                given += [row for row in SAFE_HEADERS if row[0] not in names]
                message = {**message, "headers": given}
            await send(message)

        scope = self._as_meant(scope)
        await self._answer(scope)(scope, receive, safely)

    def _as_meant(self, scope: Message) -> Message:
        """The request as the client sent it to the proxy: its path, address and scheme."""
        address, *port = scope["client"]
        forwarded = (value for name, value in scope["headers"] if name == b"x-forwarded-for")
        client = (self._front.client(address, forwarded), *port)
        raw = self._front.inner(scope["raw_path"].decode("latin-1")).encode("latin-1")
        path = self._front.inner(scope["path"])
        by_https = self._front.trusts(address) and _last_said_https(scope)
        scheme = "https" if by_https else scope["scheme"]
        return {**scope, "client": client, "scheme": scheme, "path": path, "raw_path": raw}

    def _answer(self, scope: Message) -> App:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"")
        if scope["path"] not in self._any_host and not self._front.knows(
            host, loopback=self._loopback
        ):
            return problem(421, "Host must be localhost, a loopback address or one of --http-host")
        if _from_another_site(scope["method"], headers):
            return problem(403, "a page of another site cannot ask for this")
        verdict = self._may(scope, headers.get(b"authorization", b""))
        if verdict == "yes":
            return self._inner
        if verdict == "wait":
            assert self._access is not None
            wait = str(self._access.wait(client_of(scope)))
            headers_back = {"retry-after": wait, "connection": "close"}
            return problem(429, "too many wrong tokens came from there", headers_back)
        if self._is_a_page(scope, headers):
            root = self._front.root
            to = quote(root + _target(scope), safe="")
            return RedirectResponse(f"{root}{SIGN_IN}?to={to}", 303)
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
        """True if a browser asks for a page, and there is a sign-in form."""
        html = b"text/html" in headers.get(b"accept", b"")
        return html and scope["method"] == "GET" and SIGN_IN in self._open


def _last_said_https(scope: Message) -> bool:
    """True if the proxy nearest to us says that the browser came by https."""
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-proto"]
    return b",".join(values).rpartition(b",")[2].strip().lower() == b"https"


def _target(scope: Message) -> str:
    query = scope["query_string"].decode("latin-1")
    return scope["raw_path"].decode("latin-1") + (f"?{query}" if query else "")


def _from_another_site(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """True if a page of another site makes a browser ask, and not a link that a person followed
    (W3C Fetch Metadata).  Other clients do not send these headers."""
    if headers.get(b"sec-fetch-site") != b"cross-site":
        return False
    followed = (
        headers.get(b"sec-fetch-mode") == b"navigate"
        and headers.get(b"sec-fetch-dest", b"document") == b"document"
    )
    return not (followed and method in ("GET", "HEAD"))
