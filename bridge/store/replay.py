"""A session made of what is kept of it: its state, and the lines after it folded in."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from attrs import frozen

from actors.journal.archive import JournalRow
from actors.session import SessionState, TimelineEntry, fold
from actors.session.codec import Unreadable, decode_entries, decode_record, decode_state


@frozen
class Replayed:
    """A session as of its last line that could be read."""

    state: SessionState
    seq: int
    """Of that line."""
    folded: tuple[JournalRow, ...]
    """The lines that were."""
    broken: Exception | None = None
    """Why the next one could not be; it and those after it count for nothing."""


def replay(db: sqlite3.Connection, session: int, newest: Sequence[JournalRow]) -> Replayed:
    """The session as it is now; within one transaction with where `newest` is from.

    Raises `Unreadable` (a ValueError) where its state is none.
    """
    seq, body = db.execute(
        "SELECT seq, state FROM sessions JOIN states USING (session) WHERE session = ?",
        (session,),
    ).fetchone()
    state = decode_state(body)
    folded: list[JournalRow] = []
    for line in newest:
        if line.seq <= seq:
            continue
        try:
            if line.seq != seq + 1:
                raise Unreadable(f"line {seq + 1} is missing")
            state, _ = fold(state, decode_record(line.kind, line.body))
        except Exception as error:  # noqa: BLE001 - whatever a line does, the others are right
            return Replayed(state, seq, tuple(folded), error)
        seq = line.seq
        folded.append(line)
    return Replayed(state, seq, tuple(folded))


def entries_of(lines: Sequence[JournalRow]) -> list[TimelineEntry]:
    """The entries of these lines, in order; without those that cannot be read."""
    entries: list[TimelineEntry] = []
    for line in lines:
        if line.told:
            try:
                entries.extend(decode_entries(line.told))
            except Unreadable:
                continue
    return entries
