"""Text that people typed becomes text that is safe to show."""

from __future__ import annotations

import pytest

from actors.session.texts import MAX_ENTRY_TEXT, cut_identity, cut_text
from bridge.output.harmless import harmless
from bridge.output.text import compact_json, did_you_mean, key_values

HOSTILE = {
    "newline": ("alice\nbob", r"alice\nbob"),
    "carriage return": ("alice\rbob", r"alice\rbob"),
    "tab": ("alice\tbob", r"alice\tbob"),
    "colour": ("\x1b[31malice", r"\x1b[31malice"),
    "window title": ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
    "C1 control sequence": ("\x9b31m", r"\x9b31m"),
    "null": ("a\0b", r"a\x00b"),
    "delete": ("a\x7fb", r"a\x7fb"),
    "vertical tab": ("a\x0bb", r"a\x0bb"),
    "next line": ("a\x85b", r"a\x85b"),
    "line separator": ("a\u2028b", r"a\u2028b"),
    "paragraph separator": ("a\u2029b", r"a\u2029b"),
    "right to left override": ("gnp\u202eexe.a", r"gnp\u202eexe.a"),
    "bidi isolate": ("\u2066a\u2069", r"\u2066a\u2069"),
    "zero width space": ("al\u200bice", r"al\u200bice"),
    "byte order mark": ("\ufeffalice", r"\ufeffalice"),
    "no-break space": ("a\xa0b", r"a\xa0b"),
    "tag character": ("a\U000e0041", r"a\U000e0041"),
    "lone surrogate": ("a\ud800b", r"a\ud800b"),
    "Hangul filler": ("alice\u3164", r"alice\u3164"),
    "halfwidth Hangul filler": ("\uffa0alice", r"\uffa0alice"),
    "grapheme joiner": ("al\u034fice", r"al\u034fice"),
    "variation selector": ("alice\ufe0f", r"alice\ufe0f"),
    "variation selector 17": ("alice\U000e0100", r"alice\U000e0100"),
    "Mongolian variation selector": ("a\u180bb", r"a\u180bb"),
    "empty Braille": ("\u2800", r"\u2800"),
    "stacked marks": ("a" + "\u0301" * 6, "a" + "\u0301" * 4 + r"\u0301\u0301"),
    "a mark without a letter": ("\u0336alice", r"\u0336alice"),
    "a mark on a space": ("a \u0301b", r"a \u0301b"),
    "a Cyrillic letter in a Latin word": ("al\u0456ce", r"al\u0456ce"),
    "a Greek letter in a Latin word": ("b\u03bfb smith", r"b\u03bfb smith"),
    "a Latin letter in a Cyrillic word": ("Ив\u0061н", "Ив\\x61н"),
    "a mathematical letter": ("alic\U0001d41e", r"alic\U0001d41e"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_character_is_shown_not_obeyed(name: str) -> None:
    text, shown = HOSTILE[name]
    assert harmless(text) == shown


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0)])
def test_no_control_character_passes(code: int) -> None:
    assert harmless(chr(code)).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "alice", "Zoë", "Zoe\u0308", "李雷", "Иван", "🎉 party", "a b", "", 'say "hi"', "❤\ufe0f",
        "Tシャツ", "Иван alice", "\u039d\u03af\u03ba\u03bf\u03c2", "สวัสดี", "हिन्दी", "שָׁלוֹם", "Việt",
    ],
)  # fmt: skip
def test_text_that_prints_stays_as_it_is(text: str) -> None:
    assert harmless(text) == text


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    assert harmless("x" * 65536, limit=4) == "xxxx... (65536 characters)"
    assert harmless("x" * 4, limit=4) == "xxxx"


def test_a_text_that_was_cut_where_it_entered_says_its_true_length() -> None:
    whole = "x" * 62_000
    assert harmless(cut_text(whole, MAX_ENTRY_TEXT), limit=4) == "xxxx... (62000 bytes)"
    assert (
        harmless(cut_text(cut_text(whole * 2), MAX_ENTRY_TEXT), limit=4) == "xxxx... (124000 bytes)"
    )
    assert harmless(cut_identity(whole), limit=4) == "xxxx... (62000 characters)"
    forged = "x" * 1_000 + "…[7 bytes]"
    assert harmless(forged, limit=4) == f"xxxx... ({len(forged)} characters)"


@pytest.mark.parametrize(
    "text, shown",
    [
        ('{"a":1}', '{"a": 1}'),
        ('{ "a" : [ 1,\n2 ] }', '{"a": [1, 2]}'),
        ('"zoë"', '"zoë"'),
        ("1e400", "1e400"),
        ("not json", None),
        ("", None),
        ("NaN", None),
        ("{'a': 1}", None),
        ("[" * 100_000, None),
        ("1" * 5000, None),
    ],
)
def test_json_is_recognised_and_put_on_one_line(text: str, shown: str | None) -> None:
    assert compact_json(text) == shown


def test_pairs_are_quoted_where_they_would_not_end_at_a_blank() -> None:
    pairs = {"a": 1, "b": "two words", "c": 'q"q', "d": "", "e": None, "f": True, "g": 1.5}
    assert key_values(pairs) == r'a=1 b="two words" c="q\"q" d="" e=null f=true g=1.5'
    assert key_values({"error": "a=b"}) == 'error="a=b"'


def test_a_near_miss_is_suggested() -> None:
    assert did_you_mean("--max-room", ["--max-rooms", "--url"]) == "; did you mean --max-rooms?"
    assert did_you_mean("zzz", ["--url"]) == ""
