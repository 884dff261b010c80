"""Rooms with end-to-end encryption: what is not observed is null and never 0."""

from __future__ import annotations

from attrs import evolve

from actors.session import DataTrackPublished, TrackInfo
from tests.session.session_story import T0, Story, camera, microphone, person


def encrypted(track: TrackInfo) -> TrackInfo:
    return evolve(track, encrypted=True)


ALICE = person("alice", "PA_1", -5, encrypted(microphone("TR_1")))
BOB = person("bob", "PA_2", -5)


def test_before_the_first_track_nobody_knows_whether_a_room_is_encrypted() -> None:
    story = Story(BOB)
    assert story.view()["encrypted"] is None
    assert story.view()["data_messages"]["total"] == 0
    story.published(1, "bob", camera("TR_2"))
    assert story.view()["encrypted"] is False
    assert story.track("TR_2")["encrypted"] is False


def test_messages_of_an_encrypted_room_are_unknown() -> None:
    story = Story(ALICE, BOB)
    view = story.view()
    assert (view["encrypted"], view["data_messages"]) == (True, None)
    assert story.track("TR_1")["encrypted"] is True
    assert story.participant("alice")["data_messages"] is None
    assert story.participant("bob")["data_messages"] is None, (
        "who published nothing may be encrypted"
    )


def test_where_only_some_encrypt_what_came_is_the_least_that_there_was() -> None:
    story = Story(ALICE, BOB, person("carol", "PA_3", 0, camera("TR_3")))
    story.data(1, "bob", "t", 7)
    assert story.view()["data_messages"] == {
        "total": 1,
        "bytes": 7,
        "by_topic": {"t": 1},
        "attachments": 0,
        "lower_bound": True,
    }
    assert story.participant("alice")["data_messages"] is None
    assert story.participant("bob")["data_messages"] == 1
    assert story.participant("carol")["data_messages"] == 0, (
        "her tracks are plain, so are her messages"
    )


def test_a_room_that_turns_to_encryption_is_encrypted_from_then_on() -> None:
    story = Story(BOB)
    story.published(1, "bob", camera("TR_2"))
    story.data(2, "bob")
    story.unpublished(3, "bob", "TR_2")
    (new_entry,) = story.published(4, "bob", encrypted(camera("TR_3")))
    assert new_entry.data["encrypted"] is True
    story.left(5, "bob", "PA_2")
    view = story.view()
    assert (view["encrypted"], view["data_messages"]["lower_bound"]) == (True, True)
    assert [track["encrypted"] for track in view["tracks"]] == [False, True]


def test_a_data_track_says_it_too_and_so_does_a_track_of_somebody_who_left() -> None:
    story = Story(BOB)
    story.receive(DataTrackPublished(T0 + 1, "bob", "DTR_1", "pose", encrypted=True))
    assert story.view()["encrypted"] is True
    story = Story(BOB)
    story.left(1, "bob", "PA_2")
    story.published(2, "bob", encrypted(camera("TR_2")))
    assert (story.view()["encrypted"], story.participant("bob")["data_messages"]) == (True, None)
