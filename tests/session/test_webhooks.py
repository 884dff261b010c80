"""Corrections by LiveKit's webhooks.  Times are seconds after `T0`, which is a whole second."""

from __future__ import annotations

from typing import Any

import pytest

from actors.session import (
    Disconnected,
    Record,
    RoomEvent,
    SessionBegan,
    SessionContinued,
    SessionEnded,
    Tick,
    TimelineEntry,
    WebhookJoinAborted,
    WebhookJoined,
    WebhookLeft,
    WebhookRoomFinished,
    WebhookRoomStarted,
    fold,
    session_view,
)
from actors.session.webhooks import happened_at
from tests.session.session_story import (
    LEFT,
    T0,
    Story,
    as_json,
    camera,
    clock,
    microphone,
    names,
    person,
)

ALICE = person("alice", "PA_1", 0, microphone("TR_1"))
BOB = person("bob", "PA_2", 10.2)


def people_of(*, peak: int) -> dict[str, Any]:
    """Two people who came and left."""
    counts = {"current": 0, "peak": peak, "unique": 2, "joins": 2, "aborted": 0}
    return {**counts, "aborted_by_reason": {}}


def joins(story: Story, identity: str) -> list[tuple[str, float | None, float | None, str | None]]:
    """SID, joined, left and reason of each join."""
    return [
        (join["sid"], clock(join["joined_at"]), clock(join["left_at"]), join["leave_reason"])
        for join in story.participant(identity)["joins"]
    ]


@pytest.mark.parametrize(
    "at,said,happened",
    [
        (10.2, 10, 10.2),
        (10.999, 10, 10.999),
        (11.05, 10, 10.5),
        (38.0, 10, 10.5),
        (9.9, 10, 10.5),
    ],
)
def test_a_webhook_that_came_at_once_says_when_and_a_late_one_half_a_second_to_either_side(
    at: float, said: float, happened: float
) -> None:
    assert happened_at(WebhookRoomFinished(T0 + at, T0 + said)) == T0 + happened


# -- joins


def test_somebody_who_was_told_is_waited_for_and_comes_once() -> None:
    story = Story(ALICE)
    assert story.webhook_joined(10.3, BOB) == []
    assert story.counts() == (1, 1, 1, 1)
    assert names(story.joined(12.9, BOB)) == ["participant_connected"]
    assert story.tick(20) == []
    assert story.counts() == (2, 2, 2, 2)
    assert joins(story, "bob") == [("PA_2", 10.2, None, None)]


def test_somebody_who_is_there_does_not_come_again_by_being_told() -> None:
    story = Story(ALICE)
    story.joined(12.9, BOB)
    before = story.state
    assert story.webhook_joined(40, BOB) == []
    story.left(50, "bob", "PA_2")
    assert story.webhook_joined(51, BOB) == []
    assert story.counts() == (1, 2, 2, 2)
    assert before.expected == story.state.expected == {}


def test_a_visit_too_short_to_be_announced_is_told_whole() -> None:
    story = Story(ALICE)
    story.webhook_joined(10.3, BOB)
    new_entries = story.webhook_left(11.1, BOB, 11.05)
    assert names(new_entries) == ["participant_connected", "participant_disconnected"]
    assert (new_entries[0].at, new_entries[1].at) == (T0 + 10.2, T0 + 11.1)
    assert new_entries[1].data["seconds"] == 0.9
    assert story.counts() == (1, 2, 2, 2)
    assert joins(story, "bob") == [("PA_2", 10.2, 11.1, LEFT)]
    assert story.tick(20) == []


def test_a_short_visit_of_which_only_the_leave_was_told_is_known_too() -> None:
    story = Story(ALICE)
    story.webhook_left(30, BOB, 11.1)
    assert joins(story, "bob") == [("PA_2", 10.2, 11.5, LEFT)]
    assert story.webhook_joined(31, BOB) == []
    assert story.counts() == (1, 2, 2, 2)


