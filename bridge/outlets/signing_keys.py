"""The secrets that sign webhooks, as bytes.  Imports little: the settings need it at each start."""

from __future__ import annotations

import base64
import binascii
from typing import Final

PREFIX: Final = "whsec_"
SHORTEST: Final = 16
"""Bytes of a secret's key; the specification asks for 24 to 64, a plain text may be any."""


class BadSecret(ValueError):
    """A secret that cannot sign.  The text never has the secret."""


def key_of(secret: str) -> bytes:
    """The bytes that sign.  `whsec_` and base64, or any other text of 16 bytes or more."""
    if secret.startswith(PREFIX):
        try:
            key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
        except (binascii.Error, ValueError):
            raise BadSecret("what follows whsec_ is not base64") from None
    else:
        key = secret.encode()
    if len(key) < SHORTEST:
        raise BadSecret(f"it has {len(key)} bytes; it needs {SHORTEST} or more")
    return key
