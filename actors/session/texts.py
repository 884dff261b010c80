"""Texts of participants are cut where they enter, and again in entries of the timeline.

LiveKit's own limits are 256 characters for an identity and a name, and 64,000 bytes for metadata
and for all attributes of a participant (its configuration's `limit`, which an operator may
lift).  It has none for the topic of a message.

A text that was cut ends in its true length: ``aaa…[61440 characters]``, or in bytes of UTF-8 if the
bound is one of bytes.  With that mark it is within the bound.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from typing import Final

MAX_NAME: Final = 256
"""Characters of an identity, a name, a topic."""
MAX_STATE_TEXT: Final = 64 * 1024
"""Bytes of metadata, and of all attributes of one participant, in the state."""
MAX_ENTRY_TEXT: Final = 4 * 1024
"""Bytes of the same in an entry of a timeline."""

_MARK: Final = re.compile(r"…\[(([0-9]{1,15}) (bytes|characters))(?:, [0-9a-f]{16})?\]\Z")


def cut_name(text: str) -> str:
    """At most `MAX_NAME` characters."""
    if len(text) <= MAX_NAME:
        return text
    mark = f"…[{len(text)} characters]"
    return text[: MAX_NAME - len(mark)] + mark


def cut_identity(text: str) -> str:
    """At most `MAX_NAME` characters.  A long one ends in its hash, so two that differ stay two."""
    if len(text) <= MAX_NAME:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    mark = f"…[{len(text)} characters, {digest}]"
    return text[: MAX_NAME - len(mark)] + mark


def cut_text(text: str, most: int = MAX_STATE_TEXT) -> str:
    """At most `most` bytes of UTF-8.  A text that was cut before keeps its true length."""
    if 4 * len(text) <= most:
        return text
    encoded = text.encode("utf-8", "surrogatepass")
    if len(encoded) <= most:
        return text
    before = _mark(text, len(encoded))
    return _cut(encoded, most, len(encoded) if before is None else int(before[2]))


def length_before_cut(text: str) -> str | None:
    """The true length of a text that was cut here, with its unit; None for a whole text."""
    mark = _mark(text, size(text)) if text.endswith("]") else None
    return None if mark is None else mark[1]


def _mark(text: str, length: int) -> re.Match[str] | None:
    """The mark of a text that was cut here.  Only such a text has just this size, so a mark that
    somebody wrote into another text is ignored."""
    mark = _MARK.search(text[-64:])
    if mark is None:
        return None
    if mark[3] == "characters":
        return mark if len(text) == MAX_NAME else None
    return (
        mark
        if any(most - 3 <= length <= most for most in (MAX_STATE_TEXT, MAX_ENTRY_TEXT))
        else None
    )


def _cut(encoded: bytes, most: int, length: int) -> str:
    mark = f"…[{length} bytes]"
    end = max(0, most - len(mark.encode()))
    while end and encoded[end] & 0xC0 == 0x80:  # within a character
        end -= 1
    return encoded[:end].decode("utf-8", "surrogatepass") + mark


def cut_attributes(attributes: Mapping[str, str], most: int = MAX_STATE_TEXT) -> dict[str, str]:
    """At most `most` bytes of keys and values: the first that fit.

    The value of the key ``…`` has the number and the bytes of the others.
    """
    if 4 * sum(len(key) + len(value) for key, value in attributes.items()) <= most:
        return dict(attributes)
    sizes = {key: size(key) + size(value) for key, value in attributes.items()}
    if sum(sizes.values()) <= most:
        return dict(attributes)
    room = most - size(_rest(len(sizes), sum(sizes.values()))) - size(REST)
    fitting = dict(_that_fit(attributes, sizes, room))
    others = sizes.keys() - fitting.keys()
    fitting[REST] = _rest(len(others), sum(sizes[key] for key in others))
    return fitting


REST: Final = "…"
"""The key for the number of attributes that did not fit."""


def _rest(count: int, length: int) -> str:
    return f"[{count} more, {length} bytes]"


def _that_fit(
    attributes: Mapping[str, str], sizes: Mapping[str, int], room: int
) -> Iterator[tuple[str, str]]:
    for key, value in attributes.items():
        if key != REST and sizes[key] <= room:
            room -= sizes[key]
            yield key, value


def size(text: str) -> int:
    """Bytes of UTF-8."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
