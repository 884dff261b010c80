"""While our own connection is down everybody seems to leave.

Such leaves have no reason (docs/livekit-facts.md#everybody-leaves).
"""

from __future__ import annotations

import pytest

from actors.session import (
    DataReceived,
    ParticipantInfo,
    ParticipantJoined,
    Reconnecting,
    Resynced,
    RoomInstanceChanged,
    Roster,
    Watching,
    apply,
    begin,
    totals,
)
from actors.session.bounds import MAX_DEFERRED
from tests.session.session_story import T0, Story, camera, clock, microphone, names, person

ALICE = person("alice", "PA_1", 0, microphone("TR_1"))
BOB = person("bob", "PA_2", 0)


def everybody_gone(story: Story, at: float) -> None:
    story.unpublished(at, "alice", "TR_1")
    story.left(at, "alice", "PA_1", None)
    story.left(at, "bob", "PA_2", None)


def test_a_comparison_over_a_connection_that_is_up_ends_a_reconnect_whose_end_was_lost() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.published(11, "bob", camera("TR_9"))
    bob = person("bob", "PA_9", 9, camera("TR_9"))
    story.receive(Resynced(T0 + 12, Roster("RM_1", "", (ALICE, bob)), connected=True))
    assert not story.state.reconnecting
    assert "TR_9" in story.state.tracks


def test_a_full_restart_in_which_everybody_comes_back_tells_only_the_gap() -> None:
    story = Story(ALICE, BOB)
    before = len(story.entries)
    story.reconnecting(10)
    everybody_gone(story, 10.16)
    assert story.deadline is None, "nothing is believed while the connection is down"
    story.tick(25)
    story.joined(25, ALICE)
    story.published(25, "alice", microphone("TR_1"))
    story.reconnected(26, ALICE)
    story.joined(28.5, BOB)  # publishes nothing: announced on the server's tick
    assert names(story.tick(40)) == []
    new_entries = story.entries[before:]
    assert names(new_entries) == ["reconnecting", "reconnected"]
    assert new_entries[1].data == {"gap": 16.0}
    assert story.counts() == (2, 2, 2, 2)
    assert story.tracks() == (1, 1)
    assert story.view(40)["people_seconds"] == 80.0
    assert story.track("TR_1")["unpublished_at"] is None


def test_a_camera_that_was_muted_before_and_after_was_muted_all_along() -> None:
    """LiveKit sends the end of tracks before `reconnecting` in one case."""
    story = Story(person("a", "PA_a", 0, camera("TR_a")))
    story.muted(10, "a", "TR_a")
    story.unpublished(20, "a", "TR_a")
    story.left(20, "a", "PA_a", None)
    story.reconnecting(20)
    story.joined(30, person("a", "PA_a", 0))
    story.published(30, "a", camera("TR_a", muted=True))
    story.reconnected(30, person("a", "PA_a", 0, camera("TR_a", muted=True)))
    story.unmuted(40, "a", "TR_a")
    story.ends(50)
    assert story.track("TR_a")["muted_seconds"] == 30
    assert story.participant("a")["camera_seconds"] == 20


def test_leaves_that_come_before_reconnecting_are_as_untrue() -> None:
    """FULL_RECONNECT: participant_disconnected first, then the state."""
    story = Story(ALICE, BOB)
    everybody_gone(story, 10)
    story.reconnecting(10.001)
    assert story.deadline is None
    story.joined(10.15, ALICE)
    story.joined(10.15, BOB)
    story.published(10.15, "alice", microphone("TR_1"))
    story.reconnected(10.2, ALICE, BOB)
    story.tick(30)
    assert "participant_disconnected" not in story.events()
    assert story.counts() == (2, 2, 2, 2)
    assert story.tracks() == (1, 1)


def test_whoever_is_missing_four_seconds_after_reconnected_left_when_it_was_heard() -> None:
    story = Story(ALICE, BOB)
    story.reconnecting(10)
    everybody_gone(story, 10.2)
    story.reconnected(20, BOB)
    assert story.deadline == 24
    assert story.counts()[0] == 2
    assert names(story.tick(24)) == ["track_unpublished", "participant_disconnected"]
    assert story.participant("alice")["seconds"] == 10.2
    assert clock(story.track("TR_1")["unpublished_at"]) == 10.2
    assert story.counts()[0] == 1


def test_whoever_went_missing_without_a_word_left_when_the_watching_stopped() -> None:
    story = Story(ALICE, BOB)
    story.reconnecting(10)
    story.reconnected(20, BOB)
    story.tick(24)
    assert story.participant("alice")["seconds"] == 10.0


