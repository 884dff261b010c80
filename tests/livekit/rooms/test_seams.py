"""Canaries: each says which of the SDK's private details has moved, after an upgrade."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import structlog
import trio
import trio_asyncio
from livekit import rtc
from livekit.rtc import _ffi_client as ffi_client
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto import ffi_pb2

from actors.session.events import DataReceived, ParticipantLeft, TrackSubscribed, TrackUnpublished
from bridge.livekit.rooms import native_threads, seams, wake_timer
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from bridge.livekit.rooms.sdk_options import SdkOptions
from tests.livekit.rooms.room_stage import RealStage, Recorder

CHECKOUT = Path(__file__).parents[3]
TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJ2aWRlbyI6e319.c2lnbmF0dXJl"


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """The seams as if nothing was known of them yet."""
    known: dict[str, bool] = {}
    monkeypatch.setattr(seams, "_fit", known)
    return known


@pytest.mark.parametrize("name", list(seams.SEAMS))
def test_this_version_of_the_sdk_fits(name: seams.SeamName, fresh: dict[str, bool]) -> None:
    with structlog.testing.capture_logs() as logs:
        assert seams.fits(name)
    assert logs == []


MOVED: dict[seams.SeamName, tuple[object, str]] = {
    "native_logs": (FfiClient, "__init__"),
    "demux": (rtc.Room, "_on_room_event"),
    "room_filter": (rtc.Room, "connect"),
    "pause_track": (rtc.RemoteTrackPublication, "set_subscribed"),
    "any_stream": (rtc.Room, "_handle_byte_stream_opened"),
    "timer_slack": (native_threads, "_prctl"),
    "thread_state": (native_threads, "_ensure"),
    "inbox_timer": (wake_timer, "_library"),
    "capture_sound": (rtc.AudioSource, "capture_frame"),
}
"""Code of the SDK, of Python or of the system that each seam builds on."""


@pytest.mark.parametrize("name", list(seams.SEAMS))
def test_an_sdk_whose_code_has_moved_is_found_out(
    name: seams.SeamName, fresh: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(self: object) -> None:
        """Does it in another way."""

    monkeypatch.setattr(*MOVED[name], moved)
    with structlog.testing.capture_logs() as logs:
        assert not seams.fits(name)
    assert [(line["event"], line["seam"]) for line in logs] == [("sdk_seam_lost", name)]


def test_a_seam_that_does_not_fit_is_named_once_with_what_it_costs(
    fresh: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe() -> bool:
        raise AttributeError(f"no _ffi_queue {TOKEN}")

    monkeypatch.setitem(seams.SEAMS, "room_filter", seams.Seam(probe, "more CPU"))
    with structlog.testing.capture_logs() as logs:
        assert not seams.fits("room_filter")
        assert not seams.fits("room_filter")
    assert logs == [
        {
            "event": "sdk_seam_lost",
            "log_level": "warning",
            "seam": "room_filter",
            "lost": "more CPU",
            "error": "AttributeError: no _ffi_queue <token>",
        }
    ]


def test_the_native_library_logs_nothing_neither_through_python_nor_on_stderr() -> None:
    """A refused connection makes it log at level ERROR, with the whole token."""
    program = f"""
import asyncio, logging, os, sys
logging.basicConfig(level=1, stream=sys.stdout)
from bridge.livekit.rooms import native_threads, seams, wake_timer
from livekit import rtc
seams.initialize()
assert "RUST_LOG" not in os.environ
async def main():
    try:
        await rtc.Room().connect("ws://127.0.0.1:9", {TOKEN!r})
    except rtc.ConnectError:
        print("refused")
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    printed = [line for line in done.stdout.splitlines() if not line.startswith("DEBUG:asyncio")]
    assert (printed, done.stderr, done.returncode) == (["refused"], "", 0)


async def test_events_of_a_room_pass_the_sdks_queue_by_and_the_way_ends_with_the_room(
    real: RealStage,
) -> None:
    recorder = Recorder()
    async with real.open(recorder) as room:
        sdk: Any = cast("Any", room)._room
        assert isinstance(sdk, seams.DemuxedRoom)
        inside: Any = sdk
        queues = [queue for queue, _, _ in FfiClient.instance.queue._subscribers]
        assert inside._ffi_queue not in queues
        handles = {inside._ffi_handle.handle, inside.local_participant._ffi_handle.handle}
        assert handles <= set(seams._routes)
    assert not handles & set(seams._routes)


