"""Whatever length a text of a stranger has, what is kept of it is bounded and tells that length."""

from __future__ import annotations

import pytest

from actors.session.texts import (
    MAX_ENTRY_TEXT,
    MAX_NAME,
    MAX_STATE_TEXT,
    REST,
    cut_attributes,
    cut_identity,
    cut_name,
    cut_text,
    size,
)
from tests.session.session_story import Story, person


def test_what_is_within_the_bound_is_kept_as_it_is() -> None:
    for text in ("", "alice", "ä" * MAX_NAME):
        assert cut_name(text) == cut_identity(text) == cut_text(text) == text
    assert cut_text("x" * MAX_STATE_TEXT) == "x" * MAX_STATE_TEXT
    assert cut_attributes({"a": "1", "b": "ä" * 100}) == {"a": "1", "b": "ä" * 100}


@pytest.mark.parametrize("letter", ["x", "ä", "\U0001f600", "\ud800", "\n"])
@pytest.mark.parametrize("length", [MAX_NAME + 1, 61_440, 1_000_000])
def test_a_longer_one_is_cut_and_ends_in_its_true_length(letter: str, length: int) -> None:
    text = letter * length
    for name in (cut_name(text), cut_identity(text)):
        assert len(name) == MAX_NAME
        assert f"…[{length} characters" in name
    if size(text) > MAX_STATE_TEXT:
        whole = cut_text(text)
        assert MAX_STATE_TEXT - 3 <= size(whole) <= MAX_STATE_TEXT
        assert whole.endswith(f"…[{size(text)} bytes]")
    if size(text) > MAX_ENTRY_TEXT:
        new_entries = cut_text(cut_text(text), MAX_ENTRY_TEXT)
        assert size(new_entries) <= MAX_ENTRY_TEXT
        assert new_entries.endswith(f"…[{size(text)} bytes]"), (
            "the first length, not that of the cut one"
        )


def test_nobody_makes_a_short_text_tell_of_another_length() -> None:
    forged = "x" * (MAX_STATE_TEXT // 2) + "…[999999999 bytes]"
    assert cut_text(forged, MAX_ENTRY_TEXT).endswith(f"…[{size(forged)} bytes]")


def test_two_long_identities_stay_two() -> None:
    assert cut_identity("x" * 1_000 + "a") != cut_identity("x" * 1_000 + "b")


@pytest.mark.parametrize(
    "attributes",
    [
        {"a": "x" * 100_000},
        {str(n): "" for n in range(50_000)},
        {str(n): "ä" * 100 for n in range(2_000)},
        {"small": "1", "x" * 70_000: "1", REST: "forged"},
    ],
)
@pytest.mark.parametrize("most", [MAX_ENTRY_TEXT, MAX_STATE_TEXT])
def test_attributes_are_cut_together_and_the_rest_is_told(
    attributes: dict[str, str], most: int
) -> None:
    cut = cut_attributes(attributes, most)
    assert sum(size(key) + size(value) for key, value in cut.items()) <= most
    left = attributes.keys() - (cut.keys() - {REST})
    length = sum(size(key) + size(attributes[key]) for key in left)
    assert cut[REST] == f"[{len(left)} more, {length} bytes]"
    assert all(attributes[key] == value for key, value in cut.items() if key != REST)
    assert "small" not in attributes or cut["small"] == "1"


def test_a_timeline_has_4_kb_of_a_text_and_the_session_all_of_it() -> None:
    metadata, attributes = "m" * 60_000, {"a": "a" * 60_000}
    story = Story()
    story.joined(1, person("alice", "PA_1", 1, metadata=metadata))
    story.attributes(2, "alice", **attributes)
    story.metadata(3, "alice", metadata[1:])
    alice = story.participant("alice")
    assert (alice["metadata"], alice["attributes"]) == (metadata[1:], attributes)
    new_entries = [e for e in story.view()["timeline"] if e["event"].startswith("participant_m")]
    assert [e["metadata"][-13:] for e in new_entries] == ["[60000 bytes]", "[59999 bytes]"]
    assert all(size(e["metadata"]) <= MAX_ENTRY_TEXT for e in new_entries)
    (changed,) = [e for e in story.view()["timeline"] if e["event"] == "participant_attributes"]
    assert changed["changed"] == {REST: "[1 more, 60001 bytes]"}
