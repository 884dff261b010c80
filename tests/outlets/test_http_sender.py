"""Deliveries to receivers that are good, slow, broken and hostile."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from actors.outlets.outlet_port import Attempt, AttemptResult, Delivery
from bridge.outlets.endpoint_url import BadEndpoint, EndpointUrl, is_forbidden
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
    endless_body,
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
