"""Retention in PostgreSQL: the same limits as in SQLite, dropped by whole days where possible.

By age: a day's partition of chunks goes as a whole.  The day is that of the database's clock when
the rows were written, and the present is the earlier one of that clock and of the worker's trusted
clock.  So one wrong clock drops nothing.  Ended sessions go in small steps, at most a share of them
in an hour.

By size: the size is the sum of what sessions take, because a table in PostgreSQL does not shrink
when rows are dropped.  Chunks go first, of the session that has the most bytes of them.

Each worker drops its own batches of the journal.  The journal of a worker whose lease is over for
long goes whole, and at last the row of the worker itself: an id of the feed has a place for each
worker, so it would grow with each worker that ever was.  The number of a worker never comes again.

All else is done by one worker at a time: the one
that gets the lock of this transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from math import ceil, inf
from typing import Any, Final

from attrs import define
from psycopg import errors

from actors.journal.archive import NOTHING, PruneStep, Removal
from bridge.postgres.postgres_connection import Database
from bridge.postgres.postgres_schema import PARTITION_WAIT, make_partitions
from bridge.postgres.postgres_statements import FORGOTTEN_AFTER, RETIRED_AFTER
from bridge.store.alert_rows import MOST_ALERTS
from bridge.store.journal_rows import EMPTY_PACK
from bridge.store.retention import DAY, HOUR, REPLAY, Retention

_LOCK: Final = 0x526D4164
"""Of the pruner, among PostgreSQL's advisory locks."""
AT_ONCE: Final = 200
"""Sessions or chunks that one step drops."""


@define
class SessionQuota:
    """The sessions that may still be dropped for their age in this hour."""

    steady: Callable[[], float]
    began: float = -inf
    sessions: int = 0

    def renew(self, db: Database, share: float) -> None:
        """Begin another hour, if this one is over."""
        if self.steady() - self.began >= HOUR:
            self.began = self.steady()
            self.sessions = ceil(_one(db, "SELECT count(*) FROM sessions") * share)


_BATCHES: Final = """
    WITH gone AS (
        DELETE FROM journal USING workers, LATERAL (
            SELECT least(batch, floor) AS until FROM journal AS newest
            WHERE newest.worker = workers.worker ORDER BY batch DESC LIMIT 1) AS newest
        WHERE workers.worker = ANY(%s) AND journal.worker = workers.worker
            AND batch < newest.until AND abs(at - alive_at) > %s
        RETURNING journal.worker, batch)
    UPDATE workers SET dropped = greatest(dropped, newest)
    FROM (SELECT worker, max(batch) AS newest FROM gone GROUP BY worker) AS newest
    WHERE workers.worker = newest.worker
    """
_CLOSE: Final = """
    WITH dead AS (
        SELECT worker FROM workers WHERE expires <= now() AND ended = epoch
            AND NOT EXISTS (SELECT 1 FROM sessions WHERE owner = worker AND ended_at IS NULL)
        FOR UPDATE SKIP LOCKED)
    INSERT INTO journal (worker, batch, floor, at, lines)
    SELECT worker, batch + 1, batch + 2, at, %s FROM dead, LATERAL (
        SELECT batch, floor, at FROM journal WHERE journal.worker = dead.worker
        ORDER BY batch DESC LIMIT 1) AS newest WHERE floor <= batch
    """
"""Workers that are dead, and whose sessions others have acquired or ended: all their lines are in
chunks.  An empty batch says so, or each reader would read these lines for ever."""
_RETIRE: Final = """
    WITH retired AS (
        SELECT worker FROM workers
        WHERE expires <= now() - make_interval(secs => %s) AND ended = epoch
            AND NOT EXISTS (SELECT 1 FROM sessions WHERE owner = worker AND ended_at IS NULL)
            AND (SELECT floor > batch FROM journal WHERE journal.worker = workers.worker
                ORDER BY batch DESC LIMIT 1)
        LIMIT 20 FOR UPDATE SKIP LOCKED),
    gone AS (
        DELETE FROM journal USING retired WHERE journal.worker = retired.worker
        RETURNING journal.worker, batch)
    UPDATE workers SET dropped = greatest(dropped, newest)
    FROM (SELECT worker, max(batch) AS newest FROM gone GROUP BY worker) AS newest
    WHERE workers.worker = newest.worker
    """
