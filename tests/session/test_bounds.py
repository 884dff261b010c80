"""Everything that a person with a token can make grow is bounded, and the totals stay right."""

from __future__ import annotations

import pytest

from actors.session import activity, participant_maps, pending, people_counts, totals, tracks
from actors.session.bounds import OTHER
from actors.session.persistent_map import PersistentMap
from tests.session.session_story import T0, Story, camera, microphone, person


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(participant_maps, "MAX_PAST_PARTICIPANTS", 3)
    monkeypatch.setattr(people_counts, "MAX_JOINS", 3)
    monkeypatch.setattr(participant_maps, "MAX_PAST_TEXT", 20)
    monkeypatch.setattr(tracks, "MAX_PAST_TRACKS", 3)
    monkeypatch.setattr(activity, "MAX_TOPICS", 3)
    monkeypatch.setattr(activity, "MAX_UNANNOUNCED_SENDERS", 3)
    monkeypatch.setattr(activity, "MAX_TOPIC_LENGTH", 8)
    monkeypatch.setattr(pending, "MAX_DEFERRED", 3)


def test_people_beyond_the_bound_have_no_line_but_are_in_every_total() -> None:
    story = Story()
    for index in range(5):
        at = index * 10.0
        identity, sid = f"p{index}", f"PA_{index}"
        story.joined(at, person(identity, sid, at))
        story.quality(at, identity, sid, "good")
        story.speaking(at, identity)
        story.left(at + 4, identity, sid)
    view = story.view()
    assert [line["identity"] for line in view["participants"]] == ["p0", "p1", "p2"]
    assert view["people"]["unique"] == 5
    assert view["people_seconds"] == 20.0
    assert view["quality"]["good"] == 20.0
    assert view["talk"]["seconds"] == 20.0
    assert view["talk"]["by_identity"][OTHER] == 8.0
    assert story.state.truncated.people == 2


def test_machines_beyond_the_bound_stay_out_of_the_totals() -> None:
    story = Story()
    for index in range(5):
        story.joined(index, person(f"a{index}", f"PA_{index}", index, kind="agent"))
        story.left(index + 1, f"a{index}", f"PA_{index}")
    assert story.view()["people_seconds"] == 0.0
    assert len(story.view()["participants"]) == 3


def test_of_somebody_who_rejoins_for_ever_the_newest_joins_are_kept() -> None:
    story = Story()
    for index in range(6):
        at = index * 10.0
        story.joined(at, person("alice", f"PA_{index}", at))
        story.left(at + 4, "alice", f"PA_{index}")
    alice = story.participant("alice")
    assert alice["sids"] == ["PA_3", "PA_4", "PA_5"]
    assert alice["seconds"] == 24.0
    assert story.counts() == (0, 1, 1, 6)
    assert story.state.truncated.joins == 3
    story.joined(100, person("alice", "PA_1", 10))
    assert story.counts() == (0, 1, 1, 6), "it may be one of those that are not kept"


def test_ended_tracks_beyond_the_bound_are_counted() -> None:
    story = Story(person("alice", "PA_1", 0))
    for index in range(5):
        story.published(index, "alice", camera(f"TR_{index}"))
        story.unpublished(index + 0.5, "alice", f"TR_{index}")
    assert story.tracks() == (0, 5)
    assert story.view()["track_counts"]["by_source"] == {"camera": 5}
    assert len(story.view()["tracks"]) == 3
    assert story.state.truncated.tracks == 2


def test_topics_beyond_the_bound_are_added_up_and_long_ones_cut() -> None:
    story = Story(person("alice", "PA_1", 0))
    for topic in ("a", "x" * 1000, "c", "d", "e", "a"):
        story.data(1, "alice", topic)
    assert story.view()["data_messages"]["by_topic"] == {
        "a": 2,
        "xxxxxxxx": 1,
        "c": 1,
        OTHER: 2,
    }
    assert story.view()["data_messages"]["total"] == 6
    assert story.state.truncated.messages == 2


def test_unannounced_senders_beyond_the_bound_are_not_kept() -> None:
    story = Story()
    for index in range(5):
        story.data(1, f"p{index}")
    assert len(story.state.unannounced_senders) == 3
    assert totals(story.state, T0 + 2).messages == 5
    assert story.state.truncated.messages == 2


def test_metadata_of_people_who_left_is_kept_as_far_as_there_is_room() -> None:
    story = Story()
    for index in range(3):
        metadata = "m" * 8
        story.joined(index, person(f"p{index}", f"PA_{index}", index, metadata=metadata))
        story.left(index + 0.5, f"p{index}", f"PA_{index}")
    assert [line["metadata"] for line in story.view()["participants"]] == ["m" * 8, "m" * 8, None]
    assert story.participant("p2")["attributes"] is None
    assert story.state.truncated.texts == 1
    story.joined(9, person("p0", "PA_9", 9))  # comes back, and leaves without metadata
    story.left(9.5, "p0", "PA_9")
    assert story.state.past_text_size == 8


def test_somebody_whose_metadata_was_given_up_has_it_again_when_they_are_back() -> None:
    story = Story()
    story.joined(0, person("alice", "PA_1", 0, metadata="m" * 30))
    story.left(1, "alice", "PA_1")
    assert story.participant("alice")["metadata"] is None
    story.joined(9, person("alice", "PA_2", 9, metadata="m" * 30))
    assert story.participant("alice")["metadata"] == "m" * 30


def test_events_held_beyond_the_bound_are_made_up_for_by_the_roster() -> None:
    story = Story()
    story.reconnecting(1)
    people = [
        person(f"p{index}", f"PA_{index}", 2, microphone(f"TR_{index}")) for index in range(5)
    ]
    for one in people:
        story.joined(2, one)
    assert len(story.state.deferred) == 3
    story.reconnected(3, *people)
    assert story.counts() == (5, 5, 5, 5)
    assert story.tracks() == (5, 5)
    assert story.state.truncated.deferred == 2


def test_a_shelf_keeps_everything_and_older_shelves_stay_as_they_were() -> None:
    shelf, shelves = PersistentMap[int](), list[PersistentMap[int]]()
    for number in range(3000):
        shelf = shelf.put(str(number % 1500), number)
        shelves.append(shelf)
    assert len(shelf) == 1500
    assert sorted(shelf.values()) == list(range(1500, 3000))
    assert shelf.get("7") == 1507
    assert shelf.get("none") is None
    assert [len(shelves[index]) for index in (0, 99, 2000)] == [1, 100, 1500]
    assert shelves[100].get("7") == 7
