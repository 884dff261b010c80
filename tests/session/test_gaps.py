"""Times without a connection to the room: gaps, their reasons, and their effects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.session import ClockCompared, Disconnected, Roster, Watching, apply
from actors.session.bounds import MAX_GAPS
from actors.session.gaps import BURST
from tests.session.session_story import LEFT, T0, Story, clock, microphone, person
from tests.session.strategies import quick

ALICE = person("alice", "PA_1", 0)
BOB = person("bob", "PA_2", 0, microphone("TR_1"))


def unwatched(story: Story, now: float) -> float:
    """Seconds of all gaps."""
    listed = sum((now if to is None else to) - (since or 0) for since, to, _ in story.gaps(now))
    return listed + story.state.truncated.gap_seconds


# -- reasons


def test_a_reconnect_is_a_gap_open_while_it_lasts() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    assert story.gaps(15) == [(10, None, "reconnecting")]
    story.reconnected(20, ALICE)
    assert story.gaps(30) == [(10, 20, "reconnecting")]


def test_a_connection_that_did_not_come_back_is_another_kind() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.disconnected(30)
    story.watching(40, ALICE)
    assert story.gaps() == [(10, 40, "connection_lost")]


@pytest.mark.parametrize(
    "goodbye, end, reason",
    [
        (LEFT, "worker_stopped", "worker_stopped"),
        ("participant_removed", "removed", "removed"),
        (LEFT, "dispatch_deleted", "removed"),
        (None, "server_lost", "connection_lost"),
    ],
)
def test_a_session_that_ended_and_goes_on_has_a_gap_for_the_reason_of_the_end(
    goodbye: str | None, end: str, reason: str
) -> None:
    story = Story(ALICE)
    story.disconnected(40, goodbye)
    story.ends(40, end)
    assert story.gaps(90) == [], "the end is no gap"
    story.attach("AJ_2")
    story.watching(60, ALICE)
    assert story.gaps() == [(40, 60, reason)]


def test_our_own_goodbye_is_no_gap() -> None:
    story = Story(ALICE)
    story.disconnected(40, LEFT)
    story.ends(43, "worker_stopped")
    view = story.view(90)
    assert (clock(view["ended_at"]), view["coverage"], view["gaps"]) == (40, 1.0, [])


@pytest.mark.parametrize("reason", ["room_closed", "room_deleted"])
def test_a_room_that_ends_under_our_eyes_has_no_gap(reason: str) -> None:
    story = Story(ALICE)
    story.disconnected(40, reason)
    story.ends(40.008, reason)
    view = story.view(90)
    assert (clock(view["ended_at"]), view["coverage"], view["gaps"]) == (40, 1.0, [])


@pytest.mark.parametrize("reason", ["room_closed", "room_deleted"])
def test_a_room_that_ends_while_we_reconnect_has_a_gap_up_to_its_end(reason: str) -> None:
    story = Story(ALICE)
    story.reconnecting(30)
    story.disconnected(40, reason)
    story.ends(40, reason)
    assert story.gaps(90) == [(30, 40, "connection_lost")]
    assert clock(story.view(90)["ended_at"]) == 40


def test_a_killed_worker_failed() -> None:
    story = Story(ALICE)
    story.receive(Disconnected(T0 + 30, None, "worker_failed"))
    story.ends(50, "worker_stopped")
    story.attach("AJ_2")
    story.watching(60, ALICE)
    assert story.gaps() == [(30, 60, "worker_failed")], "the first reason is the reason"


def test_a_watch_that_begins_in_a_watch_follows_a_crash() -> None:
    story = Story(ALICE)
    story.tick(20)
    story.watching(60, ALICE)
    assert story.gaps() == [(20, 60, "worker_failed")]


def test_a_room_that_ended_unseen_has_a_gap_up_to_its_end() -> None:
    story = Story(ALICE)
    story.receive(Disconnected(T0 + 50, None, "worker_failed"))
    story.ends(100, "found_ended")
    assert story.gaps(500) == [(50, 100, "worker_failed")]
    assert story.view(500)["coverage"] == 0.5


def test_gaps_beyond_the_bound_are_added_up() -> None:
    story = Story(ALICE)
    for n in range(MAX_GAPS + 3):
        story.reconnecting(10 * n + 5)
        story.reconnected(10 * n + 7, ALICE)
    assert len(story.gaps()) == MAX_GAPS
    assert (story.state.truncated.gaps, story.state.truncated.gap_seconds) == (3, 6.0)


# -- suspended


def test_a_suspension_is_a_gap_that_is_over_at_once() -> None:
    story = Story(ALICE)
    (entry,) = story.suspended(10, 40)
    assert (entry.event, entry.at, entry.data) == ("suspended", T0 + 40, {"gap": 30.0})
    assert story.gaps(50) == [(10, 40, "suspended")]
    assert story.view(50)["coverage"] == 0.4


@pytest.mark.parametrize("heard", [39.998, 40.0, 40.1])
def test_who_left_while_we_were_suspended_left_when_it_began(heard: float) -> None:
    """It holds too where a thread of the SDK ran again just before the suspension was noticed."""
    story = Story(ALICE, BOB)
    story.suspended(10, 40)
    story.unpublished(heard, "bob", "TR_1")
    story.left(heard, "bob", "PA_2")
    (join,) = story.participant("bob")["joins"]
    assert (clock(join["left_at"]), join["leave_reason"]) == (10, LEFT)
    assert clock(story.track("TR_1")["unpublished_at"]) == 10
    story.left(42, "alice", "PA_1")
    (join,) = story.participant("alice")["joins"]
    assert clock(join["left_at"]) == 42, "that was heard"


def test_who_came_and_left_meanwhile_never_left_before_they_came() -> None:
    story = Story()
    story.suspended(10, 40)
    story.joined(40.1, person("bob", "PA_2", 30))
    story.left(40.2, "bob", "PA_2")
    (join,) = story.participant("bob")["joins"]
    assert (clock(join["joined_at"]), clock(join["left_at"])) == (30, 30)


def test_a_webhook_knows_better_when_somebody_left_meanwhile() -> None:
    story = Story(ALICE)
    story.suspended(10, 40)
    story.left(40.1, "alice", "PA_1")
    story.webhook_left(41, ALICE, 25)
    (join,) = story.participant("alice")["joins"]
    assert clock(join["left_at"]) == 25.5


def test_talk_stops_and_quality_pauses_for_a_suspension() -> None:
    story = Story(person("alice", "PA_1", 0, microphone("TR_1")))
    story.subscribed(0, "alice", "TR_1")
    story.quality(0, "alice", "PA_1", "good")
    story.speaking(5, "alice")
    story.suspended(10, 40)
    alice = story.participant("alice", 50)
    assert (alice["talk_seconds"], alice["quality"]["good"], alice["seconds"]) == (5, 20, 50)


def test_a_track_that_was_published_meanwhile_has_no_known_time() -> None:
    story = Story(ALICE)
    story.suspended(10, 40)
    story.published(40.1, "alice", microphone("TR_1"))
    assert story.track("TR_1")["published_at"] is None


def test_a_leave_in_doubt_before_it_is_true_and_one_that_was_not_yet_waits_on() -> None:
    story = Story(ALICE, BOB)
    story.left(3, "alice", "PA_1", None)
    story.left(8, "bob", "PA_2", None)
    story.suspended(10, 40)
    assert story.events().count("participant_disconnected") == 1
    assert clock(story.participant("alice")["joins"][0]["left_at"]) == 3
    story.joined(40.1, BOB)
    assert story.participant("bob", 50)["joins"][0]["left_at"] is None


def test_a_join_that_a_webhook_told_before_is_still_to_be_announced() -> None:
    story = Story()
    story.webhook_joined(9, ALICE)
    story.suspended(10, 40)
    story.joined(40.1, ALICE)
    assert story.counts() == (1, 1, 1, 1)
    assert "participant_disconnected" not in story.events()


@pytest.mark.parametrize("how", ["reconnecting", "disconnected"])
def test_a_connection_that_broke_meanwhile_is_the_same_gap(how: str) -> None:
    story = Story(ALICE, BOB)
    story.suspended(10, 40)
    if how == "reconnecting":
        story.reconnecting(40.2)
        story.reconnected(45, ALICE)
    else:
        story.disconnected(40.2)
        story.watching(45, ALICE)
    story.tick(50)
    assert story.gaps(100) == [(10, 45, "suspended")]
    assert story.view(100)["coverage"] == 0.65
    assert clock(story.participant("bob")["joins"][0]["left_at"]) == 10


def test_a_suspension_while_the_connection_is_down_is_part_of_that_gap() -> None:
    story = Story(ALICE)
    story.reconnecting(5)
    story.suspended(10, 40)
    story.reconnected(45, ALICE)
    assert story.gaps(50) == [(5, 45, "reconnecting")]


@pytest.mark.parametrize("since, until", [(20, 10), (-20, -10), (10, 10)])
def test_a_suspension_that_makes_no_sense_changes_nothing(since: float, until: float) -> None:
    story = Story(ALICE)
    story.suspended(since, until)
    assert story.gaps(30) == []
    assert story.view(30)["coverage"] == 1.0


# -- the law

steps = st.lists(
    st.tuples(
        st.floats(0.1, 20), st.sampled_from(["suspended", "down", "up", "out", "in", "end", "on"])
    ),
    max_size=30,
)


@quick
@given(steps)
def test_watched_and_gaps_add_up_to_the_time_since_our_entry(
    steps: list[tuple[float, str]],
) -> None:
    """Whatever breaks, in whatever order."""
    story, now = Story(ALICE), 0.0
    for seconds, what in steps:
        before, now = now, now + seconds
        match what:
            case "suspended":
                story.suspended(before, now)
            case "down":
                story.reconnecting(now)
            case "up":
                story.reconnected(now, ALICE)
            case "out":
                story.disconnected(now)
            case "in":
                story.watching(now, ALICE)
            case "end":
                story.ends(now, "worker_stopped")
            case _:
                story.attach("AJ_1")
        until = now if story.state.ended_at is None else story.state.ended_at - T0
        watched = story.state.watched.total(T0 + until)
        assert abs(unwatched(story, until) + watched - until) < 0.01
        ends = [at for gap in story.gaps(until) for at in gap[:2] if at is not None]
        assert ends == sorted(ends), "one after the other"


def test_the_burst_after_a_suspension_is_short() -> None:
    story = Story(ALICE)
    story.suspended(10, 40)
    story.left(40 + BURST + 0.1, "alice", "PA_1")
    assert clock(story.participant("alice")["joins"][0]["left_at"]) == 40 + BURST + 0.1


# -- the clock


def test_the_offset_of_the_workers_clock_is_told_as_compared_last() -> None:
    story = Story(ALICE)
    assert story.view()["clock_offset"] is None
    story.receive(ClockCompared(T0 + 1, -120.0004))
    assert story.view()["clock_offset"] == -120.0
    story.disconnected(2)
    story.state, _ = apply(story.state, Watching(T0 + 3, Roster("RM_1"), clock_offset=0.02))
    assert story.view()["clock_offset"] == 0.02


def test_a_clock_that_is_a_hair_behind_has_the_offset_zero() -> None:
    story = Story(ALICE)
    story.receive(ClockCompared(T0 + 5, -0.0002))
    assert str(story.view(6)["clock_offset"]) == "0.0"
