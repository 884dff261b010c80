"""The server API against a real server, and what becomes of every way it can fail."""

from __future__ import annotations

import gzip
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
from livekit.protocol import models
from livekit.protocol.room import ListRoomsResponse

from bridge.lab.people import People
from bridge.lab.server import PrivateServer
from bridge.livekit import server_api
from bridge.livekit.api_errors import (
    ApiError,
    ApiRefused,
    MalformedAnswer,
    NotFound,
    NotSupported,
    TimedOut,
    Unauthorized,
    Unavailable,
)
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from tests.livekit.conftest import key_of
from tests.livekit.worker.raw_server import http_answer, raw_server, read_request
from tests.livekit.worker.worker_harness import KEY

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJrZXkifQ.c2lnbmF0dXJl"

# ------------------------------------------------------------------- a real server


async def test_rooms_come_are_listed_changed_and_go(api: ServerApi, name: str) -> None:
    made = await api.create_room(name, metadata="before", empty_timeout=60)
    assert made.sid.startswith("RM_")
    (listed,) = await api.list_rooms([name])
    assert (listed.sid, listed.metadata) == (made.sid, "before")
    assert made.sid in [room.sid for room in await api.list_rooms()]
    assert (await api.update_room_metadata(name, "after")).metadata == "after"
    await api.delete_room(name)
    assert await api.list_rooms([name]) == []


async def test_dispatches_are_made_listed_and_taken_back(api: ServerApi, name: str) -> None:
    made = await api.create_dispatch(name, "nobody", "about it")
    (ours,) = [each for each in await api.list_dispatch(name) if each.agent_name == "nobody"]
    assert (ours.id, ours.metadata) == (made.id, "about it")
    assert abs(ours.state.created_at / 1e9 - api.clock.now()) < 30
    await api.delete_dispatch(name, made.id)
    assert [x for x in await api.list_dispatch(name) if x.agent_name == "nobody"] == []


async def test_participants_are_listed_muted_written_to_and_removed(
    api: ServerApi, people: People, name: str
) -> None:
    alice = await people.join(name, "alice", metadata="hello")
    microphone = await alice.publish("microphone")
    (listed,) = await api.list_participants(name)
    assert (listed.identity, listed.sid, listed.metadata) == ("alice", alice.sid, "hello")
    await api.mute_track(name, "alice", microphone)
    await api.send_data(name, b"hello", topic="greeting", identities=["alice"])
    with trio.fail_after(60):
        # The list follows what happens in the room after a moment.
        while not any(track.muted for track in listed.tracks):
            (listed,) = await api.list_participants(name)
    await api.remove_participant(name, "alice")
    assert await api.list_participants(name) == []


async def test_the_participants_of_a_room_that_is_not_there_are_none(
    api: ServerApi, name: str
) -> None:
    assert await api.list_participants(name) == []


async def test_what_is_not_there_is_not_found(api: ServerApi, name: str) -> None:
    with pytest.raises(NotFound, match="RoomService/DeleteRoom"):
        await api.delete_room(name)
    await api.create_room(name)
    with pytest.raises(NotFound):
        await api.remove_participant(name, "nobody")
    with pytest.raises(NotFound):
        await api.delete_dispatch(name, "AD_none")


async def test_the_dispatches_of_a_room_that_is_not_there_are_unavailable_in_two_seconds(
    api: ServerApi, name: str
) -> None:
    """LiveKit itself says so after 3 s."""
    with pytest.raises(TimedOut, match="no answer within 2 s"):
        await api.list_dispatch(name)


@pytest.mark.parametrize("key, secret", [(None, "s" * 40), ("nokey", "s" * 40)])
async def test_a_wrong_key_or_secret_is_unauthorized_and_the_token_is_in_no_text(
    livekit_server: PrivateServer, key: str | None, secret: str
) -> None:
    wrong = ApiKey(key or livekit_server.api_key, secret)
    async with ServerApi(Endpoint.parse(livekit_server.url), wrong) as api:
        with pytest.raises(Unauthorized) as caught:
            await api.list_rooms()
    assert "eyJ" not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None
    assert secret not in repr(api)


