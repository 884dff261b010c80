"""The table of room leases, as a worker changes it: the steps of `RoomLeases` as transactions.

Each step that changes a lease begins with the fence of the worker's epoch.  Rows are locked first,
and compared with the epochs of workers afterwards (see `valid_epochs`).
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, final

from attrs import evolve, frozen

from actors.journal.archive import StoredSession
from actors.journal.room_leases import (
    UNWATCHED_AFTER,
    OfferedRoom,
    Renewal,
    RoomLease,
    UnownedRoom,
    WorkerStatus,
)
from bridge.postgres.postgres_epochs import end_epochs, epoch_over, fence, valid_epochs
from bridge.postgres.postgres_ownership import TAKE, Lease, free_keys, other_key
from bridge.postgres.postgres_run import PostgresRun
from bridge.postgres.postgres_schema import LONGEST_SID
from bridge.postgres.postgres_statements import SEEN_UNTIL
from bridge.postgres.postgres_writer import PostgresWriter

_RENEW: Final = """
    UPDATE workers SET expires = now() + make_interval(secs => %s), name = %s, version = %s,
        url = %s, rooms = %s, max_rooms = %s, load = %s, draining = %s
    WHERE worker = %s AND epoch = %s
    """
_NOTE_UNWATCHED: Final = """
    UPDATE room_leases SET unwatched_since = CASE WHEN room_sid = ANY(%s) THEN now() END
    WHERE owner = %s AND epoch = %s AND (room_sid = ANY(%s)) = (unwatched_since IS NULL)
    """
_OURS: Final = """
    SELECT room_sid, coalesce(unwatched_since <= now() - make_interval(secs => %s), false),
        successor_is_ready AND EXISTS (SELECT 1 FROM workers
            WHERE worker = successor AND workers.epoch = successor_epoch)
    FROM room_leases WHERE owner = %s AND epoch = %s
    """
_ROW: Final = """
    SELECT room_sid, room, session, owner, epoch, successor, successor_epoch, seen_until,
        released_at IS NOT NULL, extract(epoch FROM now() - released_at)::double precision
    FROM room_leases
    """
_HAS_OWNER: Final = """EXISTS (SELECT 1 FROM workers
    WHERE worker = room_leases.owner AND workers.epoch = room_leases.epoch)"""
_STEP: Final = 1_000
"""Each worker gives numbers to new sessions that have another rest when divided by this.  All are
even: see `Backlog.number`."""
_OTHER_OWNER: Final = """
    SELECT 1 FROM room_leases JOIN workers ON worker = owner AND workers.epoch = room_leases.epoch
    WHERE room_sid = %s AND worker != %s AND expires > now()
    """
_HAS_SUCCESSOR: Final = """EXISTS (SELECT 1 FROM workers
    WHERE worker = successor AND workers.epoch = successor_epoch)"""
_SESSIONS: Final[bytes] = f"""
    SELECT DISTINCT ON (room_sid) room_sid, session, owner, ended_at IS NULL, instance,
        expires > now() AND ended != epoch, {SEEN_UNTIL},
        extract(epoch FROM now() - written_at)::double precision
    FROM sessions JOIN workers ON owner = worker
    WHERE hashtextextended(room_sid, 0) IN (SELECT hashtextextended(sid, 0) FROM unnest(%s::text[])
        AS sid) AND room_sid = ANY(%s)
    ORDER BY room_sid, session = ANY(%s) DESC, place DESC
    """.encode()  # noqa: S608
"""The session of each room: that of its lease, or else the newest one."""
_RELEASE: Final = """
    UPDATE room_leases SET owner = NULL, epoch = NULL, offered = false, unwatched_since = NULL
    WHERE room_sid = ANY(%s) AND owner = %s AND epoch = %s RETURNING session
    """
_FORGET_ENDED: Final = """
    DELETE FROM room_leases WHERE session = ANY(%s) AND owner IS NULL
        AND session IN (SELECT session FROM sessions WHERE ended_at IS NOT NULL)
    """
_OPEN: Final = """EXISTS (SELECT 1 FROM sessions
    WHERE sessions.session = room_leases.session AND ended_at IS NULL)"""
_RESERVE: Final = """
    UPDATE room_leases SET successor = %s, successor_epoch = %s, successor_is_ready = false
    WHERE room_sid = ANY(%s)
    """


@frozen
class _Row:
    """The row of a room, locked by this transaction."""

    sid: str
    room: str
    lease: Lease
    seen_until: float | None
    is_released: bool
    silent_for: float | None


@frozen
class _Stored:
    """The session of a room, as it is stored."""

    key: int
    owner: int
    is_open: bool
    instance: str
    runs: bool
    """Its owner's lease is not over."""
    alive_at: float | None
    silent_for: float | None


