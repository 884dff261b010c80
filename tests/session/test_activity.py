"""Quality, talk and data: step functions and counts, not samples."""

from __future__ import annotations

import pytest
from attrs import evolve

from actors.session import (
    AttachmentReceived,
    DataTrackPublished,
    DataTrackUnpublished,
    MessagesDropped,
    Permissions,
    PermissionsChanged,
    tracks,
)
from actors.session.bounds import OTHER
from tests.session.session_story import T0, Story, camera, microphone, names, person

ALICE = person("alice", "PA_1", 0, microphone("TR_1"))
BOB = person("bob", "PA_2", 0, microphone("TR_2"))
UNKNOWN = {"excellent": None, "good": None, "poor": None, "lost": None}


def test_quality_is_unknown_until_the_first_and_holds_until_the_next() -> None:
    story = Story(ALICE)
    assert story.participant("alice", now=5)["quality"] == UNKNOWN
    story.quality(10, "alice", "PA_1", "excellent")
    story.quality(15, "alice", "PA_1", "poor")
    assert story.participant("alice", now=30)["quality"] == {
        "excellent": 5.0,
        "good": 0.0,
        "poor": 15.0,
        "lost": 0.0,
    }


def test_a_quality_that_is_repeated_is_no_change() -> None:
    story = Story(ALICE)
    assert len(story.quality(10, "alice", "PA_1", "good")) == 1
    assert story.quality(15, "alice", "PA_1", "good") == []
    assert story.participant("alice", now=20)["quality"]["good"] == 10.0


def test_quality_ends_with_the_leave_and_is_unknown_after_a_rejoin() -> None:
    story = Story(ALICE)
    story.quality(0, "alice", "PA_1", "good")
    story.left(10, "alice", "PA_1")
    story.joined(20, person("alice", "PA_2", 20))
    assert story.participant("alice", now=50)["quality"]["good"] == 10.0


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
    (new_entry,) = story.speaking(1, "mallory", "alice", "alice")
    assert new_entry.data == {"identities": ("alice",)}
    assert story.speaking(2, "alice", "mallory") == []


def test_talk_ends_with_the_leave() -> None:
    story = Story(ALICE, BOB)
    story.speaking(1, "alice", "bob")
    story.left(4, "alice", "PA_1")
    story.speaking(6)
    assert story.view(20)["talk"]["by_identity"] == {"alice": 3.0, "bob": 5.0}


def test_talk_is_unknown_until_a_microphone_of_theirs_is_heard() -> None:
    story = Story(ALICE, person("bob", "PA_2", 0, camera("TR_2")))
    assert story.participant("alice")["talk_seconds"] is None
    story.subscribed(1, "alice", "TR_1")
    story.subscribed(1, "bob", "TR_2")
    assert story.participant("alice")["talk_seconds"] == 0.0
    assert story.participant("bob")["talk_seconds"] is None
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
        "attachments": 0,
        "lower_bound": False,
    }
    assert (
        story.participant("alice")["data_messages"],
        story.participant("bob")["data_messages"],
    ) == (2, 1)


def test_messages_that_came_too_fast_are_counted_and_said_to_be_so() -> None:
    story = Story(ALICE)
    story.data(1, "alice", "t", 10)
    (new_entry,) = story.receive(MessagesDropped(T0 + 2, 40))
    assert (new_entry.event, new_entry.data) == ("messages_thinned", {"count": 40})
    assert story.view()["data_messages"] == {
        "total": 41,
        "bytes": 10,
        "by_topic": {"t": 1, OTHER: 40},
        "attachments": 0,
        "lower_bound": False,
    }


def test_attachments_are_counted_apart_from_messages() -> None:
    story = Story(ALICE)
    story.data(1, "alice", "lk.chat", 100)
    (new_entry,) = story.receive(AttachmentReceived(T0 + 2, "alice", "lk.chat", 5_000))
    assert new_entry.event == "attachment"
    assert new_entry.data == {"identity": "alice", "topic": "lk.chat", "size": 5_000}
    (thinned,) = story.receive(MessagesDropped(T0 + 3, 0, attachments=2))
    assert (thinned.event, thinned.data) == ("attachments_thinned", {"count": 2})
    messages = story.view()["data_messages"]
    assert (messages["total"], messages["bytes"], messages["attachments"]) == (1, 100, 3)
    assert story.participant("alice")["data_messages"] == 1


@pytest.mark.parametrize("ends", [True, False])
def test_attachments_that_came_while_reconnecting_are_counted(ends: bool) -> None:
    story = Story(ALICE)
    story.reconnecting(1)
    assert story.receive(AttachmentReceived(T0 + 2, "alice", "lk.chat", 5)) == []
    if ends:
        story.disconnected(3)
    else:
        story.reconnected(3, ALICE)
    assert story.view()["data_messages"]["attachments"] == 1


