"""Walks over the outermost fields of a protobuf message without parsing what is in them.

Why not parse the whole body: an empty nested message takes two bytes on the wire and a hundred in
memory, so 16 MB of them are a gigabyte.  A body is therefore cut into its spans (or log records)
here, with a bound on their number, and only these are parsed, one by one and with a bound on the
bytes of each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from bridge.uploads.bounded_gzip import BadUpload

_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5

MOST_FIELDS: Final = 20_000
"""Fields that are looked at in one body.  A real batch has at most 512 spans or records."""


class FieldWalk:
    """Finds nested messages in one body; all walks share the bound of the body."""

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)
        self._left = MOST_FIELDS

    def nested(self, path: tuple[int, ...]) -> Iterator[memoryview]:
        """The messages in the fields with these numbers, one below the other.

        Raises `BadUpload` where it is no protobuf or has too many fields.
        """
        yield from self._nested(self._body, path)

    def _nested(self, message: memoryview, path: tuple[int, ...]) -> Iterator[memoryview]:
        wanted, *deeper = path
        for number, content in self._fields(message):
            if number != wanted:
                continue
            if deeper:
                yield from self._nested(content, tuple(deeper))
            else:
                yield content

    def fields(self, message: memoryview) -> Iterator[tuple[int, memoryview]]:
        """The number and bytes of each field that has a length.  Raises `BadUpload`."""
        return self._fields(message)

    def _fields(self, message: memoryview) -> Iterator[tuple[int, memoryview]]:
        at, end = 0, len(message)
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise BadUpload("too many fields")
            key, at = _varint(message, at)
            kind = key & 7
            if kind == _LEN:
                size, at = _varint(message, at)
                if size > end - at:
                    raise BadUpload("a field is cut short")
                yield key >> 3, message[at : at + size]
                at += size
            elif kind == _VARINT:
                _, at = _varint(message, at)
            elif kind in (_I64, _I32):
                at += 8 if kind == _I64 else 4
                if at > end:
                    raise BadUpload("a field is cut short")
            else:
                raise BadUpload("not protobuf")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(message) or shift > 63:
            raise BadUpload("not protobuf")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
