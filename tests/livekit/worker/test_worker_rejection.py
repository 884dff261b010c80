"""The meaning of a refused upgrade, from the answers livekit-server really gives."""

from __future__ import annotations

import pytest

from bridge.livekit.worker.worker_rejection import clock_skew, rejection_of

TOKEN = b"eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJrZXkifQ.c2lnbmF0dXJl"
DATE = ((b"date", b"Sun, 22 Nov 2026 19:54:19 GMT"),)
NOW = 1795377259.0


@pytest.mark.parametrize(
    "status, body, reason",
    [
        (401, b"invalid API key: nokey", "wrong_key"),
        (401, b"invalid token: %s, error: token signature is invalid", "wrong_secret"),
        (
            401,
            b"invalid token: " + TOKEN + b", error: token signature is invalid: "
            b"signature is invalid",
            "wrong_secret",
        ),
        (401, b"invalid token: " + TOKEN + b", error: ...: token is expired", "clock_skew"),
        (401, b"invalid token: " + TOKEN + b", error: token is not valid yet", "clock_skew"),
        (401, b"no permissions to access the room", "not_allowed"),
        (401, b"", "not_allowed"),
        (403, b"\xff\xfe", "not_allowed"),
        (404, b"404 page not found\n", "no_endpoint"),
        (308, b"", "redirected"),
    ],
)
def test_an_answer_that_the_same_try_would_get_again(status: int, body: bytes, reason: str) -> None:
    refusal = rejection_of(status, DATE, body, NOW)
    assert refusal is not None
    assert refusal.reason == reason
    assert f"HTTP {status}" in str(refusal)
    assert "eyJ" not in str(refusal)


@pytest.mark.parametrize("status", [400, 429, 500, 502, 503])
def test_an_answer_that_is_worth_trying_again(status: int) -> None:
    assert rejection_of(status, (), b"", NOW) is None


def test_a_clock_that_is_off_is_told_by_how_much() -> None:
    behind = rejection_of(401, DATE, b"token is expired", NOW - 700)
    assert "it is 700 s behind" in str(behind)
    ahead = rejection_of(401, DATE, b"token is not valid yet", NOW + 90)
    assert "it is 90 s ahead" in str(ahead)


def test_a_date_that_is_none_is_no_skew() -> None:
    assert clock_skew(((b"Date", b"yesterday"),), NOW) is None
    assert clock_skew((), NOW) is None
    assert clock_skew(DATE, NOW) == 0
