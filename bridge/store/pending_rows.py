"""The journal rows that a writer moves into chunks at the next checkpoint of their session."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define, field

from actors.journal.archive import JournalRow
from bridge.store.journal_rows import compress, pack


@define
class PendingRows:
    """The journal rows of one session that are in no chunk yet."""

    batch: int
    """The batch of the first one."""
    rows: list[JournalRow] = field(factory=list[JournalRow])
    encoded: list[bytes] = field(factory=list[bytes])


def chunks_of(pending: PendingRows) -> Iterator[tuple[int, float, bytes]]:
    """For each chunk: the number of its first row, the time of its last row, and its bytes."""
    begin = 0
    for count, packed in pack(pending.encoded):
        end = begin + count
        yield pending.rows[begin].seq, pending.rows[end - 1].at, compress(packed)
        begin = end
