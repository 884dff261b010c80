"""Deliveries to receivers that are good, slow, broken and hostile."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.outlets.outlet_port import Attempt, AttemptResult, Delivery
from bridge.livekit.tokens import ApiKey
from bridge.outlets import http_sender
from bridge.outlets.endpoint_url import BadEndpoint, EndpointUrl, is_forbidden
from bridge.outlets.formats import FORMATS, Format
from bridge.outlets.http_sender import (
    MOST_ANSWER,
    HttpSender,
    seconds_of,
)
from bridge.outlets.signatures import Signer
from tests.outlets.receivers import (
    CERTIFICATE,
    Answer,
    Receiver,
    close_at_once,
    cut_after,
    drop_by_drop,
    endless_body,
    endless_continue,
    endless_head,
    garbage,
    hang,
    in_order,
    receiving,
    status,
)

SECRET = "whsec_" + "c2VjcmV0" * 4
DELIVERY = Delivery(
    "S1-4-0", 4, "1700000000000000", "standup", "RM_1", "participant_connected", 1.7e9,
    {"identity": "alice", "sid": "PA_1"},
)  # fmt: skip


class Addresses(trio.abc.HostnameResolver):
    """Leads every name to one address on loopback, and any port to one port."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.port = 0

    async def getaddrinfo(
        self, host: object, port: object, family: int = 0, type: int = 0, proto: int = 0,  # noqa: A002
        flags: int = 0,
    ) -> list[Any]:  # fmt: skip
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.address, self.port))]

    async def getnameinfo(self, sockaddr: object, flags: int) -> tuple[str, str]:
        raise NotImplementedError


@asynccontextmanager
async def sending(
    answer: Answer, *, timeout: float = 5.0
) -> AsyncGenerator[tuple[HttpSender, Receiver]]:
    async with receiving(answer) as receiver:
        url = EndpointUrl.parse(receiver.url)
        sender = HttpSender(url, "standard", Signer.of("standard", [SECRET]), timeout=timeout)
        yield sender, receiver
        await sender.aclose()


async def test_a_delivery_arrives_signed_with_its_id_and_on_a_connection_that_stays() -> None:
    async with sending(status(200)) as (sender, receiver):
        for number in range(3):
            attempt = await sender.send(evolve(DELIVERY, id=f"S1-{number}-0", sequence=number))
            assert attempt == Attempt(AttemptResult.DELIVERED, status=200)
        assert receiver.connections == 1
        first = receiver.received[0]
        assert first.headers["webhook-id"] == "S1-0-0"
        assert first.headers["webhook-signature"].startswith("v1,")
        assert first.headers["content-type"] == "application/json"
        assert json.loads(first.body)["data"]["identity"] == "alice"


