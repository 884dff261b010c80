"""Tracks: published, muted, over, and the same again after a reconnect."""

from __future__ import annotations

import pytest

from actors.session import TrackSubscriptionFailed
from tests.session.session_story import T0, Story, camera, clock, microphone, names, person


def alone(*tracks: object) -> Story:
    return Story(person("alice", "PA_1", -10, *tracks))  # type: ignore[arg-type]


def test_a_track_has_its_times_and_its_source() -> None:
    story = alone()
    (new_entry,) = story.published(5, "alice", camera("TR_1"))
    assert new_entry.data == {
        "identity": "alice",
        "sid": "TR_1",
        "kind": "video",
        "source": "camera",
        "muted": False,
        "existing": False,
        "encrypted": False,
    }
    assert names(story.unpublished(9, "alice", "TR_1")) == ["track_unpublished"]
    track = story.track("TR_1")
    assert (clock(track["published_at"]), clock(track["unpublished_at"])) == (5, 9)
    assert story.view()["track_counts"] == {
        "current": 0,
        "total": 1,
        "by_source": {"camera": 1},
    }


def test_a_track_that_was_there_before_us_was_published_since_its_owner_joined() -> None:
    story = Story(person("alice", "PA_1", -2, microphone("TR_1")))
    track = story.track("TR_1")
    assert (clock(track["published_at"]), track["published_within"]) == (-1, 1)


def test_a_track_that_was_there_long_before_us_has_no_time_of_publication() -> None:
    story = Story(person("alice", "PA_1", -10.1, microphone("TR_1")))
    track = story.track("TR_1")
    assert (track["published_at"], track["published_within"]) == (None, None)


def test_a_track_that_was_published_in_a_gap_was_so_within_the_gap() -> None:
    story = alone()
    story.reconnecting(10)
    story.reconnected(14, person("alice", "PA_1", -5, camera("TR_2")))
    track = story.track("TR_2")
    assert (clock(track["published_at"]), track["published_within"]) == (12, 2)


def test_a_track_whose_publication_was_heard_is_exact() -> None:
    story = alone()
    story.published(5, "alice", camera("TR_2"))
    assert story.track("TR_2")["published_within"] == 0


@pytest.mark.parametrize("reason", ["client_initiated", "participant_removed", None])
def test_a_leavers_tracks_end_with_the_leave(reason: str | None) -> None:
    story = alone(microphone("TR_1"), camera("TR_2"))
    story.left(10, "alice", "PA_1", reason)
    story.tick(20)
    assert story.tracks() == (0, 2)
    assert [clock(story.track(sid)["unpublished_at"]) for sid in ("TR_1", "TR_2")] == [10, 10]


def test_a_track_that_ended_before_its_leaver_is_not_ended_twice() -> None:
    story = alone(microphone("TR_1"))
    story.unpublished(9, "alice", "TR_1")
    assert names(story.left(9.01, "alice", "PA_1")) == ["participant_disconnected"]
    assert story.unpublished(9.02, "alice", "TR_1") == []
    assert clock(story.track("TR_1")["unpublished_at"]) == 9


def test_a_doubled_publication_is_one_track_and_does_not_unmute_it() -> None:
    story = alone()
    story.published(1, "alice", microphone("TR_1"))
    story.muted(2, "alice", "TR_1")
    assert story.published(1, "alice", microphone("TR_1")) == []
    assert story.tracks() == (1, 1)
    assert story.track("TR_1", now=10)["muted_seconds"] == 8.0


def test_seconds_muted_add_up_over_mutes() -> None:
    story = alone()
    story.published(0, "alice", microphone("TR_1", muted=True))
    story.unmuted(3, "alice", "TR_1")
    assert names(story.muted(5, "alice", "TR_1")) == ["track_muted"]
    assert story.muted(6, "alice", "TR_1") == []
    story.unpublished(9, "alice", "TR_1")
    assert story.track("TR_1", now=100)["muted_seconds"] == 7.0


def test_a_track_published_before_its_owner_is_known_is_theirs_when_they_come() -> None:
    story = Story()
    story.published(1, "alice", microphone("TR_1"))
    assert story.tracks() == (1, 1)
    story.joined(1.1, person("alice", "PA_1", 0.5, microphone("TR_1")))
    assert story.tracks() == (1, 1)
    story.left(5, "alice", "PA_1")
    assert story.tracks() == (0, 1)


def test_a_late_publication_of_somebody_who_left_is_counted_and_not_open_for_ever() -> None:
    story = alone()
    story.left(5, "alice", "PA_1")
    new_entries = story.published(5.1, "alice", microphone("TR_1"))
    assert names(new_entries) == ["track_published", "track_unpublished"]
    assert story.tracks() == (0, 1)
    assert story.published(5.2, "alice", microphone("TR_1")) == []


def test_a_track_that_comes_back_with_its_sid_is_the_same_track() -> None:
    story = alone()
    story.published(1, "alice", microphone("TR_1"))
    story.unpublished(5, "alice", "TR_1")
    assert names(story.published(6, "alice", microphone("TR_1"))) == ["track_published"]
    assert story.tracks() == (1, 1)
    assert clock(story.track("TR_1")["published_at"]) == 1
    assert story.track("TR_1")["unpublished_at"] is None


@pytest.mark.parametrize("call", ["unpublished", "muted", "unmuted", "subscribed"])
def test_what_is_said_of_an_unknown_track_changes_nothing(call: str) -> None:
    story = alone()
    assert getattr(story, call)(1, "alice", "TR_9") == []
    assert story.state.anomalies == 1


def test_our_own_subscription_is_told_once() -> None:
    story = alone(microphone("TR_1"))
    assert names(story.subscribed(1, "alice", "TR_1")) == ["track_subscribed"]
    assert story.subscribed(2, "alice", "TR_1") == []


def test_a_subscription_that_failed_is_told() -> None:
    story = alone(microphone("TR_1"))
    (new_entry,) = story.receive(TrackSubscriptionFailed(T0 + 1, "alice", "TR_1", "timeout"))
    assert new_entry.data == {"identity": "alice", "sid": "TR_1", "error": "timeout"}
