"""The table of alerts that fired, one row an episode.

    alerts     session, rule, the person whom it is on, text, when it fired and was resolved

It is made with the first alert, so a store without rules has no byte of it; it belongs to no
version of the file.  The writer notes the alerts of each row of the journal in the transaction that
stores the row.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from math import inf
from typing import Any, Final

from actors.journal.alert_history import AlertFilters, AlertPage, StoredAlert
from actors.journal.archive import JournalRow
from actors.journal.session_filters import regex_of
from actors.journal.session_reader import BadCursor
from actors.session.codec import decode_entries
from bridge.store.read_connection import ReadConnection

MARK: Final = b"alert_"
"""What the entries of a row have where there is an alert among them."""
MOST_ALERTS: Final = 100_000
"""Rows; the oldest go first."""
_PRUNE_EVERY: Final = 1_000
_AT_ONCE: Final = 500
_CURSOR: Final = re.compile(r"[0-9]{1,18}", re.ASCII)

_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS alerts (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        session INTEGER NOT NULL,
        rule TEXT NOT NULL,
        person TEXT NOT NULL,
        text TEXT NOT NULL,
        fired_at REAL NOT NULL,
        resolved_at REAL
    )"""
_INDEX: Final = "CREATE INDEX IF NOT EXISTS alerts_of_session ON alerts (session)"


def has_alerts(db: sqlite3.Connection) -> bool:
    """Whether the table is there."""
    sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alerts'"
    return db.execute(sql).fetchone() is not None


def note_alerts(db: sqlite3.Connection, row: JournalRow) -> None:
    """Note what a row of the journal says of alerts.  Within the transaction that stores it."""
    for entry in decode_entries(row.entries):
        if entry.event == "alert_firing":
            _fire(db, row.session, entry.at, entry.data)
        elif entry.event == "alert_resolved" and has_alerts(db):
            db.execute(
                "UPDATE alerts SET resolved_at = ? WHERE number = (SELECT max(number) FROM alerts"
                " WHERE session = ? AND rule = ? AND person = ? AND resolved_at IS NULL)",
                (entry.at, row.session, entry.data["rule"], entry.data["on"] or ""),
            )


def _fire(db: sqlite3.Connection, session: int, at: float, data: Any) -> None:
    db.execute(_TABLE)
    db.execute(_INDEX)
    number = db.execute(
        "INSERT INTO alerts (session, rule, person, text, fired_at) VALUES (?, ?, ?, ?, ?)",
        (session, data["rule"], data["on"] or "", data["text"], at),
    ).lastrowid
    if number is not None and number % _PRUNE_EVERY == 0:
        db.execute("DELETE FROM alerts WHERE number <= ?", (number - MOST_ALERTS,))


def drop_alerts(db: sqlite3.Connection, session: int) -> None:
    """With its session."""
    if has_alerts(db):
        db.execute("DELETE FROM alerts WHERE session = ?", (session,))


def read_alerts(
    db: ReadConnection, limit: int, cursor: str | None, filters: AlertFilters
) -> AlertPage:
    """See `SessionReader.alerts`."""
    if cursor is not None and not _CURSOR.fullmatch(cursor):
        raise BadCursor("this is not a cursor of a list")
    below = 1 << 62 if cursor is None else int(cursor)
    if not db.has_alerts():
        return AlertPage([], None)
    chosen = list[tuple[int, StoredAlert]]()
    for number, alert in _alerts(db, below, filters):
        if len(chosen) == limit:
            return AlertPage([one for _, one in chosen], str(chosen[-1][0]))
        chosen.append((number, alert))
    return AlertPage([one for _, one in chosen], None)


def _alerts(
    db: ReadConnection, below: int, filters: AlertFilters
) -> Iterator[tuple[int, StoredAlert]]:
    room = None if filters.room is None else regex_of(filters.room)
    person = None if filters.person is None else regex_of(filters.person)
    while True:
        rows = db.execute(
            "SELECT number, rule, room, room_sid, person, text, fired_at, resolved_at"
            " FROM alerts JOIN sessions USING (session) WHERE number < :below"
            " AND fired_at >= :since AND fired_at < :until"
            " AND (resolved_at IS NULL OR :resolved) AND (resolved_at IS NOT NULL OR :firing)"
            " ORDER BY number DESC LIMIT :limit",
            {
                "below": below,
                "since": -inf if filters.since is None else filters.since,
                "until": inf if filters.until is None else filters.until,
                "firing": filters.status != "resolved",
                "resolved": filters.status != "firing",
                "limit": _AT_ONCE,
            },
        ).fetchall()
        for number, *values in rows:
            alert = StoredAlert(*values)
            if room is not None and room.match(alert.room) is None:
                continue
            if person is not None and (not alert.on or person.match(alert.on) is None):
                continue
            yield number, alert
        if len(rows) < _AT_ONCE:
            return
        below = rows[-1][0]