async def test_each_token_has_the_least_grant(
    livekit_server: PrivateServer, api: ServerApi, name: str
) -> None:
    with pytest.raises(Unauthorized, match="permissions denied"):
        await api._call(
            "RoomService/ListParticipants",
            server_api.room.ListParticipantsRequest(room=name),
            server_api.room.ListParticipantsResponse,
            server_api._admin("another room"),
        )


async def test_an_unknown_call_is_not_supported(api: ServerApi) -> None:
    with pytest.raises(NotSupported, match="bad_route"):
        await api._call(
            "RoomService/ReadMinds",
            server_api.room.ListRoomsRequest(),
            server_api.room.ListRoomsResponse,
            {},
        )


async def test_a_url_without_livekit_behind_it_is_not_supported(
    livekit_server: PrivateServer,
) -> None:
    endpoint = Endpoint.parse(f"{livekit_server.url}/elsewhere")
    async with ServerApi(endpoint, key_of(livekit_server)) as api:
        with pytest.raises(NotSupported):
            await api.list_rooms()


async def test_the_servers_clock_is_known_after_the_first_answer(api: ServerApi) -> None:
    assert api.clock.offset is None
    await api.ask_time()
    assert api.clock.offset is not None
    assert api.clock.uncertainty is not None
    assert abs(api.clock.offset) <= api.clock.uncertainty, "one clock"


async def test_many_calls_at_once_share_a_few_connections(api: ServerApi, name: str) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(api.list_rooms, [name])


async def test_a_server_that_was_restarted_is_called_again(own_server: PrivateServer) -> None:
    async with ServerApi(Endpoint.parse(own_server.url), key_of(own_server)) as api:
        assert await api.list_rooms() == []
        own_server.kill()
        with pytest.raises(Unavailable):
            await api.list_rooms()
        await trio.to_thread.run_sync(own_server.restart)
        assert await api.list_rooms() == []


# ------------------------------------------------------------------------- faults


def answering(answer: bytes) -> Callable[[trio.SocketStream], Awaitable[None]]:
    async def handle(stream: trio.SocketStream) -> None:
        await read_request(stream)
        await stream.send_all(answer)
        await stream.aclose()

    return handle


async def silent(stream: trio.SocketStream) -> None:
    await read_request(stream)
    await trio.sleep_forever()


async def dripping(stream: trio.SocketStream) -> None:
    await read_request(stream)
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        await stream.send_all(b"x")
        await trio.sleep(0.02)


def endless(*head: str) -> Callable[[trio.SocketStream], Awaitable[None]]:
    """An answer without an end; the client's closing ends it."""

    async def handle(stream: trio.SocketStream) -> None:
        await read_request(stream)
        with suppress(trio.BrokenResourceError):
            await stream.send_all("\r\n".join([*head, "", ""]).encode())
            while True:
                await stream.send_all(b"[" * 65_536)

    return handle


def deep(depth: int) -> bytes:
    """A Twirp error with a field that nests as deep."""
    return b'{"code":"internal","msg":"deep","meta":' + b"[" * depth + b"]" * depth + b"}"


JSON = "Content-Type: application/json"


