"""Behind a real nginx: page, sign-in, events, webhook, and who guesses."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from attrs import frozen
from structlog.testing import capture_logs

from actors.runtime import Node
from bridge.config.http_address import HttpAddress
from bridge.config.public_address import PublicAddress
from bridge.http.api.endpoints import StoreReaders
from bridge.http.pages.page_routes import Pages, System
from bridge.http.server.routes import HttpRoute
from bridge.http.webhook_endpoint import WebhookEndpoint
from tests.http.site import HANG
from tests.http.stored_sessions import StoredSessions, open_stored
from tests.livekit.webhooks.webhook_sender import KEY, body_of, event, headers_for
from tests.nginx import StartNginx

TOKEN = "the operator's token"
FRONT = PublicAddress(frozenset({"rooms.example.org"}), "/rooms", (ip_network("127.0.0.1"),))


@frozen
class Proxied:
    """A site, and nginx before it."""

    stored: StoredSessions
    address: HttpAddress
    webhooks: list[Any]

    @asynccontextmanager
    async def client(
        self, address: str = "127.0.0.2", **headers: str
    ) -> AsyncGenerator[httpx2.AsyncClient, None]:
        """A browser at another address, with cookies of its own."""
        transport = httpx2.AsyncHTTPTransport(local_address=address)
        async with httpx2.AsyncClient(
            base_url=f"http://{self.address}", transport=transport, timeout=HANG, headers=headers
        ) as client:
            yield client


def rows_of(webhooks: Callable[[Any], object]) -> Callable[[StoreReaders], tuple[HttpRoute, ...]]:
    """The pages and the inbox, as the program has them."""

    async def tree() -> Node:
        return Node("/", "supervisor", "running", 1, 0)

    def rows(readers: StoreReaders) -> tuple[HttpRoute, ...]:
        pages = Pages(readers.read, lambda: (), System(tree, lambda: (), dict), root=FRONT.root)
        return (*pages.rows, *WebhookEndpoint(KEY, "watcher", webhooks).rows)

    return rows


@pytest.fixture
async def proxied(tmp_path: Path, start_nginx: StartNginx) -> AsyncGenerator[Proxied, None]:
    webhooks: list[Any] = []
    with capture_logs():
        async with open_stored(
            tmp_path / "data", token=TOKEN, front=FRONT, more=rows_of(webhooks.append)
        ) as stored:
            await stored.fill(2)
            address = await trio.to_thread.run_sync(start_nginx, stored.site.address)
            yield Proxied(stored, address, webhooks)


async def test_who_signs_in_gets_where_they_wanted(proxied: Proxied):
    async with proxied.client() as http:
        away = await http.get("/rooms/history?room=live", headers={"accept": "text/html"})
        assert away.headers["location"] == "/rooms/signin?to=%2Frooms%2Fhistory%3Froom%3Dlive"
        form = await http.get(away.headers["location"])
        assert 'action="/rooms/signin"' in form.text
        done = await http.post(
            "/rooms/signin", data={"token": TOKEN, "to": "/rooms/history?room=live"}
        )
        assert done.headers["location"] == "/rooms/history?room=live"
        page = await http.get(done.headers["location"])
        assert page.status_code == 200
        assert 'href="/rooms/sessions/RM_live"' in page.text
        for path in ("/rooms/static/page.js", "/rooms/sessions/RM_live", "/cut/rooms/healthz"):
            assert (await http.get(path)).status_code == 200
        assert (await http.get("/rooms/openapi.json")).json()["servers"] == [{"url": "/rooms"}]
        listed = await http.get("/rooms/api/v1/sessions?limit=1")
        (link,) = (listed.links["next"]["url"],)
        assert link.startswith("/rooms/api/v1/sessions?limit=1&cursor=")
        assert (await http.get(link)).status_code == 200


async def test_a_proxy_may_take_the_path_away(proxied: Proxied):
    async with proxied.client(authorization=f"Bearer {TOKEN}") as http:
        for path in ("/cut/rooms/", "/cut/rooms/history", "/cut/rooms/sessions/RM_live"):
            page = await http.get(path)
            assert page.status_code == 200
            assert 'href="/rooms/history"' in page.text


async def test_events_come_as_they_happen(proxied: Proxied):
    head = (
        "GET /rooms/api/v1/events HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {TOKEN}",
        "Connection: close",
    )
    stream = await trio.open_tcp_stream(proxied.address.host, proxied.address.port)
    async with stream:
        await stream.send_all("\r\n".join((*head, "", "")).encode())
        assert b"HTTP/1.1 200" in await until(stream, b"retry: 2000")
        proxied.stored.history.talk(proxied.stored.live, 1)
        await proxied.stored.write()
        await until(stream, b'"session":"RM_live"')


async def until(stream: trio.SocketStream, wanted: bytes) -> bytes:
    """All that comes until this has come."""
    said = b""
    with trio.fail_after(HANG):
        while wanted not in said:
            data = await stream.receive_some()
            assert data, "closed before it came"
            said += data
    return said


async def test_webhooks_come_through(proxied: Proxied):
    body = body_of(event())
    async with proxied.client() as http:
        answer = await http.post("/rooms/livekit/webhook", content=body, headers=headers_for(body))
    assert answer.status_code == 200
    assert len(proxied.webhooks) == 1


async def test_who_guesses_is_known_by_the_address_that_nginx_saw(proxied: Proxied):
    statuses: list[int] = []
    async with proxied.client("127.0.0.2") as guesser, proxied.client("127.0.0.3") as other:
        for number in range(12):
            lie = {"x-forwarded-for": f"198.51.100.{number}"}
            answer = await guesser.post("/rooms/signin", data={"token": "x"}, headers=lie)
            statuses.append(answer.status_code)
        assert statuses == [403] * 10 + [429] * 2
        assert (await other.post("/rooms/signin", data={"token": "x"})).status_code == 403
        right = {"authorization": f"Bearer {TOKEN}"}
        assert (await guesser.get("/rooms/metrics", headers=right)).status_code == 200