async def test_the_way_ends_with_a_room_that_the_server_ends(real: RealStage) -> None:
    recorder = Recorder()
    async with real.open(recorder) as room:
        sdk: Any = cast("Any", room)._room
        await real.delete_room()
        await room.closed()
        await trio_asyncio.aio_as_trio(asyncio.wait_for)(sdk._task, 30)
        assert sdk._ffi_handle.handle not in seams._routes


async def test_native_memory_is_given_back_with_the_room_and_not_by_the_collector(
    real: RealStage,
) -> None:
    alice = await real.join("alice")
    await alice.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder) as room:
        await recorder.wait(TrackSubscribed)
        sdk: Any = cast("Any", room)._room
        person = sdk.remote_participants["alice"]
        (publication,) = person.track_publications.values()
        owners = (sdk, sdk.local_participant, person, publication, publication.track)
        assert not any(owner._ffi_handle.disposed for owner in owners)
    assert all(owner._ffi_handle.disposed for owner in owners)
    for owner in owners:
        drop = FfiClient.instance._ffi_lib.livekit_ffi_drop_handle
        assert not drop(owner._ffi_handle.handle), "still held by the native side"


@pytest.mark.parametrize("what", ["leave", "remove", "unpublish", "renew"])
async def test_no_native_object_of_somebody_who_left_is_kept_alive(
    real: RealStage, what: str
) -> None:
    """One would keep the whole room in memory, also after its end."""
    alice = await real.join("alice")
    microphone = await alice.publish("microphone")
    await alice.speak(True)
    recorder = Recorder()
    async with real.open(recorder) as room:
        await recorder.wait(TrackSubscribed)
        person = cast("Any", room)._room.remote_participants["alice"]
        publication = person.track_publications[microphone]
        owners = [publication.track]
        if what != "renew":
            owners.append(publication)
        match what:
            case "leave" | "remove":
                owners.append(person)
                await (alice.leave() if what == "leave" else real.remove("alice"))
                await recorder.wait(ParticipantLeft)
            case "unpublish":
                await alice.unpublish(microphone)
                await recorder.wait(TrackUnpublished)
            case _:
                publication.set_subscribed(False)
                with trio.fail_after(60):
                    while publication.track is not None:  # noqa: ASYNC110
                        await trio.sleep(0.01)
        assert all(owner._ffi_handle.disposed for owner in owners)
        drop = FfiClient.instance._ffi_lib.livekit_ffi_drop_handle
        assert not any(drop(owner._ffi_handle.handle) for owner in owners)
        assert what not in {"leave", "remove"} or not room.roster().participants
    recorder.check_frame()


async def test_a_call_to_a_method_of_ours_still_reaches_the_sdk(real: RealStage) -> None:
    async with real.open(Recorder()) as room:
        sdk: Any = cast("Any", room)._room
        called = trio.Event()
        sdk._on_rpc_method_invocation = lambda _: called.set()
        event = ffi_pb2.FfiEvent()
        handle = sdk.local_participant._ffi_handle.handle
        event.rpc_method_invocation.local_participant_handle = handle
        FfiClient.instance.queue.put(event)
        with trio.fail_after(60):
            await called.wait()


async def test_the_native_memory_of_a_message_is_given_back(
    real: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    handles: list[int] = []

    def take(message: Any) -> bytes:
        handles.append(message.data.handle.id)
        return take_payload(message)

    take_payload = seams.take_payload
    monkeypatch.setattr(seams, "take_payload", take)
    alice = await real.join("alice")
    await alice.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed)
        await alice.send_data(b"hello")
        await recorder.wait(DataReceived)
    (handle,) = handles
    assert not FfiClient.instance._ffi_lib.livekit_ffi_drop_handle(handle), "dropped before"


def test_an_sdk_whose_callback_takes_another_way_is_found_out(
    fresh: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ffi_client, "ffi_event_callback", lambda *_: None)
    with structlog.testing.capture_logs() as logs:
        assert not seams.fits("demux")
    assert [(entry["event"], entry["seam"]) for entry in logs] == [("sdk_seam_lost", "demux")]


@pytest.mark.parametrize("options", [SdkOptions(demux=False)], ids=["stock"])
async def test_a_room_is_woken_for_its_own_events_only(real: RealStage) -> None:
    async with real.open(Recorder()) as room:
        sdk: Any = cast("Any", room)._room
        (wanted,) = [
            wanted
            for queue, _, wanted in FfiClient.instance.queue._subscribers
            if queue is sdk._ffi_queue
        ]
        assert wanted is not None
        mine, other, answer = (ffi_pb2.FfiEvent() for _ in range(3))
        mine.room_event.room_handle = sdk._ffi_handle.handle
        other.room_event.room_handle = sdk._ffi_handle.handle + 1
        answer.connect.async_id = 7
        assert (wanted(mine), wanted(other), wanted(answer)) == (True, False, False)


