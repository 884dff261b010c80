"""A room when the network or the server fails."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator

import psutil
import pytest
import trio
import trio_asyncio
from attrs import evolve

from actors.rooms.room_port import RoomRefused, RoomUnreachable
from actors.session import SessionState, Tick, apply, begin
from actors.session.events import (
    Disconnected,
    ParticipantJoined,
    ParticipantLeft,
    Reconnected,
    Reconnecting,
    Resynced,
    TrackSubscribed,
)
from bridge.lab.people import open_people
from bridge.lab.server import PrivateServer
from bridge.livekit.endpoint import Endpoint
from bridge.livekit.rooms import instance_tracker
from bridge.livekit.rooms.connect_errors import connect_error
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.server_api import ServerApi
from bridge.livekit.tokens import ApiKey
from tests.livekit.rooms.room_stage import RealStage, Recorder, simulate
from tests.proxy import open_proxy


@pytest.fixture
async def own(own_server: PrivateServer, rooms: LiveKitRooms) -> AsyncIterator[RealStage]:
    """A stage whose server the test may kill."""
    key = ApiKey(own_server.api_key, own_server.api_secret)
    async with (
        ServerApi(Endpoint.parse(own_server.url), key) as api,
        open_people(own_server.url, own_server.api_key, own_server.api_secret) as people,
    ):
        yield RealStage(own_server, rooms, people, api)


async def test_a_server_that_is_killed_and_back_makes_another_life_of_the_room(
    own: RealStage,
) -> None:
    alice = await own.join("alice")
    microphone = await alice.publish("microphone")
    await own.visible(microphone)
    recorder = Recorder()
    async with own.open(recorder) as room:
        await recorder.wait(TrackSubscribed)
        await trio.to_thread.run_sync(own.server.kill)
        await recorder.wait(Reconnecting)
        await recorder.wait(ParticipantLeft)
        await trio.to_thread.run_sync(own.server.restart)
        back = await recorder.wait(Reconnected)
        before, after = recorder.watching.roster, back.roster
        assert "" != after.room_sid != before.room_sid
        assert after.created_at is not None
        assert before.created_at is not None
        assert after.created_at > before.created_at
        assert room.roster().room_sid == after.room_sid
        assert alice.sid not in {person.sid for person in after.participants}
        if not after.participants:
            await recorder.joined("alice")
        await recorder.until(lambda: len(recorder.all(TrackSubscribed)) >= 2, "her microphone")
    assert {event.reason for event in recorder.all(ParticipantLeft)} == {None}
    assert [type(e) for e in recorder.events if isinstance(e, Reconnecting | Reconnected)] == [
        Reconnecting,
        Reconnected,
    ]
    assert not recorder.all(Resynced)
    recorder.check_frame()


async def test_an_empty_room_that_was_made_anew_is_recognised_by_asking_the_server(
    own: RealStage,
) -> None:
    """No participant proves which instance of the room it is, and the SDK never learns it."""
    recorder = Recorder()
    own.rooms.look_up = own.living
    async with own.open(recorder) as room:
        await trio.to_thread.run_sync(own.server.kill)
        await recorder.wait(Reconnecting)
        assert room.roster().room_sid == recorder.watching.roster.room_sid
        await trio.to_thread.run_sync(own.server.restart)
        back = await recorder.wait(Reconnected)
        assert back.roster.room_sid == await own.living(own.room)
        assert back.roster.room_sid != recorder.watching.roster.room_sid
        assert room.roster().room_sid == back.roster.room_sid
    recorder.check_frame()


async def test_an_empty_room_that_lived_on_is_told_as_soon_as_the_server_says_so(
    real: RealStage,
) -> None:
    recorder = Recorder()
    answers = [RoomUnreachable("not now"), None]

    async def look_up(room: str) -> str:
        asked.append(room)
        answer = answers.pop(0) if answers else await real.living(room)
        if isinstance(answer, RoomUnreachable):
            raise answer
        return answer or ""

    asked: list[str] = []
    real.rooms.look_up = look_up
    async with real.open(recorder) as room:
        await simulate(room, "SIMULATE_FULL_RECONNECT")
        back = await recorder.wait(Reconnected)
    assert set(asked) == {real.room}
    assert back.roster == recorder.watching.roster
    assert [type(event) for event in recorder.events[1:-1]] == [Reconnecting, Reconnected]
    recorder.check_frame()


async def test_a_question_to_the_server_that_fails_ends_nothing(
    real: RealStage, rooms: LiveKitRooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(room: str) -> str:
        raise ValueError(room)

    monkeypatch.setattr(instance_tracker, "SID_DEADLINE", 3.0)
    rooms.look_up = look_up
    recorder = Recorder()
    async with real.open(recorder) as room:
        await simulate(room, "SIMULATE_FULL_RECONNECT")
        back = await recorder.wait(Reconnected)
    assert back.roster == recorder.watching.roster
    assert rooms.faults.pop("look_up") == 1


@pytest.mark.parametrize(
    "scenario",
    ["SIMULATE_FULL_RECONNECT", "SIMULATE_NODE_FAILURE", "SIMULATE_SIGNAL_RECONNECT"],
)
async def test_after_a_reconnect_whoever_stayed_came_or_left_meanwhile_is_known(
    real: RealStage, scenario: str
) -> None:
    stays, goes = await real.join("stays"), await real.join("goes")
    tracks = [await stays.publish("microphone"), await goes.publish("microphone")]
    await real.visible(*tracks)
    recorder = Recorder()
    real.rooms.look_up = real.living
    async with real.open(recorder) as room:
        await recorder.wait(TrackSubscribed, count=2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(simulate, room, scenario)
            nursery.start_soon(goes.leave)
            comes = await real.join("comes")
            await comes.publish("microphone")
        await recorder.wait(Reconnected)

        def settled() -> bool:
            # One who is in the room counts as a join a little later, once active.
            session = folded(recorder)
            return set(session.present) == {"stays", "comes"} and session.joins >= 3

        await recorder.until(settled, "who is there")
    session = folded(recorder)
    assert {p.identity: p.joins[-1].sid for p in session.present.values()} == {
        "stays": stays.sid,
        "comes": comes.sid,
    }
    assert (session.joins, session.unique) == (3, 3), "nobody was thought to have come again"


def folded(recorder: Recorder) -> SessionState:
    """The session of these events, once no end is provisional any more."""
    session = begin("room", "", (), "worker", "agent", recorder.watching.at)
    for event in (*recorder.events, Tick(time.time() + 10)):
        session, _ = apply(session, event)
    return session


async def test_a_server_that_does_not_come_back_ends_the_connection_without_a_reason(
    own: RealStage,
) -> None:
    recorder = Recorder()
    async with own.open(recorder) as room:
        await trio.to_thread.run_sync(own.server.kill)
        with trio.fail_after(60):
            assert await room.closed() is None
        assert isinstance(recorder.events[-1], Disconnected)
        assert room.roster().participants == ()
    recorder.check_frame()


async def test_the_server_that_shuts_us_out_ends_the_connection_with_its_reason(
    real: RealStage,
) -> None:
    recorder = Recorder()
    async with real.open(recorder) as room:
        await simulate(room, "SIMULATE_SERVER_LEAVE")
        with trio.fail_after(60):
            assert await room.closed() == "server_shutdown"


async def test_a_signalling_connection_that_breaks_is_resumed_and_nobody_left(
    real: RealStage,
) -> None:
    alice = await real.join("alice")
    microphone = await alice.publish("microphone")
    recorder = Recorder()
    async with open_proxy(real.server.port) as proxy:
        job = evolve(real.job(), url=proxy.url)
        async with real.port.open(job, recorder) as room:
            await recorder.wait(TrackSubscribed)
            assert proxy.cut(real.room) >= 1
            await recorder.wait(Reconnecting)
            back = await recorder.wait(Reconnected)
            assert [person.sid for person in back.roster.participants] == [alice.sid]
            assert back.roster.room_sid == recorder.watching.roster.room_sid
            await alice.mute(microphone)
            await recorder.until(lambda: room.roster().participants[0].tracks[0].muted, "muted")
    assert not recorder.all(ParticipantLeft)
    assert not recorder.all(ParticipantJoined)


async def test_leaving_does_not_wait_for_a_server_that_hangs(own: RealStage) -> None:
    recorder = Recorder()
    async with trio_asyncio.open_loop():
        port = LiveKitRooms(leave_deadline=0.5, abandoned_deadline=0.1)
        async with port, port.open(own.job(), recorder):
            os.kill(own.server.pid, signal.SIGSTOP)
    assert psutil.Process(own.server.pid).status() == psutil.STATUS_STOPPED, "no answer ended it"
    os.kill(own.server.pid, signal.SIGCONT)
    recorder.check_frame()


async def test_a_server_that_never_answers_is_unreachable_within_the_deadline(
    real: RealStage,
) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with listener, trio_asyncio.open_loop():
        patient = LiveKitRooms(connect_deadline=0.3, abandoned_deadline=0.1)
        async with patient:
            with pytest.raises(RoomUnreachable, match=r"within 0\.3 s"):
                async with patient.open(real.job(url=f"ws://127.0.0.1:{port}"), Recorder()):
                    raise AssertionError("not reached")
            assert patient.busy == 1, "its place stays taken until the SDK gives up"
            assert patient.abandoned == 1


async def test_while_a_connect_hangs_the_others_go_on(real: RealStage) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    silent = real.job(url=f"ws://127.0.0.1:{listener.socket.getsockname()[1]}")

    async def hang(port: LiveKitRooms) -> None:
        async with port.open(silent, Recorder()):
            raise AssertionError("not reached")

    async with listener, trio_asyncio.open_loop(), trio.open_nursery() as nursery:
        async with LiveKitRooms(at_once=2, abandoned_deadline=0.1) as port:
            nursery.start_soon(hang, port)
            stream = await listener.accept()
            for number in range(3):
                recorder = Recorder()
                async with port.open(real.job(f"agent-{number}"), recorder):
                    assert recorder.watching
            assert port.busy == 1
            nursery.cancel_scope.cancel()
        await stream.aclose()


async def test_only_so_many_connections_are_made_at_the_same_time(real: RealStage) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    silent = real.job(url=f"ws://127.0.0.1:{listener.socket.getsockname()[1]}")

    async def hang(port: LiveKitRooms) -> None:
        async with port.open(silent, Recorder()):
            raise AssertionError("not reached")

    async with (
        listener,
        trio_asyncio.open_loop(),
        LiveKitRooms(at_once=2, abandoned_deadline=0.1) as port,
        trio.open_nursery() as nursery,
    ):
        for _ in range(5):
            nursery.start_soon(hang, port)
        streams = [await listener.accept() for _ in range(2)]
        assert (port.busy, port._slots.statistics().tasks_waiting) == (2, 3)
        nursery.cancel_scope.cancel()
    for stream in streams:
        await stream.aclose()


async def test_a_connect_that_nobody_waits_for_holds_up_no_other_room(real: RealStage) -> None:
    """LiveKit's SDK waits 15 s for a room that was deleted during the entry."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    silent = real.job(url=f"ws://127.0.0.1:{listener.socket.getsockname()[1]}")

    async with (
        listener,
        trio_asyncio.open_loop(),
        LiveKitRooms(at_once=1, abandoned_deadline=0.1) as port,
    ):
        for hanging in (1, 2):
            with trio.move_on_after(0.2):
                async with port.open(silent, Recorder()):
                    raise AssertionError("not reached")
            assert (port.busy, port.abandoned) == (hanging, hanging), "each keeps its place"
        recorder = Recorder()
        with trio.fail_after(60):
            async with port.open(real.job("agent-1"), recorder):
                assert recorder.watching
                assert port.abandoned == 2, "it waited for neither"
        assert port._slots.value == 1


