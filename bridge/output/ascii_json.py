"""JSON in ASCII: every other character is escaped, so that a terminal obeys none of it.

msgspec encodes, several times as fast as the standard library, and writes UTF-8; the escapes are
the standard library's.
"""

from __future__ import annotations

import codecs
import json
from json.encoder import encode_basestring_ascii
from typing import Final

import msgspec

_ESCAPED: Final = "room-actors-json-escaped"


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return encode_basestring_ascii(part)[1:-1], error.end


codecs.register_error(_ESCAPED, _escape)


def json_text(value: object) -> str:
    """`value` as JSON without blanks.

    In JSON only strings have characters beyond ASCII, so those may be escaped wherever they are.
    A lone surrogate, which is no UTF-8, is escaped too.
    """
    try:
        text = msgspec.json.encode(value).decode()
    except UnicodeEncodeError:
        builtins = msgspec.to_builtins(value)
        return json.dumps(builtins, separators=(",", ":"), check_circular=False)
    return text if text.isascii() else text.encode("ascii", _ESCAPED).decode()


def spaced_json(value: object, indent: int | None = None) -> str:
    """`value` as JSON for a terminal: with blanks, and with an escape for the delete character."""
    return json.dumps(msgspec.to_builtins(value), indent=indent).replace("\x7f", "\\u007f")