def test_a_new_sid_after_the_reconnect_is_a_rejoin() -> None:
    story = Story(ALICE, BOB)
    story.reconnecting(10)
    everybody_gone(story, 10.2)
    again = person("alice", "PA_3", 15, microphone("TR_3"))
    assert story.joined(15, again) == [], "it waits: this may be another life of the room"
    new_entries = story.reconnected(16, again, BOB)
    assert names(new_entries) == [
        "reconnected",
        "track_unpublished",
        "participant_disconnected",
        "participant_connected",
        "track_published",
    ]
    assert story.counts() == (2, 2, 2, 3)
    assert clock(story.participant("alice")["joins"][0]["left_at"]) == 10.2
    assert story.tracks() == (1, 2)


def test_what_waited_keeps_its_own_time() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.joined(12, BOB)
    story.published(13, "bob", camera("TR_9"))
    story.muted(13.5, "bob", "TR_9")
    story.reconnected(20, ALICE, person("bob", "PA_2", 12, camera("TR_9", muted=True)))
    assert clock(story.track("TR_9")["published_at"]) == 13
    assert story.track("TR_9", now=20)["muted_seconds"] == 6.5


def test_a_track_that_came_and_went_while_reconnecting_keeps_its_times() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.published(12, "alice", camera("TR_9"))
    story.unpublished(15, "alice", "TR_9")
    story.reconnected(20, ALICE)
    track = story.track("TR_9")
    assert (clock(track["published_at"]), clock(track["unpublished_at"])) == (12, 15)


def test_somebody_who_came_and_went_while_reconnecting_is_counted() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.joined(12, person("carol", "PA_3", 12, camera("TR_9")))
    story.unpublished(14, "carol", "TR_9")
    story.left(14, "carol", "PA_3")
    story.reconnected(20, ALICE)
    assert story.counts() == (1, 2, 2, 2)
    assert story.participant("carol")["seconds"] == 2.0
    assert story.tracks() == (1, 2)


def test_another_life_of_the_room_is_refused_and_leaves_no_trace() -> None:
    """Server killed and back within 20 s: metadata and people of the new life come first."""
    story = Story(ALICE, BOB)
    story.reconnecting(10)
    everybody_gone(story, 10.2)
    story.room_metadata(13, "another life")
    story.joined(13, person("alice", "PA_9", 12, microphone("TR_9")))
    story.published(13, "alice", microphone("TR_9"))
    before = story.state
    with pytest.raises(RoomInstanceChanged, match=r"RM_1.*RM_2") as caught:
        story.reconnected(14, person("alice", "PA_9", 12), sid="RM_2")
    assert isinstance(caught.value, ValueError)
    assert caught.value.room_sid == "RM_2"
    assert story.state is before
    story.ends(14, "server_lost")
    assert story.counts() == (0, 2, 2, 2)
    assert story.tracks() == (0, 1)
    assert story.view()["people_seconds"] == 20.4
    assert story.view()["metadata"] == ""


def test_a_resume_in_which_nobody_leaves_keeps_quality_and_ends_talk() -> None:
    story = Story(ALICE)
    story.quality(0, "alice", "PA_1", "excellent")
    story.speaking(5, "alice")
    story.reconnecting(10)
    story.reconnected(13, ALICE)
    alice = story.participant("alice", now=20)
    assert alice["quality"]["excellent"] == 20.0
    assert alice["talk_seconds"] == 5.0


def test_events_of_known_people_count_while_reconnecting() -> None:
    story = Story(ALICE, BOB)
    story.reconnecting(10)
    assert names(story.quality(11, "alice", "PA_1", "good")) == ["quality_changed"]
    assert names(story.left(12, "bob", "PA_2")) == ["participant_disconnected"]


def test_a_subscription_is_told_again_after_tracks_came_back() -> None:
    story = Story(ALICE)
    story.subscribed(1, "alice", "TR_1")
    story.reconnecting(10)
    story.unpublished(10.1, "alice", "TR_1")
    story.published(12, "alice", microphone("TR_1", muted=True))
    story.reconnected(12, person("alice", "PA_1", 0, microphone("TR_1", muted=True)))
    assert names(story.subscribed(12.1, "alice", "TR_1")) == ["track_subscribed"]
    assert story.events().count("track_muted") == 1


def test_a_track_that_does_not_come_back_ended_when_it_was_heard() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.unpublished(10.1, "alice", "TR_1")
    story.reconnected(12, person("alice", "PA_1", 0))
    assert story.tracks() == (1, 1)
    assert names(story.tick(16)) == ["track_unpublished"]
    assert clock(story.track("TR_1")["unpublished_at"]) == 10.1


