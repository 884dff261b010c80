"""Messages of real people that the contract does not reach."""

from __future__ import annotations

import trio

from actors.session.events import DataReceived, TrackSubscribed
from bridge.livekit.rooms.livekit_rooms import LiveKitRooms
from tests.livekit.rooms.room_stage import RealStage, Recorder


async def test_a_message_before_its_sender_is_known_has_no_sender(real: RealStage) -> None:
    recorder = Recorder()
    async with real.open(recorder):
        alice = await real.join("alice")
        await alice.send_data(b"first")
        await alice.send_text("hello")
        text = await recorder.wait(DataReceived, stream=True)
        data = await recorder.wait(DataReceived, stream=False)
        assert text.identity == "alice", "a text stream says who sent it"
        joined = await recorder.joined("alice")
        early = recorder.events.index(data) < recorder.events.index(joined)
        assert data.identity == (None if early else "alice")


async def test_topics_of_livekit_itself_are_no_messages(real: RealStage) -> None:
    alice = await real.join("alice")
    await alice.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed)
        await alice.send_text("heard you say", topic="lk.transcription")
        await alice.send_text("hello")
        await recorder.wait(DataReceived, topic="lk.chat")
        assert len(recorder.all(DataReceived)) == 1


async def test_a_message_to_somebody_else_is_not_told(real: RealStage) -> None:
    alice, _ = await real.join("alice"), await real.join("bob")
    await alice.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed)
        await alice.send_data(b"psst", to=["bob"])
        await alice.send_text("psst", to=["bob"])
        await alice.send_data(b"hello all")
        await recorder.wait(DataReceived)
        assert [event.size for event in recorder.all(DataReceived)] == [9]


async def test_content_is_kept_only_where_the_operator_wants_it(
    real: RealStage, rooms: LiveKitRooms
) -> None:
    alice = await real.join("alice")
    await alice.publish("microphone")
    recorder = Recorder()
    rooms.log_payloads = True
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed)
        await alice.send_data(b'{"x": 1}')
        await alice.send_text("grüß dich")
        await alice.send_data(b"\xff\x00")
        await recorder.wait(DataReceived, count=3)
    contents = {event.size: event.content for event in recorder.all(DataReceived)}
    assert contents == {8: '{"x": 1}', 11: "grüß dich", 2: "\ufffd\x00"}


async def test_a_burst_of_messages_is_counted_to_the_last(real: RealStage) -> None:
    alice = await real.join("alice")
    await alice.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed)
        async with trio.open_nursery() as nursery:
            for number in range(40):
                nursery.start_soon(alice.send_text, f"text {number}")
            for number in range(200):
                await alice.send_data(f"data {number}".encode())
        await recorder.wait(DataReceived, count=200, stream=False)
        await recorder.wait(DataReceived, count=40, stream=True)
    assert len(recorder.all(DataReceived)) == 240