@pytest.mark.parametrize(
    "text, kind",
    [
        (
            "engine: signal failure: client error: 401 Unauthorized - permissions denied",
            RoomRefused,
        ),
        ("engine: signal failure: client error: 404 Not Found - abc", RoomRefused),
        ("engine: signal failure: failed to parse the url: empty host", RoomRefused),
        ("engine: signal failure: server error: 500 Internal Server Error - ", RoomUnreachable),
        ("engine: signal failure: transport timed out", RoomUnreachable),
        ("engine: signal failure: transport connection error: IO error: refused", RoomUnreachable),
        ("", RoomUnreachable),
    ],
)
def test_the_errors_of_connect_are_sorted_in_two(text: str, kind: type[Exception]) -> None:
    error = connect_error(text)
    assert type(error) is kind
    assert str(error)


async def test_an_expired_token_is_refused_and_its_text_kept_out(real: RealStage) -> None:
    key = ApiKey(real.server.api_key, real.server.api_secret)
    token = key.sign({"roomJoin": True, "room": real.room}, ttl=-3600, claims={"sub": "agent-1"})
    with pytest.raises(RoomRefused, match="expired") as caught:
        async with real.port.open(real.job(token=token), Recorder()):
            raise AssertionError("not reached")
    assert "eyJ" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "ws://", "ftp://127.0.0.1:1", ""])
async def test_a_url_that_is_none_is_refused(real: RealStage, url: str) -> None:
    with pytest.raises((RoomRefused, RoomUnreachable)):
        async with real.port.open(real.job(url=url), Recorder()):
            raise AssertionError("not reached")


async def test_outside_of_its_block_the_port_says_how_to_use_it(real: RealStage) -> None:
    port = LiveKitRooms()
    with pytest.raises(RuntimeError, match="async with"):
        async with port.open(real.job(), Recorder()):
            raise AssertionError("not reached")