def test_whoever_was_told_and_never_announced_has_been_and_gone_for_an_unknown_time() -> None:
    story = Story(ALICE)
    story.webhook_joined(10.3, BOB)
    assert story.deadline == pytest.approx(14.3)
    story.tick(14.3)
    assert joins(story, "bob") == [("PA_2", 10.2, 10.2, None)]
    assert names(story.webhook_left(30, BOB, 11.1)) == ["participant_left_at"]
    assert joins(story, "bob") == [("PA_2", 10.2, 11.5, LEFT)]


def test_whoever_is_announced_after_all_was_there_all_the_time() -> None:
    story = Story(ALICE)
    story.webhook_joined(10.3, BOB)
    story.tick(14.3)
    story.joined(15, BOB)
    assert story.counts() == (2, 2, 2, 2)
    assert joins(story, "bob") == [("PA_2", 10.2, None, None)]


def test_while_reconnecting_newcomers_are_waited_for_until_people_are_announced_again() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.webhook_joined(10.3, BOB)
    carol = person("carol", "PA_3", 10.5)
    story.webhook_joined(10.6, carol)
    assert story.deadline is None
    story.reconnected(25, ALICE, BOB)
    assert story.counts() == (2, 2, 2, 2)
    story.tick(29)
    assert story.counts() == (2, 3, 3, 3)
    assert joins(story, "carol") == [("PA_3", 10.5, 10.5, None)]


def test_a_short_visit_between_two_visits_takes_its_place() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.left(10, "alice", "PA_1")
    story.joined(20, person("alice", "PA_3", 20))
    new_entries = story.webhook_left(21, person("alice", "PA_2", 15), 16)
    assert new_entries[0].data["rejoin"] is True
    assert [sid for sid, *_ in joins(story, "alice")] == ["PA_1", "PA_2", "PA_3"]
    assert story.counts() == (1, 1, 1, 3)


def test_the_tracks_in_a_webhook_about_a_person_are_not_their_publication() -> None:
    story = Story()
    story.webhook_joined(1, person("bob", "PA_2", 1, camera("TR_2")))
    story.webhook_left(2, person("bob", "PA_2", 1, camera("TR_2")))
    assert story.tracks() == (0, 0)


# -- leaves


def test_the_leave_of_somebody_silent_is_put_right_when_it_is_heard_first() -> None:
    story = Story(ALICE, person("bob", "PA_2", 0))
    (new_entry,) = story.left(13, "bob", "PA_2")
    assert new_entry.event == "participant_disconnected"
    (corrected,) = story.webhook_left(30, person("bob", "PA_2", 0), 10.4)
    assert (corrected.event, corrected.at) == ("participant_left_at", T0 + 10.5)
    assert corrected.data["seconds"] == 10.5
    assert joins(story, "bob") == [("PA_2", 0, 10.5, LEFT)]
    assert story.webhook_left(31, person("bob", "PA_2", 0), 10.4) == []


def test_the_leave_of_somebody_silent_is_right_when_it_is_told_first() -> None:
    story = Story(ALICE, person("bob", "PA_2", 0))
    (new_entry,) = story.webhook_left(10.4, person("bob", "PA_2", 0))
    assert (new_entry.event, new_entry.at) == ("participant_disconnected", T0 + 10.4)
    assert story.left(13, "bob", "PA_2") == []
    assert story.counts() == (1, 2, 2, 2)
    assert joins(story, "bob") == [("PA_2", 0, 10.4, LEFT)]


def test_a_leave_that_differs_by_less_than_the_webhooks_clock_is_not_told_again() -> None:
    story = Story(ALICE)
    story.left(10.05, "alice", "PA_1")
    assert story.webhook_left(11.2, ALICE, 10.04) == []
    assert joins(story, "alice") == [("PA_1", 0, 10.05, LEFT)]


