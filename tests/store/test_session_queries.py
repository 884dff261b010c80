"""Patterns: the store and the live stream find the same."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from actors.journal.session_filters import is_pattern, regex_of
from bridge.store.sqlite_connection import glob_of

ALPHABET = "ab*?[]^!-\\\n"


@given(st.text(ALPHABET, max_size=8), st.text(ALPHABET, max_size=6))
@example("[!a]", "!")
@example("[^!]", "!")
@example("[!]", "!")
@example("[]a]", "]")
@example("[^]a]", "b")
@example("[a", "[a")
@example("\\", "\\")
def test_a_pattern_finds_the_same_in_the_store_and_in_memory(pattern: str, text: str) -> None:
    with closing(sqlite3.connect(":memory:")) as db:
        in_store = db.execute("SELECT ? GLOB ?", (text, glob_of(pattern))).fetchone()[0]
    assert bool(regex_of(pattern).match(text)) == bool(in_store)


@given(st.text(ALPHABET, max_size=8))
def test_an_escaped_text_finds_itself_and_nothing_else(text: str) -> None:
    escaped = "".join(f"\\{char}" if char in "*?[\\" else char for char in text)
    assert regex_of(escaped).match(text)
    assert not regex_of(escaped).match(text + "a")
    assert is_pattern(escaped) == any(char in "*?[\\" for char in text)


@pytest.mark.parametrize(
    "pattern, text", [("team-*", "team-7"), ("\\[team]", "[team]"), ("[team", "[team")]
)
def test_what_people_write_is_found(pattern: str, text: str) -> None:
    assert regex_of(pattern).match(text)