"""Their lines are in chunks."""
_FORGET: Final = """
    DELETE FROM workers WHERE worker IN (
        SELECT worker FROM workers
        WHERE expires <= now() - make_interval(secs => %s) AND ended = epoch
            AND NOT EXISTS (SELECT 1 FROM journal WHERE journal.worker = workers.worker)
            AND NOT EXISTS (SELECT 1 FROM sessions WHERE owner = worker)
            AND NOT EXISTS (SELECT 1 FROM room_leases WHERE worker IN (owner, successor))
        LIMIT 20 FOR UPDATE SKIP LOCKED)
    """
_TEXTS: Final = """
    DELETE FROM texts WHERE number IN (
        SELECT number FROM texts WHERE expires < least(%s, extract(epoch FROM now()))
        ORDER BY expires LIMIT %s)
    """
_DAYS: Final = """
    SELECT inhrelid::regclass::text, substr(relname, 8)
    FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
    WHERE inhparent = 'chunks'::regclass AND relname ~ '^chunks_[0-9]{8}$'
        AND to_date(substr(relname, 8), 'YYYYMMDD') + 1 < to_timestamp(%s)::date
    ORDER BY relname LIMIT 1
    """
"""The oldest partition all of whose rows are older than a time."""


def prune_database(
    db: Database, retention: Retention, now: float | None, worker: int, quota: SessionQuota
) -> PruneStep:
    """Do one step.  `now` is Unix seconds, or None where no clock is trusted.

    Raises psycopg.Error.
    """
    make_partitions(db)
    # Alone, because it locks the worker's row: a batch would wait for all the rest.
    db.execute(_BATCHES, ([worker], REPLAY))
    with db.transaction():
        if not _one(db, "SELECT pg_try_advisory_xact_lock(%s)", _LOCK):
            return PruneStep()
        db.execute(_CLOSE, (EMPTY_PACK,))
        over = "SELECT coalesce(array_agg(worker), '{}') FROM workers WHERE expires <= now()"
        db.execute(_BATCHES, (_one(db, over), REPLAY))
        db.execute(_RETIRE, (RETIRED_AFTER,))
        db.execute(_FORGET, (FORGOTTEN_AFTER,))
        db.execute(
            "DELETE FROM alerts WHERE number <= (SELECT max(number) - %s FROM alerts)",
            (MOST_ALERTS,),
        )
        if now is not None:
            # Also where no worker keeps texts any more: then nobody else drops what is left.
            db.execute(_TEXTS, (now, AT_ONCE))
            quota.renew(db, retention.an_hour)
            step = _drop_old(db, retention, now, quota)
            if step is not None:
                return PruneStep(more=True, by_age=step)
        step = _drop_over_size(db, retention)
        if step is not None:
            return PruneStep(more=True, by_size=step)
    return PruneStep()


def _one(db: Database, sql: str, *values: object) -> Any:
    row = db.execute(sql.encode(), values).fetchone()
    assert row is not None
    return row[0]


# ---------------------------------------------------------------- age