def test_nobody_leaves_later_than_it_was_heard_nor_before_they_came() -> None:
    heard_first, told_first = Story(ALICE), Story(ALICE)
    heard_first.left(10.1, "alice", "PA_1")
    heard_first.webhook_left(20, ALICE, 10.05)
    told_first.webhook_left(10.2, ALICE, 9.9)
    told_first.left(9.2, "alice", "PA_1")
    assert joins(heard_first, "alice") == [("PA_1", 0, 10.1, LEFT)]
    assert joins(told_first, "alice") == [("PA_1", 0, 9.2, LEFT)]
    story = Story()
    story.webhook_left(20, BOB, 9.0)
    assert joins(story, "bob") == [("PA_2", 10.2, 10.2, LEFT)]


def test_why_an_identity_was_replaced_is_told_by_the_server() -> None:
    """Facts, 7: the room sees a leave without a reason and another SID."""
    story = Story(ALICE)
    story.left(10.1, "alice", "PA_1", None)
    again = person("alice", "PA_9", 10, microphone("TR_9"))
    story.joined(10.4, again)
    story.webhook_left(10.6, ALICE, 10.1, "duplicate_identity")
    first, second = joins(story, "alice")
    assert first[3] == "duplicate_identity"
    assert second == ("PA_9", 10, None, None)
    assert story.counts() == (1, 1, 1, 2)


def test_a_leave_that_was_told_is_final_whatever_is_heard_late() -> None:
    story = Story(ALICE, person("bob", "PA_2", 0))
    story.webhook_left(10.4, person("bob", "PA_2", 0))
    assert story.joined(10.5, person("bob", "PA_2", 0)) == []
    story.resynced(10.6, ALICE, person("bob", "PA_2", 0))
    assert story.counts() == (1, 2, 2, 2)
    story.joined(11, person("bob", "PA_3", 10.9))
    assert [sid for sid, *_ in joins(story, "bob")] == ["PA_2", "PA_3"]


def test_a_leave_that_is_told_while_it_is_in_doubt_is_certain() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.left(10.2, "alice", "PA_1", None)
    story.webhook_left(15.5, ALICE)
    story.reconnected(18)
    assert joins(story, "alice") == [("PA_1", 0, 15.5, LEFT)]
    assert story.tick(30) == []


def test_a_leave_during_a_gap_counts_from_when_it_was_told_not_from_when_the_gap_began() -> None:
    story = Story(ALICE)
    story.disconnected(10)
    story.watching(60)
    story.tick(70)
    assert joins(story, "alice") == [("PA_1", 0, 10, None)]
    (new_entry,) = story.webhook_left(71, ALICE, 42)
    assert new_entry.event == "participant_left_at"
    assert joins(story, "alice") == [("PA_1", 0, 42.5, LEFT)]


def test_a_leave_takes_the_tracks_along() -> None:
    story = Story(ALICE)
    new_entries = story.webhook_left(10.4, ALICE)
    assert names(new_entries) == ["track_unpublished", "participant_disconnected"]
    assert story.unpublished(10.5, "alice", "TR_1") == []
    assert clock(story.track("TR_1")["unpublished_at"]) == 10.4


# -- the room


def test_when_the_room_was_created_is_taken_where_no_roster_told_it() -> None:
    story = Story(created=None)
    story.webhook_room_started(5, -3.25, "not the first word on it")
    assert story.view(10)["metadata"] == ""
    assert story.state.created_at == T0 - 3.25
    story.webhook_room_started(6, -9)
    assert story.state.created_at == T0 - 3.25


def test_an_aborted_join_is_a_line_of_the_timeline_and_counts_as_nothing_else() -> None:
    story = Story(ALICE)
    event = WebhookJoinAborted(T0 + 5.2, T0 + 5, person("bob", "PA_2", 5), "signal_close")
    before = story.view(10)["people"]
    (new_entry,) = story.receive(event)
    assert (new_entry.event, new_entry.at) == ("participant_connection_aborted", T0 + 5.2)
    assert new_entry.data["reason"] == "signal_close"
    assert story.receive(event) == []
    people = story.view(10)["people"]
    assert people == {**before, "aborted": 1, "aborted_by_reason": {"signal_close": 1}}


