"""Begin, gaps, end, and on again; and numbers that are easily wrong."""

from __future__ import annotations

from typing import get_args

import pytest

from actors.session import RoomEvent, apply, attach_job, begin, end, next_deadline, totals
from actors.session.reducer import _AT_ANY_TIME, _HANDLERS
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
BOB = person("bob", "PA_2", 0)


def test_every_event_of_the_vocabulary_has_its_row_in_the_table() -> None:
    assert set(_HANDLERS) | set(_AT_ANY_TIME) == set(get_args(RoomEvent))


def test_the_room_sid_is_taken_from_the_first_roster_where_the_job_had_none() -> None:
    from actors.session import Roster, Watching

    state = begin("room", "", ("AJ_1",), "worker", "agent", T0)
    state, _ = apply(state, Watching(T0, Roster("RM_7", "m", (), T0 - 5)))
    assert (state.room_sid, state.metadata, state.created_at) == ("RM_7", "m", T0 - 5)


# -- coverage


@pytest.mark.parametrize("joined, expected", [(0.0, 0.0), (-50.0, 50.0), (50.0, 0.0)])
def test_coverage_counts_from_our_entry_and_what_was_before_it_is_told_apart(
    joined: float, expected: float
) -> None:
    story = Story(person("alice", "PA_1", joined), created=-100)
    view = story.view(100)
    assert (view["coverage"], view["entered_after"]) == (1.0, expected)


def test_how_late_we_came_counts_from_people_and_not_from_machines() -> None:
    story = Story(person("robot", "PA_1", -60, kind="agent"))
    assert story.view()["entered_after"] is None
    story.joined(5, person("alice", "PA_2", -10))
    assert story.view()["entered_after"] == 10.0
    story.webhook_joined(6, person("bob", "PA_3", -20))
    story.tick(20)
    assert story.view()["entered_after"] == 20.0, "a visit before we came, told by a webhook"


def test_a_reconnect_lowers_coverage() -> None:
    story = Story(ALICE)
    story.reconnecting(40)
    assert story.view(50)["coverage"] == 0.8
    story.reconnected(60, ALICE)
    assert story.view(100)["coverage"] == 0.8
    assert totals(story.state, T0 + 100).watched == 80.0


def test_a_room_that_was_never_entered_has_no_coverage_and_no_counts() -> None:
    state = begin("room", "RM_1", ("AJ_1",), "worker", "agent", T0, T0 - 10)
    state, _ = end(state, T0 + 10, "server_lost")
    from actors.session import session_view

    view = as_json(session_view(state, T0 + 20))
    assert view["coverage"] == 0.0
    assert view["people"].pop("aborted_by_reason") == {}
    assert set(view["people"].values()) == {None}
    assert (view["people_seconds"], view["metadata"]) == (None, None)


# -- the end


def test_the_end_closes_everything_that_is_open_and_tells_of_no_leave() -> None:
    story = Story(ALICE, BOB)
    story.quality(0, "alice", "PA_1", "good")
    story.speaking(4, "alice")
    story.muted(6, "alice", "TR_1")
    (new_entry,) = story.ends(10, "room_closed")
    assert (new_entry.event, new_entry.data) == ("session_ended", {"reason": "room_closed"})
    view = story.view(1000)
    assert (view["status"], view["end_reason"], view["duration"]) == ("ended", "room_closed", 10.0)
    assert story.counts() == (0, 2, 2, 2)
    assert view["people_seconds"] == 20.0
    assert view["quality"]["good"] == 10.0
    assert view["talk"]["seconds"] == 6.0
    assert story.track("TR_1", 1000)["muted_seconds"] == 4.0
    assert clock(story.track("TR_1")["unpublished_at"]) == 10
    assert story.participant("bob")["joins"][0]["leave_reason"] is None


def test_after_the_end_nothing_is_heard() -> None:
    story = Story(ALICE)
    story.ends(10)
    before = story.state
    assert story.joined(11, BOB) == []
    assert story.ends(12, "removed") == []
    assert story.state is before
    assert next_deadline(before) is None


def test_a_leave_that_waits_is_believed_at_the_end() -> None:
    story = Story(BOB)
    story.left(5, "bob", "PA_2", None)
    assert names(story.ends(7)) == ["participant_disconnected", "session_ended"]
    assert story.participant("bob")["seconds"] == 5.0


