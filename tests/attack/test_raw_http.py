"""Attacks as bytes on a connection: one table of what is sent, what is answered, what stays open.

Each case is sent as it is.  `answers` are the statuses that come back, in order; `stays` says
that the connection goes on, which the next request on it shows.  After each the server is
well.  The rules are those of RFC 9112 (HTTP/1.1), where a server may choose it is the strict
way.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

import pytest
import trio
from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from structlog.testing import capture_logs

from bridge.http.health import health
from bridge.http.pages.sign_in_page import signin_rows
from bridge.http.server.http1_stream import HEAD_BYTES
from bridge.http.server.request_body import body_of
from bridge.http.server.routes import HttpRoute, app
from bridge.http.webhook_endpoint import WebhookEndpoint
from tests.http.site import HANG, Site, answer_in, open_site
from tests.livekit.webhooks.webhook_sender import KEY

HOST: Final = "Host: localhost"
CHUNKED: Final = "Transfer-Encoding: chunked"
WEBHOOK: Final = ("POST /livekit/webhook", HOST, "Content-Type: application/webhook+json")


@frozen
class Attack:
    """One request, and the answer that it must get."""

    data_in: bytes
    answers: tuple[int, ...]
    stays: bool = False


def one(
    status: int, line: str, *headers: str, body: str = "", version: str = "1.1", stays: bool = False
) -> Attack:
    """A single request and its answer."""
    lines = (f"{line} HTTP/{version}", *headers, "", body)
    return Attack("\r\n".join(lines).encode("latin-1"), (status,), stays)


def chunks(status: int, body: str) -> Attack:
    """A request to `/echo` with a chunked body.  None stays: see `exchange`."""
    return one(status, "POST /echo", HOST, CHUNKED, body=body)


GET: Final = f"GET /open HTTP/1.1\r\n{HOST}\r\n\r\n"

FRAMING: Final = {
    "a length and chunks": one(
        400, "POST /echo", HOST, "Content-Length: 4", CHUNKED, body="0\r\n\r\n" + GET
    ),
    "chunks and a length": one(
        400, "POST /echo", HOST, CHUNKED, "Content-Length: 4", body="0\r\n\r\n" + GET
    ),
    "chunks from an old client": one(
        400, "POST /echo", HOST, CHUNKED, body="0\r\n\r\n" + GET, version="1.0"
    ),
    "two different lengths": one(
        400, "POST /echo", HOST, "Content-Length: 1", "Content-Length: 2", body="ab"
    ),
    "two lengths in one": one(400, "POST /echo", HOST, "Content-Length: 1, 2", body="ab"),
    "the same length twice": one(
        200, "POST /echo", HOST, "Content-Length: 2", "Content-Length: 2", body="ab", stays=True
    ),
    "a length with a sign": one(400, "POST /echo", HOST, "Content-Length: +2", body="ab"),
    "a negative length": one(400, "POST /echo", HOST, "Content-Length: -2", body="ab"),
    "a length in hex": one(400, "POST /echo", HOST, "Content-Length: 0x2", body="ab"),
    "an empty length": one(400, "POST /echo", HOST, "Content-Length:", body="ab"),
    "a length of 30 digits": one(400, "POST /echo", HOST, "Content-Length: " + "9" * 30),
    "a length beyond the limit": one(413, "POST /echo", HOST, "Content-Length: 999999"),
    "digits of another script": one(400, "POST /echo", HOST, "Content-Length: \xb2"),
    "another coding": one(501, "POST /echo", HOST, "Transfer-Encoding: gzip"),
    "no coding": one(501, "POST /echo", HOST, "Transfer-Encoding: identity"),
    "chunks twice": one(501, "POST /echo", HOST, "Transfer-Encoding: chunked, chunked"),
    "chunks and gzip": one(501, "POST /echo", HOST, "Transfer-Encoding: chunked, gzip"),
    "chunks with a control": one(400, "POST /echo", HOST, "Transfer-Encoding: \x0bchunked"),
    "chunks, hidden by a blank": one(400, "POST /echo", HOST, "Transfer-Encoding : chunked"),
    "a body on a GET": one(200, "GET /open", HOST, "Content-Length: 9999", body=GET),
    "chunks with a request behind": one(
        200, "POST /echo", HOST, CHUNKED, body="2\r\nab\r\n0\r\n\r\n" + GET
    ),
    "a body with a request behind": Attack(
        f"POST /echo HTTP/1.1\r\n{HOST}\r\nContent-Length: 2\r\n\r\nab{GET}".encode(),
        (200, 200),
        stays=True,
    ),
    "a body that is a request": Attack(
        f"POST /echo HTTP/1.1\r\n{HOST}\r\nContent-Length: {len(GET)}\r\n\r\n{GET}{GET}".encode(),
        (200, 200),
        stays=True,
    ),
}

CHUNKS: Final = {
    "a size that is none": chunks(400, "xyz\r\n"),
    "a negative size": chunks(400, "-1\r\n"),
    "a size in 0x": chunks(400, "0x2\r\nab\r\n0\r\n\r\n"),
    "a size of 30 digits": chunks(400, "F" * 30 + "\r\n"),
    "a huge size": chunks(413, "FFFFFFF\r\n" + "x" * 2_000),
    "no line end after the data": chunks(400, "2\r\nabc\r\n0\r\n\r\n"),
    "an extension": chunks(200, "2;a=b\r\nab\r\n0\r\n\r\n"),
    "a long extension": chunks(400, "2;" + "a" * 5_000 + "\r\nab\r\n0\r\n\r\n"),
    "blanks after a size": chunks(400, "2" + " " * 5_000 + "x\r\nab\r\n0\r\n\r\n"),
    "trailers": chunks(200, "0\r\nX: y\r\n\r\n"),
    "a trailer of blanks": chunks(400, "0\r\nX:" + " " * 12_000 + "\x00\r\n\r\n"),
    "many trailers": chunks(400, "0\r\n" + "X: y\r\n" * 2_000 + "\r\n"),
    "a thousand chunks": chunks(413, "1\r\na\r\n" * 1_000 + "0\r\n\r\n"),
}

HEADS: Final = {
    "a header without a colon": one(400, "GET /open", HOST, "nonsense"),
    "a header without a name": one(400, "GET /open", HOST, ": x"),
    "a blank before the colon": one(400, "GET /open", HOST, "X : y"),
    "a blank in the name": one(400, "GET /open", HOST, "X Y: z"),
    "nul": one(400, "GET /open", HOST, "X: a\x00b"),
    "a vertical tab": one(400, "GET /open", HOST, "X: a\x0bb"),
    "a bare return": one(400, "GET /open", HOST, "X: a\rSet-Cookie: b"),
    "a return that ends a head": one(400, "GET /open", HOST + "\r\r"),
    "blanks before a nul": one(400, "GET /open", HOST, "X:" + " " * 15_000 + "\x00"),
    "blanks before a return": one(400, "GET /open", HOST, "X:" + " \t" * 7_500 + "\r\x0c"),
    "blanks": one(200, "GET /open", HOST, "X:" + " " * 15_000, stays=True),
    "a folded line first": one(400, "GET /open", " folded", HOST),
    "one header too long": one(431, "GET /open", HOST, "X: " + "x" * HEAD_BYTES),
    "many headers": one(431, "GET /open", HOST, *["X: y"] * 4_000),
    "3,000 headers": one(200, "GET /open", HOST, *["a:b"] * 3_000, stays=True),
    "no host": one(400, "GET /open"),
    "two hosts": one(400, "GET /open", HOST, "Host: evil.example"),
    "an empty host": one(421, "GET /open", "Host:", stays=True),
    "a name before an @": one(421, "GET /open", "Host: localhost@evil.example", stays=True),
    "a host of colons": one(421, "GET /open", "Host: " + ":" * 5_000, stays=True),
    "a host in brackets": one(421, "GET /open", "Host: [localhost.evil.example]", stays=True),
    "a port that is none": one(421, "GET /open", "Host: localhost:x", stays=True),
}

LINES: Final = {
    "TLS": Attack(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", (400,)),
    "TLS of 2,000 bytes": Attack(b"\x16\x03\x01" + bytes(range(256)) * 8, (400,)),
    "HTTP/2": Attack(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (505,)),
    "a proxy's header": Attack(f"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n{GET}".encode(), (400,)),
    "a proxy's header, version 2": Attack(b"\r\n\r\n\x00\r\nQUIT\n" + bytes(20), (400,)),
    "SSH": Attack(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", (400,)),
    "HTTP/0.9": Attack(b"GET /open\r\n\r\n", (400,)),
    "an empty line before": Attack(f"\r\n{GET}".encode(), (400,)),
    "a blank before": Attack(f" {GET}".encode(), (400,)),
    "two blanks": one(400, "GET  /open", HOST),
    "a tab": one(400, "GET\t/open", HOST),
    "a small http": Attack(f"GET /open http/1.1\r\n{HOST}\r\n\r\n".encode(), (400,)),
    "HTTP/2.0 in the line": one(505, "GET /open", HOST, version="2.0"),
    "HTTP/0.9 in the line": one(505, "GET /open", HOST, version="0.9"),
    "HTTP/1.10": one(400, "GET /open", HOST, version="1.10"),
    "no path": one(400, "GET ", HOST),
    "a whole address": one(400, "GET http://localhost/open", HOST),
    "another's address": one(400, "GET http://evil.example/open", HOST),
    "a tunnel": one(400, "CONNECT evil.example:443", HOST),
    "the server itself": one(400, "OPTIONS *", HOST),
    "a small method": one(405, "get /open", HOST, stays=True),
    "a method in two cases": one(405, "Post /echo", HOST, stays=True),
    "a method of its own": one(405, "JEFF /open", HOST, stays=True),
    "TRACE": one(405, "TRACE /open", HOST, "X: secret", stays=True),
    "a long method": one(405, "A" * 10_000 + " /open", HOST, stays=True),
    "a long path": one(431, "GET /" + "a" * 20_000, HOST),
    "a byte beyond ASCII": one(400, "GET /\xff", HOST),
    "a fragment": one(401, "GET /open#x", HOST, stays=True),
}

PATHS: Final = {
    path: one(status, f"GET {path}", HOST, stays=True)
    for path, status in {
        "/secret": 401,
        "//secret": 401,
        "/open/../secret": 401,
        "/open/%2e%2e/secret": 401,
        "/open%2f..%2fsecret": 401,
        "/open;x": 401,
        "/open%00": 401,
        "/open%0d%0aX:%20y": 401,
        "/%6fpen": 200,
        "/open?": 200,
        "/open?/secret": 200,
        "/OPEN": 401,
        "/open/": 401,
        "/%": 401,
        "/%zz%ff%c0%af": 401,
        "/" * 10_000: 401,
        "/" + "%ff" * 5_000: 401,
        "/healthz/": 200,
        "/healthz//": 401,
        "/signin?to=//evil.example": 200,
        "/signin?" + "to=%2f&" * 2_000: 200,
    }.items()
}

WISHES: Final = {
    "an upgrade": one(
        200, "GET /open", HOST, "Connection: Upgrade", "Upgrade: websocket", stays=True
    ),
    "HTTP/2 in the clear": one(
        200, "GET /open", HOST, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c",
        "HTTP2-Settings: %", stays=True,
    ),
    "an expectation": one(200, "GET /open", HOST, "Expect: banana", stays=True),
    "a range": one(200, "GET /open", HOST, "Range: bytes=" + "0-1," * 3_000 + "0-1", stays=True),
    "many codings": one(200, "GET /open", HOST, "Accept-Encoding: " + "gzip," * 2_500, stays=True),
    "a close": one(200, "GET /open", HOST, "Connection: close"),
    "another path by header": one(
        200, "GET /open", HOST, "X-Original-URL: /secret", "X-Rewrite-URL: /secret", stays=True
    ),
    "another method by header": one(
        200, "GET /open", HOST, "X-HTTP-Method-Override: DELETE", stays=True
    ),
    "another site": one(403, "GET /open", HOST, "Sec-Fetch-Site: cross-site", stays=True),
    "another site's form": one(
        403, "POST /signout", HOST, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate",
        stays=True,
    ),
}  # fmt: skip

IN: Final = {
    "no token": one(401, "GET /secret", HOST, "Authorization: Bearer", stays=True),
    "a long token": one(
        401, "GET /secret", HOST, "Authorization: Bearer " + "x" * 15_000, stays=True
    ),
    "two tokens": one(
        401, "GET /secret", HOST, "Authorization: Bearer the token", "Authorization: Bearer x",
        stays=True,
    ),
    "a cookie of backslashes": one(
        401, "GET /secret", HOST, 'Cookie: x="' + '\\"' * 7_500 + '"', stays=True
    ),
    "a cookie of semicolons": one(401, "GET /secret", HOST, "Cookie: " + ";" * 15_000, stays=True),
    "a thousand cookies": one(401, "GET /secret", HOST, *["Cookie: a=b"] * 1_000, stays=True),
    "forged cookies": one(
        401, "GET /secret", HOST, "Cookie: " + "room_actors_1=9999999999.0;" * 500, stays=True
    ),
    "a proxy that is none": one(
        401, "GET /secret", HOST, "X-Forwarded-For: " + "127.0.0.1," * 1_400, stays=True
    ),
    "a form that is none": one(
        403, "POST /signin", HOST, "Content-Length: 4000", body="&" * 4_000, stays=True
    ),
    "a form of percents": one(
        403, "POST /signin", HOST, "Content-Length: 3906", body="token=" + "%41" * 1_300, stays=True
    ),
    "a webhook without a signature": one(
        401, *WEBHOOK, "Content-Length: 2", body="{}"
    ),
    "a signature of dots": one(
        401, *WEBHOOK, "Authorization: " + "." * 15_000, "Content-Length: 2", body="{}"
    ),
    "a signature of brackets": one(
        401, *WEBHOOK, "Authorization: " + "W1tb" * 3_500 + ".e30.AA", "Content-Length: 2",
        body="{}",
    ),
    "a signature without one": one(
        401, *WEBHOOK, "Authorization: eyJhbGciOiJub25lIn0.e30.", "Content-Length: 2", body="{}"
    ),
}  # fmt: skip

TABLES: Final = (FRAMING, CHUNKS, HEADS, LINES, PATHS, WISHES, IN)
CASES: Final = [
    pytest.param(attack, id=name[:40]) for table in TABLES for name, attack in table.items()
]


async def well(_: Request) -> Response:
    return Response("well")


async def echo(request: Request) -> Response:
    return Response(await body_of(request, 500))


@pytest.fixture
async def site() -> AsyncGenerator[Site, None]:
    rows = (
        *health({}, "w"),
        *WebhookEndpoint(KEY, "watcher", lambda _: None).rows,
        *signin_rows(),
        HttpRoute("GET", "/open", well, open=True),
        HttpRoute("POST", "/echo", echo, open=True),
        HttpRoute("GET", "/secret", well),
    )
    with capture_logs():
        async with open_site(app(rows, loopback=True, token="the token")) as running:
            yield running


async def next_answer(stream: trio.SocketStream, data_in: bytearray) -> int:
    """The status of the next answer; takes it off `said`, which holds what came already."""
    with trio.fail_after(HANG):
        while b"\r\n\r\n" not in data_in:
            data = await stream.receive_some()
            assert data, "closed before an answer"
            data_in += data
        head = answer_in(bytes(data_in))
        size = data_in.index(b"\r\n\r\n") + 4 + int(head.headers["content-length"])
        while len(data_in) < size:
            data_in += await stream.receive_some()
    del data_in[:size]
    return head.status


@pytest.mark.parametrize("attack", CASES)
async def test_an_attack_is_answered_and_leads_to_nothing(site: Site, attack: Attack):
    data_in = bytearray()
    async with await site.open() as stream:
        await stream.send_all(attack.data_in)
        statuses = [await next_answer(stream, data_in) for _ in attack.answers]
        assert tuple(statuses) == attack.answers
        if attack.stays:
            await stream.send_all(GET.encode())
            assert await next_answer(stream, data_in) == 200
        else:
            with trio.fail_after(HANG):
                assert not data_in + await stream.receive_some()
    assert answer_in(await site.say(GET.encode())).body == b"well"
