"""Permissions, recorders, data tracks, and agents that a visible watcher leaves alone."""

from __future__ import annotations

import pytest

from actors.session.events import (
    DataTrackPublished,
    DataTrackUnpublished,
    PermissionsChanged,
    RecordingChanged,
    TrackSubscribed,
    TrackUnpublished,
)
from actors.session.room_info import Permissions
from bridge.lab.people import Grants
from bridge.livekit.rooms.sdk_options import SdkOptions
from tests.livekit.rooms.room_stage import RealStage, Recorder

BOTH = pytest.mark.parametrize(
    "options", [SdkOptions(), SdkOptions(demux=False)], ids=["demux", "stock"]
)


@BOTH
async def test_who_goes_off_the_stage_and_comes_back_is_told(real: RealStage) -> None:
    alice = await real.join("alice")
    microphone = await alice.publish("microphone")
    await real.visible(microphone)
    observer = Recorder()
    async with real.open(observer):
        (there,) = observer.watching.roster.participants
        assert there.permissions == Permissions()
        await real.permit("alice", can_subscribe=True, can_publish_data=True)
        off = await observer.wait(PermissionsChanged, identity="alice")
        assert off.permissions == Permissions(can_publish=False)
        await observer.wait(TrackUnpublished, track_sid=microphone)
        sources = ["CAMERA", "MICROPHONE"]
        await real.permit("alice", can_publish=True, can_publish_sources=sources)
        on = await observer.wait(PermissionsChanged, identity="alice", count=2)
        assert on.permissions == Permissions(
            can_subscribe=False, can_publish_data=False, sources=("camera", "microphone")
        )


@BOTH
async def test_a_recorder_that_comes_and_goes_is_told(real: RealStage) -> None:
    alice = await real.join("alice")
    await real.visible(await alice.publish("microphone"))
    observer, later = Recorder(), Recorder()
    recorder = Grants(recorder=True, hidden=True)
    async with real.open(observer):
        assert observer.watching.roster.recording is False
        recording = await real.people.join(real.room, "recorder", grants=recorder)
        assert (await observer.wait(RecordingChanged)).active is True
        async with real.open(later, "agent-2"):
            assert later.watching.roster.recording is True
        await recording.leave()
        assert (await observer.wait(RecordingChanged, count=2)).active is False


@BOTH
async def test_data_tracks_are_told_also_those_that_were_there_before_us(real: RealStage) -> None:
    alice = await real.join("alice")
    await real.visible(await alice.publish("microphone"))
    early = await alice.publish_data_track("early")
    observer = Recorder()
    async with real.open(observer):
        track_event = await observer.wait(DataTrackPublished, track_sid=early)
        assert (track_event.identity, track_event.name, track_event.encrypted) == (
            "alice",
            "early",
            False,
        )
        later = await alice.publish_data_track("later")
        await observer.wait(DataTrackPublished, track_sid=later)
        await alice.unpublish_data_track(later)
        await observer.wait(DataTrackUnpublished, track_sid=later)


@pytest.mark.parametrize("visible", [True, False])
async def test_only_a_hidden_watcher_takes_the_tracks_of_agents(
    real: RealStage, visible: bool
) -> None:
    robot = await real.join("robot", kind="agent")
    greeting = await robot.publish("microphone")
    await real.visible(greeting)
    observer = Recorder()
    async with real.port.open(real.job(visible=visible), observer) as room:
        camera = await robot.publish("camera")
        await observer.published(camera)
        alice = await real.join("alice")
        microphone = await alice.publish("microphone")
        await observer.wait(TrackSubscribed, track_sid=microphone)
        expected = {"alice": microphone} if visible else {"alice": microphone, "robot": greeting}
        assert room._follow_ups.subscriptions.chosen == expected  # type: ignore[attr-defined]
        if not visible:
            await observer.wait(TrackSubscribed, track_sid=greeting)
    assert {one.identity for one in observer.all(TrackSubscribed)} == set(expected)
