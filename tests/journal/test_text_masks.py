"""Masks of texts: what they find, and which patterns are refused because they could take long."""

from __future__ import annotations

import pytest

from actors.journal.text_masks import BUILT_IN, BadMask, Mask, TextMasks, built_in, require_bounded

ALL = TextMasks([built_in(name) for name in BUILT_IN])


@pytest.mark.parametrize(
    "text, masked",
    [
        ("my card is 4242 4242 4242 4242, thanks", "my card is [card], thanks"),
        ("5555-5555-5555-4444", "[card]"),
        ("call +31 6 12345678 now", "call [phone] now"),
        ("call (020) 123 45 67", "call ([phone]"),
        ("ask ann.lee@mail.example.org.", "ask [email]."),
        ("room 42, 7 people at 10:30", "room 42, 7 people at 10:30"),
        ("", ""),
    ],
)
def test_the_built_in_masks(text: str, masked: str) -> None:
    assert ALL.masked(text) == masked


def test_an_own_mask_stands_in_the_text_by_its_name() -> None:
    masks = TextMasks([Mask(r"order \1", r"ORD-\d{4,8}")])
    assert masks.masked("see ORD-12345 and ORD-9876") == r"see [order \1] and [order \1]"


@pytest.mark.parametrize(
    "pattern",
    [
        r"ORD-\d{4,8}",
        r"[A-Z]{2}\d{2}[ 0-9A-Z]{11,30}",
        r"(?i)ticket ?#?\d{1,9}",
        r"a\*b\+",
        r"[*+]x",
    ],
)
def test_patterns_that_are_taken(pattern: str) -> None:
    require_bounded(pattern)


@pytest.mark.parametrize(
    "pattern, why",
    [
        ("", "characters long"),
        ("x" * 501, "characters long"),
        ("(", "no regular expression"),
        (r"\d*x", "without an upper bound"),
        (r"\d+", "without an upper bound"),
        (r"x{2,}", "without an upper bound"),
        (r"(a|a){1,30}b", "repeats a group"),
        (r"a{1,30}a{1,30}a{1,30}b", "too long"),
        (r"a{0,5}", "empty text"),
    ],
)
def test_patterns_that_are_refused(pattern: str, why: str) -> None:
    with pytest.raises(BadMask, match=why):
        require_bounded(pattern)
