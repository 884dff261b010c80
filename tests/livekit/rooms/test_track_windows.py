"""Windows between two readings, and whose turn it is: the measurer without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from attrs import define, evolve, field
from livekit import rtc
from livekit.rtc._proto.stats_pb2 import RtcStats

from actors.session.events import TracksMeasured
from actors.session.track_stats import TrackWindow
from bridge.app.parts_of_settings import sdk_options
from bridge.config.settings import load
from bridge.livekit.rooms.renewals import Renewals
from bridge.livekit.rooms.subscriptions import Subscriptions
from bridge.livekit.rooms.track_counters import (
    ZERO,
    TrackCounters,
    counters_of,
    window_between,
    without_our_concealment,
)
from bridge.livekit.rooms.track_measurer import MeasuredRoom, MeasurePlan, TrackMeasurer

SOME = TrackCounters(10.0, 100, 5, 4000, 0.004, 96_000, 900, 0, 0, 0, 0)
RED = "audio/RED"


def test_the_counters_are_those_of_the_sdk_without_concealed_silence() -> None:
    stats = RtcStats()
    inbound = stats.inbound_rtp
    inbound.received.packets_received, inbound.received.packets_lost = 100, 5
    inbound.received.jitter = 0.004
    inbound.inbound.track_identifier = "TR_1"
    inbound.inbound.bytes_received = 4000
    inbound.inbound.total_samples_received = 96_000
    inbound.inbound.concealed_samples = 48_900
    inbound.inbound.silent_concealed_samples = 48_000
    assert counters_of([RtcStats(), stats], 10.0) == {"TR_1": SOME}


def test_a_window_has_the_differences() -> None:
    later = evolve(SOME, at=12.0, packets=180, lost=15, bytes=7200, samples=192_000, concealed=960)
    assert window_between("TR_1", SOME, later, RED) == TrackWindow(
        "TR_1", 2.0, 80, 10, 3200, 0.004, 96_000, 60, codec="audio/red"
    )


def test_a_track_that_cannot_be_decoded_has_loss_and_no_sound() -> None:
    later = evolve(SOME, at=12.0, packets=180, lost=15, concealed=90_000, samples=192_000)
    window = window_between("TR_1", SOME, later, RED, encrypted=True)
    assert window is not None
    assert (window.packets, window.lost, window.samples, window.concealed) == (80, 10, 0, 0)


@pytest.mark.parametrize(
    "later",
    [
        evolve(SOME, at=12.0),  # muted: nothing was due
        evolve(ZERO, at=12.0, packets=3, bytes=90),  # subscribed anew
    ],
)
def test_there_is_no_window_where_nothing_came_or_the_counters_began_anew(
    later: TrackCounters,
) -> None:
    assert window_between("TR_1", SOME, later, RED) is None


def test_a_late_packet_makes_no_window_smaller() -> None:
    window = window_between("TR_1", SOME, evolve(SOME, at=12.0, packets=150, lost=4), RED)
    assert window is not None
    assert window.lost == 0


@pytest.mark.parametrize(
    "lost, jitter, concealed",
    [
        (0, 0.004, 0),  # nothing was lost and all came evenly: it is our own buffer's
        (10, 0.004, 800),
        (50, 0.004, 4000),
        (0, 0.02, 4000),  # packets may have come too late
    ],
)
def test_what_a_fresh_reception_makes_up_is_not_the_publishers(
    lost: int, jitter: float, concealed: int
) -> None:
    window = TrackWindow("TR_1", 1.7, 1000 - lost, lost, 1, jitter, 80_000, 4000)
    assert without_our_concealment(window).concealed == concealed


# ---------------------------------------------------------------- a room of fakes


@define(eq=False)
class Publication:
    """A publication as the SDK shows it."""

    sid: str
    kind: int = rtc.TrackKind.KIND_AUDIO
    source: int = rtc.TrackSource.SOURCE_MICROPHONE
    subscribed: bool = False
    muted: bool = False
    mime_type: str = RED
    encryption_type: int = rtc.EncryptionType.NONE
    simulcasted: bool = False
    track: object = field(factory=object)
    switches: list[bool] = field(factory=list[bool])
    """Every time that its media were switched on or off."""

    def set_subscribed(self, on: bool) -> None:
        self.subscribed = on


@define(eq=False)
class Participant:
    identity: str
    track_publications: dict[str, Publication]
    kind: int = rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD


class FakeRoom:
    """People with microphones; `stats` are the counters of tracks that are switched on."""

    def __init__(self, *people: Participant, renewals: Renewals | None = None) -> None:
        self.people: dict[str, Any] = {one.identity: one for one in people}
        self.subscriptions = Subscriptions(self._pause, renewals, self._resume)
        self.subscriptions.restore(self.people)
        for one in people:
            for publication in one.track_publications.values():
                if publication.subscribed:
                    self.subscriptions.subscribed(cast("Any", publication))
                    publication.switches.clear()
        self.windows: list[TracksMeasured] = []
        self.faults: list[str] = []
        self.readings = 0
        self.fail: Callable[[], None] = lambda: None
        self.silent = 0
        """Readings in which no track has counters: nothing was received yet."""

    def _pause(self, publication: Any) -> None:
        publication.switches.append(False)

    def _resume(self, publication: Any) -> None:
        publication.switches.append(True)

    async def get_stats(self) -> list[RtcStats]:
        self.readings += 1
        self.fail()
        found: list[RtcStats] = []
        for participant in self.people.values() if self.readings > self.silent else ():
            for sid in participant.track_publications:
                stats = RtcStats()
                stats.inbound_rtp.inbound.track_identifier = sid
                stats.inbound_rtp.received.packets_received = 50 * self.readings
                found.append(stats)
        return found

    def measured(self) -> MeasuredRoom:
        return MeasuredRoom(
            subscriptions=self.subscriptions,
            participants=lambda: self.people,
            connected=lambda: True,
            get_stats=self.get_stats,
            offer=self.windows.append,
            now=lambda: 1.0,
            fault=lambda name, _: self.faults.append(name),
        )

    async def run(self, plan: MeasurePlan, until: Callable[[], bool]) -> None:
        measurer = TrackMeasurer(plan, self.measured(), asyncio.get_running_loop())
        measurer.start()
        async with asyncio.timeout(60):
            while not until():  # noqa: ASYNC110 (several things to wait for)
                await asyncio.sleep(0.001)
        measurer.close()

    def sids(self) -> list[list[str]]:
        """Of each record, the tracks that were measured."""
        return [sorted(window.sid for window in event.windows) for event in self.windows]


def microphones(count: int) -> list[Participant]:
    return [Participant(f"p{n}", {f"TR_{n}": Publication(f"TR_{n}")}) for n in range(count)]


def camera(sid: str) -> Publication:
    kind, source = rtc.TrackKind.KIND_VIDEO, rtc.TrackSource.SOURCE_CAMERA
    return Publication(sid, kind, source, mime_type="video/VP8")


SAMPLED = MeasurePlan("sampled", budget=2, every=0.01, sample=0.002, skip=0.001)
ALL = MeasurePlan("all", budget=2, interval=0.002, skip=0.001)


def test_those_who_were_sampled_longest_ago_come_next_within_the_budget() -> None:
    room = FakeRoom(*microphones(5))
    asyncio.run(room.run(SAMPLED, lambda: len(room.windows) >= 5))
    assert room.sids()[:5] == [
        ["TR_0", "TR_1"], ["TR_2", "TR_3"], ["TR_0", "TR_4"], ["TR_1", "TR_2"], ["TR_0", "TR_3"],
    ]  # fmt: skip
    assert room.readings >= 10
    for person in room.people.values():
        for publication in person.track_publications.values():
            assert publication.switches[:2] == [True, False]


def test_muted_microphones_and_videos_are_not_sampled() -> None:
    room = FakeRoom(*microphones(2), Participant("filmed", {"TR_v": camera("TR_v")}))
    room.people["p0"].track_publications["TR_0"].muted = True
    asyncio.run(room.run(SAMPLED, lambda: len(room.windows) >= 2))
    assert room.sids()[:2] == [["TR_1"], ["TR_1"]]
    assert room.people["filmed"].track_publications["TR_v"].switches == []


def test_a_video_that_is_received_anyway_is_read_and_goes_on() -> None:
    room = FakeRoom(Participant("filmed", {"TR_v": camera("TR_v")}))
    room.subscriptions.receive("frames", frozenset({"TR_v"}), room.people)
    asyncio.run(room.run(SAMPLED, lambda: len(room.windows) >= 2))
    assert room.sids()[0] == ["TR_v"]
    assert room.people["filmed"].track_publications["TR_v"].switches == [True]


def test_where_nothing_can_be_sampled_nothing_is_asked() -> None:
    room = FakeRoom(Participant("filmed", {"TR_v": camera("TR_v")}))
    samples: list[int] = []
    real = room.subscriptions.pausable

    def pausable(participants: Mapping[str, Any]) -> Any:
        samples.append(1)
        return real(participants)

    room.subscriptions.pausable = pausable
    asyncio.run(room.run(SAMPLED, lambda: len(samples) >= 3))
    assert (room.readings, room.windows) == (0, [])


def test_all_the_time_means_microphones_first_and_no_switch_in_between() -> None:
    filmed = Participant("filmed", {"TR_v": camera("TR_v"), "TR_m": Publication("TR_m")})
    room = FakeRoom(filmed, *microphones(1))
    asyncio.run(room.run(ALL, lambda: len(room.windows) >= 3))
    assert room.sids()[:3] == [["TR_0", "TR_m"]] * 3
    assert filmed.track_publications["TR_m"].switches == [True]
    assert not filmed.track_publications["TR_v"].subscribed


def test_a_track_that_ends_between_two_windows_has_a_last_one() -> None:
    room = FakeRoom(*microphones(1))
    last = 0

    def over() -> bool:
        nonlocal last
        if not last and len(room.windows) >= 2:
            room.people.clear()
            last = room.readings
        return bool(last) and room.readings >= last + 3

    asyncio.run(room.run(evolve(ALL, read_every=0.001, look=0.001, interval=0.02), over))
    packets = sum(window.packets for event in room.windows for window in event.windows)
    assert packets == 50 * (last - 2), "from the reading after its begin to the last one"


def test_a_track_of_which_nothing_comes_for_long_is_counted_from_its_first_packet() -> None:
    """Somebody entered muted.  A track has no counters before its first packet."""
    room = FakeRoom(*microphones(1))
    room.silent = 12
    asyncio.run(room.run(ALL, lambda: bool(room.windows)))
    assert room.windows[0].windows[0].packets == 50 * (room.silent + 1)


def test_a_free_place_of_the_budget_goes_to_a_camera_that_is_subscribed_for_it() -> None:
    filmed = Participant("filmed", {"TR_v": camera("TR_v"), "TR_m": Publication("TR_m")})
    room = FakeRoom(filmed)
    asyncio.run(room.run(ALL, lambda: ["TR_m", "TR_v"] in room.sids()))
    assert filmed.track_publications["TR_v"].subscribed


def test_a_visible_observer_measures_no_agent_that_would_take_it_for_a_listener() -> None:
    (agent,) = microphones(1)
    agent.kind = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
    room = FakeRoom(agent)
    assert room.subscriptions.measurable(room.people) != []
    room.subscriptions.visible = True
    assert room.subscriptions.measurable(room.people) == []


def test_a_request_that_fails_costs_one_window_and_leaves_no_track_switched_on() -> None:
    room = FakeRoom(*microphones(1))

    def fail() -> None:
        if room.readings == 2:
            raise RuntimeError("no answer")

    room.fail = fail
    asyncio.run(room.run(SAMPLED, lambda: len(room.windows) >= 1))
    assert room.faults == ["track_sample"]
    assert room.people["p0"].track_publications["TR_0"].switches[:4] == [True, False, True, False]


@pytest.mark.parametrize(
    "flags, plan",
    [
        ({}, None),
        ({"measure-tracks": "off", "measure-budget": "7"}, None),
        ({"measure-tracks": "sampled"}, MeasurePlan("sampled", 20)),
        ({"measure-tracks": "all", "measure-budget": "7"}, MeasurePlan("all", 7)),
    ],
)
def test_the_settings_choose_the_plan_and_by_default_there_is_none(
    flags: Mapping[str, object], plan: MeasurePlan | None
) -> None:
    settings = load({"api-key": "devkey", "api-secret": "a-long-secret-word", **flags}, {})
    assert sdk_options(settings).measure == plan
