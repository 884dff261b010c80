"""A session from what is stored of it: its checkpoint, with the journal rows after it folded in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from attrs import frozen

from actors.journal.archive import JournalRow
from actors.session import SessionState, TimelineEntry, fold
from actors.session.codec import Unreadable, decode_entries, decode_record, decode_state
from bridge.store.read_connection import ReadConnection


@frozen
class ReplayedSession:
    """A session as of its last row that could be read."""

    state: SessionState
    seq: int
    """Of that row."""
    rows: tuple[JournalRow, ...]
    """The rows after the checkpoint that were folded."""
    error: Exception | None = None
    """Why the next row could not be folded.  It and the rows after it do not count."""


def fold_row(state: SessionState, seq: int, row: JournalRow) -> SessionState:
    """The state after `row`, from the state after row `seq`.

    Raises `Unreadable` where a row is missing between them, and whatever the fold of a damaged
    record raises.
    """
    if row.seq != seq + 1:
        raise Unreadable(f"journal row {seq + 1} is missing")
    return fold(state, decode_record(row.kind, row.body))[0]


def replay(db: ReadConnection, session: int, newest: Sequence[JournalRow]) -> ReplayedSession:
    """The session as it is now.  Read `newest` in the same transaction.

    Raises `Unreadable` (a ValueError) where its checkpoint cannot be read.
    """
    seq, body = db.execute(
        "SELECT seq, state FROM sessions JOIN states USING (session) WHERE session = ?",
        (session,),
    ).fetchone()
    state = decode_state(body)
    folded: list[JournalRow] = []
    for row in newest:
        if row.seq <= seq:
            continue
        try:
            state = fold_row(state, seq, row)
        except Exception as error:  # noqa: BLE001 - whatever a row does, the ones before are right
            return ReplayedSession(state, seq, tuple(folded), error)
        seq = row.seq
        folded.append(row)
    return ReplayedSession(state, seq, tuple(folded))


def entries_of(rows: Iterable[JournalRow]) -> list[TimelineEntry]:
    """The timeline entries of these rows, in order.  It leaves out those that cannot be read."""
    entries: list[TimelineEntry] = []
    for row in rows:
        if row.entries:
            try:
                entries.extend(decode_entries(row.entries))
            except Unreadable:
                continue
    return entries
