"""Who is one person, where identities are made anew for each join.

Some applications give a participant another identity each time (Matrix: a user's device,
others: a random id), and put who it is into an attribute or the metadata of the token.  A
person key says where: ``attributes.user_id``, or ``metadata.user.id`` for JSON.

The first value counts: it comes with the token, and a participant who may change their own
metadata later must not become another person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

MAX_VALUE: Final = 256
"""Characters of a person; a longer value is none, as LiveKit bounds an identity."""

ATTRIBUTES: Final = "attributes."
METADATA: Final = "metadata."

_decode: Final = msgspec.json.Decoder().decode


def is_person_key(key: str) -> bool:
    for prefix in (ATTRIBUTES, METADATA):
        if key.startswith(prefix) and all(key.removeprefix(prefix).split(".")):
            return True
    return False


def person_of(key: str, metadata: str | None, attributes: Mapping[str, str] | None) -> str | None:
    """The person, as `key` says; None where there is no such value.

    In metadata a dot leads into an object.  A value is a text or a whole number.
    """
    if key.startswith(ATTRIBUTES):
        return _value((attributes or {}).get(key.removeprefix(ATTRIBUTES)))
    try:
        found: Any = _decode(metadata or "")
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None
    for name in key.removeprefix(METADATA).split("."):
        if not isinstance(found, dict):
            return None
        found = cast("dict[str, Any]", found).get(name)
    return _value(found)


def _value(found: object) -> str | None:
    if isinstance(found, int) and not isinstance(found, bool):
        found = str(found) if found.bit_length() <= 64 else ""
    return found if isinstance(found, str) and 0 < len(found) <= MAX_VALUE else None
