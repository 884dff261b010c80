"""Quality, talk and data: step functions and counts, not samples."""

from __future__ import annotations

from actors.session import MessagesThinned
from actors.session.state import OTHER
from tests.session.story import T0, Story, camera, microphone, names, person

ALICE = person("alice", "PA_1", 0, microphone("TR_1"))
BOB = person("bob", "PA_2", 0, microphone("TR_2"))
UNKNOWN = {"excellent": None, "good": None, "poor": None, "lost": None}


def test_quality_is_unknown_until_the_first_and_holds_until_the_next() -> None:
    story = Story(ALICE)
    assert story.of("alice", now=5)["quality"] == UNKNOWN
    story.quality(10, "alice", "PA_1", "excellent")
    story.quality(15, "alice", "PA_1", "poor")
    assert story.of("alice", now=30)["quality"] == {
        "excellent": 5.0,
        "good": 0.0,
        "poor": 15.0,
        "lost": 0.0,
    }


def test_a_quality_that_is_repeated_is_no_change() -> None:
    story = Story(ALICE)
    assert len(story.quality(10, "alice", "PA_1", "good")) == 1
    assert story.quality(15, "alice", "PA_1", "good") == []
    assert story.of("alice", now=20)["quality"]["good"] == 10.0


def test_quality_ends_with_the_leave_and_is_unknown_after_a_rejoin() -> None:
    story = Story(ALICE)
    story.quality(0, "alice", "PA_1", "good")
    story.left(10, "alice", "PA_1")
    story.joined(20, person("alice", "PA_2", 20))
    assert story.of("alice", now=50)["quality"]["good"] == 10.0


def test_a_quality_of_another_join_or_of_a_stranger_is_not_taken() -> None:
    story = Story(ALICE)
    assert story.quality(1, "alice", "PA_9", "good") == []
    assert story.quality(1, "mallory", "PA_8", "good") == []
    assert len(story.quality(1, "alice", "", "good")) == 1


def test_the_rooms_quality_adds_people_up() -> None:
    story = Story(ALICE, BOB, person("carol", "PA_3", 0))
    story.quality(0, "alice", "PA_1", "good")
    story.quality(4, "bob", "PA_2", "good")
    story.quality(6, "bob", "PA_2", "lost")
    assert story.view(10)["quality"] == {"excellent": 0.0, "good": 12.0, "poor": 0.0, "lost": 4.0}


def test_the_rooms_quality_is_unknown_where_nobodys_was_told() -> None:
    assert Story(ALICE).view(10)["quality"] == UNKNOWN


def test_talk_lasts_while_somebody_is_among_the_speakers() -> None:
    story = Story(ALICE, BOB)
    story.speaking(1, "alice")
    story.speaking(3, "bob", "alice")
    story.speaking(6, "bob")
    assert story.speaking(7, "bob") == []
    story.speaking(8)
    assert story.view(20)["talk"] == {
        "seconds": 10.0,
        "by_identity": {"alice": 5.0, "bob": 5.0},
    }


def test_speakers_who_are_not_here_are_left_out() -> None:
    story = Story(ALICE)
    (told,) = story.speaking(1, "mallory", "alice", "alice")
    assert told.data == {"identities": ("alice",)}
    assert story.speaking(2, "alice", "mallory") == []


def test_talk_ends_with_the_leave() -> None:
    story = Story(ALICE, BOB)
    story.speaking(1, "alice", "bob")
    story.left(4, "alice", "PA_1")
    story.speaking(6)
    assert story.view(20)["talk"]["by_identity"] == {"alice": 3.0, "bob": 5.0}


def test_talk_is_unknown_until_a_microphone_of_theirs_is_heard() -> None:
    story = Story(ALICE, person("bob", "PA_2", 0, camera("TR_2")))
    assert story.of("alice")["talk_seconds"] is None
    story.subscribed(1, "alice", "TR_1")
    story.subscribed(1, "bob", "TR_2")
    assert story.of("alice")["talk_seconds"] == 0.0
    assert story.of("bob")["talk_seconds"] is None
    assert story.view()["talk"] == {"seconds": 0.0, "by_identity": {"alice": 0.0}}


def test_messages_count_by_topic_by_size_and_by_sender() -> None:
    story = Story(ALICE, BOB)
    story.data(1, "alice", "lk.chat", 100)
    story.data(2, "bob", "", 10)
    story.data(3, "alice", "lk.chat", 1)
    assert story.view()["data_messages"] == {
        "total": 3,
        "bytes": 111,
        "by_topic": {"lk.chat": 2, "": 1},
    }
    assert (story.of("alice")["data_messages"], story.of("bob")["data_messages"]) == (2, 1)


def test_messages_that_came_too_fast_are_counted_and_said_to_be_so() -> None:
    story = Story(ALICE)
    story.data(1, "alice", "t", 10)
    (told,) = story.hear(MessagesThinned(T0 + 2, 40))
    assert (told.event, told.data) == ("messages_thinned", {"count": 40})
    assert story.view()["data_messages"] == {
        "total": 41,
        "bytes": 10,
        "by_topic": {"t": 1, OTHER: 40},
    }


def test_changes_that_newer_ones_overtook_are_counted_and_said_to_be_so() -> None:
    story = Story(ALICE)
    (told,) = story.hear(MessagesThinned(T0 + 2, 0, changes=40))
    assert (told.event, told.data) == ("changes_overtaken", {"count": 40})
    assert story.view()["data_messages"]["total"] == 0
    assert story.state.folded.changes == 40


def test_a_message_without_a_sender_counts_as_unattributed() -> None:
    story = Story(ALICE)
    (told,) = story.data(1, None, "t")
    assert told.data["identity"] is None
    assert story.view()["data_messages"]["total"] == 1
    assert story.state.data.unattributed == 1


def test_a_message_that_came_before_its_sender_is_theirs_when_they_come() -> None:
    story = Story()
    assert names(story.data(1, "alice")) == ["data_message"]
    story.joined(3, person("alice", "PA_1", 0.5))
    story.data(4, "alice")
    assert story.of("alice")["data_messages"] == 2


def test_a_message_that_came_after_its_sender_left_is_still_theirs() -> None:
    story = Story(ALICE)
    story.left(1, "alice", "PA_1")
    story.data(2, "alice")
    assert story.of("alice")["data_messages"] == 1


def test_room_metadata_is_told_when_it_changes() -> None:
    story = Story()
    (told,) = story.room_metadata(1, "m1")
    assert told.data == {"metadata": "m1"}
    assert story.view()["metadata"] == "m1"
