"""Faults of a server, and the worker's answers to them.  In virtual time."""

from __future__ import annotations

import contextlib
import json
import random
import socket
from collections.abc import Callable
from typing import NoReturn

import pytest
import structlog.testing
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection

from actors.rooms.room_port import RoomJob
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.websocket import SocketFailed, use_websocket
from bridge.livekit.worker.event_log import MAX_LINES
from bridge.livekit.worker.worker import LOST_BACKOFF
from bridge.livekit.worker.worker_rejection import WorkerRejected
from tests.livekit.worker import server_messages as m
from tests.livekit.worker.fake_livekit import FakeLiveKit, fake_livekit, serve_worker
from tests.livekit.worker.raw_server import http_answer, raw_server, read_request
from tests.livekit.worker.worker_harness import KEY, logged, make_worker, running

MANY = 50_000
"""Offers of a flood, far more than are sent until its end."""

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJrZXkifQ.c2lnbmF0dXJl"


@pytest.fixture
def clock() -> trio.testing.MockClock:
    # Real sockets on loopback deliver at once, but not within the same instant.
    return trio.testing.MockClock(autojump_threshold=0.02)


async def close_at_once(websocket: WebSocketConnection, _server: FakeLiveKit) -> None:
    await websocket.aclose()


async def close_after_registering(websocket: WebSocketConnection, _server: FakeLiveKit) -> None:
    await websocket.get_message()
    await websocket.send_message(m.registered())
    await websocket.aclose()


@pytest.mark.parametrize("handler", [close_at_once, close_after_registering])
async def test_a_server_that_closes_at_once_is_not_hammered(
    clock: trio.testing.MockClock,
    handler: Callable[[WebSocketConnection, FakeLiveKit], object],
) -> None:
    async with fake_livekit(handler) as server, trio.open_nursery() as nursery:  # pyright: ignore[reportArgumentType]
        worker, _ = make_worker(server.url)
        nursery.start_soon(worker.run)
        await trio.sleep(60)
        assert 6 <= len(server.opened_at) <= 25
        gaps = [b - a for a, b in zip(server.opened_at, server.opened_at[1:], strict=False)]
        assert max(gaps) <= LOST_BACKOFF.most + 2
        assert sum(gaps[:4]) < sum(gaps[-4:])
        assert not worker.registered
        nursery.cancel_scope.cancel()


async def test_the_backoff_begins_anew_after_a_stable_time(clock: trio.testing.MockClock) -> None:
    async with fake_livekit() as server, trio.open_nursery() as nursery:
        worker, _ = make_worker(server.url)
        await nursery.start(worker.run)
        for _ in range(12):
            await trio.sleep(15)
            assert server.socket is not None
            before, lost_at = len(server.opened_at), trio.current_time()
            await server.socket.aclose()
            await server.until(lambda n=before: len(server.opened_at) > n)
            assert server.opened_at[-1] - lost_at <= LOST_BACKOFF.first + 0.5
            await worker.wait_registered()
        nursery.cancel_scope.cancel()


def test_a_night_of_failures_does_not_overflow_the_backoff() -> None:
    rng = random.Random(1)
    assert all(0 <= LOST_BACKOFF.delay(failures, rng) <= 10 for failures in range(1, 100_000, 97))
    assert all(LOST_BACKOFF.delay(1, rng) <= 0.5 for _ in range(100))


async def test_a_server_that_never_answers_the_registration_is_tried_again(
    clock: trio.testing.MockClock,
) -> None:
    async def say_nothing(_websocket: WebSocketConnection, _server: FakeLiveKit) -> None:
        await trio.sleep_forever()

    async with fake_livekit(say_nothing) as server, trio.open_nursery() as nursery:
        worker, _ = make_worker(server.url)
        with structlog.testing.capture_logs() as logs:
            nursery.start_soon(worker.run)
            await server.until(lambda: len(server.opened_at) == 3)
        assert logs[0]["event"] == "worker_connect_failed"
        assert logs[0]["error"] == "the server did not register for 5 s"
        nursery.cancel_scope.cancel()


