"""The person key: how one person is recognised if identities are made anew for each join.

Some applications give a participant another identity each time (Matrix: a user's device; others:
a random id) and name the person in an attribute or in the metadata of the token.  A person key
says where: ``attributes.user_id``, or ``metadata.user.id`` for JSON.

The first value counts.  It comes with the token; a participant who may change their own metadata
later must not become another person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

MAX_VALUE: Final = 256
"""Characters of a person; a longer value is ignored.  An identity has the same bound."""

ATTRIBUTES: Final = "attributes."
METADATA: Final = "metadata."

_decode: Final = msgspec.json.Decoder().decode


def is_person_key(key: str) -> bool:
    for prefix in (ATTRIBUTES, METADATA):
        if key.startswith(prefix) and all(key.removeprefix(prefix).split(".")):
            return True
    return False


def person_of(key: str, metadata: str | None, attributes: Mapping[str, str] | None) -> str | None:
    """The person, by `key`; None if there is no such value.

    In metadata a dot leads into an object.  A value is a text or a whole number.
    """
    if key.startswith(ATTRIBUTES):
        return _value((attributes or {}).get(key.removeprefix(ATTRIBUTES)))
    try:
        value: Any = _decode(metadata or "")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    for name in key.removeprefix(METADATA).split("."):
        if not isinstance(value, dict):
            return None
        value = cast("dict[str, Any]", value).get(name)
    return _value(value)


def _value(value: object) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if value.bit_length() <= 64 else ""
    return value if isinstance(value, str) and 0 < len(value) <= MAX_VALUE else None
