"""The lines that are stored of shared rooms: what is wrong with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from itertools import groupby, pairwise

from attrs import frozen

from actors.journal.archive import JournalRow
from actors.session import DataReceived
from actors.session.codec import decode_record
from bridge.postgres.postgres_connection import READER_LIMITS, PostgresConnection, connect
from bridge.postgres.postgres_reader import open_database_reader
from bridge.store.journal_rows import unpack, unpack_chunk


@frozen(kw_only=True)
class Verdict:
    """Counts and a time.  `faults` must be 0."""

    lines: int
    sessions: int
    turns: int
    """Times that a worker owned a room and wrote a line of it."""
    silence: float = 0.0
    """The longest time without a line of a room that is watched later, in seconds."""
    second_sessions: int = 0
    """Sessions beyond one for each room SID."""
    missing: int = 0
    """Numbers of lines that are not there."""
    duplicates: int = 0
    """Numbers that two different lines have."""
    interleaved: int = 0
    """Lines of an owner after those of the next one."""
    behind: int = 0
    """Sessions whose state lacks lines, or has more."""
    lost: int = 0
    """Lines that a worker was promised and that are not stored."""
    twice: int = 0
    """Numbers that two workers were promised."""

    @property
    def faults(self) -> dict[str, int]:
        """The counts that must be 0."""
        names = (
            "second_sessions", "missing", "duplicates", "interleaved", "behind", "lost", "twice",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}


def judge(url: str, promises: Collection[tuple[str, int, int]]) -> Verdict:
    """Read all that is stored, while nobody writes.

    `promises`: of each line that was acknowledged the writer, the session and the number.
    """
    stored = _stored(url)
    missing = duplicates = interleaved = turns = 0
    silence = 0.0
    for rows in stored.values():
        missing += max(rows) + 1 - len(rows)
        duplicates += sum(len(bodies) - 1 for bodies in rows.values())
        owners = [owner for owner, _ in groupby(filter(None, map(_turn, _ordered(rows))))]
        turns += len(set(owners))
        interleaved += len(owners) - len(set(owners))
        times = [row.at for row in _ordered(rows)]
        silence = max([silence, *(after - before for before, after in pairwise(times))])
    promised = {(session, seq): writer for writer, session, seq in promises}
    twice = Counter((session, seq) for _, session, seq in set(promises))
    with open_database_reader(url) as reader:
        live = {one.number: one for one in reader.live()}
        rooms = Counter(one.state.room_sid for one in live.values())
    behind = sum(
        number not in live
        or live[number].seq != max(rows)
        or live[number].state.messages.total != sum(_turn(row) != "" for row in _ordered(rows))
        for number, rows in stored.items()
    )
    return Verdict(
        lines=sum(map(len, stored.values())),
        sessions=len(stored),
        turns=turns,
        silence=round(silence, 1),
        second_sessions=sum(rooms.values()) - len(rooms),
        missing=missing,
        duplicates=duplicates,
        interleaved=interleaved,
        behind=behind,
        lost=sum(seq not in stored.get(session, {}) for session, seq in promised),
        twice=sum(count - 1 for count in twice.values()),
    )


def _stored(url: str) -> dict[int, dict[int, dict[bytes, JournalRow]]]:
    """By session and number: the different lines."""
    stored: dict[int, dict[int, dict[bytes, JournalRow]]] = {}
    with connect(url, READER_LIMITS) as database:
        db = PostgresConnection(database)
        with db.snapshot():
            rows = [
                row
                for (chunk,) in db.execute("SELECT lines FROM chunks")
                for row in unpack_chunk(chunk)
            ]
            rows += [
                row for (lines,) in db.execute("SELECT lines FROM journal") for row in unpack(lines)
            ]
    for row in rows:
        stored.setdefault(row.session, {}).setdefault(row.seq, {})[row.body] = row
    return stored


def _ordered(rows: dict[int, dict[bytes, JournalRow]]) -> list[JournalRow]:
    return [row for seq in sorted(rows) for row in rows[seq].values()]


def _turn(row: JournalRow) -> str:
    """The name of the owner's time that the line has; empty for a session's begin."""
    record = decode_record(row.kind, row.body)
    return record.topic if isinstance(record, DataReceived) else ""