async def test_a_server_that_accepts_and_never_upgrades_is_tried_again(
    clock: trio.testing.MockClock,
) -> None:
    tries: list[float] = []

    async def say_nothing(stream: trio.SocketStream) -> None:
        tries.append(trio.current_time())
        await read_request(stream)
        await trio.sleep_forever()

    async with raw_server(say_nothing) as address, trio.open_nursery() as nursery:
        worker, _ = make_worker(f"ws://{address}")
        with structlog.testing.capture_logs() as logs:
            nursery.start_soon(worker.run)
            await trio.sleep(25)
        assert len(tries) >= 2
        assert logs[0]["error"] == "no answer within 10 s"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "greeting", [b"SSH-2.0-OpenSSH_9.6\r\n\x00\x01\xff", b"220 mail.example ready\r\n\r\n"]
)
async def test_a_server_that_speaks_no_http_is_a_clear_error(
    clock: trio.testing.MockClock, greeting: bytes
) -> None:
    async def babble(stream: trio.SocketStream) -> None:
        await stream.send_all(greeting)
        await trio.sleep_forever()

    async with raw_server(babble) as address, trio.open_nursery() as nursery:
        worker, _ = make_worker(f"ws://{address}")
        with structlog.testing.capture_logs() as logs:
            nursery.start_soon(worker.run)
            await trio.sleep(25)
        assert logs[0]["event"] == "worker_connect_failed"
        nursery.cancel_scope.cancel()


async def test_a_server_that_goes_silent_is_left_within_ten_seconds_and_rooms_stay_ours(
    clock: trio.testing.MockClock,
) -> None:
    silent = False

    async def fall_silent(websocket: WebSocketConnection, server: FakeLiveKit) -> None:
        nonlocal silent
        if not silent:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve_worker, websocket, server)
                await server.until(lambda: bool(server.statuses()))
                nursery.cancel_scope.cancel()
            silent = True
            await trio.sleep_forever()
        await serve_worker(websocket, server)

    async with fake_livekit(fall_silent) as server:
        worker, jobs = make_worker(server.url)
        async with running(worker):
            await server.dispatch(m.job())
            await jobs.until(lambda: bool(jobs.assigned))
            with structlog.testing.capture_logs() as logs:
                worker.job_running("AJ_1")
                await server.until(lambda: bool(server.statuses()))
                silent_since = trio.current_time()
                await server.until(lambda: len(server.opened_at) == 2)
            assert trio.current_time() - silent_since <= 12
            assert logs[0]["event"] == "worker_disconnected"
            assert "did not answer for 10 s" in logs[0]["error"]
            assert worker.jobs == ("AJ_1",)
            await server.until(lambda: len(server.statuses()) == 2)
            assert server.statuses()[-1] == ("AJ_1", 1)


@pytest.mark.parametrize(
    "answer, reason",
    [
        (
            http_answer("401 Unauthorized", f"invalid token: {TOKEN}, error: token signature "
            "is invalid: signature is invalid".encode()),
            "wrong_secret",
        ),
        (http_answer("401 Unauthorized", b"invalid API key: APIkey"), "wrong_key"),
        (http_answer("401 Unauthorized"), "not_allowed"),
        (http_answer("404 Not Found", b"404 page not found"), "no_endpoint"),
        (http_answer("301 Moved", b"", "Location: https://elsewhere"), "redirected"),
    ],
)  # fmt: skip
async def test_a_refusal_before_the_first_registration_ends_the_worker_without_the_token(
    answer: bytes, reason: str
) -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(answer)

    async with raw_server(refuse) as address, trio.open_nursery() as nursery:
        worker, _ = make_worker(f"ws://{address}")
        with structlog.testing.capture_logs() as logs, pytest.raises(WorkerRejected) as caught:
            await nursery.start(worker.run)
        assert caught.value.reason == reason
        assert "eyJ" not in str(caught.value) + repr(caught.value)
        assert caught.value.__cause__ is None
        assert "eyJ" not in json.dumps(logs)


