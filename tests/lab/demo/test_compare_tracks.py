"""The chapter of the lossy microphone finds each fault: no stats, and wrong numbers."""

from __future__ import annotations

import pytest
import trio
from attrs import evolve
from msgspec.structs import replace
from trio.testing import MockClock

from actors.session import SessionView
from actors.session.state import Track
from actors.session.track_stats import TrackStats, TrackWindow
from actors.session.view_parts import track_view
from actors.session.view_types import TrackStatsView
from bridge.lab.demo.compare_tracks import compare_tracks, measured_person
from bridge.lab.demo.demo_run import DemoSettings
from bridge.lab.demo.script import Script
from bridge.lab.people import PacketCounts
from tests.lab.demo.test_compare import PlayedDemo, tell

COUNTS = PacketCounts(sent=108, dropped=12)


@pytest.fixture(scope="module")
def demo() -> PlayedDemo:
    return trio.run(tell, clock=MockClock(autojump_threshold=0))


@pytest.fixture
def plan(demo: PlayedDemo) -> Script:
    rooms = tuple(story.plan for story in demo.stories)
    return evolve(DemoSettings().plan(), rooms=rooms)


def stats(packets: int, lost: int) -> TrackStatsView:
    window = TrackWindow("TR_1", 2.0, packets, lost, codec="audio/red")
    track = Track(1, "TR_1", "x", "audio", "microphone", None)
    view = track_view(track, 0.0, TrackStats().add(window)).stats
    assert view is not None
    return view


def with_stats(demo: PlayedDemo, plan: Script, one: TrackStatsView | None) -> list[SessionView]:
    person = measured_person(plan)
    assert person is not None
    return [
        replace(
            session,
            tracks=tuple(
                replace(track, stats=one) if track.identity == person[1] else track
                for track in session.tracks
            ),
        )
        for session in demo.sessions
    ]


def wrong(
    demo: PlayedDemo, plan: Script, one: TrackStatsView | None, counts: PacketCounts | None
) -> set[str]:
    """The last parts of what differs."""
    person = measured_person(plan)
    assert person is not None
    sessions = with_stats(demo, plan, one)
    comparison = compare_tracks(*person, counts, demo.stories, sessions)
    return {difference.path.rpartition(".")[2] for difference in comparison.differences}


def test_the_default_story_has_somebody_with_a_microphone_alone() -> None:
    assert measured_person(DemoSettings().plan()) is not None
    assert measured_person(DemoSettings(rooms=1, people=1).plan()) is None
    assert measured_person(DemoSettings(seconds=10).plan()) is None


@pytest.mark.parametrize(
    "packets, lost, differing",
    [
        (108, 12, set()),
        (105, 9, set()),  # some at the begin and at the end leave no gap
        (108, 13, {"packets_lost"}),
        (108, 5, {"packets_lost", "loss"}),
        (108, 0, {"packets_lost", "loss", "mos"}),
        (60, 12, {"packets", "loss", "mos"}),
    ],
)
def test_lost_packets_are_compared_with_those_that_were_dropped(
    demo: PlayedDemo, plan: Script, packets: int, lost: int, differing: set[str]
) -> None:
    assert wrong(demo, plan, stats(packets, lost), COUNTS) == differing


def test_where_nothing_is_measured_each_number_is_missing(demo: PlayedDemo, plan: Script) -> None:
    assert wrong(demo, plan, None, COUNTS) == {"packets", "packets_lost", "loss", "mos"}


def test_where_nothing_is_dropped_nothing_may_be_lost(demo: PlayedDemo, plan: Script) -> None:
    assert wrong(demo, plan, stats(100, 0), None) == set()
    assert wrong(demo, plan, stats(100, 1), None) == {"packets_lost", "loss"}
    assert wrong(demo, plan, None, None) == {"packets", "packets_lost", "loss"}