@pytest.mark.parametrize(
    "handler, kind, text",
    [
        (answering(http_answer("401 Unauthorized", f"invalid token: {TOKEN}".encode())),
         Unauthorized, "HTTP 401"),
        (answering(http_answer("403 Forbidden", b"<html>no</html>")), Unauthorized, "HTTP 403"),
        (answering(http_answer("404 Not Found")), NotSupported, "HTTP 404"),
        (answering(http_answer("404 Not Found",
                               b'{"code":"not_found","msg":"participant does not exist"}')),
         NotFound, "participant does not exist"),
        (answering(http_answer("412 Precondition Failed",
                               b'{"code":"failed_precondition","msg":"remote unmute"}')),
         ApiRefused, "remote unmute"),
        (answering(http_answer("503 Service Unavailable",
                               b'{"code":"unavailable","msg":"no response from servers"}')),
         Unavailable, "no response"),
        (answering(http_answer("502 Bad Gateway", b"<html>")), Unavailable, "HTTP 502"),
        (answering(http_answer("500 Internal", b"oops")), Unavailable, "HTTP 500"),
        (answering(http_answer("418 Teapot", b"[]")), ApiError, "HTTP 418"),
        (answering(http_answer("400 Bad", b'{"code":7,"msg":null}')), ApiError, "HTTP 400"),
        (answering(http_answer("301 Moved", b"", "Location: https://elsewhere")),
         ApiError, "HTTP 301"),
        (answering(http_answer("200 OK", b"\xff\xff\xff")), MalformedAnswer, "ListRoomsResponse"),
        (answering(http_answer("500 Internal", deep(30_000))), Unavailable, "HTTP 500"),
        (answering(http_answer("500 Internal", b"[" * 60_000)), Unavailable, "HTTP 500"),
        (answering(http_answer("500 Internal", b"[" * 70_000)), MalformedAnswer, "65536 bytes"),
        (endless("HTTP/1.1 200 OK", "Connection: close"), MalformedAnswer, "33554432 bytes"),
        (endless("HTTP/1.1 401 No", "Connection: close"), MalformedAnswer, "65536 bytes"),
        (answering(http_answer("200 OK", gzip.compress(bytes(1 << 20)), "Content-Encoding: gzip")),
         MalformedAnswer, "encoded"),
        (answering(http_answer("200 OK", b"x", "Content-Encoding: br")),
         MalformedAnswer, "encoded"),
        (answering(http_answer("200 OK", b"\x0a\x02" * 1000)), MalformedAnswer, "ListRoomsResp"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\ncut"),
         Unavailable, "broke off"),
        (answering(b"SSH-2.0-OpenSSH_9.6\r\n"), Unavailable, "not HTTP"),
        (answering(b""), Unavailable, "broke off"),
        (silent, TimedOut, "no answer within 0.3 s"),
        (dripping, TimedOut, "no answer within 0.3 s"),
    ],
)  # fmt: skip
async def test_every_way_to_fail_is_one_kind_of_error_with_a_clear_text(
    handler: Callable[[trio.SocketStream], Awaitable[None]],
    kind: type[ApiError],
    text: str,
) -> None:
    async with raw_server(handler) as address:
        deadline = 0.3 if kind is TimedOut else 30.0
        api = ServerApi(Endpoint.parse(f"ws://{address}"), KEY, deadline=deadline)
        with pytest.raises(ApiError) as caught:
            await api.list_rooms()
        await api.aclose()
    assert type(caught.value) is kind
    assert str(caught.value).startswith("RoomService/ListRooms: ")
    assert text in str(caught.value)
    assert "eyJ" not in str(caught.value)


async def test_of_named_rooms_only_those_are_taken_that_have_the_name() -> None:
    listed = ListRoomsResponse(
        rooms=[models.Room(name="another", sid="RM_2"), models.Room(name="asked", sid="RM_1")]
    )
    answer = http_answer("200 OK", listed.SerializeToString())
    async with (
        raw_server(answering(answer)) as address,
        ServerApi(Endpoint.parse(f"ws://{address}"), KEY) as api,
    ):
        assert [one.sid for one in await api.list_rooms(["asked"])] == ["RM_1"]


@pytest.mark.parametrize(
    "date",
    [
        "Sat, 31 Dec 99999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -2400",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Mon, 01 Jan 2026 00:00:00 +99999999999999999999",
        "1 Jan 999999999999999999999999999 1:1:1",
        ",",
        "()" * 5_000,
    ],
    ids=lambda text: text[:30],
)
async def test_an_odd_date_is_no_date(date: str) -> None:
    async with (
        raw_server(answering(http_answer("200 OK", b"", f"Date: {date}"))) as address,
        ServerApi(Endpoint.parse(f"ws://{address}"), KEY) as api,
    ):
        assert await api.list_rooms() == []


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with ServerApi(Endpoint.parse("ws://127.0.0.1:1"), KEY) as api:
        with pytest.raises(Unavailable, match="cannot reach the server: Connection refused"):
            await api.list_rooms()


async def test_what_the_server_says_is_made_harmless_and_short() -> None:
    message = f"token {TOKEN} \x1b[31mred\\n" + "x" * 1000
    body = '{"code":"internal","msg":"' + message.replace("\x1b", "\\u001b") + '"}'
    async with raw_server(answering(http_answer("500 Internal", body.encode()))) as address:
        api = ServerApi(Endpoint.parse(f"ws://{address}"), KEY)
        with pytest.raises(ApiError) as caught:
            await api.list_rooms()
        await api.aclose()
    text = str(caught.value)
    assert "eyJ" not in text
    assert text.isprintable()
    assert len(text) < 300
