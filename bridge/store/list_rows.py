"""A session's row of a list, kept as JSON beside its state so that a list decodes no states.

Which keys a row has changes with the program.  `FORM` is a fingerprint of them: a row that an
earlier version kept under another one is made anew from the state, so that every row of a list
has the same keys.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final, TypeAlias

from actors.session import SessionState, begin, session_row
from actors.session.codec import Unreadable, decode_state

Json: TypeAlias = dict[str, Any]


def _keys(row: Json) -> Json:
    """The row's keys without their values, those of objects in it too."""
    return {key: _keys(value) if isinstance(value, dict) else None for key, value in row.items()}


_EMPTY: Final = session_row(begin("", "", (), "", "", 0.0), 0.0)
FORM: Final = hashlib.sha256(json.dumps(_keys(_EMPTY)).encode()).hexdigest()[:16]


def encode_row(state: SessionState) -> tuple[Json, str]:
    """The row as of the state's last event, and its text.

    It is escaped, as JSON can: a text that is no UTF-8 must not hold up a batch for ever.
    """
    row = session_row(state, state.last_at)
    return row, json.dumps(row, separators=(",", ":"))


def decode_row(text: str, form: str, state: bytes) -> Json:
    """The row with all keys that one has now.

    Where it has another form and the state cannot be read, what it lacks is None.
    """
    if form == FORM:
        return json.loads(text)
    try:
        return encode_row(decode_state(state))[0]
    except Unreadable:
        return _filled(json.loads(text), _EMPTY)


def _filled(row: Json, whole: Json) -> Json:
    return {
        key: _filled(row.get(key) or {}, value)
        if isinstance(value, dict)
        else row.get(key, [] if isinstance(value, list) else None)
        for key, value in whole.items()
    }