def test_a_track_ended_when_it_was_first_heard_however_often_it_is_told() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.unpublished(10.1, "alice", "TR_1")
    assert story.unpublished(10.2, "alice", "TR_1") == []
    story.reconnected(12, person("alice", "PA_1", 0))
    assert names(story.unpublished(13, "alice", "TR_1")) == ["track_unpublished"]
    assert clock(story.track("TR_1")["unpublished_at"]) == 10.1


def test_a_track_that_ended_before_its_leaver_keeps_its_own_end() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.unpublished(10.1, "alice", "TR_1")
    story.left(12, "alice", "PA_1")
    assert clock(story.track("TR_1")["unpublished_at"]) == 10.1


def test_a_track_missing_right_after_the_reconnect_is_only_doubted() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.reconnected(12, person("alice", "PA_1", 0))
    assert story.tracks() == (1, 1)
    assert story.published(14, "alice", microphone("TR_1")) == []
    assert story.deadline is None
    assert story.tick(20) == []


def test_the_end_while_reconnecting_believes_every_leave() -> None:
    story = Story(ALICE, BOB)
    story.reconnecting(10)
    everybody_gone(story, 10.2)
    assert story.disconnected(30) == []
    new_entries = story.ends(30, "server_lost")
    assert names(new_entries).count("participant_disconnected") == 2
    assert story.counts() == (0, 2, 2, 2)
    assert story.view()["people_seconds"] == 20.4


def test_a_watch_that_broke_off_while_reconnecting_leaves_everybody_in_doubt() -> None:
    """The worker was killed in a reconnect.  Who is in the next watch's roster never left."""
    story = Story(ALICE, BOB)
    story.reconnecting(10)
    everybody_gone(story, 10.2)
    story.disconnected(12)
    new_entries = story.watching(100, ALICE)
    assert "participant_disconnected" not in names(new_entries)
    story.tick(110)
    assert story.counts() == (1, 2, 2, 2)
    assert story.participant("alice", 110)["seconds"] == 110.0
    assert story.participant("bob", 110)["seconds"] == 10.2
    assert story.view(110)["coverage"] == round(20 / 110, 4)


@pytest.mark.parametrize("reason", [None, "client_initiated"])
def test_people_without_tracks_who_left_before_the_reconnect_are_gone(reason: str | None) -> None:
    story = Story(BOB)
    story.left(5, "bob", "PA_2", reason)
    story.tick(9.5)
    story.reconnecting(10)
    story.reconnected(11)
    story.tick(16)
    assert story.participant("bob")["seconds"] == 5.0


@pytest.mark.parametrize("there", [(), (BOB,)])
def test_a_roster_taken_while_reconnecting_ends_nobodys_join(
    there: tuple[ParticipantInfo, ...],
) -> None:
    story = Story(ALICE, BOB)
    story.reconnecting(10)
    story.resynced(11, *there)
    story.tick(20)
    assert story.counts()[0] == 2
    story.reconnected(21, ALICE, BOB)
    story.tick(30)
    assert story.counts() == (2, 2, 2, 2)


def test_a_roster_right_after_the_reconnect_only_doubts_whoever_is_missing() -> None:
    story = Story(ALICE, BOB)
    story.reconnecting(10)
    story.reconnected(11, ALICE, BOB)
    assert story.resynced(12, ALICE) == []
    assert story.deadline == 15
    story.joined(14, BOB)
    assert story.deadline is None


# -- resynchronised


def test_resynced_adds_what_was_missed_and_ends_what_is_gone() -> None:
    story = Story(ALICE, BOB)
    new_entries = story.resynced(
        20,
        person("bob", "PA_2", 0, camera("TR_2", muted=True), name="Bob", attributes={"x": "1"}),
        person("carol", "PA_3", 12, microphone("TR_3")),
        metadata="new",
    )
    assert sorted(names(new_entries)) == sorted(
        [
            "room_metadata",
            "participant_name",
            "participant_attributes",
            "track_published",
            "participant_connected",
            "track_published",
            "track_unpublished",
            "participant_disconnected",
        ]
    )
    assert story.counts() == (2, 3, 3, 3)
    assert story.tracks() == (2, 3)
    assert story.participant("carol", now=20)["seconds"] == 8.0
    assert clock(story.participant("alice")["joins"][0]["left_at"]) == 20
    assert story.view()["metadata"] == "new"


def test_resynced_with_nothing_new_tells_nothing() -> None:
    story = Story(ALICE, BOB)
    assert story.resynced(20, ALICE, BOB) == []


def test_resynced_knows_of_mutes_that_were_missed() -> None:
    story = Story(ALICE)
    new_entries = story.resynced(20, person("alice", "PA_1", 0, microphone("TR_1", muted=True)))
    assert names(new_entries) == ["track_muted"]
    assert names(story.resynced(25, ALICE)) == ["track_unmuted"]
    assert story.track("TR_1")["muted_seconds"] == 5.0


