"""Tokens out of text, for everything that is logged, raised or shown.

LiveKit answers a bad token with the whole token in the body (401 "invalid token:
eyJ..."), and the SDK repeats that body in its errors and its log records.
"""

from __future__ import annotations

import re
from typing import Final

JWT_PREFIX: Final = "eyJ"
"""What every JSON Web Token begins with."""
_TOKEN: Final = re.compile(JWT_PREFIX + r"[\w-]{4,}(?:\.[\w-]*){0,2}")
"""A JSON Web Token: base64url of `{"`, then up to two more parts, also when cut short."""


def redact(text: str) -> str:
    """`text` with every JSON Web Token replaced by `<token>`."""
    return _TOKEN.sub("<token>", text) if JWT_PREFIX in text else text
