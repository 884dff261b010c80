"""A paused track is subscribed a second time, and LiveKit sends no silence for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
import trio
import trio_asyncio
from livekit import rtc
from livekit.rtc._ffi_client import FfiClient
from livekit.rtc._proto.ffi_pb2 import FfiRequest
from livekit.rtc._proto.stats_pb2 import RtcStats

from actors.rooms.room_port import OpenRoom
from actors.session.events import (
    ParticipantLeft,
    Reconnected,
    SpeakersChanged,
    TrackSubscribed,
    TrackSubscriptionFailed,
    TrackUnpublished,
)
from bridge.livekit.rooms import renewals
from bridge.livekit.rooms.renewals import Renewals
from bridge.livekit.rooms.sdk_options import SdkOptions
from bridge.livekit.rooms.subscriptions import Subscriptions
from tests.livekit.rooms.room_stage import RealStage, Recorder, simulate

HANG = 60.0
LOUD = 10
"""Packets.  A mute of 0.4 s brings 20 where LiveKit sends silence."""


class Requests:
    """Every subscription that is asked for, and how to wait for one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.all: list[bool] = []
        """The requests in the newest room."""
        self._news = trio.Event()
        request = FfiClient.request

        def note(client: FfiClient, message: FfiRequest) -> object:
            if message.HasField("set_subscribed"):
                self.all.append(message.set_subscribed.subscribe)
                self._news.set()
                self._news = trio.Event()
            return request(client, message)

        monkeypatch.setattr(FfiClient, "request", note)

    async def wait(self, *expected: bool) -> None:
        with trio.fail_after(HANG):
            while self.all[: len(expected)] != list(expected):
                await self._news.wait()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew at once: these tests ask whether a track is renewed, not when."""
    monkeypatch.setattr(renewals, "SETTLE", 0.3)
    monkeypatch.setattr(renewals, "RETURN_DEADLINE", 1.0)
    monkeypatch.setattr(renewals, "LOOK_AGAIN", 0.2)
    has_sent = renewals.Renewals._has_sent

    async def has_sent_at_last(self: renewals.Renewals, renewal: Any) -> bool:
        # 0.3 s after the pause of a track, a busy machine may not have its first packet yet.
        while not await has_sent(self, renewal):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return True

    monkeypatch.setattr(renewals.Renewals, "_has_sent", has_sent_at_last)


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Requests:
    return Requests(monkeypatch)


def subscriptions(room: OpenRoom) -> Any:
    return cast("Any", room)._follow_ups.subscriptions


async def settled(room: OpenRoom) -> None:
    """Wait until no renewal is under way."""
    with trio.fail_after(HANG):
        while subscriptions(room)._renewals.busy:  # noqa: ASYNC110
            await trio.sleep(0.02)


async def packets(room: OpenRoom) -> int:
    """Packets of the tracks that we are subscribed to."""
    stats = await trio_asyncio.aio_as_trio(cast("Any", room)._room.get_rtc_stats)()
    return sum(
        one.inbound_rtp.received.packets_received
        for one in [*stats.publisher_stats, *stats.subscriber_stats]
        if one.WhichOneof("stats") == "inbound_rtp"
    )


async def packets_at_mutes(room: OpenRoom, person: Any, microphone: str) -> int:
    before = await packets(room)
    for _ in range(2):
        await person.mute(microphone)
        await trio.sleep(0.4)
        await person.unmute(microphone)
        await trio.sleep(0.2)
    return await packets(room) - before


async def falls_silent(room: OpenRoom) -> None:
    """A pause takes effect up to a second after it came."""
    with trio.fail_after(HANG):
        before = -1
        while (now := await packets(room)) != before:
            before = now
            await trio.sleep(0.3)


async def talking(real: RealStage, *, steady: bool = False) -> tuple[Any, str]:
    """Somebody whose microphone sends something from the first moment on."""
    alice = await real.join("alice")
    microphone = await alice.publish("microphone", steady=steady)
    await real.visible(microphone)
    await alice.speak(True)
    await trio.sleep(0.2)
    return alice, microphone


async def test_a_mute_of_a_talking_microphone_brings_no_packet(
    real: RealStage, requests: Requests
) -> None:
    alice, microphone = await talking(real)
    recorder = Recorder()
    requests.all.clear()
    async with real.open(recorder) as room:
        await requests.wait(True, False, True)
        await settled(room)
        assert await packets_at_mutes(room, alice, microphone) == 0
        # Once, or again where this machine was too busy for the second request.
        assert requests.all == [True, *[False, True] * (len(requests.all) // 2)]
        assert len(recorder.all(TrackSubscribed)) == 1, "the session hears of the first only"
        await alice.speak(False)
        await recorder.wait(SpeakersChanged, identities=())
        await alice.speak(True)
        await recorder.until(
            lambda: recorder.all(SpeakersChanged)[-1].identities == ("alice",), "her speech"
        )
        await real.quality(recorder, "alice")
    recorder.check_frame()


@pytest.mark.parametrize("options", [SdkOptions(renew_paused=False)], ids=["off"])
async def test_without_renewals_a_mute_brings_silence(real: RealStage, requests: Requests) -> None:
    """LiveKit still does it.  Where this fails, renewals are not needed any more.

    Once more where a busy machine paused the track before its first packet: silence follows none.
    """
    alice, microphone = await talking(real, steady=True)
    brought = 0
    with trio.fail_after(HANG):
        while brought <= LOUD:
            recorder = Recorder()
            requests.all.clear()
            async with real.open(recorder) as room:
                await recorder.wait(TrackSubscribed)
                await trio.sleep(1)
                await falls_silent(room)
                brought = await packets_at_mutes(room, alice, microphone)
                assert requests.all == [True]


async def test_a_microphone_that_never_sent_is_left_alone(
    real: RealStage, requests: Requests
) -> None:
    alice = await real.join("alice")
    microphone = await alice.publish("microphone")
    await real.visible(microphone)
    await alice.mute(microphone)
    recorder = Recorder()
    requests.all.clear()
    async with real.open(recorder) as room:
        await recorder.wait(TrackSubscribed)
        await settled(room)
        assert await packets_at_mutes(room, alice, microphone) == 0
        assert requests.all == [True]


@pytest.mark.usefixtures("quick")
async def test_a_track_that_does_not_return_is_renewed_when_it_sends(
    real: RealStage, requests: Requests, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After 0.2 s the server forgets the pause, and the SDK does not show the track."""
    monkeypatch.setattr(renewals, "BETWEEN", 0.6)
    _, microphone = await talking(real)
    recorder = Recorder()
    requests.all.clear()
    async with real.open(recorder) as room:
        await requests.wait(True, False, True)
        monkeypatch.setattr(renewals, "BETWEEN", 0.05)
        await requests.wait(True, False, True, False, True)
        await settled(room)
        person = cast("Any", room)._room.remote_participants["alice"]
        assert person.track_publications[microphone].track is not None
        await falls_silent(room)
        assert len(recorder.all(TrackSubscribed)) == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("scenario", ["SIMULATE_FULL_RECONNECT", "SIMULATE_SIGNAL_RECONNECT"])
