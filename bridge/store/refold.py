"""A session made of what is kept of it: its state, and the lines after it folded in."""

from __future__ import annotations

import sqlite3

from attrs import frozen

from actors.session import Entry, SessionState, fold
from actors.session.codec import decode_entries, decode_record, decode_state


@frozen
class Refolded:
    """A session as of its last line that could be read."""

    state: SessionState
    seq: int
    """Of that line."""
    broken: Exception | None = None
    """Why the next one could not be; it and those after it are not in `state`."""


def refold(db: sqlite3.Connection, session: int) -> Refolded:
    """The session as it is now; within one transaction.

    Raises `Unreadable` (a ValueError) where its state is none.
    """
    seq, body = db.execute(
        "SELECT seq, state FROM sessions JOIN states USING (session) WHERE session = ?",
        (session,),
    ).fetchone()
    state = decode_state(body)
    lines = db.execute(
        "SELECT seq, kind, body FROM events WHERE session = ? AND seq > ? ORDER BY seq",
        (session, seq),
    )
    for number, kind, body in lines:
        try:
            state, _ = fold(state, decode_record(kind, body))
        except Exception as error:  # noqa: BLE001 - whatever a line does, the others are right
            return Refolded(state, seq, error)
        seq = number
    return Refolded(state, seq)


def timeline(db: sqlite3.Connection, session: int) -> list[Entry]:
    """What the session told, oldest first, as far as its lines are kept and can be read."""
    entries: list[Entry] = []
    lines = db.execute(
        "SELECT told FROM events WHERE session = ? AND told != x'' ORDER BY seq", (session,)
    )
    for (told,) in lines:
        try:
            entries.extend(decode_entries(told))
        except ValueError:
            continue
    return entries