def test_messages_of_a_session_with_a_gap_are_the_least_that_there_were() -> None:
    story = Story(ALICE)
    assert story.view(5)["data_messages"]["lower_bound"] is False
    story.reconnecting(5)
    story.reconnected(6, ALICE)
    assert story.view(8)["data_messages"]["lower_bound"] is True


def test_messages_before_our_entry_into_a_room_with_people_may_be_missing() -> None:
    story = Story(evolve(ALICE, joined_at=T0 - 1.0))
    story.data(1, "alice")
    assert story.view()["data_messages"]["lower_bound"] is True


@pytest.mark.parametrize(
    "reason, more", [("room_closed", False), ("worker_stopped", False), ("found_ended", True)]
)
def test_only_a_room_that_went_on_without_us_may_have_had_more_messages_at_its_end(
    reason: str, more: bool
) -> None:
    story = Story(ALICE)
    story.data(1, "alice")
    story.disconnected(10)
    story.ends(12, reason)
    assert story.view()["data_messages"]["lower_bound"] is more


def test_a_change_of_permissions_is_told_once() -> None:
    on_stage, off_stage = Permissions(), Permissions(can_publish=False)
    story = Story(evolve(ALICE, permissions=on_stage))
    (new_entry,) = story.receive(PermissionsChanged(T0 + 1, "alice", off_stage))
    assert new_entry.event == "participant_permissions"
    assert new_entry.data == {
        "identity": "alice",
        "can_publish": False,
        "can_subscribe": True,
        "can_publish_data": True,
        "sources": (),
    }
    assert story.receive(PermissionsChanged(T0 + 2, "alice", off_stage)) == []
    story.reconnecting(3)
    back = story.reconnected(4, evolve(ALICE, permissions=on_stage))
    assert names(back) == ["reconnected", "participant_permissions"]
    assert story.receive(PermissionsChanged(T0 + 5, "nobody", on_stage)) == []


def test_data_tracks_have_their_beginning_and_end_and_are_no_tracks_of_media() -> None:
    story = Story(person("alice", "PA_1", 0))
    (new_entry,) = story.receive(DataTrackPublished(T0 + 1, "alice", "DTR_1", "pose"))
    assert new_entry.data == {
        "identity": "alice",
        "sid": "DTR_1",
        "name": "pose",
        "encrypted": False,
    }
    assert story.receive(DataTrackPublished(T0 + 1, "alice", "DTR_1", "pose")) == []
    (new_entry,) = story.receive(DataTrackUnpublished(T0 + 2, "DTR_1"))
    assert (new_entry.event, new_entry.data) == (
        "data_track_unpublished",
        {"identity": "alice", "sid": "DTR_1"},
    )
    story.receive(DataTrackPublished(T0 + 3, "alice", "DTR_2", "pose"))
    assert names(story.left(4, "alice", "PA_1")) == [
        "data_track_unpublished",
        "participant_disconnected",
    ]
    assert story.tracks() == (0, 0)


def test_data_tracks_known_by_their_sid_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracks, "MAX_DATA_TRACKS", 3)
    story = Story(ALICE)
    for number in range(5):
        story.receive(DataTrackPublished(T0 + 1, "alice", f"DTR_{number}", ""))
    assert len(story.state.data_tracks) == 3


def test_changes_that_newer_ones_overtook_are_counted_and_said_to_be_so() -> None:
    story = Story(ALICE)
    (new_entry,) = story.receive(MessagesDropped(T0 + 2, 0, changes=40))
    assert (new_entry.event, new_entry.data) == ("changes_overtaken", {"count": 40})
    assert story.view()["data_messages"]["total"] == 0
    assert story.state.truncated.changes == 40


def test_a_message_without_a_sender_counts_as_unattributed() -> None:
    story = Story(ALICE)
    (new_entry,) = story.data(1, None, "t")
    assert new_entry.data["identity"] is None
    assert story.view()["data_messages"]["total"] == 1
    assert story.state.messages.unattributed == 1


def test_a_message_that_came_before_its_sender_is_theirs_when_they_come() -> None:
    story = Story()
    assert names(story.data(1, "alice")) == ["data_message"]
    story.joined(3, person("alice", "PA_1", 0.5))
    story.data(4, "alice")
    assert story.participant("alice")["data_messages"] == 2


def test_a_message_that_came_after_its_sender_left_is_still_theirs() -> None:
    story = Story(ALICE)
    story.left(1, "alice", "PA_1")
    story.data(2, "alice")
    assert story.participant("alice")["data_messages"] == 1


def test_room_metadata_is_told_when_it_changes() -> None:
    story = Story()
    (new_entry,) = story.room_metadata(1, "m1")
    assert new_entry.data == {"metadata": "m1"}
    assert story.view()["metadata"] == "m1"