@pytest.mark.parametrize("reason", ["worker_stopped", "server_lost", "removed"])
@pytest.mark.parametrize("told_first", [False, True])
def test_the_end_of_a_room_that_went_on_after_us_is_the_end(reason: str, told_first: bool) -> None:
    story = Story(ALICE)
    story.disconnected(40)
    if told_first:
        story.webhook_room_finished(80.3)
        new_entries = story.ends(60, reason)
    else:
        story.ends(60, reason)
        new_entries = story.webhook_room_finished(110, 80.3)
        assert names(new_entries) == ["room_ended"]
    view = story.view(200)
    assert (view["status"], view["end_reason"]) == ("ended", "found_ended")
    assert clock(view["ended_at"]) == (80.3 if told_first else 80.5)
    assert view["coverage"] == pytest.approx(0.5, abs=0.01)
    assert new_entries[0].data == {"reason": "found_ended"}
    assert story.webhook_room_finished(120, 90) == []


def test_a_room_that_ended_before_we_gave_it_up_ended_then() -> None:
    story = Story(ALICE)
    story.reconnecting(40)
    story.disconnected(60)
    story.ends(60, "server_lost")
    story.webhook_room_finished(61, 50.3)
    view = story.view(200)
    assert (clock(view["ended_at"]), view["end_reason"]) == (50.5, "server_lost")


@pytest.mark.parametrize("reason", ["room_closed", "room_deleted"])
def test_an_end_that_was_seen_is_not_corrected(reason: str) -> None:
    story = Story(ALICE)
    story.disconnected(40, reason)
    story.ends(40, reason)
    assert story.webhook_room_finished(60, 45) == []
    assert (clock(story.view()["ended_at"]), story.view()["end_reason"]) == (40, reason)


def test_a_room_did_not_end_before_we_last_saw_it() -> None:
    story = Story(ALICE)
    story.ends(40, "worker_stopped")
    story.webhook_room_finished(60, 20)
    assert clock(story.view()["ended_at"]) == 40


# -- ended sessions


def test_what_is_told_of_an_ended_session_is_still_taken() -> None:
    story = Story(ALICE)
    story.ends(40, "worker_stopped")
    story.webhook_joined(50.3, person("bob", "PA_2", 50))
    assert joins(story, "bob") == [("PA_2", 50, 50, None)]
    story.webhook_left(70.3, person("bob", "PA_2", 50))
    story.webhook_left(75.3, ALICE)
    story.webhook_room_finished(95.5)
    view = story.view(200)
    assert joins(story, "alice") == [("PA_1", 0, 75.3, LEFT)]
    assert joins(story, "bob") == [("PA_2", 50, 70.3, LEFT)]
    assert (clock(view["ended_at"]), view["people_seconds"]) == (95.5, 95.6)
    assert view["people"] == people_of(peak=1)


def test_an_ended_session_that_goes_on_knows_what_was_told_in_between() -> None:
    story = Story(ALICE)
    story.ends(40, "worker_stopped")
    story.webhook_left(50.3, ALICE)
    story.webhook_joined(60, person("bob", "PA_2", 60))
    story.attach("AJ_2")
    story.watching(70, person("bob", "PA_2", 60))
    assert story.counts() == (1, 1, 2, 2)
    assert joins(story, "alice") == [("PA_1", 0, 50.3, LEFT)]
    assert joins(story, "bob") == [("PA_2", 60, None, None)]


# -- tracks


def test_tracks_that_the_room_itself_tells_are_not_taken_from_webhooks() -> None:
    story = Story(ALICE)
    before = story.view(10)
    story.webhook_track(5.1, "alice", camera("TR_2"), True)
    story.webhook_track(6.1, "alice", microphone("TR_1"), False)
    assert story.view(10) == before


def test_tracks_that_nobody_watched_are() -> None:
    story = Story(ALICE)
    story.disconnected(10)
    story.webhook_track(20.3, "alice", camera("TR_2"), True)
    story.webhook_track(30.3, "alice", camera("TR_2"), False)
    story.webhook_track(40.3, "alice", microphone("TR_1"), False)
    assert story.tracks() == (0, 2)
    assert clock(story.track("TR_2")["published_at"]) == 20.3
    assert clock(story.track("TR_2")["unpublished_at"]) == 30.3
    assert clock(story.track("TR_1")["unpublished_at"]) == 40.3


