"""What is kept for how long, and how the rest goes: in small steps, oldest first.

A step takes some milliseconds, so that no batch waits long behind it.  What a session
needs to be made again, its state and the lines after it, is never dropped before itself:
only chunks go, whose lines are in the state.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from typing import Final

from attrs import frozen

from bridge.store.schema import transaction

DAY: Final = 86_400.0

STEP: Final = 0.008
"""Seconds of work in one step, the disk's time at its end not counted."""
REPLAY: Final = 600.0
"""Seconds that the journal is kept when its lines are in chunks: a reader that follows it
may be away for so long."""
_BATCHES: Final = 20
"""Batches of the journal dropped at once."""
_FREE_PAGES: Final = 1_024
"""Pages without content that a file may have: they are used again."""
_VACUUM: Final = 64
"""Pages given back to the disk at once."""
_RUNS: Final = 1_000
"""Newest runs that are kept."""


@frozen
class Retention:
    """How much is kept."""

    sessions: float = 90 * DAY
    """Seconds after its end that a session is kept."""
    events: float = 14 * DAY
    """Seconds that its lines are kept, from each line's own time on."""
    size: float = 10e9
    """Bytes of the file beyond which the oldest goes, lines before sessions."""


DEFAULT: Final = Retention()


def prune(db: sqlite3.Connection, retention: Retention, now: float) -> bool:
    """One step; whether there may be more.  `now` is Unix seconds.  Raises sqlite3.Error."""
    until = time.monotonic() + STEP
    with transaction(db):
        for drop in _KINDS:
            worked = False
            while drop(db, retention, now):
                worked = True
                if time.monotonic() > until:
                    return True
            if worked:
                return True
    return False


# Each drops a little and returns whether there was something to drop.


def _old_lines(db: sqlite3.Connection, retention: Retention, now: float) -> bool:
    return _drop_chunk(db, now - retention.events)


def _old_sessions(db: sqlite3.Connection, retention: Retention, now: float) -> bool:
    return _drop_session(db, now - retention.sessions)


def _lines_over_size(db: sqlite3.Connection, retention: Retention, _now: float) -> bool:
    return _size(db) > retention.size and _drop_chunk(db, float("inf"))


def _sessions_over_size(db: sqlite3.Connection, retention: Retention, _now: float) -> bool:
    return _size(db) > retention.size and _drop_session(db, float("inf"))


def _old_batches(db: sqlite3.Connection, _retention: Retention, now: float) -> bool:
    dropped = db.execute(
        "DELETE FROM journal WHERE batch IN "
        "(SELECT batch FROM journal WHERE at < :before ORDER BY batch LIMIT :most) "
        "AND batch < (SELECT min(batch, floor) FROM journal ORDER BY batch DESC LIMIT 1)",
        {"before": now - REPLAY, "most": _BATCHES},
    )
    return dropped.rowcount > 0


def _old_runs(db: sqlite3.Connection, _retention: Retention, _now: float) -> bool:
    dropped = db.execute("DELETE FROM runs WHERE id <= (SELECT max(id) FROM runs) - ?", (_RUNS,))
    return dropped.rowcount > 0


def _free_pages(db: sqlite3.Connection, _retention: Retention, _now: float) -> bool:
    if db.execute("PRAGMA freelist_count").fetchone()[0] <= _FREE_PAGES:
        return False
    db.execute(f"PRAGMA incremental_vacuum({_VACUUM})").fetchall()  # a page for each row fetched
    return True


_KINDS: Final[tuple[Callable[[sqlite3.Connection, Retention, float], bool], ...]] = (
    _old_batches,
    _old_lines,
    _old_sessions,
    _lines_over_size,
    _sessions_over_size,
    _old_runs,
    _free_pages,
)


def _size(db: sqlite3.Connection) -> int:
    """Bytes of the file that have content."""
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


_OLDEST_CHUNK: Final = """
    SELECT session, first FROM sessions LEFT JOIN chunks USING (session)
    WHERE has_lines AND session < :number
        AND first IS (SELECT min(first) FROM chunks WHERE session = sessions.session)
        AND (first IS NULL OR coalesce(at, 0) < :before)
    ORDER BY session LIMIT 1
    """


def _drop_chunk(db: sqlite3.Connection, before: float) -> bool:
    """The oldest lines of the oldest session that has lines from before that time."""
    # Sessions are numbered by their begin: one that began later has no line from before.
    number = min(before * 1e6, float(1 << 62))
    found = db.execute(_OLDEST_CHUNK, {"number": number, "before": before}).fetchone()
    if found is None:
        return False
    session, first = found
    if first is None:
        db.execute("UPDATE sessions SET has_lines = 0 WHERE session = ?", (session,))
    else:
        db.execute("DELETE FROM chunks WHERE session = ? AND first = ?", (session, first))
    return True


def _drop_session(db: sqlite3.Connection, before: float) -> bool:
    """The session that ended first, before that time; its lines step by step."""
    found = db.execute(
        "SELECT session FROM sessions WHERE ended_at < ? ORDER BY ended_at LIMIT 1", (before,)
    ).fetchone()
    if found is None:
        return False
    lines = db.execute(
        "DELETE FROM chunks WHERE session = :session AND first = "
        "(SELECT min(first) FROM chunks WHERE session = :session)",
        {"session": found[0]},
    )
    if lines.rowcount:
        return True
    for table in ("people", "states", "sessions"):
        db.execute(f"DELETE FROM {table} WHERE session = ?", found)  # noqa: S608 - of ours
    return True
