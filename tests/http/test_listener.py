"""The server: what it bears from clients, and how it begins and ends."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import pytest
import trio
import trio.testing
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from structlog.testing import capture_logs

from bridge.config.http_address import HttpAddress
from bridge.http.server import http1_stream, listener
from bridge.http.server.answer_budget import AnswerBudget
from bridge.http.server.exchange import App, Message
from bridge.http.server.listener import ListenError, serve
from bridge.http.server.request_body import body_of
from bridge.http.server.routes import HttpRoute, app
from bridge.http.server.streamed_answer import StreamedAnswer
from tests.http.site import HANG, Site, answer_in, one_row, open_site, polite, read_all

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def well(_: Request) -> Response:
    return Response("well")


@pytest.fixture
async def site() -> AsyncGenerator[Site, None]:
    async with open_site(one_row(well)) as running:
        yield running


async def is_well(site: Site) -> bool:
    with trio.fail_after(HANG):
        return (await site.http.get("/")).text == "well"


# ---------------------------------------------------------------- beginning


async def test_port_0_takes_a_free_port_and_says_which(site: Site):
    assert site.address.port > 0
    assert site.address.host == "127.0.0.1"
    assert await is_well(site)


async def test_a_name_with_several_addresses_and_port_0_is_one_port():
    async with trio.open_nursery() as nursery:
        bound: HttpAddress = await nursery.start(serve, HttpAddress("localhost", 0), one_row(well))
        assert bound.port > 0
        stream = await trio.open_tcp_stream(bound.host, bound.port)
        await stream.aclose()
        nursery.cancel_scope.cancel()


async def test_an_address_in_use_is_said_with_what_to_do(site: Site):
    with pytest.raises(ListenError) as caught:
        await serve(site.address, one_row(well))
    assert str(caught.value) == (
        f"--http {site.address} cannot be had: another program listens there; choose another by "
        f"--http HOST:PORT or ROOM_ACTORS_HTTP, or set it to off"
    )
    assert await is_well(site)


@pytest.mark.parametrize(
    "error, why",
    [
        (OSError(errno.EADDRNOTAVAIL, "x"), "this machine does not have that address"),
        (OSError(errno.EACCES, "x"), "ports below 1024 are for root"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (socket.gaierror(socket.EAI_NONAME, "Name not known"), "Name not known"),
    ],
)
async def test_so_is_any_other_reason(monkeypatch: pytest.MonkeyPatch, error: OSError, why: str):
    async def fail(_: int, **__: object) -> None:
        raise error

    monkeypatch.setattr(trio, "open_tcp_listeners", fail)
    with pytest.raises(ListenError, match=rf"^--http \[fd00::1\]:80 cannot be had: {why}; choose"):
        await serve(HttpAddress("fd00::1", 80), one_row(well))


async def test_a_listen_error_comes_out_of_a_nurserys_start_as_it_is(site: Site):
    async with trio.open_nursery() as nursery:
        with pytest.raises(ListenError):
            await nursery.start(serve, site.address, one_row(well))


def test_nothing_of_it_is_loaded_before_it_is_wanted():
    code = (
        "import sys, bridge.http, bridge.config.http_address; "
        "print(sorted({'starlette', 'h11', 'jinja2', 'anyio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# ---------------------------------------------------------------- clients


NOT_HTTP = {
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a word": b"hello\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    "bytes in the path": b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a path that is no path": b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: localhost\r\nX : y\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
    "a negative length": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a tunnel": b"CONNECT example.org:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "nul": b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n",
    "half a request": b"GET / HTTP/1.1\r\nHost: loc",
}


@pytest.mark.parametrize("said", NOT_HTTP.values(), ids=NOT_HTTP.keys())
async def test_what_is_not_http_gets_a_problem_and_a_close(site: Site, said: bytes):
    answer = answer_in(await site.say(said))
    assert answer.status == 400
    assert answer.problem
    assert answer.headers["connection"] == "close"
    assert await is_well(site)


async def test_headers_over_the_limit_are_431(site: Site):
    said = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 2 * http1_stream.PIECE + b"\r\n\r\n"
    assert answer_in(await site.say(said, end=False)).problem["status"] == 431


def head_of(size: int) -> bytes:
    """A good request whose head has so many bytes."""
    begin, end = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"\r\n\r\n"
    return begin + b"x" * (size - len(begin) - len(end)) + end


@pytest.mark.parametrize("piece", [1_000, http1_stream.PIECE])
@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize("more, status", [(0, 200), (1, 431)])
async def test_a_head_has_its_limit_however_it_arrives(
    site: Site, piece: int, before: int, more: int, status: int
):
    said = GET * before + head_of(http1_stream.HEAD_BYTES + more)
    async with await site.open() as stream:
        for start in range(0, len(said), piece):
            await stream.send_all(said[start : start + piece])
            await trio.lowlevel.checkpoint()
        await stream.send_eof()
        answers = await read_all(stream)
    assert answers.count(b"HTTP/1.1 ") == before + 1
    assert answers.count(b"HTTP/1.1 %d" % status) == (before + 1 if status == 200 else 1)


async def test_a_transfer_coding_nobody_knows_is_501(site: Site):
    said = b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: magic\r\n\r\n"
    assert answer_in(await site.say(said, end=False)).problem["status"] == 501


@pytest.mark.parametrize(
    "wish",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: %not base64%",
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99",
        b"Connection: Upgrade\r\nUpgrade: \xff",
    ],
)
async def test_a_wish_for_another_protocol_is_passed_over(site: Site, wish: bytes):
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + wish + b"\r\n\r\n"
    answer = answer_in(await site.say(request))
    assert (answer.status, answer.body) == (200, b"well")
    assert await is_well(site)


async def test_a_body_on_a_get_is_nobodys_business(site: Site):
    request = GET[:-2] + b"Content-Length: 5\r\n\r\nhello" + GET
    answer = answer_in(await site.say(request))
    assert (answer.status, answer.body) == (200, b"well")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("length", [b"", b"Content-Length: 0\r\n"])
async def test_a_body_that_is_none_is_read_at_once(length: bytes):
    async with open_site(app([HttpRoute("POST", "/", echo)], loopback=True)) as site:
        head = b"POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + length
        said = await site.say(head + b"\r\n", end=False)
    assert answer_in(said).body == b"<>"


async def test_requests_in_one_packet_are_answered_in_order(site: Site):
    said = await site.say(GET * 3)
    assert said.count(b"HTTP/1.1 200") == said.count(b"well") == 3


async def test_a_connection_is_used_again(site: Site):
    async with await site.open() as stream:
        for _ in range(3):
            await stream.send_all(GET)
            with trio.fail_after(HANG):
                assert answer_in(bytes(await stream.receive_some())).body == b"well"


async def test_an_old_client_gets_its_answer_and_a_close(site: Site):
    said = await site.say(b"GET / HTTP/1.0\r\nHost: localhost\r\n\r\n", end=False)
    assert answer_in(said).body == b"well"


async def test_200_requests_at_once_are_all_answered(site: Site):
    statuses: list[int] = []

    async def ask() -> None:
        statuses.append(answer_in(await site.say(GET)).status)

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(ask)
    assert statuses == [200] * 200


async def test_clients_that_never_finish_their_request_stop_nobody_and_are_sent_away(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(listener, "HEAD_SECONDS", 2.0)
    answers: list[bytes] = []

    async def hear_out(stream: trio.SocketStream) -> None:
        async with stream:
            answers.append(await read_all(stream))

    async with open_site(one_row(well)) as site:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                stream = await site.open()
                await stream.send_all(b"GET / HTTP/1.1\r\nHo" if number % 2 else b"")
                nursery.start_soon(hear_out, stream)
            assert answer_in(await site.say(GET)).body == b"well"
        assert answer_in(await site.say(GET)).body == b"well"
    late = [answer_in(said).problem["status"] for said in answers if said]
    assert len(answers) == 100
    # A busy machine may send one its time is up before its first byte was read: no answer.
    assert 0 < len(late) <= 50
    assert {*late} == {408}


async def test_above_the_limit_the_longest_waiting_makes_place():
    async with open_site(one_row(well), most=3) as site:
        streams = [await site.open() for _ in range(3)]
        for stream in streams:  # each is known to be accepted, and waits again
            await stream.send_all(GET)
            assert b"well" in await stream.receive_some()
        newest = await site.open()
        await newest.send_all(GET)
        with trio.fail_after(HANG):
            assert b"well" in await newest.receive_some()
            assert await read_all(streams[0]) == b""
        await streams[2].send_all(GET)
        assert b"well" in await streams[2].receive_some()
        for stream in (*streams, newest):
            await stream.aclose()


async def test_where_all_connections_are_busy_one_more_is_closed_and_said(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(listener, "CONNECTIONS", 1)
    busy, go_on = trio.Event(), trio.Event()

    async def slow(_: Request) -> Response:
        busy.set()
        await go_on.wait()
        return Response("well")

    async with open_site(one_row(slow)) as site, await site.open() as first:
        await first.send_all(GET)
        await busy.wait()
        with capture_logs() as logs:
            async with await site.open() as second:
                assert await read_all(second) == b""
        go_on.set()
        assert b"well" in await first.receive_some()
    assert [line["event"] for line in logs] == ["http_connection_refused"]


# ---------------------------------------------------------------- places


async def echo(request: Request) -> Response:
    return Response(b"<" + await body_of(request, 100) + b">")


ALIVE = HttpRoute("GET", "/healthz", well, open=True)
HALF_A_BODY = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf"


async def open_many(site: Site, count: int, said: bytes, address: str = "127.0.0.1"):
    """Open so many connections from an address of this machine, each with this first text."""
    streams: list[trio.SocketStream] = []
    for _ in range(count):
        stream = await trio.open_tcp_stream(
            site.address.host, site.address.port, local_address=address
        )
        await stream.send_all(said)
        streams.append(stream)
    return streams


async def test_bodies_that_never_come_keep_nobody_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "CONNECTIONS", 32)
    rows = [ALIVE, HttpRoute("GET", "/", well), HttpRoute("POST", "/echo", echo)]
    async with open_site(app(rows, loopback=True)) as site:
        slow = await open_many(site, 60, HALF_A_BODY)
        for path in (b"/healthz", b"/", b"/healthz"):
            said = await site.say(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)
            assert answer_in(said).status == 200
        await slow[-1].send_all(b" more")
        assert b"<half more>" in await slow[-1].receive_some()  # the newest was left in peace
        for stream in slow:
            await stream.aclose()


async def test_while_everything_is_busy_we_still_say_that_we_are_alive(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(listener, "CONNECTIONS", 32)
    begun, full, go_on = 0, trio.Event(), trio.Event()

    async def slow(_: Request) -> Response:
        nonlocal begun
        begun += 1
        if begun == 30:
            full.set()
        await go_on.wait()
        return Response("well")

    async with open_site(app([ALIVE, HttpRoute("GET", "/", slow)], loopback=True)) as site:
        with capture_logs() as logs:
            streams = await open_many(site, 30, GET)
            with trio.fail_after(HANG):
                await full.wait()
            refused = [answer_in(await site.say(GET)) for _ in range(10)]
            alive = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
            assert answer_in(await site.say(alive)).status == 200
        assert begun == 30
        assert {(one.problem["status"], one.headers["retry-after"]) for one in refused} == {
            (503, "5")
        }
        assert [line["event"] for line in logs] == ["http_request_refused"]
        go_on.set()
        for stream in streams:
            await stream.aclose()


async def test_one_address_of_strangers_has_its_share_and_no_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(listener, "CONNECTIONS_OF_ONE", 4)
    async with open_site(one_row(well), bounded=lambda address: address != "127.0.0.3") as site:
        (first,) = await open_many(site, 1, GET, "127.0.0.2")
        assert b"well" in await first.receive_some()
        many = await open_many(site, 20, b"", "127.0.0.1")
        trusted = await open_many(site, 20, GET, "127.0.0.3")
        for stream in many[:16]:  # they made place for those behind them
            assert await read_all(stream) == b""
        for stream in (first, *many[16:], *trusted):
            await stream.send_all(GET)
            assert b"well" in await stream.receive_some()
        for stream in (first, *many, *trusted):
            await stream.aclose()


# ---------------------------------------------------------------- bytes under way


async def test_answers_that_nobody_reads_have_a_budget(monkeypatch: pytest.MonkeyPatch):
    size = 4 << 20
    budget = AnswerBudget(3 * size)
    monkeypatch.setattr(listener, "AnswerBudget", lambda: budget)

    async def large(_: Request) -> Response:
        return Response(b"x" * size)

    rows = [ALIVE, HttpRoute("GET", "/", large), HttpRoute("GET", "/small", well)]
    async with open_site(app(rows, loopback=True)) as site:
        with capture_logs():
            streams = await open_many(site, 20, GET)
            begins = [bytes(await stream.receive_some(64)) for stream in streams]
            small = await site.say(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n")
            alive = await site.say(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert budget.used == 3 * size
        assert budget.peak < 3 * size + 10_000
        assert sum(begin.startswith(b"HTTP/1.1 200") for begin in begins) == 3
        assert sum(begin.startswith(b"HTTP/1.1 503") for begin in begins) == 17
        assert answer_in(small).headers["retry-after"] == "5"
        assert answer_in(alive).status == 200
        for stream in streams:
            await stream.aclose()
        with trio.fail_after(HANG):
            async with budget.room(3 * size):
                pass
        assert answer_in(await site.say(GET)).body == b"x" * size


async def test_an_answer_in_pieces_gives_back_what_was_taken(monkeypatch: pytest.MonkeyPatch):
    pieces, size = 32, 1 << 20  # the system holds a few of them
    budget = AnswerBudget(pieces * size)
    monkeypatch.setattr(listener, "AnswerBudget", lambda: budget)

    async def large(_: Request) -> Response:
        return StreamedAnswer((b"x" * size for _ in range(pieces)), {}, "text/plain")

    async with open_site(one_row(large)) as site, await site.open() as stream:
        await stream.send_all(GET)
        taken = len(await stream.receive_some())
        assert budget.used == budget.peak == pieces * size
        while taken < 5 * size:
            taken += len(await stream.receive_some())
        assert 0 < budget.used <= (pieces - 4) * size
        # Meanwhile another one does not fit, and says so.
        with capture_logs():
            answer = answer_in(await site.say(GET))
        assert (answer.problem["status"], answer.headers["retry-after"]) == (503, "5")
        await stream.send_eof()
        assert (await read_all(stream)).endswith(b"x")
        assert budget.used == 0
        assert answer_in(await site.say(GET)).headers["content-length"] == str(pieces * size)
        head = await site.say(b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (answer_in(head).body, budget.used) == (b"", 0)


async def test_an_answer_larger_than_the_budget_goes_alone():
    budget = AnswerBudget(10)
    assert budget.take(100)
    assert not budget.take(1)
    budget.give_back(100)
    assert budget.take(10)
    assert budget.full


async def test_a_stream_waits_for_its_part_of_the_budget(autojump_clock: trio.testing.MockClock):
    budget = AnswerBudget(10)
    order: list[str] = []

    async def take(name: str) -> None:
        async with budget.room(8):
            order.append(name)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(take, name)
        await trio.sleep(0.5)
        assert len(order) == 1
    assert sorted(order) == ["a", "b", "c"]
    assert (budget.used, budget.peak) == (0, 8)


# ---------------------------------------------------------------- applications


async def test_a_failing_application_is_logged_and_serves_on():
    async def broken(_: Request) -> Response:
        raise ZeroDivisionError

    async with open_site(one_row(broken)) as site:
        with capture_logs() as logs:
            answers = [polite(await site.http.get("/?token=abc")) for _ in range(2)]
    assert [answer.problem["status"] for answer in answers] == [500, 500]
    assert [(line["event"], line["path"]) for line in logs] == [("http_request_failed", "/")] * 2


async def _says_nothing(_: Message, __: object, ___: object) -> None:
    pass


async def test_an_application_that_does_not_answer_is_500():
    async with open_site(_says_nothing) as site:
        with capture_logs() as logs:
            assert polite(await site.http.get("/")).problem["status"] == 500
    assert [line["event"] for line in logs] == ["http_answer_missing"]


async def test_an_answer_that_breaks_off_cannot_be_taken_for_a_whole_one():
    async def half() -> AsyncIterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    async def answer(_: Request) -> Response:
        return StreamingResponse(half())

    async with open_site(one_row(answer)) as site:
        with capture_logs() as logs:
            said = await site.say(GET, end=False)
    assert b"half" in said
    assert not said.endswith(b"0\r\n\r\n")
    assert [line["event"] for line in logs] == ["http_request_failed"]


def endless(ended: trio.Event, piece: bytes, pause: float = 0.0) -> App:
    """An application that streams until it is stopped."""

    async def stream(_: Message, __: object, send: Callable[[Message], Awaitable[None]]) -> None:
        try:
            await send({"type": "http.response.start", "status": 200})
            while True:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                await trio.sleep(pause)
        finally:
            ended.set()

    return stream


async def test_a_client_that_leaves_ends_its_stream_quietly():
    ended = trio.Event()
    async with open_site(endless(ended, b"x", 0.01)) as site:
        with capture_logs() as logs:
            async with await site.open() as stream:
                await stream.send_all(GET)
                assert await stream.receive_some()
            with trio.fail_after(HANG):
                await ended.wait()
    assert logs == []


async def test_an_application_hears_that_its_client_left():
    left = trio.Event()

    async def patient(_: Message, receive: Callable[[], Awaitable[Message]], __: object) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    async with open_site(patient) as site:
        async with await site.open() as stream:
            await stream.send_all(GET + GET)
        with trio.fail_after(HANG):
            await left.wait()


async def test_a_client_that_does_not_read_loses_its_stream(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http1_stream, "STALL_SECONDS", 0.2)
    ended = trio.Event()
    async with open_site(endless(ended, b"x" * 65536)) as site, await site.open() as stream:
        with capture_logs() as logs:
            await stream.send_all(GET)
            with trio.fail_after(HANG):
                await ended.wait()
    assert logs == []


async def test_what_a_client_does_not_read_is_bounded():
    sent = 0

    async def pour(_: Message, __: object, send: Callable[[Message], Awaitable[None]]) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200})
        while True:
            await send({"type": "http.response.body", "body": b"x" * 4_096, "more_body": True})
            sent += 4_096

    async with open_site(pour) as site, await site.open() as stream:
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 4_096)
        await stream.send_all(GET)
        before = -1
        with trio.fail_after(HANG):
            while sent != before:  # until nothing fits any more
                before = sent
                await trio.sleep(0.3)
        site.stop()
    assert 0 < sent < 16 * listener.SEND_BUFFER


# ---------------------------------------------------------------- the end


async def test_a_request_under_way_may_finish_and_waiting_ones_are_let_go():
    busy, go_on = trio.Event(), trio.Event()

    async def slow(_: Request) -> Response:
        busy.set()
        await go_on.wait()
        return Response("well")

    async with open_site(one_row(slow)) as site:
        waiting, asking = await site.open(), await site.open()
        async with waiting, asking:
            await asking.send_all(GET)
            await busy.wait()
            site.stop()
            assert await read_all(waiting) == b""
            with pytest.raises(OSError, match="all attempts to connect"):
                await site.open()
            go_on.set()
            assert answer_in(await read_all(asking)).body == b"well"
            await site.over.wait()


async def test_clients_that_do_not_read_do_not_keep_it_from_ending():
    ended = trio.Event()
    async with open_site(endless(ended, b"x" * 65536)) as site, await site.open() as stream:
        await stream.send_all(GET)
        await stream.receive_some(1)
        site.stop()
        with trio.fail_after(HANG):
            await site.over.wait()
        assert ended.is_set()


async def test_the_port_is_free_again_at_once():
    async with open_site(one_row(well)) as first:
        assert await is_well(first)
        first.stop()
        await first.over.wait()
        async with open_site(one_row(well), first.address.port) as second:
            assert await is_well(second)
