"""Ownership of the sessions of a batch: a worker may write those of rooms that it owns.

A session that is new to the writer is looked up within the transaction of its first batch.  A room
that nobody owns is acquired there, if the session is the room's.  Afterwards the fence of the
worker's epoch is enough: a room of a valid epoch cannot change its owner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from attrs import evolve, field, frozen

from actors.journal.archive import ArchiveTrouble, Fenced
from bridge.postgres.database_url import shown_url
from bridge.postgres.postgres_connection import Database
from bridge.postgres.postgres_epochs import valid_epochs
from bridge.postgres.postgres_run import PostgresRun
from bridge.postgres.postgres_schema import LONGEST_SID

Room: TypeAlias = tuple[str, str]
"""Its name and its SID."""

_LEASES: Final = """
    SELECT room_sid, session, owner, epoch, successor, successor_epoch FROM room_leases
    WHERE room_sid = ANY(%s) OR session = ANY(%s) ORDER BY room_sid FOR UPDATE
    """
_STORED: Final = """
    SELECT session, owner, seq, room, room_sid, ended_at IS NULL FROM sessions
    WHERE session = ANY(%(keys)s) OR (room_sid = ANY(%(sids)s) AND hashtextextended(room_sid, 0) =
        ANY(ARRAY(SELECT hashtextextended(sid, 0) FROM unnest(%(sids)s::text[]) AS sid)))
    ORDER BY place
    """
"""The sessions with these keys, and those of these rooms."""
_INSERT: Final = """
    INSERT INTO room_leases (room_sid, room, session, owner, epoch, unwatched_since)
    SELECT room_sid, room, session, %s, %s, now()
    FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS new (room_sid, room, session)
    ORDER BY room_sid ON CONFLICT DO NOTHING RETURNING room_sid
    """
TAKE: Final = """
    UPDATE room_leases SET session = new.session, owner = %s, epoch = %s, unwatched_since = now(),
        seen_until = NULL, released_at = NULL, offered = false,
        successor = NULL, successor_epoch = NULL, successor_is_ready = false
    FROM unnest(%s::text[], %s::bigint[]) AS new (sid, session) WHERE room_sid = new.sid
    """
"""For rows that this transaction has locked."""
_FREE_KEY: Final = """
    SELECT n FROM generate_series(
        %(key)s::bigint, %(key)s::bigint + (1000 + %(count)s) * %(step)s, %(step)s) AS n
    WHERE NOT EXISTS (SELECT 1 FROM sessions WHERE session = n)
        AND NOT EXISTS (SELECT 1 FROM room_leases WHERE session = n) LIMIT %(count)s
    """


@frozen
class Lease:
    """The row of a room, locked by this transaction."""

    session: int | None
    owner: int | None
    epoch: int | None
    successor: int | None
    successor_epoch: int | None

    def is_free(self, run: PostgresRun, epochs: Mapping[int, int]) -> bool:
        """True if this worker may own the room: nobody else does, or is about to."""
        if self.owner is not None and epochs.get(self.owner) == self.epoch:
            return self.owner == run.worker
        successor = self.successor
        reserved = successor is not None and epochs.get(successor) == self.successor_epoch
        return not reserved or successor == run.worker

    def is_ours(self, run: PostgresRun) -> bool:
        """True if this worker owns the room."""
        return (self.owner, self.epoch) == (run.worker, run.epoch)


@frozen
class _Wanted:
    number: int
    """In the batch."""
    key: int
    """In the database."""
    room: str
    sid: str
    is_stored: bool


@frozen
class Admission:
    """The sessions that may be written, by key."""

    seqs: dict[int, int] = field(factory=dict[int, int])
    """The newest row that is stored of each; -1 for none."""
    known: set[int] = field(factory=set[int])
    """Those that need not be looked up again."""


def admit(
    db: Database,
    run: PostgresRun,
    sessions: Mapping[int, Room | None],
    require_epoch: Callable[[], object],
) -> Admission:
    """Look up sessions that are new to the writer, with the room of each where the batch has it.

    To be called within the transaction of the batch, after its fence; `require_epoch` raises
    `EpochOver` where that changed nothing.  Raises `Fenced`, `ArchiveTrouble` and psycopg.Error.
    """
    admission, fenced, wanted = Admission(), set[int](), list[_Wanted]()
    keys = [run.key(session) for session in sessions]
    sids = [room[1] for room in sessions.values() if room is not None]
    # Locked first: what is read of sessions after it cannot change.
    leases = _lock_leases(db, sids, keys)
    require_epoch()
    rows = db.execute(_STORED, {"keys": keys, "sids": sids}).fetchall()
    stored = {key: rest for key, *rest in rows}
    newest = {sid: (key, owner, is_open) for key, owner, _, _, sid, is_open in rows}
    for session, room in sessions.items():
        key = run.key(session)
        owner, seq, *stored_room, _ = stored.get(key, (run.worker, -1, "", "", False))
        is_stored = key in stored
        if owner != run.worker:
            if room is None or room[1] == stored_room[1]:
                fenced.add(session)
                continue
            # Two workers gave their sessions the same number.
            key, seq, is_stored = _give_key(db, run, session), -1, False
        name, sid = room or stored_room
        admission.seqs[key] = seq
        if is_stored or room is not None:
            admission.known.add(key)
            if sid and len(sid) <= LONGEST_SID:
                wanted.append(_Wanted(session, key, name, sid, is_stored))
    more = [one.sid for one in wanted if one.sid not in leases and one.sid not in sids]
    if more:
        leases |= _lock_leases(db, more, [])
    fenced.update(_acquire(db, run, wanted, admission, leases, newest))
    if fenced:
        raise Fenced(
            f"{shown_url(run.url)}: another worker owns the room, or has a session of it",
            frozenset(fenced),
        )
    return admission


def _lock_leases(db: Database, sids: Sequence[str], keys: Sequence[int]) -> dict[str, Lease]:
    return {sid: Lease(*rest) for sid, *rest in db.execute(_LEASES, (list(sids), list(keys)))}


def _acquire(
    db: Database,
    run: PostgresRun,
    wanted: Sequence[_Wanted],
    admission: Admission,
    leases: Mapping[str, Lease],
    newest: Mapping[str, tuple[int, int, bool]],
) -> Iterable[int]:
    """Acquire the rooms of these sessions.  Gives the sessions of those that cannot be."""
    numbers = {lease.session: sid for sid, lease in leases.items()}
    epochs = valid_epochs(
        db, [one for lease in leases.values() for one in (lease.owner, lease.successor)]
    )
    taken, added = dict[str, int](), dict[str, _Wanted]()
    for one in wanted:
        if not one.is_stored and numbers.get(one.key, one.sid) != one.sid:
            one = _with_another_key(db, run, one, admission)
        lease = leases.get(one.sid)
        if not _may_own(run, one, lease, epochs, newest.get(one.sid)):
            yield one.number
        elif lease is None:
            added[one.sid] = one
        elif lease.session in (None, one.key) and not lease.is_ours(run):
            taken[one.sid] = one.key
    _own(db, run, taken, added)


def _with_another_key(
    db: Database, run: PostgresRun, one: _Wanted, admission: Admission
) -> _Wanted:
    """The same session: a room of another worker has its number."""
    admission.known.remove(one.key)
    del admission.seqs[one.key]
    one = evolve(one, key=_give_key(db, run, one.number))
    admission.known.add(one.key)
    admission.seqs[one.key] = -1
    return one


def _may_own(
    run: PostgresRun,
    one: _Wanted,
    lease: Lease | None,
    epochs: Mapping[int, int],
    newest: tuple[int, int, bool] | None,
) -> bool:
    """True if this session is that of its room, and the room is ours or free.

    `newest` is the room's newest session, its owner, and whether it is open.  An older session of
    this worker goes on without a lease: nobody can acquire it.
    """
    if lease is not None and not lease.is_free(run, epochs):
        return False
    if one.is_stored:
        return True
    if lease is not None and lease.session is not None:
        return lease.session == one.key
    if newest is None:
        return True
    session, owner, is_open = newest
    return session == one.key or (owner == run.worker and not is_open)


def _own(
    db: Database, run: PostgresRun, taken: Mapping[str, int], added: Mapping[str, _Wanted]
) -> None:
    if taken:
        db.execute(TAKE, (run.worker, run.epoch, list(taken), list(taken.values())))
    if added:
        rooms = [one.room for one in added.values()]
        keys = [one.key for one in added.values()]
        inserted = db.execute(_INSERT, (run.worker, run.epoch, list(added), rooms, keys)).fetchall()
        if len(inserted) != len(added):
            # The next try sees it.
            raise ArchiveTrouble("another worker acquired one of the rooms just now")


def free_keys(db: Database, key: int, count: int = 1, step: int = 1) -> list[int]:
    """The first numbers that no session has among `key`, `key + step` and so on."""
    rows = db.execute(_FREE_KEY, {"key": key, "count": count, "step": step}).fetchall()
    if len(rows) < count:
        raise ArchiveTrouble("no number is free for a new session: see this machine's clock")
    return [number for (number,) in rows]


def other_key(db: Database, key: int) -> int:
    """A number that no session has, near this one.  It is even: see `Backlog.number`."""
    (number,) = free_keys(db, (key | 1) + 1, step=2)
    return number


def _give_key(db: Database, run: PostgresRun, session: int) -> int:
    run.keys[session] = other_key(db, run.key(session))
    return run.keys[session]
