"""Quality and speech of people whose media never reaches us."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
import trio_asyncio

from actors.rooms.room_port import OpenRoom
from actors.session.events import (
    QualityChanged,
    Reconnected,
    SpeakersChanged,
    TrackPublished,
    TrackSubscribed,
)
from bridge.lab.people import Person
from bridge.livekit.rooms.sdk_options import SdkOptions
from tests.livekit.rooms.room_stage import RealStage, Recorder, simulate


async def received(room: OpenRoom) -> int:
    """Bytes of media that came to us so far."""
    sdk = cast("Any", room)._room
    stats = await trio_asyncio.aio_as_trio(sdk.get_rtc_stats)()
    return sum(
        one.inbound_rtp.inbound.bytes_received
        for one in [*stats.publisher_stats, *stats.subscriber_stats]
        if one.WhichOneof("stats") == "inbound_rtp"
    )


async def falls_silent(room: OpenRoom) -> bool:
    """True where our media stops, which it does about a second after the request.

    Speech is 4,000 bytes a second, a small camera 20,000.
    """
    for _ in range(15):
        before = await received(room)
        await trio.sleep(1)
        if await received(room) - before < 300:
            return True
    return False


async def test_speech_and_quality_come_while_sound_and_picture_do_not(real: RealStage) -> None:
    alice, bob = await real.join("alice"), await real.join("bob")
    microphone, camera = await alice.publish("microphone"), await bob.publish("camera")
    await real.visible(microphone, camera)
    recorder = Recorder()
    async with real.open(recorder) as room:
        await recorder.wait(TrackSubscribed, count=2)
        await alice.speak(True)
        await recorder.wait(SpeakersChanged, identities=("alice",))
        assert (await real.quality(recorder, "alice")).sid == alice.sid
        assert (await real.quality(recorder, "bob")).sid == bob.sid
        assert await falls_silent(room)
        await simulate(room, "SIMULATE_FULL_RECONNECT")
        await recorder.wait(Reconnected)
        await recorder.wait(TrackSubscribed, count=4)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak_on_and_off, alice)  # The server tells changes alone.
            await recorder.wait(SpeakersChanged, count=2, identities=("alice",))
            nursery.cancel_scope.cancel()
        assert await falls_silent(room), "after a reconnect it is stopped again"
    assert {event.identity for event in recorder.all(QualityChanged)} <= {"alice", "bob"}


async def speak_on_and_off(person: Person) -> None:
    while True:
        for on in (False, True):
            await person.speak(on)
            await trio.sleep(2)


async def test_a_steady_tone_from_before_our_entry_counts_from_its_first_change(
    real: RealStage,
) -> None:
    """The server sends nobody the speakers of the moment in which a subscription begins.

    If this fails with another server, it does, and `docs/livekit-facts.md` is to be changed.
    """
    alice = await real.join("alice")
    microphone = await alice.publish("microphone")
    await real.visible(microphone)
    before = Recorder()
    async with real.open(before):
        await before.wait(TrackSubscribed)
        await alice.speak(True)
        await before.wait(SpeakersChanged, identities=("alice",))
    await trio.sleep(2)  # The server smooths a level over some of its intervals of 0.4 s.
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed)
        await real.quality(recorder, "alice")
        assert recorder.all(SpeakersChanged) == []
        await alice.speak(False)
        await recorder.wait(SpeakersChanged, identities=())


async def test_a_camera_is_taken_again_when_the_microphone_is_gone(real: RealStage) -> None:
    alice = await real.join("alice")
    camera, microphone = await alice.publish("camera"), await alice.publish("microphone")
    await real.visible(camera, microphone)
    recorder = Recorder()
    async with real.open(recorder) as room:
        await recorder.wait(TrackSubscribed, track_sid=microphone)
        await alice.unpublish(microphone)
        await recorder.wait(TrackSubscribed, track_sid=camera)
        again = await alice.publish("microphone")
        await recorder.wait(TrackSubscribed, track_sid=again)
        await alice.unpublish(again)
        # The SDK does not tell that a track it had before is there again, but it counts:
        bob = await real.join("bob")
        await bob.publish("microphone")
        await real.quality(recorder, "bob")
        await real.quality(recorder, "alice")
        assert await falls_silent(room)


async def test_a_microphone_that_was_muted_before_us_is_watched_as_well(real: RealStage) -> None:
    alice = await real.join("alice")
    microphone = await alice.publish("microphone")
    await real.visible(microphone)
    await alice.mute(microphone)
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed, track_sid=microphone)
        await alice.unmute(microphone)
        await alice.speak(True)
        await recorder.wait(SpeakersChanged, identities=("alice",))
        await real.quality(recorder, "alice")


@pytest.mark.parametrize("options", [SdkOptions(max_tracks=1)], ids=["one"])
async def test_of_more_people_than_may_be_followed_the_first_are_and_then_who_waits(
    real: RealStage,
) -> None:
    alice = await real.join("alice")
    first = await alice.publish("microphone")
    await real.visible(first)
    recorder = Recorder()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed, track_sid=first)
        bob = await real.join("bob")
        second = await bob.publish("microphone")
        await recorder.wait(TrackPublished)
        await real.quality(recorder, "alice")
        assert [event.track_sid for event in recorder.all(TrackSubscribed)] == [first]
        await alice.unpublish(first)
        await recorder.wait(TrackSubscribed, track_sid=second)
        # LiveKit tells the quality of all at its next look, 5 s at most, if somebody is new.
        await real.join("newcomer", kind="agent")
        await real.quality(recorder, "bob")