async def test_after_a_reconnect_a_mute_brings_no_packet_either(
    real: RealStage, requests: Requests, scenario: str
) -> None:
    """In one of three tries.  On a busy machine the second request of a renewal may be late, and
    the server has forgotten the pause then; without renewals each mute brings packets."""
    alice, microphone = await talking(real)
    brought = list[int]()
    while 0 not in brought and len(brought) < 3:
        recorder = Recorder()
        requests.all.clear()
        async with real.open(recorder) as room:
            await requests.wait(True, False, True)
            await settled(room)
            await simulate(room, scenario)
            await recorder.wait(Reconnected)
            if scenario == "SIMULATE_FULL_RECONNECT":
                await recorder.wait(TrackSubscribed, count=2)
            await settled(room)
            brought.append(await packets_at_mutes(room, alice, microphone))
    assert 0 in brought


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("scenario", ["SIMULATE_FULL_RECONNECT", "SIMULATE_SIGNAL_RECONNECT"])
async def test_a_connection_that_breaks_in_a_renewal_loses_no_track(
    real: RealStage, requests: Requests, monkeypatch: pytest.MonkeyPatch, scenario: str
) -> None:
    monkeypatch.setattr(renewals, "BETWEEN", 2.0)
    alice, microphone = await talking(real)
    recorder = Recorder()
    requests.all.clear()
    async with real.open(recorder) as room:
        await requests.wait(True, False)
        monkeypatch.setattr(renewals, "BETWEEN", 0.05)
        await simulate(room, scenario)
        await recorder.wait(Reconnected)
        await settled(room)
        await falls_silent(room)
        assert subscriptions(room).chosen == {"alice": microphone}
        await alice.speak(False)
        await recorder.wait(SpeakersChanged, identities=())


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("what", ["leave", "unpublish", "remove", "delete"])
async def test_what_ends_in_a_renewal_is_not_asked_for_again(
    real: RealStage, requests: Requests, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    monkeypatch.setattr(renewals, "BETWEEN", 0.5)
    alice, microphone = await talking(real)
    recorder = Recorder()
    requests.all.clear()
    async with real.open(recorder) as room:
        await requests.wait(True, False)
        match what:
            case "leave":
                await alice.leave()
            case "unpublish":
                await alice.unpublish(microphone)
            case "remove":
                await real.remove("alice")
            case _:
                await real.delete_room()
        if what == "delete":
            await room.closed()
        else:
            await recorder.wait(TrackUnpublished if what == "unpublish" else ParticipantLeft)
        await settled(room)
        await trio.sleep(0.6)
        assert subscriptions(room).chosen == {} or what == "delete"
    assert requests.all == [True, False]
    assert not recorder.all(TrackSubscriptionFailed)


class Publication:
    """The part of a publication that `Subscriptions` uses."""

    def __init__(self, sid: str, source: int) -> None:
        self.sid = sid
        self.kind, self.source = rtc.TrackKind.KIND_AUDIO, source
        self.simulcasted = self.subscribed = False
        self.track = object()
        self.requests: list[bool] = []

    def set_subscribed(self, subscribed: bool) -> None:
        self.requests.append(subscribed)

    async def asked(self, *requests: bool) -> None:
        """Wait until these requests have come first."""
        with trio.fail_after(HANG):
            while self.requests[: len(requests)] != [*requests]:  # noqa: ASYNC110
                await trio.sleep(0.005)


class Person:
    identity = "alice"
    kind = rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD

    def __init__(self, *publications: Publication) -> None:
        self.track_publications = {one.sid: one for one in publications}


@pytest.fixture
async def chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[tuple[Subscriptions, Person, Publication]]:
    """A track that sends, in the middle of its renewal."""
    monkeypatch.setattr(renewals, "SETTLE", 0.0)
    # Long enough for a busy machine to do something in the middle.
    monkeypatch.setattr(renewals, "BETWEEN", 0.5)
    stats = RtcStats()
    stats.inbound_rtp.received.packets_received = 5
    stats.inbound_rtp.inbound.track_identifier = "TR_1"
    faults: list[str] = []

    async def get_stats() -> list[RtcStats]:
        return [stats]

    publication = Publication("TR_1", rtc.TrackSource.SOURCE_UNKNOWN)
    person = Person(publication)
    async with trio_asyncio.open_loop() as loop:
        one = Subscriptions(
            lambda _: None,
            Renewals(
                loop,
                connected=lambda: True,
                get_stats=get_stats,
                fault=lambda name, _: faults.append(name),
            ),
        )
        one.choose(cast("Any", person))
        one.subscribed(cast("Any", publication))
        await publication.asked(True, False)
        yield one, person, publication
        one.close()
    assert faults == []


async def test_a_better_track_in_a_renewal_is_taken_and_the_old_one_is_not(
    chosen: tuple[Subscriptions, Person, Publication],
) -> None:
    subscribed, person, worse = chosen
    better = Publication("TR_2", rtc.TrackSource.SOURCE_MICROPHONE)
    person.track_publications["TR_2"] = better
    subscribed.choose(cast("Any", person))
    await worse.asked(True, False, False)
    await better.asked(True)
    await trio.sleep(0.1)
    assert subscribed.chosen == {"alice": "TR_2"}
    assert (worse.requests, better.requests) == ([True, False, False], [True])


async def test_what_the_sdk_says_of_the_old_subscription_changes_nothing(
    chosen: tuple[Subscriptions, Person, Publication],
) -> None:
    subscribed, person, publication = chosen
    subscribed.unsubscribed(cast("Any", publication), cast("Any", person))
    subscribed.choose(cast("Any", person))
    assert publication.requests == [True, False]
    assert subscribed.is_renewal("TR_1")
    await publication.asked(True, False, True)
    subscribed.subscribed(cast("Any", publication))
    assert not subscribed.is_renewal("TR_1")
    await trio.sleep(0.1)
    assert publication.requests == [True, False, True], "once, although it has sent again"
