"""Tracks are measured as they are, and nobody notices: real people, lossy networks."""

from __future__ import annotations

from pathlib import Path

import pytest
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiRequest

from actors.session.events import TracksMeasured, TrackSubscribed
from actors.session.opinion_score import opinion_score
from actors.session.track_stats import TrackStats
from bridge.lab.people import PacketCounts, PacketLoss
from bridge.lab.people.synthetic_media import HEIGHT, WIDTH
from bridge.livekit.rooms.sdk_options import SdkOptions
from bridge.livekit.rooms.track_measurer import MeasurePlan
from tests.livekit.rooms.room_stage import RealStage, Recorder

ALL = SdkOptions(measure=MeasurePlan("all", interval=0.5))
SAMPLED = SdkOptions(measure=MeasurePlan("sampled", every=1.0, sample=0.7))
NOTHING = PacketCounts(0, 0)


class Switches:
    """Every time that the media of a track are switched on (True) or off, and subscriptions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.media: list[bool] = []
        self.subscriptions = 0
        request = FfiClient.request

        def note(client: FfiClient, message: FfiRequest) -> object:
            if message.HasField("enable_remote_track"):
                self.media.append(message.enable_remote_track.enabled)
            self.subscriptions += message.HasField("set_subscribed")
            return request(client, message)

        monkeypatch.setattr(FfiClient, "request", note)


@pytest.fixture
def switches(monkeypatch: pytest.MonkeyPatch) -> Switches:
    return Switches(monkeypatch)


def stats_of(recorder: Recorder, sid: str) -> TrackStats:
    stats = TrackStats()
    for event in recorder.all(TracksMeasured):
        for window in event.windows:
            if window.sid == sid:
                stats = stats.add(window)
    return stats


async def measured(recorder: Recorder, sid: str, *, packets: int) -> TrackStats:
    """Wait until so many packets were measured, lost ones among them."""
    await recorder.until(
        lambda: (
            (stats := stats_of(recorder, sid)).packets + stats.lost >= packets
        ),
        f"{packets} packets of {sid}",
    )  # fmt: skip
    return stats_of(recorder, sid)


@pytest.mark.parametrize("options", [ALL])
async def test_each_packet_that_a_publisher_loses_is_counted(
    real: RealStage, tmp_path: Path
) -> None:
    """Where there is no compiler nobody loses packets, and none may be counted."""
    loss = await PacketLoss.make(tmp_path)
    ann = await real.join("ann", loss=loss)
    microphone = await ann.publish("microphone")
    await ann.speak(True)
    camera = await (await real.join("bob")).publish("camera")
    await real.visible(microphone, camera)
    recorder = Recorder()
    async with real.open(recorder):
        clean = await measured(recorder, microphone, packets=20)
        assert clean.lost == 0
        dropped_before = NOTHING if loss is None else loss.counts
        if loss is not None:
            loss.set(0.1)
        lossy = await measured(recorder, microphone, packets=clean.packets + 200)
        if loss is not None:
            loss.set(0.0)
        dropped = (NOTHING if loss is None else loss.counts - dropped_before).dropped
        # A packet after the last one that was dropped shows the gap before it.
        stats = await measured(recorder, microphone, packets=lossy.packets + lossy.lost + 60)
    assert abs(stats.lost - dropped) <= 1
    if loss is not None:
        assert dropped >= 5
    assert stats.codec == "audio/red"
    truth = dropped / (stats.packets + stats.lost)
    assert stats.score == pytest.approx(opinion_score(truth, 0.0, "audio/red"), abs=0.2)
    assert stats.samples > 0
    assert stats.bytes > 0
    video = stats_of(recorder, camera)
    assert (video.width, video.height, video.samples) == (WIDTH, HEIGHT, 0)
    assert video.frames > 0


@pytest.mark.parametrize("options", [SAMPLED])
async def test_a_sampled_microphone_is_paused_again_and_a_video_is_left_alone(
    real: RealStage, switches: Switches
) -> None:
    ann = await real.join("ann")
    microphone = await ann.publish("microphone")
    await ann.speak(True)
    bob = await real.join("bob")
    camera = await bob.publish("camera")
    await real.visible(microphone, camera)
    recorder = Recorder()
    switches.media.clear()
    async with real.open(recorder):
        await recorder.wait(TrackSubscribed, track_sid=camera)
        await recorder.wait(TracksMeasured, count=3)
        subscriptions = switches.subscriptions
        await recorder.wait(TracksMeasured, count=5)
        assert switches.subscriptions == subscriptions
        ends = sum(not on for on in switches.media)
    stats = stats_of(recorder, microphone)
    assert (stats.lost, stats.windows) == (0, 5)
    assert stats.packets > 0
    assert stats_of(recorder, camera) == TrackStats()
    assert sum(switches.media) in (5, 6), "the microphone, once a sample"
    assert ends >= 5
