"""The chapter of the monitored person finds each fault: nobody, somebody else, a wrong number."""

from __future__ import annotations

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from actors.monitoring.monitors import MonitorSummary
from bridge.lab.demo.compare_monitoring import compare_monitoring, monitored_person
from bridge.lab.demo.demo_run import DemoSettings
from bridge.lab.demo.script import Script
from tests.lab.demo.test_compare import PlayedDemo, tell


@pytest.fixture(scope="module")
def demo() -> PlayedDemo:
    return trio.run(tell, clock=MockClock(autojump_threshold=0))


@pytest.fixture
def plan(demo: PlayedDemo) -> Script:
    """The story that was played, as far as this chapter reads it."""
    rooms = tuple(story.plan for story in demo.stories)
    return evolve(DemoSettings().plan(), rooms=rooms)


@pytest.fixture
def right(demo: PlayedDemo, plan: Script) -> MonitorSummary:
    """A monitor that has the numbers of the host's own account."""
    room, host, _ = monitored_person(plan)
    (story,) = [one for one in demo.stories if one.plan.room == room]
    deeds = [deed for deed in story.truth.deeds if deed.identity == host]
    spoke = sum(deed.data["seconds"] for deed in deeds if deed.deed == "spoke")
    tracks = sum(deed.deed == "published" for deed in deeds)
    assert spoke > 0
    assert tracks > 1
    return MonitorSummary(host, room, 30.0, spoke, tracks, "excellent")


def test_a_monitor_with_the_right_numbers_has_no_difference(
    demo: PlayedDemo, plan: Script, right: MonitorSummary
) -> None:
    comparison = compare_monitoring(plan, demo.stories, [right])
    assert (comparison.differences, comparison.numbers) == ((), 3)


def test_each_fault_is_found(demo: PlayedDemo, plan: Script, right: MonitorSummary) -> None:
    faults: dict[str, list[MonitorSummary]] = {
        "monitors": [],
        f"{right.identity}.tracks": [evolve(right, tracks=right.tracks - 1)],
        f"{right.identity}.speaking": [evolve(right, speaking=right.speaking + 3.0)],
    }
    for path, summaries in faults.items():
        differences = compare_monitoring(plan, demo.stories, summaries).differences
        assert path in {one.path for one in differences}
    twice = [right, evolve(right, identity="somebody else")]
    (difference,) = compare_monitoring(plan, demo.stories, twice).differences
    assert (difference.path, difference.actual) == ("monitors", "2")
