"""One person under many identities, where a person key tells who it is."""

from __future__ import annotations

from typing import Any

import pytest

from actors.session import ParticipantInfo, bounds
from actors.session.codec import decode_state, encode_state
from actors.session.person_key import is_person_key, person_of
from tests.session.session_story import LEFT, Story, person

KEY = "attributes.user_id"


def device(number: int, who: str = "dora", joined: float = 0.0) -> ParticipantInfo:
    """A join with an identity of its own."""
    return person(f"d{number}", f"PA_{number}", joined, attributes={"user_id": who})


def counts(story: Story) -> tuple[int, int, int, int]:
    found = story.view()["people"]
    return found["current"], found["peak"], found["unique"], found["joins"]


def test_somebody_who_comes_again_under_another_identity_is_the_same_person() -> None:
    story = Story(person_key=KEY)
    story.joined(0, device(1))
    story.left(10, "d1", "PA_1", LEFT)
    (new_entry,) = story.joined(12, device(2, joined=12))
    assert (new_entry.data["rejoin"], new_entry.data["reconnect"]) == (True, True)
    story.left(20, "d2", "PA_2", LEFT)
    (new_entry,) = story.joined(60, device(3, joined=60))
    assert (new_entry.data["rejoin"], new_entry.data["reconnect"]) == (True, False)
    (new_entry,) = story.joined(61, device(4, "erik", joined=61))
    assert (new_entry.data["rejoin"], new_entry.data["reconnect"]) == (False, False)
    assert counts(story) == (2, 2, 2, 4)
    assert [one["person"] for one in story.view()["participants"]] == [
        "dora",
        "dora",
        "dora",
        "erik",
    ]


def test_two_devices_at_once_are_one_person_who_is_there_once() -> None:
    story = Story(person_key=KEY)
    story.joined(0, device(1))
    story.joined(5, device(2, joined=5))
    assert counts(story) == (1, 1, 1, 2)
    story.left(20, "d1", "PA_1", LEFT)
    assert counts(story) == (1, 1, 1, 2)
    story.left(30, "d2", "PA_2", LEFT)
    assert counts(story) == (0, 1, 1, 2)
    assert story.view()["people_seconds"] == 30


def test_a_device_that_seems_to_leave_does_not_take_its_person_along() -> None:
    story = Story(person_key=KEY)
    story.joined(0, device(1))
    story.joined(1, device(2, joined=1))
    story.left(10, "d1", "PA_1", None)
    story.joined(11, device(3, "erik", joined=11))
    assert counts(story) == (2, 2, 2, 3)


def test_a_key_that_comes_later_joins_what_was_two() -> None:
    story = Story(person_key=KEY)
    story.joined(0, person("d1", "PA_1"))
    story.joined(1, device(2, joined=1))
    assert counts(story)[:3] == (2, 2, 2)
    story.attributes(3, "d1", user_id="dora")
    assert counts(story)[0::2] == (1, 1)
    story.attributes(4, "d1", user_id="erik")
    assert counts(story)[0::2] == (1, 1), "the first value counts"


def test_metadata_can_hold_the_key_too() -> None:
    story = Story(person_key="metadata.user.id")
    story.joined(0, person("a", "PA_1", metadata='{"user": {"id": 7}}'))
    story.joined(0, person("b", "PA_2"))
    story.metadata(1, "b", '{"user": {"id": "7"}}')
    assert counts(story)[0::2] == (1, 1)


def test_without_a_key_an_identity_is_a_person_and_nothing_is_kept_for_it() -> None:
    story = Story()
    story.joined(0, device(1))
    story.joined(1, device(2, joined=1))
    assert counts(story) == (2, 2, 2, 2)
    assert story.state.persons == {}
    assert [one["person"] for one in story.view()["participants"]] == ["d1", "d2"]


def test_beyond_the_bound_a_person_is_not_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.session.people_counts.MAX_PERSONS", 1)
    assert bounds.MAX_PERSONS > 1
    story = Story(person_key=KEY)
    for number, who in enumerate(("dora", "erik", "erik", "dora")):
        story.joined(number, device(number, who, joined=number))
    assert counts(story)[0::2] == (3, 3)
    assert len(story.state.persons) == 1
    for number in range(4):
        story.left(10, f"d{number}", f"PA_{number}", LEFT)
    assert counts(story)[0] == 0


def test_the_state_with_its_persons_is_stored_and_read() -> None:
    story = Story(person_key=KEY)
    story.joined(0, device(1))
    assert decode_state(encode_state(story.state)) == story.state


@pytest.mark.parametrize(
    "key, metadata, attributes, found",
    [
        ("attributes.user_id", "", {"user_id": "dora"}, "dora"),
        ("attributes.a.b", "", {"a.b": "dora"}, "dora"),
        ("attributes.user_id", "", {"user_id": ""}, None),
        ("attributes.user_id", "", None, None),
        ("attributes.user_id", "", {"user_id": "x" * 257}, None),
        ("metadata.id", '{"id": "dora"}', {}, "dora"),
        ("metadata.id", '{"id": 17}', {}, "17"),
        ("metadata.id", '{"id": true}', {}, None),
        ("metadata.id", '{"id": 1e400}', {}, None),
        ("metadata.id", '{"id": ' + "9" * 5_000 + "}", {}, None),
        ("metadata.a.b", '{"a": {"b": "dora"}}', {}, "dora"),
        ("metadata.a.b", '{"a": [1]}', {}, None),
        ("metadata.id", "[" * 30_000, {}, None),
        ("metadata.id", "not JSON", {}, None),
        ("metadata.id", None, {}, None),
    ],
)
def test_what_a_key_finds(
    key: str, metadata: str | None, attributes: dict[str, str] | None, found: Any
) -> None:
    assert person_of(key, metadata, attributes) == found


def test_what_is_a_key() -> None:
    assert all(map(is_person_key, ("attributes.a", "metadata.a", "metadata.a.b")))
    wrong = ("", "identity", "attributes", "attributes.", "metadata..a", "metadata.a.", "x.a")
    assert not any(map(is_person_key, wrong))
