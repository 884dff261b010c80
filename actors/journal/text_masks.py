"""Masks: parts of texts of conversations that are never stored, by what they look like.

A part that matches becomes the mask's name in brackets, as `[card]`.  A mask sees the text as the
speech recognition wrote it: digits that were written as words stay.

A pattern of an operator meets hostile texts, and Python's `re` holds up the whole process while it
matches.  So `require_bounded` refuses a pattern that could take long: its repetitions have an
upper bound, and the product of their choices is small.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from attrs import frozen

MOST_CHOICES: Final = 500
"""The product of the numbers of repetitions that a pattern may try at one place of a text."""
MOST_PATTERN: Final = 500
"""Characters of a pattern."""

# Also named by the settings, in this order.
BUILT_IN: Final = {
    "card": r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)",
    "phone": r"(?<![\w+])(?:\+|00)?\d(?:[ ()./-]{0,2}\d){6,13}(?!\d)",
    "email": r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}",
}
"""Masks by their names: of 13 to 19 digits, of 7 to 14 digits, of an address of e-mail."""

_REPEAT: Final = re.compile(r"\{(\d*)(,?)(\d*)\}")


class BadMask(ValueError):
    """A pattern is refused.  The text says why."""


@frozen
class Mask:
    """One mask."""

    name: str
    """Stands in place of what matched, in brackets."""
    pattern: str
    """A regular expression (`re`)."""


class TextMasks:
    """The masks of a program."""

    def __init__(self, masks: Sequence[Mask] = ()) -> None:
        self._masks = [(re.compile(one.pattern), f"[{one.name}]") for one in masks]

    def masked(self, text: str) -> str:
        """The text without what the masks match.  The masks come one after the other."""
        for pattern, name in self._masks:
            text = pattern.sub(name.replace("\\", r"\\"), text)
        return text


def built_in(name: str) -> Mask:
    """One of `BUILT_IN`."""
    return Mask(name, BUILT_IN[name])


def require_bounded(pattern: str) -> None:
    """Raise `BadMask` where the pattern is no expression, matches nothing, or could take long."""
    if not 0 < len(pattern) <= MOST_PATTERN:
        raise BadMask(f"is 1 to {MOST_PATTERN} characters long")
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise BadMask(f"is no regular expression: {error}") from None
    if compiled.match("") is not None:
        raise BadMask("matches the empty text; let it match one character or more")
    if _choices(pattern) > MOST_CHOICES:
        raise BadMask(
            "could take too long on a hostile text; give fewer or narrower repetitions, "
            r"as \d{4,8}"
        )


def _choices(pattern: str) -> int:
    """The product of the numbers of repetitions."""
    product, at, before = 1, 0, ""
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at, before = at + 2, "x"
        elif char == "[":
            at, before = _end_of_class(pattern, at), "x"
        elif char in "*+" or (char == "{" and _REPEAT.match(pattern, at)):
            least, most, end = _repetition(pattern, at)
            if most is None:
                raise BadMask(
                    f"has '{char}' without an upper bound; write how often at most, as {{1,20}}"
                )
            if before == ")" and most > 1:
                raise BadMask("repeats a group, which could take long; write the group out")
            product *= most - least + 1
            at, before = end, "}"
        else:
            # "(?" begins a group of another kind; after anything else "?" is a repetition.
            product *= 2 if char in "?|" and before != "(" else 1
            at, before = at + 1, char
    return product


def _repetition(pattern: str, at: int) -> tuple[int, int | None, int]:
    """The least and the most of the repetition at this place, and the place after it."""
    match = _REPEAT.match(pattern, at)
    if match is None:
        return (0 if pattern[at] == "*" else 1), None, at + 1
    least = int(match[1] or 0)
    if not match[2]:
        return least, least, match.end()
    return least, int(match[3]) if match[3] else None, match.end()


def _end_of_class(pattern: str, at: int) -> int:
    """The place after a class of characters, which the expression has: it was compiled."""
    at += 1
    if pattern[at : at + 1] == "^":
        at += 1
    first = at
    while pattern[at] != "]" or at == first:
        at += 2 if pattern[at] == "\\" else 1
    return at + 1
