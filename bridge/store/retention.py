"""What is kept for how long, and how the rest goes: in small steps.

By age the oldest goes first.  What age is, no clock of this machine says alone: who calls
gives a time that is to be trusted, or None (then nothing goes by age), and at most a share
of what is kept goes in an hour (`Ration`).

By size first go lines, of the session that has most of them (a participant who fills the
disk takes nothing from other rooms), then the oldest sessions that ended.  The journal does
not count for that: where all else is small enough, what of it is in chunks too goes.

A step takes some milliseconds, so that no batch waits long behind it.  What a session
needs to be made again, its state and the lines after it, is never dropped before itself:
only chunks go, whose lines are in the state.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from math import ceil, inf
from typing import Final

from attrs import define, frozen

from actors.journal.archive import NOTHING, PruneStep, Removal
from bridge.store.schema import transaction

DAY: Final = 86_400.0
HOUR: Final = 3_600.0

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
    """Bytes of the file beyond which something goes, lines before sessions."""
    an_hour: float = 0.05
    """Share of the sessions, and of the bytes, that goes by age within an hour at most."""


DEFAULT: Final = Retention()


@define
class Ration:
    """What may still go by age in this hour.  `steady` is a clock that nobody sets, in seconds."""

    steady: Callable[[], float] = time.monotonic
    began: float = -inf
    sessions: int = 0
    bytes: int = 0

    def renew(self, db: sqlite3.Connection, share: float) -> None:
        """Another hour, if this one is over."""
        if self.steady() - self.began >= HOUR:
            self.began = self.steady()
            kept = db.execute("SELECT count(*) FROM sessions").fetchone()[0]
            self.sessions, self.bytes = ceil(kept * share), ceil(_size(db) * share)


@define
class _PruneStep:
    db: sqlite3.Connection
    retention: Retention
    now: float | None
    ration: Ration
    by_age: Removal = NOTHING
    by_size: Removal = NOTHING
    journal: int | None = None
    """Bytes of the journal, once somebody asked."""

    @property
    def is_over_size(self) -> bool:
        """Whether what is there beside the journal is too large."""
        over = _size(self.db) - self.retention.size
        if over <= 0:
            return False
        if self.journal is None:
            self.journal = _size_of_journal(self.db)
        return over > self.journal


def prune(
    db: sqlite3.Connection, retention: Retention, now: float | None, ration: Ration
) -> PruneStep:
    """One step.  `now` is Unix seconds, None where no clock is trusted.  Raises sqlite3.Error."""
    until = time.monotonic() + STEP
    step = _PruneStep(db, retention, now, ration)
    more = False
    with transaction(db):
        ration.renew(db, retention.an_hour)
        for drop in _KINDS:
            while drop(step):
                more = True
                if time.monotonic() > until:
                    break
            if more:
                break
    return PruneStep(more, step.by_age, step.by_size)


# Each drops a little and returns whether there was something to drop.


def _old_lines(step: _PruneStep) -> bool:
    if step.now is None or step.ration.bytes <= 0:
        return False
    dropped = _drop_chunk(step.db, step.now - step.retention.events)
    if dropped is None:
        return False
    step.ration.bytes -= dropped
    step.by_age += Removal(bytes=dropped)
    return True


def _old_sessions(step: _PruneStep) -> bool:
    if step.now is None or step.ration.sessions <= 0:
        return False
    dropped = _drop_session(step.db, _ENDED_BEFORE, step.now - step.retention.sessions)
    if dropped is None:
        return False
    step.ration.sessions -= dropped.sessions
    step.by_age += dropped
    return True


def _lines_over_size(step: _PruneStep) -> bool:
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
    # By the times that were written, either way: clocks are set.
    newest = "(SELECT alive_at FROM runs ORDER BY id DESC LIMIT 1)"
    return _drop_batches(step.db, f"abs(at - {newest}) > {REPLAY}")


def _drop_batches(db: sqlite3.Connection, condition: str) -> bool:
    """Some of those whose lines are all in chunks, the oldest first."""
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
    _old_lines,
    _old_sessions,
    _lines_over_size,
    _sessions_over_size,
    _batches_over_size,
    _old_runs,
    _free_pages,
)


def _size_of_journal(db: sqlite3.Connection) -> int:
    """Bytes of its lines."""
    return db.execute("SELECT coalesce(sum(length(lines)), 0) FROM journal").fetchone()[0]


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


def _drop_chunk(db: sqlite3.Connection, before: float) -> int | None:
    """The oldest lines of the oldest session that has lines from before that time; their bytes."""
    # Sessions are numbered by their begin: one that began later has no line from before.
    number = min(before * 1e6, float(1 << 62))
    found = db.execute(_OLDEST_CHUNK, {"number": number, "before": before}).fetchone()
    if found is None:
        return None
    session, first = found
    if first is None:
        db.execute("UPDATE sessions SET has_lines = 0 WHERE session = ?", (session,))
        return 0
    return _drop_first_chunk(db, session)


_GREEDIEST: Final = (
    "SELECT session FROM sessions WHERE bytes > 0 ORDER BY bytes DESC, session LIMIT 1"
)


def _drop_chunk_of_the_greediest(db: sqlite3.Connection) -> int | None:
    """The oldest lines of the session that has most bytes of them; their bytes."""
    found = db.execute(_GREEDIEST).fetchone()
    return None if found is None else _drop_first_chunk(db, found[0])


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
    """The first such session, its lines step by step; what went."""
    found = db.execute(which, (before,)).fetchone()
    if found is None:
        return None
    if db.execute("SELECT 1 FROM chunks WHERE session = ? LIMIT 1", found).fetchone():
        return Removal(bytes=_drop_first_chunk(db, found[0]))
    for table in ("people", "states", "sessions"):
        db.execute(f"DELETE FROM {table} WHERE session = ?", found)  # noqa: S608 - of ours
    return Removal(sessions=1)
