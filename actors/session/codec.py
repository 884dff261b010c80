"""Sessions as bytes: what a store keeps of them, and nothing of how it keeps it.

MessagePack by msgspec, every object a map by the names of its fields.  A body that was
written before a field was added decodes with that field's default, and one that has a
field which is gone decodes without it: so a new field must have a default, and a field
or a class is renamed together with a migration of the store (a test pins them).

Bodies come from a disk.  What is torn, changed or of a kind nobody knows raises
`Unreadable` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias, TypeVar, get_args

import msgspec
from attrs import frozen

from actors.session.entry import Entry
from actors.session.record import Record
from actors.session.state import SessionState, change

T = TypeVar("T")


class Unreadable(ValueError):
    """Bytes that are not what they should be; says of what, never their content."""


@frozen(slots=False)
class _StoredState(SessionState):
    """A state whose waiting events are encoded one by one: msgspec knows no union of classes."""

    held: tuple[tuple[str, bytes], ...] = ()  # pyright: ignore[reportIncompatibleVariableOverride]


_Told: TypeAlias = str | int | float | bool | tuple[str, ...] | dict[str, str] | None
"""A value of an entry's data."""

_encode: Final = msgspec.msgpack.Encoder().encode

_KINDS: Final[tuple[type[Record], ...]] = get_args(Record)

_DECODE: Final[Mapping[str, Callable[[bytes], Record]]] = {
    kind.__name__: msgspec.msgpack.Decoder(kind).decode for kind in _KINDS
}
"""The kind of a record is the name of its class."""

_decode_state: Final = msgspec.msgpack.Decoder(_StoredState).decode
_decode_entries: Final = msgspec.msgpack.Decoder(
    tuple[tuple[float, str, dict[str, _Told]], ...]
).decode


def encode_record(record: Record) -> tuple[str, bytes]:
    """The record's kind and body."""
    return record.__class__.__name__, _encode(record)


def decode_record(kind: str, body: bytes) -> Record:
    decode = _DECODE.get(kind)
    if decode is None:
        raise Unreadable(f"no record is of kind {kind[:40]!r}")
    return _read(kind, decode, body)


def encode_state(state: SessionState) -> bytes:
    if state.held:
        state = change(state, held=tuple(map(encode_record, state.held)))
    return _encode(state)


def decode_state(body: bytes) -> SessionState:
    """The state that was encoded: equal to it, and folding on as it would have."""
    stored = _read("state", _decode_state, body)
    held = tuple(decode_record(kind, event) for kind, event in stored.held)
    fields: dict[str, Any] = {**stored.__dict__, "held": held}
    return SessionState(**fields)


def encode_entries(entries: Iterable[Entry]) -> bytes:
    return _encode([(entry.at, entry.event, entry.data) for entry in entries])


def decode_entries(body: bytes) -> tuple[Entry, ...]:
    return tuple(Entry(*row) for row in _read("entries", _decode_entries, body))


def _read(what: str, decode: Callable[[bytes], T], body: bytes) -> T:
    try:
        return decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Unreadable(f"{what}: {error}") from None
