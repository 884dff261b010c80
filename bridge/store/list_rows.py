"""A session's row of a list, as JSON beside its state, so that a list decodes no states.

The keys of a row change with the program.  `FORM` is a fingerprint of them.  A row that an earlier
version stored in another form is made again from the state, so that all rows of a list have the
same keys.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Final, TypeAlias, cast

import msgspec

from actors.session import SessionRow, SessionState, begin, session_row
from actors.session.codec import Unreadable, decode_state
from bridge.output.ascii_json import json_text

_Tree: TypeAlias = "dict[str, _Tree | None]"

_NO_AGENTS: Final = ',"agents":null}'
"""The end of the text of such a row.  It is not stored; all others end in a list."""

_decode: Final = msgspec.json.Decoder(SessionRow).decode
_EMPTY: Final = cast(
    "dict[str, object]",
    msgspec.to_builtins(session_row(begin("", "", (), "", "", 0.0), 0.0)),
)
"""The row of a session of which nothing is known."""


def _keys(row: dict[str, object]) -> _Tree:
    """The row's keys without their values, those of objects in it too."""
    return {
        key: _keys(cast("dict[str, object]", value)) if isinstance(value, dict) else None
        for key, value in row.items()
    }


FORM: Final = hashlib.sha256(json.dumps(_keys(_EMPTY)).encode()).hexdigest()[:16]


def encode_row(state: SessionState) -> tuple[SessionRow, str]:
    """The row as of the state's last event, and its text.

    The text is ASCII: a name that is no UTF-8 must not block a batch for ever.
    """
    row = session_row(state, state.last_at)
    # Most sessions have no agent: then the row has nothing of agents.
    text = json_text(row)
    return row, f"{text[: -len(_NO_AGENTS)]}}}" if text.endswith(_NO_AGENTS) else text


def decode_row(text: str, form: str, state: bytes) -> SessionRow:
    """The row with all keys that one has now.

    A row of another form is made anew from the state.  If the state cannot be read, a key that
    the row lacks has the value of a session of which nothing is known.
    """
    if form == FORM:
        with suppress(msgspec.MsgspecError):
            return _decode(text if text.endswith("]}") else f"{text[:-1]}{_NO_AGENTS}")
    try:
        return encode_row(decode_state(state))[0]
    except Unreadable:
        return _with_all_keys(text)


def _with_all_keys(text: str) -> SessionRow:
    row = cast("dict[str, object]", json.loads(text))
    try:
        return msgspec.convert(_filled(row, _EMPTY), SessionRow)
    except msgspec.ValidationError:
        known = {key: row[key] for key in _NAMES if isinstance(row.get(key), str)}
        return msgspec.convert({**_EMPTY, **known}, SessionRow)


_NAMES: Final = ("id", "room", "room_sid", "worker", "agent_name")
"""Keys of texts in every form of a row."""


def _filled(row: dict[str, object], whole: dict[str, object]) -> dict[str, object]:
    def value_of(key: str, otherwise: object) -> object:
        value = row.get(key, otherwise)
        if isinstance(otherwise, dict):
            inner = cast("dict[str, object]", value if isinstance(value, dict) else {})
            return _filled(inner, cast("dict[str, object]", otherwise)) if otherwise else inner
        return value

    return {key: value_of(key, otherwise) for key, otherwise in whole.items()}
