"""Retention of sessions and their timelines.  The rest is dropped in small steps.

By age, the oldest is dropped first.  The clock of this machine alone does not decide what is old:
the caller gives a time that another clock confirms, or None (then nothing is dropped by age).
Besides, at most a share of the store is dropped by age in an hour (`PruneQuota`).

By size, chunks are dropped first, of the session that has the most bytes of them: a participant
who fills the disk costs other rooms nothing.  Then the oldest ended sessions are dropped.  The
journal does not count for that.  Where all else is small enough, batches whose rows are all in
chunks are dropped.

A step takes some milliseconds, so no batch waits long behind it.  A replay needs the state of a
session and the rows after it.  Neither is dropped before the session itself: a chunk has only rows
that are in the state.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from math import ceil, inf
from typing import Final

from attrs import define, frozen

from actors.journal.archive import NOTHING, PruneStep, Removal
from bridge.store.alert_rows import drop_alerts
from bridge.store.schema import transaction

DAY: Final = 86_400.0
HOUR: Final = 3_600.0

STEP: Final = 0.008
"""Seconds of work in one step, without the time of the disk at its end."""
REPLAY: Final = 600.0
"""Seconds for which a batch stays after its rows are in chunks: a follower of the feed may be
away for so long."""
_BATCHES: Final = 20
"""Batches that are dropped at once."""
_FREE_PAGES: Final = 1_024
"""Pages without content that a file may have, because SQLite uses them again."""
_VACUUM: Final = 64
"""Pages that are given back to the disk at once."""
_RUNS: Final = 1_000
"""The newest runs, which stay."""


@frozen
class Retention:
    """The limits of a store."""

    sessions: float = 90 * DAY
    """Seconds for which a session is kept after its end."""
    events: float = 14 * DAY
    """Seconds for which the rows of its timeline are kept, from the time of each row on."""
    size: float = 10e9
    """Bytes of the file above which timelines are dropped, and then sessions."""
    an_hour: float = 0.05
    """The most that is dropped by age within an hour, as a share of the sessions and of the
    bytes."""


DEFAULT: Final = Retention()


@define
class PruneQuota:
    """The amount that may still be dropped by age in this hour."""

    steady: Callable[[], float] = time.monotonic
    """A clock that is never set, in seconds."""
    began: float = -inf
    """Steady seconds at which this hour began."""
    sessions: int = 0
    bytes: int = 0

    def renew(self, db: sqlite3.Connection, share: float) -> None:
        """Begin another hour, if this one is over."""
        if self.steady() - self.began >= HOUR:
            self.began = self.steady()
            count = db.execute("SELECT count(*) FROM sessions").fetchone()[0]
            self.sessions, self.bytes = ceil(count * share), ceil(_size(db) * share)


@define
class _PruneStep:
    db: sqlite3.Connection
    retention: Retention
    now: float | None
    quota: PruneQuota
    by_age: Removal = NOTHING
    by_size: Removal = NOTHING
    journal: int | None = None
    """Bytes of the journal; None until they are needed."""

    @property
    def is_over_size(self) -> bool:
        """True if the store without its journal is too large."""
        over = _size(self.db) - self.retention.size
        if over <= 0:
            return False
        if self.journal is None:
            self.journal = _size_of_journal(self.db)
        return over > self.journal


def prune(
    db: sqlite3.Connection, retention: Retention, now: float | None, quota: PruneQuota
) -> PruneStep:
    """Do one step.  `now` is Unix seconds, or None where no clock is trusted.

    Raises sqlite3.Error.
    """
    until = time.monotonic() + STEP
    step = _PruneStep(db, retention, now, quota)
    more = False
    with transaction(db):
        quota.renew(db, retention.an_hour)
        for drop in _KINDS:
            while drop(step):
                more = True
                if time.monotonic() > until:
                    break
            if more:
                break
    return PruneStep(more, step.by_age, step.by_size)


# Each of these drops a little.  It returns whether there was something to drop.


def _old_chunks(step: _PruneStep) -> bool:
    if step.now is None or step.quota.bytes <= 0:
        return False
    dropped = _drop_chunk(step.db, step.now - step.retention.events)
    if dropped is None:
        return False
    step.quota.bytes -= dropped
    step.by_age += Removal(bytes=dropped)
    return True


def _old_sessions(step: _PruneStep) -> bool:
    if step.now is None or step.quota.sessions <= 0:
        return False
    dropped = _drop_session(step.db, _ENDED_BEFORE, step.now - step.retention.sessions)
    if dropped is None:
        return False
    step.quota.sessions -= dropped.sessions
    step.by_age += dropped
    return True


def _chunks_over_size(step: _PruneStep) -> bool:
    if not step.is_over_size:
        return False
    dropped = _drop_chunk_of_the_greediest(step.db)
    if dropped is None:
        return False
    step.by_size += Removal(bytes=dropped)
    return True


def _batches_over_size(step: _PruneStep) -> bool:
    return _size(step.db) > step.retention.size and _drop_batches(step.db, "1")


def _sessions_over_size(step: _PruneStep) -> bool:
    if not step.is_over_size:
        return False
    dropped = _drop_session(step.db, _FIRST_ENDED, None)
    if dropped is None:
        return False
    step.by_size += dropped
    return True


def _old_batches(step: _PruneStep) -> bool:
    # `abs`: a clock may have been set back since.
    newest = "(SELECT alive_at FROM runs ORDER BY id DESC LIMIT 1)"
    return _drop_batches(step.db, f"abs(at - {newest}) > {REPLAY}")


def _drop_batches(db: sqlite3.Connection, condition: str) -> bool:
    """Drop some batches whose rows are all in chunks, the oldest first."""
    dropped = db.execute(
        f"DELETE FROM journal WHERE batch IN "  # noqa: S608 - of ours
        f"(SELECT batch FROM journal WHERE {condition} ORDER BY batch LIMIT ?) "
        "AND batch < (SELECT min(batch, floor) FROM journal ORDER BY batch DESC LIMIT 1)",
        (_BATCHES,),
    )
    return dropped.rowcount > 0


def _old_runs(step: _PruneStep) -> bool:
    sql = "DELETE FROM runs WHERE id <= (SELECT max(id) FROM runs) - ?"
    return step.db.execute(sql, (_RUNS,)).rowcount > 0


def _free_pages(step: _PruneStep) -> bool:
    if step.db.execute("PRAGMA freelist_count").fetchone()[0] <= _FREE_PAGES:
        return False
    # A page for each row fetched.
    step.db.execute(f"PRAGMA incremental_vacuum({_VACUUM})").fetchall()
    return True


_KINDS: Final[tuple[Callable[[_PruneStep], bool], ...]] = (
    _old_batches,
    _old_chunks,
    _old_sessions,
    _chunks_over_size,
    _sessions_over_size,
    _batches_over_size,
    _old_runs,
    _free_pages,
)


def _size_of_journal(db: sqlite3.Connection) -> int:
    """Bytes of its packs."""
    return db.execute("SELECT coalesce(sum(length(lines)), 0) FROM journal").fetchone()[0]


def _size(db: sqlite3.Connection) -> int:
    """Bytes of the pages of the file that have content."""
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


def _drop_chunk(db: sqlite3.Connection, before: float) -> int | None:
    """Drop the oldest chunk of the oldest session with rows from before that time.  Its bytes."""
    # The number of a session is its begin: one that began later has no row from before.
    number = min(before * 1e6, float(1 << 62))
    oldest = db.execute(_OLDEST_CHUNK, {"number": number, "before": before}).fetchone()
    if oldest is None:
        return None
    session, first = oldest
    if first is None:
        db.execute("UPDATE sessions SET has_lines = 0 WHERE session = ?", (session,))
        return 0
    return _drop_first_chunk(db, session)


_LARGEST_SESSION: Final = (
    "SELECT session FROM sessions WHERE bytes > 0 ORDER BY bytes DESC, session LIMIT 1"
)


def _drop_chunk_of_the_greediest(db: sqlite3.Connection) -> int | None:
    """Drop the oldest chunk of the session with the most bytes of them.  Its bytes."""
    largest = db.execute(_LARGEST_SESSION).fetchone()
    return None if largest is None else _drop_first_chunk(db, largest[0])


def _drop_first_chunk(db: sqlite3.Connection, session: int) -> int:
    chunk = db.execute(
        "SELECT first, length(lines) FROM chunks WHERE session = ? ORDER BY first LIMIT 1",
        (session,),
    ).fetchone()
    if chunk is None:
        db.execute("UPDATE sessions SET bytes = 0, has_lines = 0 WHERE session = ?", (session,))
        return 0
    first, length = chunk
    db.execute("DELETE FROM chunks WHERE session = ? AND first = ?", (session, first))
    db.execute("UPDATE sessions SET bytes = max(0, bytes - ?) WHERE session = ?", (length, session))
    if not db.execute("SELECT 1 FROM chunks WHERE session = ? LIMIT 1", (session,)).fetchone():
        db.execute("UPDATE sessions SET bytes = 0, has_lines = 0 WHERE session = ?", (session,))
    return length


_ENDED_BEFORE: Final = "SELECT session FROM sessions WHERE ended_at < ? ORDER BY ended_at LIMIT 1"
_FIRST_ENDED: Final = (
    "SELECT session FROM sessions WHERE ended_at IS NOT NULL AND ? IS NULL ORDER BY place LIMIT 1"
)


def _drop_session(db: sqlite3.Connection, which: str, before: float | None) -> Removal | None:
    """Drop the first such session, its chunks one by one before it.  Gives what was dropped."""
    key = db.execute(which, (before,)).fetchone()
    if key is None:
        return None
    if db.execute("SELECT 1 FROM chunks WHERE session = ? LIMIT 1", key).fetchone():
        return Removal(bytes=_drop_first_chunk(db, key[0]))
    drop_alerts(db, key[0])
    for table in ("people", "states", "sessions"):
        db.execute(f"DELETE FROM {table} WHERE session = ?", key)  # noqa: S608 - of ours
    return Removal(sessions=1)