@final
class LeaseTable:
    """All methods run in the thread of the writer, and may raise psycopg.Error and `EpochOver`."""

    def __init__(self, writer: PostgresWriter, run: PostgresRun) -> None:
        self._writer: Final = writer
        self._db: Final = writer.db
        self._run: Final = run

    @contextmanager
    def _fenced(self) -> Generator[tuple[int, int], None, None]:
        """A transaction of this epoch.  Gives the worker and the epoch."""
        end_epochs(self._db, self._run)
        with self._db.transaction():
            fence(self._db, self._run)
            yield self._run.worker, self._run.epoch

    # ------------------------------------------------------------ workers

    def renew(self, status: WorkerStatus, unwatched: Collection[str]) -> Renewal:
        """See `RoomLeases`."""
        me, outside = (self._run.worker, self._run.epoch), list(unwatched)
        values = (
            self._run.lease, status.name, status.version, status.url, status.rooms,
            status.max_rooms, status.load, status.draining,
        )  # fmt: skip
        with self._db.transaction():
            if self._db.execute(_RENEW, (*values, *me)).rowcount != 1:
                raise epoch_over(self._run)
            self._db.execute(_NOTE_UNWATCHED, (outside, *me, outside))
            rows = self._db.execute(_OURS, (UNWATCHED_AFTER, *me)).fetchall()
        return Renewal(
            self._run.epoch,
            frozenset(sid for sid, _, _ in rows),
            frozenset(sid for sid, overdue, _ in rows if overdue),
            frozenset(sid for sid, _, ready in rows if ready),
        )

    def lead(self) -> bool:
        """See `RoomLeases`."""
        with self._fenced() as me:
            self._db.execute("INSERT INTO leader VALUES (true, 0, 0) ON CONFLICT DO NOTHING")
            row = self._db.execute("SELECT worker, epoch FROM leader FOR UPDATE").fetchone()
            assert row is not None
            if row != me and valid_epochs(self._db, [row[0]]).get(row[0]) == row[1]:
                return False
            self._db.execute("UPDATE leader SET worker = %s, epoch = %s", me)
        return True

    def resign(self) -> None:
        """See `RoomLeases`."""
        self._db.execute(
            "UPDATE leader SET worker = 0, epoch = 0 WHERE worker = %s AND epoch = %s",
            (self._run.worker, self._run.epoch),
        )

    # ------------------------------------------------------------ rooms

    def acquire(self, room: str, sid: str, number: int | None) -> RoomLease | None:
        """See `RoomLeases`."""
        if not sid or len(sid) > LONGEST_SID:
            return None
        other = self._db.execute(_OTHER_OWNER, (sid, self._run.worker)).fetchone()
        if other is not None:  # LiveKit offers most jobs to others than the owner: a quick answer.
            return None
        with self._fenced():
            self._db.execute(
                "INSERT INTO room_leases (room_sid, room) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                (sid, room),
            )
            return next(iter(self._take(self._lock("room_sid = %s FOR UPDATE", sid), number)), None)

    def acquire_unowned(self, most: int) -> tuple[RoomLease, ...]:
        """See `RoomLeases`."""
        with self._fenced():
            return tuple(self._take(self._lock(
                f"NOT {_HAS_OWNER} ORDER BY random() LIMIT %s FOR UPDATE SKIP LOCKED", most
            )))  # fmt: skip

    def _lock(self, where: str, *values: object) -> list[_Row]:
        return [
            _Row(sid, room, Lease(*lease), seen_until, is_released, silent_for)
            for sid, room, *lease, seen_until, is_released, silent_for in self._db.execute(
                f"{_ROW} WHERE {where}".encode(), values
            )
        ]

    def _free(self, rows: Sequence[_Row]) -> list[_Row]:
        """The rows of rooms that this worker may own."""
        workers = [one for row in rows for one in (row.lease.owner, row.lease.successor)]
        epochs = valid_epochs(self._db, workers)
        return [row for row in rows if row.lease.is_free(self._run, epochs)]

    def _take(self, rows: Sequence[_Row], number: int | None = None) -> list[RoomLease]:
        """Own the rooms of these rows, as far as it is possible."""
        run, free = self._run, self._free(rows)
        stored = self._sessions(free)
        keys, sessions, former = dict[str, int](), dict[int, int | None](), dict[str, _Stored]()
        new = list[_Row]()
        for row in free:
            session, lease = stored.get(row.sid), row.lease
            if session is not None and lease.session in (None, session.key):
                unknown = lease.session is None and session.owner != run.worker
                if unknown and session.is_open and session.runs:
                    continue  # A version of the program without leases watches it.
                keys[row.sid], former[row.sid] = session.key, session
                sessions[session.key] = None if row.is_released else session.owner
            elif lease.session is not None:
                keys[row.sid] = lease.session
            else:
                new.append(row)
        keys |= zip((row.sid for row in new), self._numbers(len(new), number), strict=True)
        taken = [row.sid for row in free if row.sid in keys and not row.lease.is_ours(run)]
        if taken:
            values = (run.worker, run.epoch, taken, [keys[sid] for sid in taken])
            self._db.execute(TAKE, values)
        resumed = self._writer.resume(sessions) if sessions else {}
        return [
            self._lease(row, keys[row.sid], former.get(row.sid), resumed)
            for row in free
            if row.sid in keys
        ]

    def _lease(
        self, row: _Row, key: int, former: _Stored | None, resumed: Mapping[int, StoredSession]
    ) -> RoomLease:
        if former is None:
            return RoomLease(row.room, row.sid, key, None)
        session = resumed.get(key)
        if session is None:  # It cannot be read: the room's next session begins.
            key = other_key(self._db, key)
            self._db.execute(
                "UPDATE room_leases SET session = %s WHERE room_sid = %s", (key, row.sid)
            )
            return RoomLease(row.room, row.sid, key, None)
        number = key
        while number in self._run.keys:  # A session of this worker has that number in memory.
            number = other_key(self._db, number)
        if number != key:
            self._run.keys[number] = key
        seen_until, silent_for = former.alive_at, former.silent_for
        if row.is_released:
            seen_until, silent_for = row.seen_until, row.silent_for
        return RoomLease(
            row.room,
            row.sid,
            number,
            evolve(session, session=number),
            former.instance,
            seen_until,
            silent_for,
        )

    def _sessions(self, rows: Sequence[_Row]) -> dict[str, _Stored]:
        sids = [row.sid for row in rows]
        keys = [row.lease.session for row in rows if row.lease.session is not None]
        if not sids:
            return {}
        sessions = self._db.execute(_SESSIONS, (sids, sids, keys))
        return {sid: _Stored(*rest) for sid, *rest in sessions}

    def _numbers(self, count: int, wanted: int | None) -> list[int]:
        """Numbers for new sessions."""
        if not count:
            return []
        if wanted is not None:
            key = self._run.key(wanted)
            if free_keys(self._db, key) == [key]:
                return [key]
        row: Any = self._db.execute(
            "SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint"
        ).fetchone()
        # Workers that ask at once, and do not see each other's numbers yet, get different ones.
        first = row[0] - row[0] % _STEP + 2 * self._run.worker % _STEP
        return free_keys(self._db, first, count, _STEP)

    def release(self, sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        with self._fenced() as me:
            rows = self._lock("room_sid = ANY(%s) ORDER BY room_sid FOR UPDATE", list(sids))
            ours = [row.lease.session for row in rows if row.lease.is_ours(self._run)]
            sessions = [session for session in ours if session is not None]
            self._writer.settle(sessions)
            self._db.execute(_RELEASE, (list(sids), *me))
            self._db.execute(_FORGET_ENDED, (sessions,))
            self._writer.forget(sessions)

    def unowned(self) -> tuple[UnownedRoom, ...]:
        """See `RoomLeases`."""
        end_epochs(self._db, self._run)
        rows = self._db.execute(
            f"SELECT room, room_sid, {_OPEN} FROM room_leases WHERE NOT {_HAS_OWNER}".encode()  # noqa: S608
        )
        return tuple(UnownedRoom(*row) for row in rows)

    def register(self, rooms: Mapping[str, str]) -> None:
        """See `RoomLeases`."""
        new = {sid: name for sid, name in rooms.items() if sid and len(sid) <= LONGEST_SID}
        with self._fenced():
            self._db.execute(
                "INSERT INTO room_leases (room_sid, room) SELECT * FROM "
                "unnest(%s::text[], %s::text[]) AS new (sid, room) "
                "WHERE NOT EXISTS (SELECT 1 FROM room_leases WHERE room_sid = sid) "
                "ORDER BY sid ON CONFLICT DO NOTHING",
                (list(new), list(new.values())),
            )

    def remove(self, sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        with self._fenced():
            rows = self._lock(
                f"room_sid = ANY(%s) AND NOT {_HAS_OWNER} AND NOT {_OPEN} FOR UPDATE SKIP LOCKED",
                list(sids),
            )
            over = [row.sid for row in self._free(rows)]
            self._db.execute("DELETE FROM room_leases WHERE room_sid = ANY(%s)", (over,))

    def owners(self, sids: Collection[str]) -> dict[str, str]:
        """See `RoomLeases`."""
        return dict(
            self._db.execute(
                "SELECT room_sid, instance FROM room_leases JOIN workers ON owner = worker "
                "AND room_leases.epoch = workers.epoch WHERE room_sid = ANY(%s) "
                "AND (expires > now() OR worker = %s)",
                (list(sids), self._run.worker),
            ).fetchall()
        )

    # ------------------------------------------------------------ handing over

    def offer(self, sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        with self._fenced() as me:
            self._db.execute(
                "UPDATE room_leases SET offered = true "
                "WHERE room_sid = ANY(%s) AND owner = %s AND epoch = %s",
                (list(sids), *me),
            )

    def reserve(self, most: int) -> tuple[OfferedRoom, ...]:
        """See `RoomLeases`."""
        with self._fenced() as me:
            rows = self._lock(
                f"offered AND {_HAS_OWNER} AND owner != %s AND NOT {_HAS_SUCCESSOR} "
                "ORDER BY random() LIMIT %s FOR UPDATE SKIP LOCKED",
                me[0],
                most,
            )
            epochs = valid_epochs(self._db, [row.lease.successor for row in rows])
            free = [
                row
                for row in rows
                if row.lease.successor is None
                or epochs.get(row.lease.successor) != row.lease.successor_epoch
            ]
            self._db.execute(_RESERVE, (*me, [row.sid for row in free]))
        return tuple(OfferedRoom(row.room, row.sid) for row in free)

    def mark_ready(self, sids: Collection[str]) -> None:
        """See `RoomLeases`."""
        with self._fenced() as me:
            self._db.execute(
                "UPDATE room_leases SET successor_is_ready = true "
                "WHERE room_sid = ANY(%s) AND successor = %s AND successor_epoch = %s",
                (list(sids), *me),
            )
