"""Presence: arrivals, leaves, rejoins, and leaves that turn out untrue."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from actors.session import ParticipantKind
from actors.session.bounds import CONFIRM_AFTER, RECONNECT_WINDOW
from tests.session.session_story import LEFT, T0, Story, camera, clock, microphone, names, person


def test_a_person_counts_from_the_servers_time_of_joining_until_the_leave() -> None:
    story = Story()
    story.joined(12.8, person("alice", "PA_1", 10.0))
    (new_entry,) = story.left(30.0, "alice", "PA_1")
    alice = story.participant("alice")
    assert alice["seconds"] == 20.0
    assert [
        (j["sid"], clock(j["joined_at"]), clock(j["left_at"]), j["leave_reason"])
        for j in alice["joins"]
    ] == [("PA_1", 10.0, 30.0, LEFT)]
    assert story.counts() == (0, 1, 1, 1)
    assert (new_entry.event, new_entry.data["seconds"], new_entry.data["reason"]) == (
        "participant_disconnected",
        20.0,
        LEFT,
    )


def test_those_who_were_there_before_us_are_found_with_their_tracks() -> None:
    story = Story(person("alice", "PA_1", -60.0, microphone("TR_1"), camera("TR_2")))
    assert story.events() == ["participant_found", "track_published", "track_published"]
    assert story.entries[0].data == {"existing": 1}
    assert all(e.data["existing"] for e in story.entries if e.event == "track_published")
    assert story.participant("alice", now=40)["seconds"] == 100.0
    assert story.tracks() == (2, 2)


def test_an_arrival_is_told_with_its_metadata() -> None:
    new_entries = Story().joined(1, person("alice", "PA_1", 1, metadata='{"role":"host"}'))
    assert names(new_entries) == ["participant_connected", "participant_metadata"]


def test_without_a_time_of_joining_the_time_of_hearing_counts() -> None:
    story = Story()
    story.joined(7, person("alice", "PA_1", -T0))
    assert story.participant("alice", now=10)["seconds"] == 3.0


@pytest.mark.parametrize(
    "kind,counted",
    [
        ("standard", True),
        ("sip", True),
        ("agent", False),
        ("egress", False),
        ("ingress", False),
    ],
)
def test_only_people_are_counted_and_everybody_is_listed(
    kind: ParticipantKind, counted: bool
) -> None:
    story = Story(person("it", "PA_1", 0, microphone("TR_1"), kind=kind))
    story.subscribed(0, "it", "TR_1")
    story.quality(0, "it", "PA_1", "good")
    story.speaking(0, "it")
    view = story.view(10)
    assert story.counts() == ((1, 1, 1, 1) if counted else (0, 0, 0, 0))
    assert view["people_seconds"] == (10.0 if counted else 0.0)
    assert view["quality"]["good"] == (10.0 if counted else None)
    assert view["talk"] == (
        {"seconds": 10.0, "by_identity": {"it": 10.0}}
        if counted
        else {"seconds": None, "by_identity": {}}
    )
    (line,) = view["participants"]
    assert (line["kind"], line["seconds"], line["talk_seconds"]) == (kind, 10.0, 10.0)
    assert view["track_counts"]["total"] == 1, "tracks count whoever they are of"


def test_a_rejoin_is_the_same_person_with_another_join() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.left(10, "alice", "PA_1")
    (new_entry,) = story.joined(60, person("alice", "PA_2", 60))
    assert (new_entry.data["rejoin"], new_entry.data["reconnect"]) == (True, False)
    assert story.counts() == (1, 1, 1, 2)
    assert story.participant("alice", now=70)["seconds"] == 20.0
    assert story.participant("alice")["sids"] == ["PA_1", "PA_2"]


@pytest.mark.parametrize("away,reconnect", [(0.1, True), (5.0, True), (5.1, False)])
def test_a_rejoin_within_five_seconds_is_a_reconnect(away: float, reconnect: bool) -> None:
    story = Story(person("alice", "PA_1", 0))
    story.left(10, "alice", "PA_1")
    (new_entry,) = story.joined(10 + away, person("alice", "PA_2", 10 + away))
    assert new_entry.data["reconnect"] is reconnect


def test_a_rejoin_whose_leave_was_heard_late_is_not_in_the_room_twice() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.left(12, "alice", "PA_1")  # heard on the server's tick
    story.joined(12, person("alice", "PA_2", 10.4))
    assert story.participant("alice", now=20)["seconds"] == 20.0


def test_the_peak_is_the_most_people_at_once() -> None:
    story = Story(person("alice", "PA_1", 0), person("bob", "PA_2", 0))
    story.left(1, "alice", "PA_1")
    story.left(2, "bob", "PA_2")
    story.joined(9, person("carol", "PA_3", 9))
    assert story.counts() == (1, 2, 3, 3)


# -- leaves without a reason


def test_a_leave_without_a_reason_tells_nothing_and_the_same_sid_was_never_gone() -> None:
    story = Story(person("alice", "PA_1", 0))
    assert story.left(10, "alice", "PA_1", None) == []
    assert story.counts()[0] == 1
    assert story.joined(10.4, person("alice", "PA_1", 0)) == []
    assert story.tick(30) == []
    assert story.deadline is None
    assert story.counts() == (1, 1, 1, 1)
    assert story.participant("alice", now=30)["seconds"] == 30.0


def test_a_leave_without_a_reason_is_believed_after_four_seconds_from_when_it_was_heard() -> None:
    story = Story(person("alice", "PA_1", 0, microphone("TR_1")))
    story.left(10, "alice", "PA_1", None)
    assert story.deadline == 10 + CONFIRM_AFTER
    assert story.tick(13.9) == []
    new_entries = story.tick(14)
    assert names(new_entries) == ["track_unpublished", "participant_disconnected"]
    assert [entry.at - T0 for entry in new_entries] == [10, 10]
    assert story.participant("alice")["seconds"] == 10.0
    assert story.participant("alice")["joins"][0]["leave_reason"] is None
    assert (story.counts()[0], story.tracks()) == (0, (0, 1))
    assert story.deadline is None


def test_any_event_after_the_four_seconds_believes_it_too() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.left(10, "alice", "PA_1", None)
    assert names(story.data(20, None)) == ["participant_disconnected", "data_message"]


def test_a_leave_without_a_reason_and_a_new_sid_is_a_rejoin() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.left(10, "alice", "PA_1", None)
    new_entries = story.joined(10.4, person("alice", "PA_2", 10.4))
    assert names(new_entries) == ["participant_disconnected", "participant_connected"]
    assert new_entries[1].data["reconnect"] is True
    assert story.deadline is None
    assert story.counts() == (1, 1, 1, 2)
    assert clock(story.participant("alice")["joins"][0]["left_at"]) == 10


def test_a_reason_that_comes_after_all_makes_the_leave_final_at_its_first_time() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.left(10, "alice", "PA_1", None)
    (new_entry,) = story.left(11, "alice", "PA_1", "connection_timeout")
    assert (new_entry.at - T0, new_entry.data["reason"]) == (10, "connection_timeout")


def test_a_reason_that_comes_after_the_leave_was_believed_is_noted() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.left(10, "alice", "PA_1", None)
    story.tick(20)
    assert story.left(21, "alice", "PA_1", "connection_timeout") == []
    assert story.participant("alice")["joins"][0]["leave_reason"] == "connection_timeout"


def test_the_same_sid_that_comes_back_after_all_goes_on_with_its_join() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.left(10, "alice", "PA_1", None)
    story.tick(20)
    (new_entry,) = story.joined(21, person("alice", "PA_1", 0))
    assert (new_entry.event, new_entry.data["rejoin"]) == ("participant_connected", True)
    assert story.counts() == (1, 1, 1, 1)
    assert story.participant("alice", now=30)["seconds"] == 30.0


def test_measuring_stops_with_a_provisional_leave_and_quality_goes_on_if_it_was_untrue() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.quality(0, "alice", "PA_1", "good")
    story.speaking(8, "alice")
    story.left(10, "alice", "PA_1", None)
    assert story.participant("alice", now=12)["quality"]["good"] == 10.0
    story.joined(12, person("alice", "PA_1", 0))
    assert story.participant("alice", now=20)["quality"]["good"] == 20.0
    assert story.participant("alice", now=20)["talk_seconds"] == 2.0


def test_a_provisional_leave_is_told_at_the_rejoin_where_that_is_earlier() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.left(12, "alice", "PA_1", None)
    gone, back = story.joined(12, person("alice", "PA_2", 10.4))
    assert (gone.at - T0, back.data["reconnect"]) == (pytest.approx(10.4), True)


def test_signals_of_somebody_on_a_provisional_leave_do_not_count() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.left(10, "alice", "PA_1", None)
    assert story.quality(11, "alice", "PA_1", "good") == []
    assert story.speaking(11, "alice") == []
    story.tick(20)
    assert story.participant("alice")["talk_seconds"] is None


# -- a rejoin before the leave


@pytest.mark.parametrize("sid", ["PA_1", "PA_2", ""])
def test_a_rejoin_before_the_leave_swallows_the_leave_whichever_sid_it_names(sid: str) -> None:
    story = Story(person("alice", "PA_1", 0, microphone("TR_1")))
    new_entries = story.joined(10.3, person("alice", "PA_2", 10.0, microphone("TR_2")))
    assert names(new_entries) == [
        "track_unpublished",
        "participant_disconnected",
        "participant_connected",
        "track_published",
    ]
    assert story.left(10.5, "alice", sid, "duplicate_identity") == []
    assert story.counts() == (1, 1, 1, 2)
    assert story.tracks() == (1, 2)
    first, second = story.participant("alice")["joins"]
    assert (clock(first["left_at"]), first["leave_reason"]) == (10.0, "duplicate_identity")
    assert second["left_at"] is None


@pytest.mark.parametrize("sid", ["PA_1", "PA_2"])
def test_only_one_leave_is_owed_after_a_rejoin(sid: str) -> None:
    story = Story(person("alice", "PA_1", 0))
    story.joined(10, person("alice", "PA_2", 10))
    story.left(10.1, "alice", sid, None)
    assert names(story.left(10.2, "alice", "PA_2")) == ["participant_disconnected"]


def test_an_owed_leave_that_never_came_does_not_swallow_a_true_one_later() -> None:
    story = Story(person("alice", "PA_1", 0))
    story.joined(10, person("alice", "PA_2", 10))
    story.left(10 + RECONNECT_WINDOW + 1, "alice", "PA_2")
    assert story.counts() == (0, 1, 1, 2)


# -- late, doubled and impossible events


def _twice_joined(story: Story) -> None:
    story.joined(1, person("alice", "PA_1", 1))
    story.joined(1, person("alice", "PA_1", 1))


def _twice_left(story: Story) -> None:
    story.joined(1, person("alice", "PA_1", 1))
    story.left(2, "alice", "PA_1")
    story.left(2, "alice", "PA_1")


def _joined_again_after_the_leave(story: Story) -> None:
    story.joined(1, person("alice", "PA_1", 1))
    story.left(2, "alice", "PA_1")
    story.joined(1, person("alice", "PA_1", 1))


def _found_and_joined(story: Story) -> None:
    story.resynced(1, person("alice", "PA_1", 1))
    story.joined(1, person("alice", "PA_1", 1))


def _leave_of_an_earlier_join(story: Story) -> None:
    story.joined(1, person("alice", "PA_1", 1))
    story.left(2, "alice", "PA_1")
    story.joined(9, person("alice", "PA_2", 9))
    story.left(2, "alice", "PA_1")


def _earlier_join_told_last(story: Story) -> None:
    story.joined(9, person("alice", "PA_2", 9))
    story.joined(9, person("alice", "PA_1", 1))


def _earlier_join_told_after_the_leave(story: Story) -> None:
    story.joined(9, person("alice", "PA_2", 9))
    story.left(10, "alice", "PA_2")
    story.joined(10, person("alice", "PA_1", 1))


def _leave_of_a_stranger(story: Story) -> None:
    story.left(1, "mallory", "PA_9")
    story.left(1, "mallory", "", None)


def _leave_of_a_join_never_seen(story: Story) -> None:
    story.joined(1, person("alice", "PA_1", 1))
    story.left(2, "alice", "PA_0")


@pytest.mark.parametrize(
    "happens,counts",
    [
        (_twice_joined, (1, 1, 1, 1)),
        (_twice_left, (0, 1, 1, 1)),
        (_joined_again_after_the_leave, (0, 1, 1, 1)),
        (_found_and_joined, (1, 1, 1, 1)),
        (_leave_of_an_earlier_join, (1, 1, 1, 2)),
        (_earlier_join_told_last, (1, 1, 1, 2)),
        (_earlier_join_told_after_the_leave, (0, 1, 1, 2)),
        (_leave_of_a_stranger, (0, 0, 0, 0)),
        (_leave_of_a_join_never_seen, (1, 1, 1, 1)),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_whatever_the_order_the_counts_are_right(
    happens: Callable[[Story], None], counts: tuple[int, int, int, int]
) -> None:
    story = Story()
    happens(story)
    story.tick(60)
    assert story.counts() == counts


def test_what_made_no_sense_is_counted() -> None:
    story = Story()
    _leave_of_a_stranger(story)
    assert story.state.anomalies == 2
    assert story.events() == []


def test_a_missed_join_ends_where_the_next_one_began() -> None:
    story = Story()
    _earlier_join_told_last(story)
    first, second = story.participant("alice")["joins"]
    assert (first["sid"], clock(first["left_at"])) == ("PA_1", 9)
    assert second["left_at"] is None


def test_a_clock_that_is_set_back_gives_no_negative_duration() -> None:
    story = Story(person("alice", "PA_1", 0, microphone("TR_1", muted=True)))
    story.quality(10, "alice", "PA_1", "good")
    story.speaking(10, "alice")
    story.quality(5, "alice", "PA_1", "poor")
    story.speaking(5)
    story.left(-100, "alice", "PA_1")
    view = story.view(-50)
    alice, track = story.participant("alice", -50), story.track("TR_1", -50)
    assert alice["seconds"] == 0.0
    assert alice["joins"][0]["left_at"] == alice["joins"][0]["joined_at"]
    assert min(alice["quality"].values()) >= 0.0
    assert alice["talk_seconds"] == 0.0
    assert track["muted_seconds"] >= 0.0
    assert view["duration"] >= 0.0
    assert 0.0 <= view["coverage"] <= 1.0


# -- names, metadata, attributes


def test_name_metadata_and_attributes_follow_their_changes() -> None:
    story = Story(person("alice", "PA_1", 0, name="A", attributes={"hand": "up", "x": "1"}))
    assert names(story.named(1, "alice", "Alice")) == ["participant_name"]
    assert names(story.metadata(2, "alice", "{}")) == ["participant_metadata"]
    (new_entry,) = story.attributes(3, "alice", hand="", y="2", x="1")
    assert new_entry.data == {"identity": "alice", "changed": {"hand": "", "y": "2"}}
    alice = story.participant("alice")
    assert (alice["name"], alice["metadata"]) == ("Alice", "{}")
    assert alice["attributes"] == {"x": "1", "y": "2"}


def test_a_change_to_what_is_already_so_tells_nothing() -> None:
    story = Story(person("alice", "PA_1", 0, name="A", metadata="m", attributes={"x": "1"}))
    assert story.named(1, "alice", "A") == []
    assert story.metadata(1, "alice", "m") == []
    assert story.attributes(1, "alice", x="1", gone="") == []
    assert story.room_metadata(1, "") == []


def test_a_change_of_somebody_unknown_changes_nothing() -> None:
    story = Story()
    assert story.named(1, "mallory", "M") == []
    assert story.metadata(1, "mallory", "{}") == []
    assert story.attributes(1, "mallory", x="1") == []
    assert story.view()["participants"] == []