@pytest.mark.parametrize(
    "answer, attempt",
    [
        (status(204), Attempt(AttemptResult.DELIVERED, status=204)),
        (
            status(302, "Location: http://127.0.0.1:1/"),
            Attempt(AttemptResult.FAILED, "302: redirects are not followed", 302),
        ),
        (status(410), Attempt(AttemptResult.GONE, "410: it wants no more webhooks", 410)),
        (status(429, "Retry-After: 30"), Attempt(AttemptResult.FAILED, "status 429", 429, 30.0)),
        (status(503, "Retry-After: soon"), Attempt(AttemptResult.FAILED, "status 503", 503)),
        (
            status(500, body=b"<script>\x1b[31m" * 100),
            Attempt(AttemptResult.FAILED, "status 500", 500),
        ),
        (garbage, Attempt(AttemptResult.FAILED, "what it answers is not HTTP/1.1")),
        (endless_head, Attempt(AttemptResult.FAILED, "what it answers is not HTTP/1.1")),
        (endless_continue, Attempt(AttemptResult.FAILED, "the head of its answer has no end")),
        (
            cut_after(b"HTTP/1.1 200 OK\r\nContent-Le"),
            Attempt(AttemptResult.FAILED, "it closed the connection without an answer"),
        ),
        (
            cut_after(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
            Attempt(AttemptResult.DELIVERED, status=200),
        ),
        (
            close_at_once,
            Attempt(AttemptResult.FAILED, "it closed the connection without an answer"),
        ),
    ],
)
async def test_what_each_answer_means(answer: Answer, attempt: Attempt) -> None:
    async with sending(answer) as (sender, _):
        assert await sender.send(DELIVERY) == attempt


async def test_a_gigabyte_of_answer_is_not_read() -> None:
    async with sending(endless_body) as (sender, receiver):
        assert (await sender.send(DELIVERY)).delivered
        assert (await sender.send(DELIVERY)).delivered
        assert receiver.connections == 2, "the first connection was closed"
        assert MOST_ANSWER <= 1 << 16


async def test_a_receiver_that_hangs_fails_after_the_timeout_and_is_connected_to_anew() -> None:
    async with sending(in_order(hang, status(200)), timeout=0.2) as (sender, receiver):
        attempt = await sender.send(DELIVERY)
        assert attempt == Attempt(AttemptResult.FAILED, "no answer within 0.2 s")
        assert (await sender.send(DELIVERY)).delivered
        assert receiver.connections == 2


@pytest.mark.parametrize(
    "answer, delivered",
    [
        (drop_by_drop(b"HTTP/1.1 200 OK\r\nX-Slow: aaaa"), False),
        (drop_by_drop(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\na", 0.0), True),
    ],
    ids=["head", "body"],
)
async def test_an_answer_that_drips_holds_it_up_for_a_bounded_time(
    answer: Answer, delivered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_sender, "BODY_SECONDS", 0.1)
    async with sending(answer, timeout=1.0 if not delivered else 30.0) as (sender, receiver):
        assert (await sender.send(DELIVERY)).delivered is delivered
        await sender.send(DELIVERY)
        assert receiver.connections == 2, "the first connection was closed"


async def test_a_redirect_to_itself_is_one_request() -> None:
    async with sending(status(307, "Location: /hooks")) as (sender, receiver):
        assert (await sender.send(DELIVERY)).status == 307
        assert len(receiver.received) == 1


@pytest.mark.parametrize("at_once", [False, True])
async def test_an_answer_that_nobody_asked_for_is_not_taken_for_the_next_one(at_once: bool) -> None:
    """Servers send 408 on a connection that is idle; others may send anything."""
    once = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    delivered = trio.Event()

    async def twice(stream: trio.abc.Stream, _: object) -> bool:
        await stream.send_all(once * 2 if at_once else once)
        if not at_once:
            await delivered.wait()
            await stream.send_all(once)
        return True

    async with sending(in_order(twice, status(500))) as (sender, receiver):
        assert (await sender.send(DELIVERY)).delivered
        delivered.set()
        stream = sender._stream
        if isinstance(stream, trio.SocketStream) and not at_once:
            await trio.lowlevel.wait_readable(stream.socket)
        assert (await sender.send(DELIVERY)).status == 500
        assert len(receiver.received) == 2


async def test_a_connection_is_not_used_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_sender, "MOST_AGE", 0.0)
    async with sending(status(200)) as (sender, receiver):
        for _ in range(3):
            assert (await sender.send(DELIVERY)).delivered
        assert receiver.connections == 3


async def test_a_name_is_looked_up_for_each_connection() -> None:
    """It leads to another receiver, then to an address that is refused."""
    addresses = Addresses("127.0.0.1")
    trio.socket.set_custom_hostname_resolver(addresses)
    async with receiving(status(200)) as first, receiving(status(200)) as second:
        addresses.port = first.port
        url = EndpointUrl.parse("http://hooks.example.org:9/")
        sender = HttpSender(url, "standard", Signer.of("standard", [SECRET]), timeout=5.0)
        assert (await sender.send(DELIVERY)).delivered
        await sender.aclose()
        addresses.port = second.port
        assert (await sender.send(DELIVERY)).delivered
        await sender.aclose()
        assert [len(first.received), len(second.received)] == [1, 1]
        assert second.received[0].headers["host"] == "hooks.example.org:9"


async def test_a_name_that_leads_to_a_forbidden_address_gets_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Loopback stands for it: no packet of a test goes elsewhere."""
    async with sending(status(200)) as (sender, receiver):
        monkeypatch.setattr(http_sender, "is_forbidden", lambda ip: ip == "127.0.0.1")
        attempt = await sender.send(DELIVERY)
        assert attempt.detail == "its name leads to a link-local address"
        assert receiver.received == []


async def test_a_handshake_that_never_ends_leaves_no_connection_open() -> None:
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        url = EndpointUrl.parse(f"https://127.0.0.1:{listener.socket.getsockname()[1]}/")
        sender = HttpSender(url, "standard", Signer.of("standard", [SECRET]), timeout=0.2)
        closed = trio.Event()

        async def silent(stream: trio.SocketStream) -> None:
            while await stream.receive_some(4096):
                pass
            closed.set()

        nursery.start_soon(trio.serve_listeners, silent, [listener])
        attempt = await sender.send(DELIVERY)
        assert attempt.detail == "no answer within 0.2 s"
        with trio.fail_after(10):
            await closed.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("form", FORMATS)
async def test_no_text_of_a_room_is_in_a_header(form: Format) -> None:
    hostile = "a\r\nX-Injected: yes\r\n\r\nGET / HTTP/1.1"
    async with receiving(status(200)) as receiver:
        signer = Signer.of(form, [SECRET], ApiKey("devkey", "a secret of thirty-two characters"))
        sender = HttpSender(EndpointUrl.parse(receiver.url), form, signer, timeout=5.0)
        delivery = evolve(
            DELIVERY, room=hostile, session=hostile, room_sid=hostile, event=hostile,
            data={"identity": hostile},
        )  # fmt: skip
        assert (await sender.send(delivery)).delivered
        await sender.aclose()
    (request,) = receiver.received
    assert request.headers.keys() <= {
        "host", "user-agent", "content-type", "content-length", "authorization",
        "webhook-id", "webhook-timestamp", "webhook-signature",
    }  # fmt: skip
    assert not any("njected" in value for value in request.headers.values())


async def test_an_id_of_two_lines_is_never_sent() -> None:
    async with sending(status(200)) as (sender, receiver):
        with pytest.raises(ValueError, match="more than one line"):
            await sender.send(evolve(DELIVERY, id="a\r\nX-Injected: yes"))
        assert receiver.received == []


async def test_a_connection_that_the_receiver_closed_meanwhile_is_no_failure() -> None:
    async def once(stream: trio.abc.Stream, request: object) -> bool:
        await status(200)(stream, request)  # pyright: ignore[reportArgumentType]
        return False

    async with sending(once) as (sender, receiver):
        for _ in range(3):
            assert (await sender.send(DELIVERY)).delivered
        assert receiver.connections == 3


async def test_nobody_listens() -> None:
    async with receiving(status(200)) as receiver:
        url = EndpointUrl.parse(receiver.url)
    sender = HttpSender(url, "standard", Signer.of("standard", [SECRET]))
    attempt = await sender.send(DELIVERY)
    assert (attempt.result, attempt.status) == (AttemptResult.FAILED, None)
    assert attempt.detail


@pytest.mark.parametrize(
    "trusted, host, delivered",
    [(True, "localhost", True), (False, "localhost", False), (True, "127.0.0.1", False)],
)
async def test_certificates_are_checked(trusted: bool, host: str, delivered: bool) -> None:
    """The receiver's is made for localhost; 127.0.0.1 is another name."""
    context = ssl.create_default_context()
    if trusted:
        context.load_verify_locations(CERTIFICATE)
    async with receiving(status(200), tls=True) as receiver:
        url = EndpointUrl.parse(f"https://{host}:{receiver.port}/")
        sender = HttpSender(url, "standard", Signer.of("standard", [SECRET]), tls=context)
        attempt = await sender.send(DELIVERY)
        await sender.aclose()
    assert attempt.delivered is delivered
    if not delivered:
        assert attempt.detail.startswith("its certificate is not trusted")


@pytest.mark.parametrize(
    "url, why",
    [
        ("ftp://example.org/", "must begin with"),
        ("https://", "must begin with"),
        ("https://user:pass@example.org/", "must not hold a user"),
        ("https://example.org/#x", "fragment"),
        ("http://169.254.169.254/latest", "link-local"),
        ("http://[fe80::1]/", "link-local"),
        ("http://[::ffff:169.254.169.254]/", "link-local"),
        ("http://exa mple.org/", "blanks"),
        ("http://a..example.org/", "no name"),
        ("http://" + "a" * 64 + ".org/", "no name"),
        ("http://example.org:99999/", "no URL"),
    ],
)
def test_a_wrong_url_is_refused_with_the_reason(url: str, why: str) -> None:
    with pytest.raises(BadEndpoint, match=why):
        EndpointUrl.parse(url)


def test_what_is_shown_of_a_url_has_neither_path_nor_query() -> None:
    url = EndpointUrl.parse("https://hooks.example.org:8443/services/T0/SECRET?key=SECRET")
    assert url.shown == "https://hooks.example.org:8443/"


def test_loopback_and_private_addresses_are_the_usual_case() -> None:
    assert not any(map(is_forbidden, ("127.0.0.1", "10.0.0.1", "::1", "example.org")))


def test_retry_after_is_seconds_or_a_date() -> None:
    assert seconds_of(b"120", 0.0) == 120.0
    assert seconds_of(b"Thu, 01 Jan 1970 00:02:00 GMT", 0.0) == 120.0
    assert seconds_of(b"Thu, 01 Jan 1970 00:02:00 GMT", 1e9) == 0.0


@given(st.binary(max_size=60))
def test_any_retry_after_is_seconds_or_nothing(value: bytes) -> None:
    seconds = seconds_of(value, 0.0)
    assert seconds is None or seconds >= 0