async def test_nothing_of_a_room_stays_behind_in_the_sdk(real: RealStage) -> None:
    before = len(FfiClient.instance.queue._subscribers)
    alice = await real.join("alice")
    await alice.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed)
        await alice.send_text("hello")
        await recorder.wait(DataReceived)
    assert len(FfiClient.instance.queue._subscribers) == before


@pytest.mark.parametrize("name", list(seams.SEAMS))
async def test_without_one_of_the_seams_a_room_is_watched_all_the_same(
    name: seams.SeamName, real: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seams, "_fit", {one: one != name for one in seams.SEAMS})
    alice = await real.join("alice")
    microphone = await alice.publish("microphone")
    recorder = Recorder()
    async with trio_asyncio.open_loop(), LiveKitRooms() as real.port, real.open(recorder):
        await recorder.wait(TrackSubscribed, track_sid=microphone)
        await alice.send_text("hello")
        await alice.send_data(b"data")
        await recorder.wait(DataReceived, topic="lk.chat")
        await recorder.wait(DataReceived, stream=False)
        await alice.leave()
        await recorder.wait(ParticipantLeft, identity="alice")
    recorder.check_frame()


async def test_without_any_seam_a_room_is_watched_all_the_same(
    real: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seams, "_fit", dict.fromkeys(seams.SEAMS, False))
    alice = await real.join("alice")
    microphone = await alice.publish("microphone")
    recorder = Recorder()
    async with trio_asyncio.open_loop(), LiveKitRooms() as real.port, real.open(recorder) as room:
        assert type(cast("Any", room)._room) is rtc.Room
        await recorder.wait(TrackSubscribed, track_sid=microphone)
        await alice.send_text("other topic", topic="votes")
        await alice.send_text("hello")
        await alice.send_data(b"data")
        await recorder.wait(DataReceived, topic="lk.chat")
        await recorder.wait(DataReceived, stream=False)
    assert not recorder.all(DataReceived, topic="votes")


def test_records_of_the_sdk_are_one_line_without_tokens_and_without_noise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    seams.quiet_loggers()
    caplog.set_level(logging.DEBUG)
    logging.info("ignoring text stream with topic '%s', no callback attached", "a")  # noqa: LOG015
    logging.getLogger("livekit").error("no entry: 401 invalid token: %s, error: x\nmore", TOKEN)
    try:
        raise KeyError(TOKEN)
    except KeyError:
        logging.exception("error running user callback for %s: %s", "token_refreshed", TOKEN)  # noqa: LOG015
    logging.getLogger("livekit").error("%d", "not a number")
    assert [record.getMessage() for record in caplog.records] == [
        "no entry: 401 invalid token: <token>, error: x more",
        "error running user callback for token_refreshed: <token> (KeyError: '<token>')",
        "%d",
    ]
    assert all(record.exc_info is None for record in caplog.records)


async def test_what_fails_in_asyncio_is_counted_and_ends_nothing(
    real: RealStage, rooms: LiveKitRooms
) -> None:
    loop: Any = rooms._loop

    def broken() -> None:
        raise ValueError(f"stray {TOKEN}")

    with structlog.testing.capture_logs() as logs:
        async with real.open(Recorder()) as room:
            loop.call_soon(broken)
            loop.call_soon(broken)
            alice = await real.join("alice")
            recorder = Recorder()
            async with real.open(recorder, "agent-2"):
                await alice.publish("microphone")
                await recorder.wait(TrackSubscribed)
            assert room.roster().participants
    assert rooms.faults == {"asyncio": 2}
    assert [entry["error"] for entry in logs if entry["event"] == "room_callback_failed"] == [
        "ValueError: stray <token>"
    ]
    rooms.faults.clear()


async def test_an_offer_that_raises_is_counted_and_the_rest_is_told(
    real: RealStage, rooms: LiveKitRooms
) -> None:
    recorder = Recorder()
    calls = 0

    def offer(event: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise TypeError("a fold that fails")
        recorder(event)

    async with real.port.open(real.job(), offer):
        alice = await real.join("alice")
        await alice.publish("microphone")
        await recorder.wait(TrackSubscribed)
    assert rooms.faults == {"offer": 1}
    rooms.faults.clear()
