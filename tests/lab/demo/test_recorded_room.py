"""The chapter of the recording: each fault of it is found, and without a Redis nothing fails."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from actors.session import EntryView, SessionView
from actors.session.view_types import RecordingView
from bridge.lab.demo import recorded_room
from bridge.lab.demo.compare import compare
from bridge.lab.demo.play_script import RoomStory, TrueRecording
from bridge.lab.demo.recorded_room import FILE, RULE_NAME, compare_recording, private_redis
from tests.lab.demo.test_compare import PlayedDemo, tell

TRUE = TrueRecording("EG_1", RULE_NAME, FILE, 1.8e9, 1.8e9 + 20)
SHOWN = RecordingView(
    id="EG_1",
    kind="template",
    started_at=datetime.fromtimestamp(TRUE.started_at, UTC).isoformat(),
    ended_at=datetime.fromtimestamp(1.8e9 + 20, UTC).isoformat(),
    status="complete",
    error=None,
    file=FILE,
    rule=RULE_NAME,
    lost_at=None,
)
ACT = EntryView(at="2027-01-15T08:00:00Z", event="act_done", rule=RULE_NAME, act="record", on=None)


@pytest.fixture(scope="module")
def demo() -> PlayedDemo:
    return trio.run(tell, clock=MockClock(autojump_threshold=0))


def recorded(demo: PlayedDemo) -> tuple[list[RoomStory], list[SessionView]]:
    first, *others = demo.stories
    stories = [evolve(first, recordings=(TRUE,)), *others]
    sessions = [
        msgspec.structs.replace(one, recordings=[SHOWN], timeline=(*(one.timeline or ()), ACT))
        if one.room_sid == first.truth.room_sid
        else one
        for one in demo.sessions
    ]
    return stories, sessions


def test_a_recording_that_is_as_the_recorder_tells_it_is_right(demo: PlayedDemo) -> None:
    stories, sessions = recorded(demo)
    room = stories[0].plan.room
    assert compare(stories, sessions, demo.totals).differences == ()
    chapter = compare_recording(room, stories, sessions)
    assert (chapter.recording, chapter.differences) == (TRUE, ())


@pytest.mark.parametrize(
    "changed", [{"file": "other.mp4"}, {"rule": None}, {"status": "active"}, {"ended_at": None}]
)
def test_each_wrong_value_of_a_recording_is_a_difference(
    demo: PlayedDemo, changed: dict[str, str | None]
) -> None:
    stories, sessions = recorded(demo)
    wrong = [
        msgspec.structs.replace(one, recordings=[msgspec.structs.replace(SHOWN, **changed)])
        if one.recordings
        else one
        for one in sessions
    ]
    (difference,) = compare(stories, wrong, demo.totals).differences
    assert difference.path == f"recordings.0.{next(iter(changed))}"


def test_a_rule_that_recorded_nothing_is_a_difference(demo: PlayedDemo) -> None:
    chapter = compare_recording(demo.stories[0].plan.room, demo.stories, demo.sessions)
    assert chapter.recording is None
    assert len(chapter.differences) == 2


@pytest.mark.parametrize("program", [None, shutil.which("false")], ids=["none", "fails"])
async def test_without_a_redis_that_starts_there_is_no_chapter(
    program: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_room, "find_redis", lambda: program and Path(program))
    async with private_redis(tmp_path) as redis:
        assert redis is None
