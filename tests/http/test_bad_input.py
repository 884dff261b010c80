"""Every kind of bad input, as bytes over the wire: the right status, a problem, and it serves on.

What each part makes of it in detail is in the part's own tests; a malformed upgrade is passed
over (`test_server`), as RFC 9110 has it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import trio

from bridge.http.server import listener
from tests.http.site import HANG, answer_in, read_all
from tests.http.stored_sessions import StoredSessions, open_stored

TOKEN = "a-token-of-the-operator"
HOST = "Host: localhost"
BEARER = f"Authorization: Bearer {TOKEN}"
GOOD = ("GET /api/v1/rooms", HOST, BEARER)

BAD = {
    "an unknown session": (404, "GET /api/v1/sessions/RM_none", HOST, BEARER),
    "an unknown address": (404, "GET /api/v2/rooms", HOST, BEARER),
    "a bad cursor": (400, "GET /api/v1/sessions?cursor=../../etc", HOST, BEARER),
    "a word for a number": (400, "GET /api/v1/sessions?limit=ten", HOST, BEARER),
    "a local time": (400, "GET /api/v1/sessions?since=2026-01-01T00:00:00", HOST, BEARER),
    "an unknown filter": (400, "GET /api/v1/sessions?colour=red", HOST, BEARER),
    "a huge query": (414, f"GET /api/v1/sessions?room={'x' * 10_000}", HOST, BEARER),
    "a huge path": (431, f"GET /api/v1/sessions/{'x' * 100_000}", HOST, BEARER),
    "a wrong method": (405, "DELETE /api/v1/sessions/RM_live", HOST, BEARER),
    "a method that is none": (405, "FETCH /api/v1/rooms", HOST, BEARER),
    "a wrong token": (401, "GET /api/v1/rooms", HOST, BEARER + "x"),
    "no token": (401, "GET /metrics", HOST),
    "a forged cookie": (401, "GET /api/v1/rooms", HOST, "Cookie: room_actors_1=99999999999.00"),
    "no host": (400, "GET /api/v1/rooms", BEARER),
    "another host": (421, "GET /api/v1/rooms", "Host: rebound.example", BEARER),
    "a body on a GET": (400, *GOOD, "Content-Length: 4"),
    "an id that is none": (400, "GET /api/v1/events", HOST, BEARER, "Last-Event-ID: 1"),
}


@pytest.fixture
async def stored(tmp_path: Path) -> AsyncGenerator[StoredSessions, None]:
    async with open_stored(tmp_path, token=TOKEN) as running:
        await running.fill(ended=1)
        yield running


def request(line: str, *headers: str) -> bytes:
    lines = (f"{line} HTTP/1.1", *headers, "Connection: close", "", "")
    return "\r\n".join(lines).encode()


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_bad_input_is_a_problem_with_the_right_status(
    stored: StoredSessions, bad: tuple[int, str]
):
    status, *lines = bad
    answer = answer_in(await stored.site.say(request(*lines) + b"body"))
    assert answer.status == status
    assert answer.problem["title"]
    assert TOKEN.encode() not in answer.body
    assert answer_in(await stored.site.say(request(*GOOD))).status == 200


async def test_a_slow_loris_is_told_that_it_took_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(listener, "HEAD_SECONDS", 0.5)
    async with open_stored(tmp_path, token=TOKEN) as stored, await stored.site.open() as stream:
        await stream.send_all(b"GET /api/v1/rooms HTTP/1.1\r\nHo")
        with trio.fail_after(HANG):
            assert answer_in(await read_all(stream)).problem["status"] == 408