async def test_a_server_error_at_the_upgrade_is_tried_again(clock: trio.testing.MockClock) -> None:
    async def refuse(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(http_answer("503 Service Unavailable"))

    async with raw_server(refuse) as address, trio.open_nursery() as nursery:
        worker, _ = make_worker(f"ws://{address}")
        with structlog.testing.capture_logs() as logs:
            nursery.start_soon(worker.run)
            await trio.sleep(5)
        assert logs[0]["error"] == "HTTP 503"
        assert len(logs) >= 2
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("head", ["HTTP/1.1 401 No\r\n\r\n", "HTTP/1.1 101 Yes\r\nX: ", ""])
async def test_an_answer_to_the_upgrade_without_an_end_is_cut_off(head: str) -> None:
    sent: list[int] = []

    async def never(_: WebSocketConnection) -> None:
        pytest.fail("no websocket came about")

    async def endless(stream: trio.SocketStream) -> None:
        await read_request(stream)
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(head.encode())
            while True:
                await stream.send_all(b"x" * 4096)
                sent.append(4096)

    async with raw_server(endless) as address:
        with pytest.raises(SocketFailed):
            await use_websocket(Endpoint.parse(f"ws://{address}"), "/agent", (), never)
    assert sum(sent) < 8 << 20, "what the system buffers, and not more"


async def test_a_refusal_after_the_first_registration_is_tried_again_slowly(
    clock: trio.testing.MockClock,
) -> None:
    async with fake_livekit() as server, trio.open_nursery() as nursery:
        worker, _ = make_worker(server.url)
        await nursery.start(worker.run)
        server.refusal = (401, b"invalid API key: APIkey")
        assert server.socket is not None
        with structlog.testing.capture_logs() as logs:
            await server.socket.aclose()
            await trio.sleep(600)
        assert 5 <= len(server.refused_at) <= 30
        assert {line["event"] for line in logs} == {"worker_disconnected", "worker_rejected"}
        assert "LIVEKIT_API_KEY" in logs[-1]["error"]
        server.refusal = None
        with trio.fail_after(61):
            await worker.wait_registered()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("frame", [b"\xff\xff\xff", m.offer(m.job("AJ_2"))[:-4], "text", b""])
async def test_a_frame_that_cannot_be_read_is_logged_and_the_next_is_answered(
    frame: bytes | str,
) -> None:
    async with fake_livekit() as server:
        worker, jobs = make_worker(server.url)
        async with running(worker):
            with structlog.testing.capture_logs() as logs:
                assert server.socket is not None
                await server.socket.send_message(frame)
                await server.dispatch(m.job())
                await jobs.until(lambda: bool(jobs.assigned))
            assert logs[0]["event"] in {"worker_frame_malformed", "worker_message_unexpected"}
            assert len(server.opened_at) == 1


async def test_a_frame_beyond_all_limits_costs_the_connection_and_nothing_else(
    clock: trio.testing.MockClock,
) -> None:
    async with fake_livekit() as server:
        worker, jobs = make_worker(server.url)
        async with running(worker):
            await server.dispatch(m.job())
            await jobs.until(lambda: bool(jobs.assigned))
            worker.job_running("AJ_1")
            with contextlib.suppress(ConnectionClosed):
                await server.send(b"x" * (2 << 20))
            await server.until(lambda: len(server.opened_at) == 2 and len(server.statuses()) == 2)
            assert worker.jobs == ("AJ_1",)


async def test_a_refused_job_is_logged_with_its_type_and_reason() -> None:
    async with fake_livekit() as server:
        worker, _ = make_worker(server.url)
        async with running(worker):
            with structlog.testing.capture_logs() as logs:
                await server.dispatch(m.job(kind=m.agent.JobType.JT_PARTICIPANT))
            assert logs == [
                {
                    "event": "job_refused",
                    "log_level": "warning",
                    "job_id": "AJ_1",
                    "room": "standup",
                    "job_type": "JT_PARTICIPANT",
                    "reason": "not a room job",
                }
            ]


async def test_nothing_the_worker_logs_holds_a_token_or_the_secret() -> None:
    async with fake_livekit() as server:
        worker, jobs = make_worker(server.url)
        with structlog.testing.capture_logs() as logs:
            async with running(worker):
                await server.send(m.offer(m.job()))
                await server.until(lambda: bool(server.answers()))
                await server.send(m.assignment(m.job(), token=TOKEN))
                await jobs.until(lambda: bool(jobs.assigned))
                worker.job_ended("AJ_1", "boom")
        text = json.dumps(logs, default=repr) + repr(worker)
        assert "eyJ" not in text
        assert KEY.secret not in text


async def test_an_availability_answer_waits_on_nothing_a_room_does() -> None:
    async with fake_livekit() as server:
        worker, _jobs = make_worker(server.url, max_rooms=1000)
        async with running(worker):
            asked_at = trio.current_time()
            for number in range(200):
                await server.send(m.offer(m.job(f"AJ_{number}", room=f"room-{number}")))
            await server.until(lambda: len(server.answers()) == 200)
            assert trio.current_time() - asked_at < 10.0
            assert all(server.answers().values())


async def test_closing_tells_success_for_what_still_runs_then_closes_the_socket() -> None:
    async with fake_livekit() as server:
        worker, jobs = make_worker(server.url)
        async with running(worker):
            await server.dispatch(m.job("AJ_1"))
            await server.dispatch(m.job("AJ_2", room="retro"))
            await jobs.until(lambda: len(jobs.assigned) == 2)
            worker.job_ended("AJ_2", "boom")
            worker.drain()
            await worker.flush()
            await server.until(lambda: server.received[-1].update_worker.draining)
        assert server.statuses() == [("AJ_2", 3), ("AJ_1", 2)]
        assert server.socket is not None
        assert server.socket.closed is not None
        assert not worker.registered
        assert worker.free == 0


async def test_closing_does_not_wait_for_a_server_that_hangs(
    clock: trio.testing.MockClock,
) -> None:
    async def hang(websocket: WebSocketConnection, _server: FakeLiveKit) -> None:
        await websocket.get_message()
        await websocket.send_message(m.registered())
        await trio.sleep_forever()

    async with fake_livekit(hang) as server, trio.open_nursery() as nursery:
        worker, _ = make_worker(server.url)
        await nursery.start(worker.run)
        began = trio.current_time()
        await worker.aclose()
        assert trio.current_time() - began <= 3


@pytest.mark.parametrize("seconds", [0.0, 3.0])
async def test_closing_while_the_server_is_away_ends_at_once(
    clock: trio.testing.MockClock, seconds: float
) -> None:
    async with trio.open_nursery() as nursery:
        worker, _ = make_worker("ws://127.0.0.1:1")
        nursery.start_soon(worker.run)
        await trio.sleep(seconds)
        began = trio.current_time()
        await worker.aclose()
        assert trio.current_time() == began


async def test_an_outage_is_logged_ever_more_rarely(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        worker, _ = make_worker("ws://127.0.0.1:1")
        with structlog.testing.capture_logs() as logs:
            nursery.start_soon(worker.run)
            await trio.sleep(1800)
        attempts = [line["attempt"] for line in logs]
        assert attempts == [2**n for n in range(len(attempts))]
        assert len(attempts) >= 8
        assert logs[0]["error"] == "cannot reach 127.0.0.1:1: Connection refused"
        nursery.cancel_scope.cancel()


class NoSuchHost(trio.abc.HostnameResolver):
    """A name service that knows nobody: a real one may take its time to say so."""

    async def getaddrinfo(self, *_args: object, **_keys: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    async def getnameinfo(self, *_args: object, **_keys: object) -> NoReturn:
        raise NotImplementedError


async def test_a_host_that_does_not_exist_is_a_clear_error() -> None:
    trio.socket.set_custom_hostname_resolver(NoSuchHost())
    async with trio.open_nursery() as nursery:
        worker, _ = make_worker("ws://no-such-host.invalid")
        with logged() as log:
            nursery.start_soon(worker.run)
            failed = await log.until("worker_connect_failed")
        assert failed["error"] == "cannot reach no-such-host.invalid: Name or service not known"
        nursery.cancel_scope.cancel()


async def test_tls_that_fails_says_so_at_once() -> None:
    async def plain(stream: trio.SocketStream) -> None:
        await stream.receive_some(100)
        await stream.send_all(http_answer("400 Bad Request"))

    async with raw_server(plain) as address, trio.open_nursery() as nursery:
        worker, _ = make_worker(f"wss://{address}")
        with logged() as log:
            nursery.start_soon(worker.run)
            failed = await log.until("worker_connect_failed", seconds=5)
        assert "TLS with" in failed["error"]
        nursery.cancel_scope.cancel()


async def test_cancelling_a_worker_at_any_moment_leaves_nothing_behind(
    clock: trio.testing.MockClock,
) -> None:
    async with fake_livekit() as server:
        for steps in range(40):
            worker, _ = make_worker(server.url)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker.run)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()
            assert not worker.registered


async def test_a_worker_whose_owner_crashed_runs_again_and_tells_its_jobs(
    clock: trio.testing.MockClock,
) -> None:
    async with fake_livekit() as server:
        worker, jobs = make_worker(server.url)
        worker.on_assignment = crash
        with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
            async with trio.open_nursery() as nursery:
                await nursery.start(worker.run)
                await server.dispatch(m.job())
        assert not worker.registered
        assert worker.jobs == ("AJ_1",)
        worker.on_assignment = jobs.on_assignment
        async with running(worker):
            worker.job_running("AJ_1")
            await server.dispatch(m.job("AJ_2"))
            await jobs.until(lambda: bool(jobs.assigned))
            assert ("AJ_1", 1) in server.statuses()


def crash(_job: RoomJob) -> None:
    raise ZeroDivisionError


async def test_a_flood_of_offers_that_are_never_assigned_is_a_few_lines(
    clock: trio.testing.MockClock,
) -> None:
    async with fake_livekit() as server:
        worker, jobs = make_worker(server.url, max_rooms=300)
        with structlog.testing.capture_logs() as logs:
            async with running(worker):
                for number in range(400):
                    await server.send(m.offer(m.job(f"AJ_{number}", f"room-{number}")))
                await server.until(lambda: len(server.answers()) == 400)
                await trio.sleep(30)
                assert worker.free == 300
                for number in range(400, 420):
                    await server.send(m.offer(m.job(f"AJ_{number}", f"room-{number}")))
                await server.until(lambda: len(server.answers()) == 420)
    assert not jobs.assigned
    names = [line["event"] for line in logs]
    left_out = {line["of"]: line["lines"] for line in logs if "of" in line}
    for name, many in (("job_refused", 100), ("job_assignment_overdue", 300)):
        assert names.count(name) == MAX_LINES
        assert left_out[name] == many - MAX_LINES


async def test_a_flood_of_offers_does_not_keep_the_worker_from_its_end() -> None:
    """The end of writing waits for earlier messages only, not for those that go on coming."""
    sent = 0

    async def flood(websocket: WebSocketConnection, server: FakeLiveKit) -> None:
        nonlocal sent
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_worker, websocket, server)
            await server.until(lambda: any(x.HasField("register") for x in server.received))
            with contextlib.suppress(ConnectionClosed):
                for number in range(MANY):
                    await websocket.send_message(m.offer(m.job(f"AJ_{number}", f"room-{number}")))
                    sent += 1
            nursery.cancel_scope.cancel()

    async with fake_livekit(flood) as server:
        worker, _ = make_worker(server.url, max_rooms=5)
        async with trio.open_nursery() as nursery:
            await nursery.start(worker.run)
            await server.until(lambda: len(server.answers()) > 100)
            worker.drain()
            await worker.flush()
            await worker.aclose()
            nursery.cancel_scope.cancel()
    assert sent < MANY, "it came to its end only after the flood"
