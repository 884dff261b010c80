"""Recordings: told by the room, and by LiveKit's webhooks."""

from __future__ import annotations

from typing import Any

import pytest

from actors.session import RecordingChanged, Roster, TimelineEntry, Watching, WebhookEgress
from actors.session.bounds import MAX_RECORDINGS
from tests.session.session_story import T0, Story, clock, names, person

ALICE = person("alice", "PA_1", -5)


def new_entries(
    at: float, status: str, *, egress: str = "EG_1", updated: float | None = None, **more: Any
) -> WebhookEgress:
    return WebhookEgress(
        T0 + at,
        float(int(T0 + at)),
        egress,
        "room_composite",
        status,
        updated_at=T0 + (at if updated is None else updated),
        **more,
    )


def known(story: Story) -> list[tuple[str | None, float | None, float | None, str | None]]:
    return [
        (one["id"], clock(one["started_at"]), clock(one["ended_at"]), one["status"])
        for one in story.view(100)["recordings"]
    ]


def test_a_room_says_that_it_is_recorded_and_that_it_is_not_any_more() -> None:
    story = Story(ALICE)
    assert story.view()["recordings"] == []
    (begun,) = story.receive(RecordingChanged(T0 + 5, True))
    assert (begun.event, begun.data) == ("room_recording", {"active": True})
    assert story.receive(RecordingChanged(T0 + 6, True)) == []
    assert known(story) == [(None, 5, None, None)]
    (over,) = story.receive(RecordingChanged(T0 + 9, False))
    assert over.data == {"active": False}
    story.receive(RecordingChanged(T0 + 20, True))
    story.ends(30)
    assert known(story) == [(None, 5, 9, None), (None, 20, 30, None)]


def test_one_that_began_before_us_is_in_the_first_roster() -> None:
    story = Story(ALICE)
    story.disconnected(1)
    entries = story.receive(Watching(T0 + 8, Roster("RM_1", "", (ALICE,), recording=True)))
    assert "room_recording" in names(entries)
    assert known(story) == [(None, 8, None, None)]


def test_a_recording_of_webhooks_has_its_file_and_is_not_shown_twice() -> None:
    story = Story(ALICE)
    (begun,) = story.receive(new_entries(4, "starting", started_at=T0 + 4))
    assert begun == TimelineEntry(
        T0 + 4, "recording_started", {"id": "EG_1", "kind": "room_composite"}
    )
    story.receive(RecordingChanged(T0 + 7, True))
    assert story.receive(new_entries(7, "active", started_at=T0 + 4)) == []
    assert known(story) == [("EG_1", 4, None, "active")]
    story.receive(RecordingChanged(T0 + 20, False))
    (over,) = story.receive(
        new_entries(21, "complete", started_at=T0 + 4, ended_at=T0 + 20.5, file="a/b.mp4")
    )
    assert (over.at, over.event) == (T0 + 20.5, "recording_ended")
    assert over.data == {
        "id": "EG_1",
        "kind": "room_composite",
        "status": "complete",
        "error": None,
        "file": "a/b.mp4",
    }
    assert known(story) == [("EG_1", 4, 20.5, "complete")]
    assert story.view()["recordings"][0]["file"] == "a/b.mp4"


def test_webhooks_of_a_recording_may_be_late_doubled_and_after_the_end() -> None:
    story = Story(ALICE)
    story.receive(new_entries(7, "active", started_at=T0 + 4))
    assert story.receive(new_entries(8, "starting", updated=4)) == []
    assert known(story) == [("EG_1", 4, None, "active")]
    story.ends(20)
    failed = new_entries(22, "failed", started_at=T0 + 4, ended_at=T0 + 20, error="no space")
    assert names(story.receive(failed)) == ["recording_ended"]
    assert story.receive(failed) == []
    assert story.receive(new_entries(23, "active", started_at=T0 + 4)) == []
    (shown,) = story.view()["recordings"]
    assert (shown["status"], shown["error"]) == ("failed", "no space")


@pytest.mark.parametrize("status", ["failed", "aborted", "limit_reached"])
def test_a_recording_whose_beginning_was_lost_is_there_with_both_ends(status: str) -> None:
    story = Story(ALICE)
    ended = new_entries(9, status, started_at=T0 + 1, ended_at=T0 + 8)
    assert names(story.receive(ended)) == ["recording_started", "recording_ended"]
    assert known(story) == [("EG_1", 1, 8, status)]


def test_a_stretch_far_from_every_known_recording_is_one_of_its_own() -> None:
    story = Story(ALICE)
    story.receive(RecordingChanged(T0 + 1, True))
    story.receive(RecordingChanged(T0 + 5, False))
    story.receive(new_entries(50, "active", started_at=T0 + 50))
    assert known(story) == [(None, 1, 5, None), ("EG_1", 50, None, "active")]


def test_recordings_are_bounded() -> None:
    story = Story(ALICE)
    for number in range(MAX_RECORDINGS + 20):
        story.receive(new_entries(number, "active", egress=f"EG_{number}"))
        story.receive(RecordingChanged(T0 + number, True))
        story.receive(RecordingChanged(T0 + number, False))
    assert len(story.state.recordings) == len(story.state.recorded_intervals) == MAX_RECORDINGS


def test_what_came_while_reconnecting_waits() -> None:
    story = Story(ALICE)
    story.reconnecting(1)
    assert story.receive(RecordingChanged(T0 + 2, True)) == []
    assert names(story.reconnected(3, ALICE)) == ["reconnected", "room_recording"]
