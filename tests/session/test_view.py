"""The JSON of a session, as `docs/contract.md` has it."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest

from actors.session import ENTRY_KEYS, GapReason, begin, session_row, session_view
from actors.session.bounds import OTHER
from actors.session.changes import change
from actors.session.time_text import rfc3339
from actors.session.view import MOST_LISTED
from tests.session.session_story import T0, Story, as_json, camera, microphone, person

ROW = {
    "id", "room", "room_sid", "job_ids", "worker", "agent_name", "status", "end_reason",
    "started_at", "ended_at", "duration", "entered_after", "coverage", "encrypted", "gaps",
    "clock_offset", "metadata",
    "people", "people_seconds", "first_media_after", "track_counts", "data_messages", "truncated",
    "quality", "talk", "recordings", "active_recording", "agents",
}  # fmt: skip
PERSON = {
    "identity", "person", "name", "kind", "sids", "joins", "seconds", "metadata", "attributes",
    "quality", "talk_seconds", "turns", "longest_turn", "interruptions", "camera_seconds",
    "screen_seconds", "first_media_after", "data_messages", "agent", "sip",
}  # fmt: skip
PEOPLE = {"current", "peak", "unique", "joins", "aborted", "aborted_by_reason"}
TRACK = {
    "sid", "identity", "kind", "source", "published_at", "published_within", "unpublished_at",
    "muted_seconds", "stats", "encrypted",
}  # fmt: skip
JOIN = {"sid", "kind", "joined_at", "left_at", "left_within", "leave_reason", "active"}
CALL = {
    "call_id", "status", "from", "to", "trunk", "answered_at", "ringing_seconds", "hangup_cause",
}  # fmt: skip
MESSAGES = {"total", "bytes", "by_topic", "attachments", "lower_bound"}
RECORDING = {
    "id", "kind", "started_at", "ended_at", "status", "error", "file", "rule", "lost_at",
}  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def check_shape(view: dict[str, Any]) -> None:
    """`view` has exactly the keys of `docs/contract.md`, and is JSON."""
    assert set(view) == ROW | {"participants", "tracks", "timeline"}
    assert set(view["people"]) == PEOPLE
    assert set(view["track_counts"]) == {"current", "total", "by_source"}
    assert view["data_messages"] is None or set(view["data_messages"]) == MESSAGES
    for line in view["recordings"] or ():
        assert set(line) == RECORDING
    assert set(view["quality"]) == {"excellent", "good", "poor", "lost"}
    assert set(view["talk"]) == {"seconds", "by_identity"}
    assert view["status"] in ("active", "ended")
    for gap in view["gaps"]:
        assert set(gap) == {"from", "to", "reason"}
        assert gap["reason"] in get_args(GapReason)
        assert TIME.fullmatch(gap["from"])
        assert gap["to"] is None or TIME.fullmatch(gap["to"])
    for line in view["participants"]:
        assert set(line) == PERSON
        assert set(line["quality"]) == {"excellent", "good", "poor", "lost"}
        assert line["sip"] is None or set(line["sip"]) == CALL
        for join in line["joins"]:
            assert set(join) == JOIN
            assert TIME.fullmatch(join["joined_at"])
    for line in view["tracks"]:
        assert set(line) == TRACK
    for line in view["timeline"] or ():
        assert set(line) == {"at", "event", *ENTRY_KEYS[line["event"]]}
        assert TIME.fullmatch(line["at"])
    assert json.loads(json.dumps(view, allow_nan=False)) == view


def busy() -> Story:
    story = Story(person("alice", "PA_1", -5, microphone("TR_1", muted=True)))
    story.joined(1, person("bob", "PA_2", 1, metadata="{}", attributes={"x": "1"}))
    story.published(2, "bob", camera("TR_2"))
    story.subscribed(2, "bob", "TR_2")
    story.quality(3, "bob", "PA_2", "good")
    story.speaking(3, "alice")
    story.data(4, "bob", "t")
    story.named(5, "bob", "Bob")
    story.attributes(5, "bob", y="2")
    story.room_metadata(6, "m")
    story.unmuted(6, "alice", "TR_1")
    story.reconnecting(7)
    story.reconnected(8, person("bob", "PA_2", 1, camera("TR_2")))
    story.tick(13)
    story.left(14, "bob", "PA_2")
    return story


def test_an_active_session_has_the_shape_of_the_contract() -> None:
    check_shape(busy().view(20))


def test_an_ended_session_has_the_shape_of_the_contract_and_no_longer_changes() -> None:
    story = busy()
    story.ends(20)
    check_shape(story.view(20))
    assert story.view(20) == story.view(2000)


def test_a_session_that_saw_nothing_has_the_shape_of_the_contract() -> None:
    check_shape(as_json(session_view(begin("r", "RM_1", ("AJ_1",), "w", "a", T0), T0, ())))


def test_lists_have_the_same_object_without_people_tracks_and_timeline() -> None:
    story = busy()
    row, view = as_json(session_row(story.state, T0 + 20)), story.view(20)
    assert set(row) == ROW
    assert row == {key: view[key] for key in ROW}


def test_a_row_has_the_largest_of_many_identities_and_topics_and_the_sum_of_the_others() -> None:
    state = begin("r", "RM_1", ("AJ_1",), "w", "a", T0)
    many = {f"topic-{number}": number + 1 for number in range(MOST_LISTED + 20)} | {OTHER: 1}
    state = change(state, messages=change(state.messages, by_topic=many), watched_from=T0)
    listed = as_json(session_row(state, T0 + 1))["data_messages"]["by_topic"]
    assert len(listed) == MOST_LISTED + 1
    assert listed[f"topic-{MOST_LISTED + 19}"] == MOST_LISTED + 20
    assert listed[OTHER] == 1 + sum(range(1, 21))
    assert as_json(session_view(state, T0 + 1))["data_messages"]["by_topic"] == many


def test_a_row_names_those_who_talked_most() -> None:
    people = [f"p{number}" for number in range(MOST_LISTED + 5)]
    story = Story(*(person(name, f"PA_{name}", -5, microphone(f"TR_{name}")) for name in people))
    for number, name in enumerate(people):
        story.subscribed(1, name, f"TR_{name}")
        story.speaking(number, *people[number:])
    whole = story.view(1_000)["talk"]
    listed = as_json(session_row(story.state, T0 + 1_000))["talk"]
    assert set(whole["by_identity"]) == set(people)
    assert set(listed["by_identity"]) == {*people[5:], OTHER}
    assert listed["seconds"] == whole["seconds"]
    assert round(sum(listed["by_identity"].values()), 2) == round(listed["seconds"], 2)


def test_a_timeline_that_was_not_kept_is_null() -> None:
    assert as_json(session_view(busy().state, T0 + 20))["timeline"] is None


def test_the_session_is_named_by_the_rooms_sid() -> None:
    view = busy().view()
    assert view["id"] == view["room_sid"] == "RM_1"


def test_people_and_tracks_come_in_the_order_of_first_sight() -> None:
    story = busy()
    story.joined(15, person("alice", "PA_9", 15))
    assert [line["identity"] for line in story.view()["participants"]] == ["alice", "bob"]
    assert [line["sid"] for line in story.view()["tracks"]] == ["TR_1", "TR_2"]


@pytest.mark.parametrize(
    "at,text",
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.123, "2023-11-14T22:13:20.123Z"),
        (1_700_000_000.9996, "2023-11-14T22:13:21.000Z"),
        (None, None),
        (1e300, None),
        (float("inf"), None),
        (float("nan"), None),
    ],
)
def test_times_are_rfc_3339_in_utc_with_milliseconds(at: float | None, text: str | None) -> None:
    assert rfc3339(at) == text


def test_hostile_text_is_kept_as_it_is() -> None:
    name = "\x1b[31m\nalice\u202e'\""
    story = Story(person(name, "PA_1", 0, name=name, metadata=name * 100))
    story.data(1, name, name)
    check_shape(story.view())
    assert story.participant(name)["name"] == name
