"""Turning values into text that is short enough to read; what strangers typed goes
through `bridge.output.harmless` on its way to a line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final

from bridge.output.harmless import NAME_LIMIT, harmless

BODY_LIMIT: Final = 1024
"""Characters shown of metadata and of a message's content."""


def compact_json(text: str) -> str | None:
    """`text` as JSON on one line, None where it is not JSON."""
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return None
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except ValueError:  # a number too large for a float: 1e400
        return text.strip()


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def key_values(pairs: Mapping[str, object], limit: int = NAME_LIMIT) -> str:
    """`a=1 b="two words"`: quoted where a value would not end at the next space."""
    return " ".join(f"{harmless(key)}={_value(value, limit)}" for key, value in pairs.items())


def _value(value: object, limit: int) -> str:
    text = harmless(plain(value), limit)
    if text and not any(c in text for c in ' "=,'):
        return text
    return '"' + text.replace('"', '\\"') + '"'


def plain(value: object) -> str:
    """One value of a line as text; not yet harmless."""
    if isinstance(value, str):
        return value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(k)}={plain(v)}" for k, v in value.items())
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, Sequence | set | frozenset):
        return ", ".join(plain(item) for item in value)
    return str(value)


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """`; did you mean X?`, or nothing where nothing is close."""
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""
