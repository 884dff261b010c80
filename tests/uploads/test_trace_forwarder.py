"""Traces are passed on to a collector as they came, and nobody waits for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import define, field
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs

from bridge.http.server.routes import HttpRoute, app
from bridge.outlets.endpoint_url import EndpointUrl
from bridge.uploads import trace_forwarder
from bridge.uploads.trace_forwarder import TraceForwarder
from bridge.uploads.upload_desk import Upload
from tests.http.site import HANG, open_site
from tests.uploads.agent_uploads import captured


@define(eq=False)
class Collector:
    """An OTLP collector that answers as it is told."""

    statuses: list[int]
    """Of the next answers; the last one stays."""
    bodies: list[tuple[bytes, str | None]] = field(factory=list[tuple[bytes, str | None]])
    url: str = ""

    async def answer(self, request: Request) -> Response:
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        body = await request.body()
        if status == 200:
            self.bodies.append((body, request.headers.get("content-encoding")))
        return Response(status_code=status)


@asynccontextmanager
async def open_collector(*statuses: int) -> AsyncGenerator[Collector, None]:
    collector = Collector(list(statuses))
    served = app([HttpRoute("POST", "/v1/traces", collector.answer)], loopback=True)
    async with open_site(served) as site:
        collector.url = f"http://{site.address}"
        yield collector


async def send(collector: Collector, *uploads: Upload, path: str = "") -> TraceForwarder:
    """Forward these until each has its end."""
    forwarder = TraceForwarder(EndpointUrl.parse(collector.url + path))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(forwarder.run)
        for upload in uploads:
            forwarder.take(upload)
        with trio.fail_after(HANG):
            while sum(forwarder.counts.values()) < len(uploads):  # noqa: ASYNC110
                await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    return forwarder


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
async def test_traces_arrive_as_they_came(path: str):
    bodies = captured("traces")
    async with open_collector(200) as collector:
        uploads = [Upload("traces", body, packed=True) for body in bodies]
        forwarder = await send(collector, *uploads, Upload("traces", b"plain"), path=path)
    assert collector.bodies == [*((body, "gzip") for body in bodies), (b"plain", None)]
    assert forwarder.counts == {"forwarded": len(bodies) + 1}
    assert forwarder._bytes == 0


async def test_a_collector_that_is_busy_is_asked_again_and_one_that_refuses_is_not(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(trace_forwarder, "PAUSES", (0.0, 0.0))
    upload = Upload("traces", b"x")
    async with open_collector(503, 429, 200) as collector:
        assert (await send(collector, upload)).counts == {"forwarded": 1}
    with capture_logs() as logs:
        async with open_collector(400, 200) as collector:
            assert (await send(collector, upload)).counts == {"failed": 1}
            assert collector.statuses == [200]  # one attempt
        # Nobody listens there any more.
        assert (await send(collector, upload)).counts == {"failed": 1}
    assert [line["event"] for line in logs] == ["traces_not_forwarded"] * 2
    assert all(line["collector"].count("/") == 3 for line in logs)  # without its path


async def test_what_waits_for_a_collector_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(trace_forwarder, "MOST_WAITING", 1000)
    forwarder = TraceForwarder(EndpointUrl.parse("http://127.0.0.1:9"))
    for _ in range(10):
        forwarder.take(Upload("traces", bytes(300)))
    assert forwarder.counts == {"dropped": 7}
    assert forwarder._bytes == 900
