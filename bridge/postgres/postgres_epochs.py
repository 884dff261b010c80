"""Epochs of workers in PostgreSQL: how one begins, and how others end it.

The row of a worker is the fence of all that it writes.  A batch, and every change of a lease,
updates that row in its transaction, under the condition that its epoch is still this one.  To end
the epoch of a worker whose lease is over, another worker updates the same row.  PostgreSQL lets one
of the two come first.  If it is the batch, the lease is not over any more.  If it is the other
worker, the batch changes no row, and nothing of it is written.

A row that is locked is left alone: its worker is in the middle of a batch.  One that is stopped
there loses its connection after `idle_in_transaction_session_timeout`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from actors.journal.archive import ArchiveLost, ArchiveTrouble
from bridge.postgres.database_url import shown_url
from bridge.postgres.postgres_connection import Database
from bridge.postgres.postgres_run import PostgresRun, run_replaced
from bridge.postgres.postgres_schema import LONGEST_SID

_BIRTH: Final = """
    INSERT INTO workers (instance, epoch, pid, started_at, expires) VALUES
        (%(instance)s, greatest(%(least)s, (extract(epoch FROM clock_timestamp()) * 1e6)::bigint),
        %(pid)s, %(started_at)s, now() + make_interval(secs => %(lease)s))
    ON CONFLICT (instance) DO UPDATE SET
        epoch = greatest(workers.epoch + 1, excluded.epoch), pid = excluded.pid,
        started_at = excluded.started_at, expires = excluded.expires, draining = false
    RETURNING worker, epoch, alive_at
    """
"""An epoch is above the database's clock as well, so that none comes again after the database lost
its last commits."""
_AGAIN: Final = """
    UPDATE workers SET
        epoch = greatest(epoch + 1, (extract(epoch FROM clock_timestamp()) * 1e6)::bigint),
        expires = now() + make_interval(secs => %s)
    WHERE worker = %s AND epoch = ended RETURNING epoch
    """
_END_OTHERS: Final = """
    UPDATE workers SET epoch = over.next, ended = over.next FROM (
        SELECT worker,
            greatest(epoch + 1, (extract(epoch FROM clock_timestamp()) * 1e6)::bigint) AS next
        FROM workers
        WHERE expires <= now() AND ended != epoch AND worker != %s FOR UPDATE SKIP LOCKED
    ) AS over WHERE workers.worker = over.worker
    """
_FENCE: Final = """
    UPDATE workers SET expires = now() + make_interval(secs => %s)
    WHERE worker = %s AND epoch = %s
    """
_OWN_AGAIN: Final = """
    UPDATE room_leases SET epoch = %s, unwatched_since = now(), offered = false,
        successor = NULL, successor_epoch = NULL, successor_is_ready = false
    WHERE room_sid IN (
        SELECT room_sid FROM room_leases WHERE owner = %s ORDER BY room_sid FOR UPDATE)
        AND owner = %s
    """
_OWN_SESSIONS: Final = """
    INSERT INTO room_leases (room_sid, room, session, owner, epoch, unwatched_since)
    SELECT DISTINCT ON (room_sid) room_sid, room, session, owner, %s, now() FROM sessions
    WHERE owner = %s AND ended_at IS NULL AND room_sid != '' AND length(room_sid) <= %s
    ORDER BY room_sid, place DESC ON CONFLICT DO NOTHING
    """
"""For sessions that a version of the program without leases left."""


class EpochOver(ArchiveTrouble):
    """Another worker ended this epoch, or another process of this worker began one."""


def begin_epoch(db: Database, run: PostgresRun) -> ArchiveLost | None:
    """Take an epoch, once for each process, and another one after others ended it.

    This worker owns its rooms again that nobody has acquired meanwhile.  Gives what to raise where
    the database is another one than before.  Raises `ArchiveTrouble` where another process of this
    worker began, and psycopg.Error.
    """
    with db.transaction():
        row = db.execute("SELECT store FROM layout").fetchone()
        store = "" if row is None else row[0]
        row_of_worker = db.execute(
            "SELECT worker, epoch, ended FROM workers WHERE instance = %s", (run.instance,)
        ).fetchone()
        worker, epoch, ended = row_of_worker or (0, 0, -1)
        lost = None
        if run.store and run.store != store:
            lost = ArchiveLost(
                f"{shown_url(run.url)} is another database than before: sessions go on in it"
            )
            run.batch = 0
            run.keys.clear()
        elif run.epoch and epoch > run.epoch:
            again = db.execute(_AGAIN, (run.lease, worker)).fetchone() if ended == epoch else None
            if again is None:
                raise run_replaced(run)
            epoch = run.epoch = again[0]
            _own_again(db, run)
        run.store = store
        if epoch != run.epoch or not run.epoch:
            _be_born(db, run)
    return lost


def _be_born(db: Database, run: PostgresRun) -> None:
    is_first, before = not run.epoch, run.worker
    born = db.execute(
        _BIRTH,
        {
            "instance": run.instance,
            "least": run.epoch + 1,
            "lease": run.lease,
            "pid": run.pid,
            "started_at": run.started_at,
        },
    ).fetchone()
    assert born is not None
    run.worker, run.epoch, alive_at = born
    if before not in (0, run.worker):
        # Its row was deleted after a long time: this is the journal of another worker.
        run.batch, run.fenced_at, run.has_noted_place = 0, None, False
    if is_first:
        run.alive_before = alive_at
    _own_again(db, run)


def _own_again(db: Database, run: PostgresRun) -> None:
    db.execute(_OWN_AGAIN, (run.epoch, run.worker, run.worker))
    db.execute(_OWN_SESSIONS, (run.epoch, run.worker, LONGEST_SID))


def end_epochs(db: Database, run: PostgresRun) -> None:
    """End the epochs of all other workers whose lease is over.  Its own transaction, and short."""
    db.execute(_END_OTHERS, (run.worker,))


def fence(db: Database, run: PostgresRun) -> None:
    """Renew the lease within a transaction.  Raises `EpochOver`."""
    if db.execute(_FENCE, (run.lease, run.worker, run.epoch)).rowcount != 1:
        raise epoch_over(run)


def epoch_over(run: PostgresRun) -> EpochOver:
    return EpochOver(
        f"{shown_url(run.url)}: this worker was silent for {run.lease:g} s, or replaced"
    )


def valid_epochs(db: Database, workers: Collection[int | None]) -> dict[int, int]:
    """The epochs of these workers now.

    Read it in a statement of its own after the rows are locked that name an epoch.  A statement
    that locks and compares at once may compare a row of now with an epoch of before.
    """
    wanted = [worker for worker in set(workers) if worker is not None]
    if not wanted:
        return {}
    return dict(
        db.execute("SELECT worker, epoch FROM workers WHERE worker = ANY(%s)", (wanted,)).fetchall()
    )
