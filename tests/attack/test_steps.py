"""The cost of a stranger's input is in proportion to its length: counted in calls, not in seconds.

Calls of Python and of C functions are counted (`sys.setprofile`) while a request is answered.
Four times the input may cost four times the calls and a little; in a parser that looks at all
of it again and again it would be sixteen.  What one call of C costs is not seen here: h11's
pattern of a header line, the one that is known to be quadratic, never gets what makes it so.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Final

import h11
import pytest
from structlog.testing import capture_logs

from bridge.http.server.http1_stream import CHUNK_BYTES
from tests.http.page_stage import open_stage
from tests.http.site import Site, answer_in

SHORT: Final = 3_500
LONG: Final = 4 * SHORT
"""Bytes; the longest that fit into a head, nearly."""


def headed(header: str, unit: str) -> Callable[[int], str]:
    return lambda size: (
        f"GET / HTTP/1.1\r\nHost: localhost\r\n{header}: {unit * (size // len(unit))}"
    )


def asked(path: str, unit: str) -> Callable[[int], str]:
    return lambda size: f"GET {path}{unit * (size // len(unit))} HTTP/1.1\r\nHost: localhost"


SHAPES: Final = {
    "backslashes in a cookie": headed("Cookie", '\\"'),
    "cookies": headed("Cookie", "a=b;"),
    "cookies of our name": headed("Cookie", "room_actors_1=1.0;"),
    "a token": headed("Authorization", "Bearer "),
    "kinds": headed("Accept", "text/html;q=0.1,"),
    "proxies": headed("X-Forwarded-For", "127.0.0.1,"),
    "tags": headed("If-None-Match", '"a",'),
    "wishes": headed("Connection", "a,"),
    "headers": headed("a", "b\r\na:"),
    "slashes": asked("/", "/"),
    "percents": asked("/", "%41"),
    "broken percents": asked("/", "%ff"),
    "parameters": asked("/signin?", "to=%2f&"),
    "where to": asked("/signin?to=/", "%41"),
    "patterns": asked("/history?room=", "*a"),
}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[Site, None]:
    with capture_logs():
        async with open_stage(tmp_path / "data", token="the token") as stage:
            yield stage.site


async def calls_of(site: Site, request: bytes) -> int:
    """Calls while this is answered."""
    count = 0

    def called(_: object, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(called)
    try:
        answer = await site.say(request)
    finally:
        sys.setprofile(None)
    assert answer_in(answer).status < 500
    return count


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
async def test_four_times_the_input_costs_four_times_the_calls(
    site: Site, shape: Callable[[int], str]
):
    short, long = (f"{shape(size)}\r\n\r\n".encode() for size in (SHORT, LONG))
    await calls_of(site, short)  # what is made once is made
    assert await calls_of(site, long) <= 5 * await calls_of(site, short)


async def test_what_makes_a_header_line_slow_is_not_given_to_h11(
    site: Site, monkeypatch: pytest.MonkeyPatch
):
    given: list[int] = []
    receive = h11.Connection.receive_data

    def counted(self: h11.Connection, data: bytes) -> None:
        given.append(len(data))
        receive(self, data)

    monkeypatch.setattr(h11.Connection, "receive_data", counted)
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    for end in (b"\x00", b"\x0b", b"\x0c", b"\ry"):
        request = head + b"a:" + b" " * LONG + end + b"\r\n\r\n"
        assert answer_in(await site.say(request)).status == 400
    assert given == []

    chunked = b"POST /signin HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    for body in (b"0\r\na:" + b" " * LONG + b"\x00", b"1;" + b"a" * LONG, b"1" + b" " * LONG):
        given.clear()
        await site.say(chunked + body + b"\r\n\r\n")
        assert given[0] == len(chunked)
        assert max(given[1:]) <= CHUNK_BYTES
        assert sum(given[1:]) <= 3 * CHUNK_BYTES