def test_tracks_of_a_gap_that_are_told_after_it_are_over() -> None:
    story = Story(ALICE)
    story.disconnected(10)
    story.watching(60, person("alice", "PA_1", 0))
    story.tick(70)
    story.webhook_track(71, "alice", camera("TR_2"), True, 20.3)
    story.webhook_track(72, "alice", camera("TR_2"), False, 30.3)
    story.webhook_track(73, "alice", microphone("TR_1"), False, 40.3)
    assert story.tracks() == (0, 2)
    assert clock(story.track("TR_2")["published_at"]) == 20.5
    assert clock(story.track("TR_2")["unpublished_at"]) == 30.5
    assert clock(story.track("TR_1")["unpublished_at"]) == 40.5


def test_a_track_that_ended_in_the_second_in_which_we_came_back_was_there_until_then() -> None:
    """A webhook has the second only; the room shows that the track was over."""
    story = Story()
    alice = person("alice", "PA_1", 29.5)
    story.ends(10, "worker_stopped")
    story.webhook_joined(29.6, alice)
    story.webhook_track(29.6, "alice", microphone("TR_1"), True)
    story.state, _ = fold(story.state, SessionContinued(T0 + 87.5, "AJ_2", "worker"))
    story.watching(87.5)
    story.webhook_track(87.6, "alice", microphone("TR_1"), False)
    story.webhook_left(87.6, alice)
    assert clock(story.track("TR_1")["unpublished_at"]) == 87.5
    assert story.tracks() == (0, 1)


def test_a_track_that_was_there_before_us_has_the_time_that_was_told() -> None:
    story = Story(person("alice", "PA_1", -30, microphone("TR_1")))
    assert story.track("TR_1")["published_at"] is None
    story.webhook_track(5, "alice", microphone("TR_1"), True, -20)
    track = story.track("TR_1")
    assert (clock(track["published_at"]), track["published_within"]) == (-19.5, 0.5)
    assert story.tracks() == (1, 1)


def test_what_was_told_of_a_publication_narrows_what_we_know_of_it() -> None:
    story = Story(person("alice", "PA_1", -2.8, microphone("TR_1")))
    assert story.track("TR_1")["published_within"] == 1.4
    story.webhook_track(5, "alice", microphone("TR_1"), True, -3)  # it joined within that second
    track = story.track("TR_1")
    assert (clock(track["published_at"]), track["published_within"]) == (-2.5, 0.5)


def test_a_track_of_which_only_the_end_was_told_was_there() -> None:
    story = Story()
    story.disconnected(10)
    story.webhook_track(20, "alice", camera("TR_2"), False)
    assert story.tracks() == (0, 1)
    assert story.track("TR_2")["published_at"] is None


# -- sessions nobody watched


def journal(*records: Record) -> tuple[dict[str, object], list[TimelineEntry]]:
    state, new_entries = fold(None, SessionBegan(T0, "room", "RM_1", (), "worker", "", None))
    timeline = list(new_entries)
    for record in records:
        state, new_entries = fold(state, record)
        timeline.extend(new_entries)
    return as_json(session_view(state, T0 + 1000, timeline)), timeline