def _drop_old(
    db: Database, retention: Retention, now: float, quota: SessionQuota
) -> Removal | None:
    now = min(now, float(_one(db, "SELECT extract(epoch FROM now())")))
    day = db.execute(_DAYS, (now - retention.events,)).fetchone()
    if day is not None:
        # A long read is in the way: the day goes at one of the next steps.
        with suppress(errors.LockNotAvailable), db.transaction():
            return _drop_day(db, day[0])
    chunks = db.execute(
        "DELETE FROM chunks_other WHERE (session, first, day) IN (SELECT session, first, day "
        "FROM chunks_other WHERE at < %s AND day < to_timestamp(%s)::date LIMIT %s) "
        "RETURNING session, length(lines)",
        (now - retention.events, now - retention.events + DAY, AT_ONCE),
    ).fetchall()
    if chunks:
        return _count_dropped(db, chunks)
    most = min(AT_ONCE, quota.sessions)
    ended = (now - retention.sessions, most)
    dropped = _drop_sessions(db, "ended_at < %s ORDER BY ended_at LIMIT %s", ended)
    quota.sessions -= dropped.sessions
    return dropped or None


def _drop_day(db: Database, partition: str) -> Removal:
    """Drop the chunks of a day."""
    db.execute(f"SET LOCAL lock_timeout = '{PARTITION_WAIT}'".encode())
    db.execute(f"LOCK TABLE chunks, {partition} IN ACCESS EXCLUSIVE MODE".encode())
    dropped = db.execute(
        f"SELECT session, sum(length(lines))::bigint FROM {partition} GROUP BY session".encode()  # noqa: S608
    ).fetchall()
    db.execute(f"DROP TABLE {partition}".encode())
    return _count_dropped(db, dropped)


def _count_dropped(db: Database, chunks: list[tuple[int, int]]) -> Removal:
    """Note in the sessions that these chunks are gone."""
    sizes: dict[int, int] = {}
    for session, size in chunks:
        sizes[session] = sizes.get(session, 0) + size
    db.execute(
        "UPDATE sessions SET bytes = greatest(0, bytes - size), "
        "has_lines = EXISTS (SELECT 1 FROM chunks WHERE chunks.session = sessions.session) "
        "FROM unnest(%s::bigint[], %s::bigint[]) AS dropped (key, size) WHERE session = key",
        (list(sizes), list(sizes.values())),
    )
    return Removal(bytes=sum(sizes.values()))


def _drop_sessions(db: Database, which: str, values: tuple[object, ...]) -> Removal:
    """Drop ended sessions with all that belongs to them."""
    keys = [
        session
        for (session,) in db.execute(
            f"SELECT session FROM sessions WHERE ended_at IS NOT NULL AND {which}".encode(),  # noqa: S608
            values,
        )
    ]
    if not keys:
        return NOTHING
    size = 0
    for table in ("chunks", "people", "states", "alerts", "sessions"):
        measure = "bytes + state_bytes" if table == "sessions" else "0"
        rows = db.execute(
            f"DELETE FROM {table} WHERE session = ANY(%s) RETURNING {measure}".encode(),  # noqa: S608
            (keys,),
        )
        size += sum(row[0] for row in rows)
    return Removal(len(keys), size)


# ---------------------------------------------------------------- size


def _drop_over_size(db: Database, retention: Retention) -> Removal | None:
    over = _one(db, "SELECT coalesce(sum(bytes + state_bytes), 0)::bigint FROM sessions")
    over -= retention.size
    if over <= 0:
        return None
    largest = db.execute(
        "SELECT session FROM sessions WHERE bytes > 0 ORDER BY bytes DESC, session LIMIT 1"
    ).fetchone()
    if largest is None:
        return _drop_sessions(db, "TRUE ORDER BY place LIMIT %s", (AT_ONCE,)) or None
    chunks = db.execute(
        "DELETE FROM chunks WHERE session = %s AND first = (SELECT min(first) FROM chunks "
        "WHERE session = %s) RETURNING session, length(lines)",
        (largest[0], largest[0]),
    ).fetchall()
    if not chunks:
        db.execute(
            "UPDATE sessions SET bytes = 0, has_lines = false WHERE session = %s", (largest[0],)
        )
        return NOTHING + Removal(bytes=1)
    return _count_dropped(db, chunks)
