"""The chat of LiveKit's own components: each message once, and files apart.

What is sent here is what `packages/core/src/components/chat.ts` of components-js sends.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from actors.session.events import (
    AttachmentReceived,
    DataReceived,
    MessagesDropped,
    ParticipantLeft,
    TrackSubscribed,
)
from bridge.livekit.rooms.sdk_options import SdkOptions
from tests.livekit.rooms.room_stage import RealStage, Recorder
from tests.livekit.rooms.test_pressure import LIMIT, Jam


def packet(text: str, **more: Any) -> bytes:
    return json.dumps({"id": "m-1", "timestamp": 1, "message": text, **more}).encode()


async def send_as_components_do(person: Any, text: str, topic: str = "") -> None:
    await person.send_text(text, topic=topic or "lk.chat")
    await person.send_data(packet(text, ignoreLegacy=True), topic=topic or "lk-chat-topic")


@pytest.mark.parametrize("options", [SdkOptions(), SdkOptions(demux=False)], ids=["demux", "stock"])
async def test_a_message_of_the_stock_chat_counts_once_and_its_file_apart(real: RealStage) -> None:
    alice = await real.join("alice")
    await alice.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed)
        await alice.send_data(b'{"message":"x","ignoreLegacy":true}', topic="lk-chat-topic")
        await send_as_components_do(alice, "hello")
        await send_as_components_do(alice, "on a topic of our own", topic="mine")
        await alice.send_file(b"x" * 5_000, name="plan.pdf")
        await alice.send_data(packet("an old client"), topic="lk-chat-topic")
        await alice.send_data(packet("edited", editTimestamp=2), topic="lk-chat-update-topic")
        await alice.send_data(b"the last", topic="end")
        await recorder.wait(DataReceived, topic="end")
        await recorder.wait(DataReceived, topic="mine")
        attached = await recorder.wait(AttachmentReceived)
    assert sorted((one.topic, one.stream) for one in recorder.all(DataReceived)) == [
        ("end", False),
        ("lk-chat-topic", False),
        ("lk.chat", True),
        ("mine", True),
    ]
    assert (attached.identity, attached.topic, attached.size) == ("alice", "lk.chat", 5_000)


async def test_what_nobody_has_time_for_counts_once_as_well(
    real: RealStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await real.join("alice"), await real.join("bob")
    await alice.publish("microphone")
    await bob.publish("microphone")
    recorder = Recorder()
    async with real.open(recorder) as room:
        await recorder.wait(TrackSubscribed, count=2)
        jam = Jam(room, monkeypatch)
        for number in range(2 * LIMIT):
            await send_as_components_do(alice, f"number {number}")
            await alice.send_file(b"x", name="file")
        await jam.until("data_packet_received", 2 * LIMIT)
        await jam.until("text_stream_opened", 2 * LIMIT)
        await jam.until("byte_stream_opened", 2 * LIMIT)
        await bob.leave()
        await jam.until("participant_disconnected")
        jam.end()
        await recorder.wait(ParticipantLeft, identity="bob")
        thinned = recorder.all(MessagesDropped)
        lost = sum(event.messages for event in thinned)
        files = sum(event.attachments for event in thinned)
        assert lost > 0
        assert files > 0
        await recorder.wait(DataReceived, count=2 * LIMIT - lost)
        await recorder.wait(AttachmentReceived, count=2 * LIMIT - files)
        await alice.send_data(b"the last", topic="end")
        await recorder.wait(DataReceived, topic="end")
    assert len(recorder.all(DataReceived)) == 2 * LIMIT - lost + 1
    assert len(recorder.all(AttachmentReceived)) == 2 * LIMIT - files