def test_a_lost_server_ends_joins_when_the_room_was_last_seen() -> None:
    story = Story(BOB)
    story.reconnecting(10)
    story.disconnected(29)
    story.ends(30, "server_lost")
    assert story.participant("bob")["seconds"] == 10.0
    assert clock(story.view()["ended_at"]) == 30


def test_a_session_found_ended_was_watched_until_its_last_event() -> None:
    story = Story(BOB)
    story.data(20, "bob")
    story.ends(100, "found_ended")
    assert story.participant("bob")["seconds"] == 20.0
    assert story.view()["coverage"] == 0.2


# -- on again


def test_a_worker_that_comes_back_continues_the_session_and_the_gap_lowers_coverage() -> None:
    story = Story(ALICE, BOB)
    story.ends(40, "worker_stopped")
    story.attach("AJ_2", "worker-2")
    assert story.view(50)["status"] == "active"
    story.watching(60, person("alice", "PA_1", 0, microphone("TR_1")), person("carol", "PA_3", 50))
    story.tick(70)
    view = story.view(100)
    assert view["job_ids"] == ["AJ_1", "AJ_2"]
    assert (view["worker"], view["ended_at"], view["end_reason"]) == ("worker-2", None, None)
    assert view["coverage"] == 0.8
    assert story.counts() == (2, 2, 3, 3)
    assert story.participant("alice", now=100)["seconds"] == 100.0, "the same join: she never left"
    assert story.participant("bob")["seconds"] == 40.0
    assert story.participant("carol", now=100)["seconds"] == 50.0
    assert story.tracks() == (1, 1)
    assert story.events().count("reconnected") == 1


def test_a_worker_that_was_killed_stopped_watching_at_its_last_event() -> None:
    story = Story(ALICE, BOB)
    story.quality(10, "alice", "PA_1", "good")
    story.speaking(20, "alice")
    story.watching(60, ALICE)
    story.tick(64)
    assert story.view(100)["coverage"] == 0.6
    assert story.participant("bob")["seconds"] == 20.0
    alice = story.participant("alice", now=100)
    assert (alice["seconds"], alice["quality"]["good"], alice["talk_seconds"]) == (100.0, 10.0, 0.0)


def test_quality_is_unknown_after_a_new_connection_even_of_somebody_who_was_doubted() -> None:
    story = Story(ALICE)
    story.quality(0, "alice", "PA_1", "good")
    story.left(10, "alice", "PA_1", None)
    story.watching(12, ALICE)
    assert story.participant("alice", now=50)["quality"]["good"] == 10.0


def test_a_second_connection_that_is_told_of_by_a_roster_is_watched() -> None:
    story = Story(ALICE)
    story.disconnected(10)
    story.resynced(20, ALICE)
    assert story.view(40)["coverage"] == 0.75


def test_a_job_that_is_attached_twice_is_one_job() -> None:
    story = Story()
    story.attach("AJ_2")
    story.attach("AJ_2")
    assert story.state.job_ids == ("AJ_1", "AJ_2")


# -- numbers that are easily wrong


def test_the_final_summary_counts_everyone_who_ever_was_there() -> None:
    story = Story(ALICE)
    story.joined(1, person("bob", "PA_2", 1, camera("TR_2")))
    story.left(5, "bob", "PA_2")
    story.joined(20, person("bob", "PA_3", 20))
    story.data(21, "bob")
    story.ends(30)
    found = totals(story.state, T0 + 99)
    assert (found.participants, found.participants_total) == (0, 2)
    assert (found.tracks, found.tracks_total) == (0, 2)
    assert (found.messages, found.duration, found.active) == (1, 30.0, False)


def test_the_tracks_of_leavers_do_not_stay_open() -> None:
    story = Story(ALICE)
    story.left(5, "alice", "PA_1")
    assert story.tracks() == (0, 1)


def test_tracks_that_were_there_before_us_are_counted() -> None:
    assert Story(ALICE).tracks() == (1, 1)


def test_a_second_job_for_the_room_does_not_overwrite_the_session() -> None:
    story = Story(ALICE)
    story.data(1, "alice")
    again = attach_job(story.state, "AJ_2")
    assert again.job_ids == ("AJ_1", "AJ_2")
    assert totals(again, T0 + 5).messages == 1
    assert (again.started_at, again.present) == (story.state.started_at, story.state.present)


def test_status_counts_what_is_there_now() -> None:
    story = Story(ALICE, BOB)
    story.left(5, "bob", "PA_2", LEFT)
    found = totals(story.state, T0 + 30)
    assert (found.participants, found.tracks, found.messages, found.duration) == (1, 1, 0, 30.0)