def test_a_session_of_webhooks_only_knows_people_and_nothing_that_webhooks_do_not_tell() -> None:
    alice, bob = person("alice", "PA_1", 1.1), person("bob", "PA_2", 10.2)
    view, timeline = journal(
        WebhookRoomStarted(T0 + 0.2, T0, T0 + 0.1, "m"),
        WebhookJoined(T0 + 1.2, T0 + 1, alice),
        WebhookJoined(T0 + 10.3, T0 + 10, bob),
        WebhookLeft(T0 + 11.4, T0 + 11, bob, LEFT),
        WebhookLeft(T0 + 30.2, T0 + 30, alice, LEFT),
        WebhookRoomFinished(T0 + 50.3, T0 + 50),
        SessionEnded(T0 + 50.3, "found_ended"),
    )
    assert view["people"] == people_of(peak=2)
    assert view["people_seconds"] == pytest.approx(30.3)
    assert (view["coverage"], view["metadata"], view["job_ids"]) == (0.0, "m", [])
    assert (view["end_reason"], view["duration"]) == ("found_ended", pytest.approx(50.3))
    assert view["track_counts"] == {"current": 0, "total": 0, "by_source": {}}
    assert view["quality"] == dict.fromkeys(("excellent", "good", "poor", "lost"))
    assert view["talk"] == {"seconds": None, "by_identity": {}}
    assert view["data_messages"] == {
        "total": None,
        "bytes": None,
        "by_topic": {},
        "attachments": None,
        "lower_bound": None,
    }
    assert [entry.event for entry in timeline] == [
        "participant_connected",
        "participant_connected",
        "participant_disconnected",
        "participant_disconnected",
        "session_ended",
    ]


def test_a_room_of_which_only_the_end_was_told_has_no_known_people() -> None:
    view, _ = journal(
        WebhookRoomFinished(T0 + 50.3, T0 + 50), SessionEnded(T0 + 50.3, "found_ended")
    )
    unknown = dict.fromkeys(("current", "peak", "unique", "joins", "aborted"))
    assert view["people"] == {**unknown, "aborted_by_reason": {}}


def test_a_room_that_was_told_first_and_watched_later_is_one_session() -> None:
    story = Story(created=None)
    state, _ = fold(None, SessionBegan(T0, "room", "RM_1", (), "worker", "", None))
    story.state, story.entries = state, []
    alice, bob = person("alice", "PA_1", 1.1), person("bob", "PA_2", 1.2)
    story.webhook_joined(1.2, alice)
    story.webhook_joined(1.3, bob)
    assert story.counts() == (2, 2, 2, 2)
    story.state, _ = fold(story.state, SessionContinued(T0 + 2, "AJ_1", "worker"))
    assert names(story.watching(2, alice)) == ["session_started"]
    story.tick(6)
    assert story.counts() == (1, 2, 2, 2)
    assert joins(story, "bob") == [("PA_2", 1.2, 1.2, None)]
    assert story.view()["job_ids"] == ["AJ_1"]


# -- workers that were killed


@pytest.mark.parametrize("sign", [Tick(T0 + 50), Disconnected(T0 + 50, None)])
@pytest.mark.parametrize("told", [None, 70, 99])
def test_a_gap_begins_with_the_last_sign_of_life_whatever_was_told_since(
    sign: RoomEvent, told: float | None
) -> None:
    story = Story(ALICE)
    bob = person("bob", "PA_2", 60)
    story.data(20, "alice")
    story.receive(sign)
    if told:
        story.webhook_joined(told, bob)
    story.attach("AJ_2")
    (gap,) = [one for one in story.watching(100, ALICE, bob) if one.event == "reconnected"]
    assert gap.data == {"gap": 50.0}
    story.tick(200)
    assert story.counts() == (2, 2, 2, 2)
    assert joins(story, "bob") == [("PA_2", 60, None, None)]
    assert story.view(200)["coverage"] == 0.75


def test_a_room_that_ended_while_the_worker_was_dead_is_closed_at_the_last_sign_of_life() -> None:
    story = Story(ALICE)
    story.tick(50)
    story.ends(100, "found_ended")
    view = story.view(200)
    assert (clock(view["ended_at"]), view["coverage"]) == (100, 0.5)
    assert joins(story, "alice") == [("PA_1", 0, 50, None)]
    story.webhook_left(101, ALICE, 70)
    story.webhook_room_finished(102, 90)
    view = story.view(200)
    assert joins(story, "alice") == [("PA_1", 0, 70.5, LEFT)]
    assert (clock(view["ended_at"]), view["end_reason"]) == (90.5, "found_ended")
    assert view["coverage"] == round(50 / 90.5, 4)
