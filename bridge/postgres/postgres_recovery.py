"""The sessions in PostgreSQL that earlier runs of a worker left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import structlog

from actors.journal.archive import RECENT, RecoveredSessions, StoredSession
from actors.session.codec import Unreadable, decode_state
from actors.session.end_reasons import CONTINUABLE
from bridge.postgres.postgres_connection import Database
from bridge.postgres.postgres_epochs import fence
from bridge.postgres.postgres_run import PostgresRun

log = structlog.get_logger()

MOST_ENDED: Final = 1_000
"""As in `bridge.store.writer`."""
_AT_ONCE: Final = 500
"""Sessions that are read between two renewals of the lease."""
_OURS: Final = "SELECT session FROM sessions WHERE owner = %s"
_CONTINUED: Final = (
    f"{_OURS} AND end_reason IN {tuple(sorted(CONTINUABLE))} ORDER BY place DESC LIMIT %s"
)
_ENDED_LATELY: Final = f"{_OURS} AND ended_at > %s ORDER BY ended_at DESC LIMIT %s"


def load_sessions(db: Database, run: PostgresRun) -> RecoveredSessions:
    """The sessions of earlier runs of this worker, the oldest first.

    `begin_epoch` acquired the rooms of those that are open.  A session that another worker
    acquired meanwhile is that worker's.
    """
    sessions = set[int]()
    queries: list[tuple[str, tuple[object, ...]]] = [
        (f"{_OURS} AND ended_at IS NULL", (run.worker,)),
        (_CONTINUED, (run.worker, MOST_ENDED)),
    ]
    if run.alive_before is not None:
        queries.append((_ENDED_LATELY, (run.worker, run.alive_before - RECENT, MOST_ENDED)))
    for sql, values in queries:
        sessions.update(session for (session,) in db.execute(sql.encode(), values))
    numbers, loaded = sorted(sessions - (run.written or set())), list[StoredSession]()
    for begin in range(0, len(numbers), _AT_ONCE):
        fence(db, run)
        rows = db.execute(
            "SELECT session, seq, lines_lost, state FROM sessions JOIN states USING (session) "
            "WHERE session = ANY(%s) AND owner = %s ORDER BY session",
            (numbers[begin : begin + _AT_ONCE], run.worker),
            binary=True,
        ).fetchall()
        loaded += stored_sessions(rows)
    run.written = None
    return RecoveredSessions(tuple(loaded), run.alive_before)


def stored_sessions(rows: Iterable[tuple[Any, ...]]) -> Iterator[StoredSession]:
    """Sessions of rows with key, newest row, rows lost and state; without those that cannot be
    read."""
    for session, seq, lost, body in rows:
        try:
            yield StoredSession(session, seq, decode_state(body), lost)
        except Unreadable as error:
            log.exception("stored_session_unreadable", session=session, error=error)
