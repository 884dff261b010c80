"""Rooms whose people encrypt from end to end, with the SDK's own encryption."""

from __future__ import annotations

from typing import Any

import pytest

from actors.session import apply, begin, session_view
from actors.session.events import DataReceived, DataTrackPublished, TrackSubscribed
from bridge.livekit.rooms.sdk_options import SdkOptions
from tests.livekit.rooms.room_stage import RealStage, Recorder
from tests.session.session_story import as_json


def view_of(recorder: Recorder) -> dict[str, Any]:
    state = begin("room", "", ("AJ_1",), "worker", "agent", recorder.events[0].at)
    for event in recorder.events:
        state, _ = apply(state, event)
    return as_json(session_view(state, recorder.events[-1].at))


@pytest.mark.parametrize("options", [SdkOptions(), SdkOptions(demux=False)], ids=["demux", "stock"])
async def test_messages_of_encrypted_people_do_not_reach_us_and_are_null(real: RealStage) -> None:
    alice = await real.join("alice", secret="a shared key")
    await real.visible(await alice.publish("microphone"))
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed)
        await alice.send_data(b"hello", topic="t")
        await alice.send_text("hello")
        await alice.send_file(b"hello", name="hello.txt")
        camera = await alice.publish("camera")
        await recorder.published(camera)
        view = view_of(recorder)
        assert (view["encrypted"], view["data_messages"]) == (True, None)
        assert [track["encrypted"] for track in view["tracks"]] == [True, True]
        bob = await real.join("bob")
        await recorder.published(await bob.publish("camera"))
        await bob.send_data(b"in the open", topic="t")
        await recorder.wait(DataReceived)
    view = view_of(recorder)
    assert view["encrypted"] is True
    assert view["data_messages"] == {
        "total": 1,
        "bytes": 11,
        "by_topic": {"t": 1},
        "attachments": 0,
        "lower_bound": True,
    }
    people = {one["identity"]: one["data_messages"] for one in view["participants"]}
    assert people == {"alice": None, "bob": 1}


async def test_a_room_without_encryption_says_so(real: RealStage) -> None:
    alice = await real.join("alice")
    await real.visible(await alice.publish("microphone"))
    recorder = Recorder()
    async with real.open(recorder):
        await alice.send_data(b"hello", topic="t")
        await recorder.wait(DataReceived)
    view = view_of(recorder)
    assert view["encrypted"] is False
    messages = view["data_messages"]
    assert messages["total"] == 1
    assert messages["lower_bound"], "alice may have sent more before we were there"


async def test_a_data_track_says_that_its_publisher_encrypts(real: RealStage) -> None:
    alice = await real.join("alice", secret="a shared key")
    recorder = Recorder()
    async with real.open(recorder):
        await alice.publish_data_track("pose")
        assert (await recorder.wait(DataTrackPublished)).encrypted is True
    assert view_of(recorder)["encrypted"] is True
