"""Only a message that our LiveKit server signed is a webhook."""

from __future__ import annotations

import base64
import json
import time
from functools import partial
from typing import Any

import jwt
import pytest
from livekit.protocol.webhook import WebhookEvent

from bridge.livekit.tokens import LEEWAY, ApiKey
from bridge.livekit.webhooks.verify import OLDEST, Refusal, read_event, read_token
from tests.livekit.webhooks.webhook_sender import KEY, OTHER, body_of, event, token_for

NOW = time.time()
"""The time of the imports: minutes ago, where many tests ran before."""
signed = partial(token_for, at=NOW)
our_event = partial(event, created_at=int(NOW))
BODY = body_of(our_event())


def read(body: bytes, token: str) -> WebhookEvent | Refusal:
    promise = read_token(token, KEY, NOW)
    return promise if isinstance(promise, str) else read_event(body, promise, NOW)


def refused(body: bytes, token: str) -> Refusal | None:
    result = read(body, token)
    return None if isinstance(result, WebhookEvent) else result


def test_what_livekit_signs_is_read():
    sent = our_event("participant_joined", num_dropped=3)
    body = body_of(sent)
    assert read(body, signed(body)) == sent


def test_fields_of_a_newer_server_are_passed_over():
    body = json.dumps({**json.loads(BODY), "someday": {"a": [1]}, "event": "room_moved"}).encode()
    result = read(body, signed(body))
    assert isinstance(result, WebhookEvent)
    assert result.event == "room_moved"


FORGED = {
    "another key and secret": signed(BODY, OTHER),
    "another secret": signed(BODY, ApiKey(KEY.key, OTHER.secret)),
    "another key": signed(BODY, ApiKey(OTHER.key, KEY.secret)),
    "no end": signed(BODY, exp=None),
    "no issuer": signed(BODY, iss=None),
    "over": signed(BODY, exp=int(NOW - LEEWAY - 1)),
    "not begun": signed(BODY, nbf=int(NOW + LEEWAY + 5)),
    "an end that is no number": signed(BODY, exp="tomorrow"),
    "a token for people": KEY.sign({"roomJoin": True}, ttl=-100.0),
    "Bearer": f"Bearer {signed(BODY)}",
    "cut short": signed(BODY)[:-2],
    "unsigned": "eyJhbGciOiJub25lIn0.eyJpc3MiOiJBUElhYmNkZWYifQ.",
    "a word": "x",
    "not base64": "\xff.\xff.\xff",
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED.keys())
def test_a_token_that_is_not_of_our_key_and_of_now_is_forged(token: str):
    assert refused(BODY, token) == "forged"


def test_a_token_signed_with_no_algorithm_or_a_longer_one_is_forged():
    claims: dict[str, Any] = jwt.decode(
        signed(BODY), options={"verify_signature": False}, algorithms=["HS256"]
    )
    assert refused(BODY, jwt.encode(claims, None, algorithm="none")) == "forged"
    assert refused(BODY, jwt.encode(claims, KEY.secret * 2, algorithm="HS512")) == "forged"


def test_a_token_whose_header_is_a_pit_of_brackets_is_forged():
    header = base64.urlsafe_b64encode(b'{"alg":' + b"[" * 100_000).decode().rstrip("=")
    assert refused(BODY, f"{header}.e30.AAAA") == "forged"


def test_clocks_may_differ_by_a_minute_as_livekit_allows():
    assert refused(BODY, signed(BODY, exp=int(NOW - LEEWAY + 1))) is None
    assert refused(BODY, signed(BODY, nbf=int(NOW + LEEWAY - 1))) is None


@pytest.mark.parametrize("digest", [None, "", 7, "AAAA", "\ud800"])
def test_a_token_for_another_body_says_nothing_about_this_one(digest: object):
    assert refused(BODY, signed(BODY, sha256=digest)) == "altered"
    assert refused(BODY + b" ", signed(BODY)) == "altered"


def test_without_a_token_nothing_is_looked_at():
    assert refused(b"", "") == "unsigned"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"not json",
        b"\xff\xfe",
        BODY[:-1],
        b'{"event":"room_finished","createdAt":"1"}',
        b'{"id":"EV_1","createdAt":"1"}',
        b'{"event":"x","id":"EV_1","createdAt":"yesterday"}',
        b'{"event":"x","id":"EV_1","room":7}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
    ids=lambda body: repr(body[:20]),
)
def test_what_is_no_event_is_malformed_even_if_it_is_signed(body: bytes):
    assert refused(body, signed(body)) == "malformed"


def test_an_event_of_long_ago_or_of_the_future_is_refused_however_young_its_token():
    old = body_of(event(created_at=int(NOW - OLDEST - 1)))
    young = body_of(event(created_at=int(NOW - OLDEST + 2)))
    assert refused(old, signed(old)) == "old"
    assert refused(young, signed(young)) is None
    early = body_of(event(created_at=int(NOW + LEEWAY + 2)))
    assert refused(early, signed(early)) == "early"
    soon = body_of(event(created_at=int(NOW + LEEWAY - 1)))
    assert refused(soon, signed(soon)) is None
    undated = body_of(event(created_at=0))
    assert refused(undated, signed(undated)) == "old"
