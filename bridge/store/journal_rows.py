"""Journal rows as the file has them: packed, many to a row of SQLite.

A row of SQLite for each journal row would be most of the store's cost: the next row of each room
goes to another page of the file, and SQLite writes whole pages.  So a batch is one *pack* in
SQLite's table `journal`, whatever sessions its rows are of.  At a checkpoint of a session, its
rows since the last checkpoint become a pack of its own, compressed: a `chunk`.  Every journal row
is thus in a batch first, and in a chunk of its session later.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Final, TypeAlias

import msgspec

from actors.journal.archive import JournalRow
from actors.session.codec import Unreadable
from bridge.store.read_connection import ReadConnection

PACK_BYTES: Final = 1 << 20
"""The most bytes in one pack.  A single row that is longer is a pack alone."""
_LEVEL: Final = 1
"""zlib's.  Rows shrink to a fifth; a higher level takes more time than it saves."""

_Fields: TypeAlias = tuple[int, int, float, str, bytes, bytes]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[_Fields]).decode


def encode_journal_row(row: JournalRow) -> bytes:
    """One row as MessagePack."""
    return _encode((row.session, row.seq, row.at, row.kind, row.body, row.entries))


def pack(encoded: Sequence[bytes]) -> Iterator[tuple[int, bytes]]:
    """Join encoded rows into packs.  Gives of each pack its number of rows and its bytes."""
    begin = size = 0
    for index, length in enumerate(map(len, encoded)):
        if index > begin and size + length > PACK_BYTES:
            yield index - begin, _pack(encoded[begin:index])
            begin, size = index, 0
        size += length
    if encoded:
        yield len(encoded) - begin, _pack(encoded[begin:])


def _pack(encoded: Sequence[bytes]) -> bytes:
    """MessagePack's array of them."""
    return b"".join((struct.pack(">BI", 0xDD, len(encoded)), *encoded))


def pack_whole(encoded: Sequence[bytes]) -> bytes:
    """Encoded rows as one pack, however long it is."""
    return _pack(encoded)


EMPTY_PACK: Final = _pack(())


def unpack(packed: bytes, of: Collection[int] | None = None) -> list[JournalRow]:
    """The rows of a pack, of all sessions or of some.  Raises `Unreadable`."""
    try:
        return [JournalRow(*fields) for fields in _decode(packed) if of is None or fields[0] in of]
    except (msgspec.MsgspecError, ValueError) as error:
        raise Unreadable(f"journal rows: {error}") from None


def compress(packed: bytes) -> bytes:
    """A chunk."""
    return zlib.compress(packed, _LEVEL)


def unpack_chunk(chunk: bytes) -> list[JournalRow]:
    """The rows of a chunk.  Raises `Unreadable`."""
    try:
        return unpack(zlib.decompress(chunk))
    except zlib.error as error:
        raise Unreadable(f"chunk: {error}") from None


def rows_by_session(
    packs: Iterable[bytes], of: Collection[int] | None = None
) -> dict[int, list[JournalRow]]:
    """The rows of these packs by session, in order.

    `of` limits it to some sessions: with 500 rooms, most of the time goes into making the rows.
    It leaves out a pack that cannot be read.  The sessions in that pack have a hole then, and
    `replay` stops at it.
    """
    newest: dict[int, list[JournalRow]] = {}
    for packed in packs:
        try:
            rows = unpack(packed, of)
        except Unreadable:
            continue
        for row in rows:
            newest.setdefault(row.session, []).append(row)
    return newest


def newest_rows(
    db: ReadConnection, of: Collection[int] | None = None
) -> dict[int, list[JournalRow]]:
    """By session, in order: all rows that are in no chunk, and some that are.

    See `rows_by_session`.
    """
    return rows_by_session(db.packs_in_no_chunk(), of)
