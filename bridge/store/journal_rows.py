"""Lines as they lie in the file: packed, many to a row.

A row for every line would cost most of what the store costs: each room's next line goes
to another page of the file, and a page has to be written whole.  So a batch is one row of
the journal, whatever rooms it is from, and when a session is kept whole, its lines since
the last time become one `chunk` of its own, compressed.  Every line is thus in the
journal first and in its session's chunks later.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Collection, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from actors.journal.archive import JournalRow
from actors.session.codec import Unreadable

MOST_BYTES: Final = 1 << 20
"""Of the lines in one row, but for a single line that is longer."""
_LEVEL: Final = 1
"""zlib's: lines shrink to a fifth, and a higher one takes more time than it saves."""

_Fields: TypeAlias = tuple[int, int, float, str, bytes, bytes]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[_Fields]).decode


def pack(line: JournalRow) -> bytes:
    return _encode((line.session, line.seq, line.at, line.kind, line.body, line.told))


def rows_of(packed: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """The same lines as rows: how many there are in each, and its bytes."""
    begin = size = 0
    for index, length in enumerate(map(len, packed)):
        if index > begin and size + length > MOST_BYTES:
            yield index - begin, _row(packed[begin:index])
            begin, size = index, 0
        size += length
    if packed:
        yield len(packed) - begin, _row(packed[begin:])


def _row(packed: Sequence[bytes]) -> bytes:
    """MessagePack's array of them."""
    return b"".join((struct.pack(">BI", 0xDD, len(packed)), *packed))


NO_LINES: Final = _row(())


def unpack(row: bytes, of: Collection[int] | None = None) -> list[JournalRow]:
    """All lines, or those of some sessions.  Raises `Unreadable`."""
    try:
        return [JournalRow(*fields) for fields in _decode(row) if of is None or fields[0] in of]
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unreadable(f"lines: {error}") from None


def compress(row: bytes) -> bytes:
    return zlib.compress(row, _LEVEL)


def unpack_chunk(chunk: bytes) -> list[JournalRow]:
    """Raises `Unreadable`."""
    try:
        return unpack(zlib.decompress(chunk))
    except zlib.error as error:
        raise Unreadable(f"chunk: {error}") from None


def newest_lines(
    db: sqlite3.Connection, of: Collection[int] | None = None
) -> dict[int, list[JournalRow]]:
    """Lines that are in no chunk, by session, in order; and some that are.

    Of all sessions, or of some: with 500 rooms most of what it takes is to make the lines.
    A row that cannot be read is left out: of the sessions in it nothing after it counts
    (`refold` sees the gap).
    """
    found: dict[int, list[JournalRow]] = {}
    rows = db.execute(
        "SELECT lines FROM journal WHERE batch >= "
        "(SELECT floor FROM journal ORDER BY batch DESC LIMIT 1) ORDER BY batch"
    )
    for (row,) in rows:
        try:
            lines = unpack(row, of)
        except Unreadable:
            continue
        for line in lines:
            found.setdefault(line.session, []).append(line)
    return found