def test_resynced_believes_a_leave_that_waits() -> None:
    story = Story(ALICE, BOB)
    story.left(10, "alice", "PA_1", None)
    new_entries = story.resynced(11, BOB)
    assert names(new_entries) == ["track_unpublished", "participant_disconnected"]
    assert story.participant("alice")["seconds"] == 10.0
    assert clock(story.track("TR_1")["unpublished_at"]) == 10


def test_resynced_ends_a_track_whose_owner_never_came() -> None:
    story = Story()
    story.published(1, "ghost", microphone("TR_9"))
    story.resynced(2)
    assert story.tracks() == (0, 1)


def test_resynced_brings_back_a_join_that_was_believed_over() -> None:
    story = Story(ALICE)
    story.left(10, "alice", "PA_1")
    story.resynced(20, ALICE)
    assert story.counts() == (1, 1, 1, 1)
    assert story.participant("alice", now=20)["seconds"] == 20.0
    assert story.tracks() == (1, 1)


def test_an_identity_that_is_in_a_roster_twice_is_one_person() -> None:
    story = Story()
    story.resynced(20, person("alice", "PA_2", 10), person("alice", "PA_1", 5))
    assert story.counts() == (1, 1, 1, 2)
    assert story.participant("alice", now=20)["seconds"] == 15.0


def test_a_new_connection_to_the_same_life_takes_what_waited() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.joined(12, BOB)
    story.left(14, "bob", "PA_2")
    story.watching(20, ALICE)
    assert story.counts() == (1, 2, 2, 2)


def test_nothing_waits_any_more_once_the_room_is_watched() -> None:
    state = begin("room", "RM_1", ("AJ_1",), "worker", "agent", T0)
    for event in (
        Reconnecting(T0),
        ParticipantJoined(T0, BOB),
        Watching(T0 + 1, Roster("RM_1", "", (ALICE,))),
    ):
        state, _ = apply(state, event)
    assert state.deferred == ()
    assert totals(state, T0 + 2).participants == 1


def test_who_left_while_nobody_watched_did_not_meet_who_came_meanwhile() -> None:
    story = Story(ALICE, BOB)
    story.disconnected(10)
    story.watching(20, ALICE, person("carol", "PA_3", 15, camera("TR_3")))
    assert story.counts() == (3, 3, 3, 3), "bob may still be announced"
    story.tick(24)
    assert story.counts() == (2, 2, 3, 3)


def test_who_was_only_doubted_met_who_came_meanwhile() -> None:
    story = Story(ALICE, BOB)
    story.disconnected(10)
    story.watching(20, ALICE, person("carol", "PA_3", 15, camera("TR_3")))
    story.joined(22, BOB)  # publishes nothing: announced on the server's tick
    story.tick(30)
    assert story.counts() == (3, 3, 3, 3)


def test_who_came_before_the_others_leave_was_heard_met_them() -> None:
    story = Story(ALICE)
    story.left(10, "alice", "PA_1", None)
    story.joined(11, person("bob", "PA_2", 9.5))
    story.tick(20)
    assert story.counts() == (1, 2, 2, 2)


def test_a_message_while_reconnecting_waits_until_it_is_known_whose_it_is() -> None:
    """A server that died and came back lets the messages of the new life through before the
    SDK says that it is back."""
    story = Story(ALICE)
    story.reconnecting(10)
    assert story.data(12, "bob") == []
    with pytest.raises(RoomInstanceChanged):
        story.reconnected(14, sid="RM_2")
    assert [type(waiting) for waiting in story.state.deferred] == [DataReceived]
    story.ends(14, "server_lost")
    assert story.view()["data_messages"]["total"] == 0


def test_a_message_of_the_same_life_counts_at_its_own_time() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.data(12, "alice", topic="chat")
    new_entries = story.reconnected(14, ALICE)
    assert [(entry.event, entry.at - T0) for entry in new_entries] == [
        ("reconnected", 14),
        ("data_message", 12),
    ]
    assert story.participant("alice")["data_messages"] == 1


def test_a_message_counts_where_the_connection_never_comes_back() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    story.data(12, "alice", topic="chat")
    story.disconnected(30)
    assert story.view()["data_messages"]["by_topic"] == {"chat": 1}


def test_a_flood_while_reconnecting_counts_at_once() -> None:
    story = Story(ALICE)
    story.reconnecting(10)
    for _ in range(MAX_DEFERRED):
        story.data(12, "alice")
    assert len(story.state.deferred) == MAX_DEFERRED // 2
    story.reconnected(14, ALICE)
    assert story.view()["data_messages"]["total"] == MAX_DEFERRED
