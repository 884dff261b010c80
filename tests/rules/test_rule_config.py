"""A rule of the config file, and every mistake in one: which key, and what is allowed."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rules.acts import Alert, EndRoom, SendText, read_acts
from actors.rules.comparisons import BadComparison, compare, count, seconds, share
from actors.rules.rule_config import BadRule, read_rule, read_rules

RULE: dict[str, Any] = {"name": "r", "when": {"people": "> 1"}, "then": ["alert"]}


def test_the_example_of_the_contract_is_a_rule() -> None:
    rule = read_rule(
        {
            "name": "nobody is left alone",
            "rooms": ["team-*"],
            "when": {"people": "== 1", "age": "> 10m"},
            "for": "5m",
            "then": [{"send": "This room closes in a minute."}, {"end_room": {"warn": "1m"}}],
            "dry_run": False,
        }
    )
    assert rule.acts == (SendText("This room closes in a minute."), EndRoom(60.0))
    assert (rule.lasting, rule.keep, rule.limit) == (300.0, 0.0, 60)
    assert rule.watches("team-1")
    assert not rule.watches("lounge")


@pytest.mark.parametrize(
    "changes, key, allowed",
    [
        ({"name": ""}, "name", "1 to 100"),
        ({"nmae": "x"}, "nmae", "a rule takes name"),
        ({"when": {"peeple": 1}}, "when.peeple", "people"),
        ({"when": {"people": "> many"}}, "when.people", "whole number"),
        ({"when": {"people": True}}, "when.people", "a text"),
        ({"when": {"age": "> 5"}}, "when.age", "like 30s"),
        ({"when": {"quality": "bad"}}, "when.quality", "excellent, good, poor, lost"),
        ({"when": {"quality": {"at_most": "poor", "share": "> 2"}}}, "when.quality", "50%"),
        ({"when": {"tracks": {"radio": 1}}}, "when.tracks", "microphone"),
        ({"when": {"recording": "yes"}}, "when.recording", "true or false"),
        ({"when": {"message_rate": "> 5"}}, "when.message_rate", "10/s"),
        ({"when": []}, "when", "a table"),
        ({"when": {}}, "when", "needs a condition"),
        ({"event": "participant_came"}, "event", "no such event"),
        ({"event": "session_ended"}, "event", "the room is over then"),
        ({"event": "act_*"}, "event", "no such event"),
        ({"then": [{"ban": "9999d"}]}, "then[0].ban", "a year or less"),
        ({"then": ["alert"] * 51}, "then", "at most 50"),
        ({"event": "participant_*", "for": "1m"}, "for", "neither for nor keep"),
        ({"for": 5}, "for", "like 30s"),
        ({"for": "99d"}, "for", "30 days"),
        ({"then": []}, "then", "one act"),
        ({"then": ["explode"]}, "then[0]", "alert, webhook, log"),
        ({"then": [{"send": {}}]}, "then[0].send", "text must be"),
        ({"then": [{"send": {"text": "a", "as": "fax"}}]}, "then[0].send", "stream"),
        ({"then": [{"ban": "tomorrow"}]}, "then[0].ban", "like 30s"),
        ({"then": [{"end_room": {"wran": "1m"}}]}, "then[0].end_room.wran", "text, warn"),
        ({"then": ["mute"]}, "then", "table person"),
        ({"limit": 0}, "limit", "1 to 10000"),
        ({"dry_run": "no"}, "dry_run", "true or false"),
        ({"rooms": []}, "rooms", "list of room names"),
    ],
)
def test_each_mistake_names_its_key_and_what_is_allowed(
    changes: dict[str, Any], key: str, allowed: str
) -> None:
    with pytest.raises(BadRule) as caught:
        read_rule({**RULE, **changes})
    assert caught.value.key == key
    assert allowed in str(caught.value)


def test_two_rules_of_one_name_are_a_mistake_of_the_second() -> None:
    with pytest.raises(BadRule) as caught:
        read_rules([RULE, RULE])
    assert caught.value.key == "rule 2: name"


@pytest.mark.parametrize(
    "text, value", [("90s", 90.0), ("10m", 600.0), ("1h30m", 5400.0), ("250ms", 0.25)]
)
def test_durations(text: str, value: float) -> None:
    assert seconds(text) == value


def test_a_number_alone_means_equal() -> None:
    assert compare(3, count).holds(3)
    assert not compare("3", count).holds(4)
    assert compare(">= 50%", share).holds(0.5)


def test_an_act_may_be_a_word_a_text_or_a_table() -> None:
    assert read_acts(["alert", {"alert": "look"}, {"alert": {"text": "look"}}]) == (
        Alert(),
        Alert("look"),
        Alert("look"),
    )


json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = ("name", "rooms", "when", "any", "person", "event", "for", "keep", "then", "limit")


@given(st.dictionaries(st.sampled_from(KEYS), json, max_size=8), st.sampled_from(KEYS), json)
def test_anything_at_all_is_a_rule_or_a_clear_mistake(
    table: dict[str, Any], key: str, value: Any
) -> None:
    for one in (table, {**RULE, key: value}):
        mistake: BadRule | None = None
        try:
            read_rule(one)
        except BadRule as error:
            mistake = error
        assert mistake is None or (mistake.key and str(mistake))


@given(json)
def test_any_comparison_is_read_or_refused(value: Any) -> None:
    with suppress(BadComparison):
        assert compare(value, seconds).value >= 0
