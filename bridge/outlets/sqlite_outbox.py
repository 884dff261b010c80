"""`actors.outlets.outbox_port.OutboxStore` in SQLite: the file `outbox.db` in the data directory.

    outlets     one row an endpoint: its cursor, and why it is disabled
    parked      deliveries that wait, or were given up; `number` is the order in which they came.
                Only the first of a session that waits has a time when it is `due`: the others are
                behind it

A file of its own: it is made when the first endpoint is configured, it can be thrown away without
harm to a session, and `room-actors outbox` writes to it beside a running worker (WAL, with a
timeout on the lock).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, TypeVar, final

import msgspec
import trio

from actors.outlets.outbox_port import OutboxTrouble, OutletRow, Parked
from actors.outlets.outlet_port import Delivery
from bridge.output.harmless import harmless

T = TypeVar("T")

FILE: Final = "outbox.db"
APPLICATION: Final = 0x526D4F62
"""SQLite's `application_id`: "RmOb"."""
VERSION: Final = 1
LOCK_TIMEOUT: Final = 5.0
"""Seconds to wait for another process that writes."""
MOST_PARKED: Final = 500_000
"""Deliveries of one endpoint that wait; what comes beyond is dropped and counted."""
MOST_DEAD: Final = 10_000
"""Deliveries of one endpoint that were given up and stay to be looked at, the newest."""
AT_ONCE: Final = 100
"""Of one session in one look, so that one session's backlog does not hold up the others."""

SCHEMA: Final = """
CREATE TABLE outlets (
    outlet TEXT PRIMARY KEY,
    cursor TEXT,
    disabled TEXT,
    dropped INTEGER NOT NULL DEFAULT 0,
    waiting INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE parked (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    outlet TEXT NOT NULL,
    id TEXT NOT NULL,
    session TEXT NOT NULL,
    due REAL,
    attempts INTEGER NOT NULL,
    parked_at REAL NOT NULL,
    error TEXT NOT NULL,
    dead INTEGER NOT NULL,
    delivery BLOB NOT NULL
);
CREATE UNIQUE INDEX parked_by_id ON parked (outlet, id);
CREATE INDEX parked_by_session ON parked (outlet, session, number) WHERE NOT dead;
CREATE INDEX parked_by_due ON parked (outlet, due) WHERE NOT dead AND due IS NOT NULL;
CREATE INDEX parked_dead ON parked (outlet, number) WHERE dead;
"""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(Delivery).decode


def open_outbox(directory: Path) -> sqlite3.Connection:
    """A connection to the file, made where it is not there.  Raises `OutboxTrouble`."""
    path = directory / FILE
    try:
        db = sqlite3.connect(
            path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            application = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0 and application == 0:
                db.executescript(
                    f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA application_id = {APPLICATION};"
                    f"PRAGMA user_version = {VERSION}; COMMIT;"
                )
            elif application != APPLICATION or version > VERSION:
                raise OutboxTrouble(f"{path} is not an outbox of this version")
        except BaseException:
            db.close()
            raise
    except sqlite3.Error as error:
        raise OutboxTrouble(f"{path}: {harmless(str(error))}") from None
    path.chmod(0o600)
    return db


@final
class SqliteOutbox:
    """One connection for all endpoints; its calls run in a thread, one at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._db: sqlite3.Connection | None = None
        self._lock = trio.Lock()

    async def _call(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            try:
                if self._db is None:
                    self._db = open_outbox(self._directory)
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    result = work(self._db)
                except BaseException:
                    self._db.execute("ROLLBACK")
                    raise
                self._db.execute("COMMIT")
                return result
            except sqlite3.Error as error:
                raise OutboxTrouble(harmless(str(error))) from None

        async with self._lock:
            return await trio.to_thread.run_sync(run)

    async def aclose(self) -> None:
        async with self._lock:
            db, self._db = self._db, None
            if db is not None:
                await trio.to_thread.run_sync(db.close)

    # ------------------------------------------------------------ the port

    async def open(self, outlet: str) -> OutletRow:
        return await self._call(lambda db: read_row(db, outlet))

    async def blocked(self, outlet: str, among: Collection[str] | None = None) -> frozenset[str]:
        return await self._call(lambda db: _blocked(db, outlet, among))

    async def save(
        self,
        outlet: str,
        *,
        cursor: str | None = None,
        parked: Sequence[Parked] = (),
        delivered: Collection[str] = (),
    ) -> OutletRow:
        return await self._call(lambda db: _save(db, outlet, cursor, parked, delivered))

    async def heads(self, outlet: str, due: float, limit: int) -> list[Parked]:
        return await self._call(lambda db: _heads(db, outlet, due, limit))

    async def next_due(self, outlet: str) -> float | None:
        def read(db: sqlite3.Connection) -> float | None:
            return db.execute(
                "SELECT min(due) FROM parked WHERE outlet = ? AND NOT dead AND due IS NOT NULL",
                (outlet,),
            ).fetchone()[0]

        return await self._call(read)

    async def hasten(self, outlet: str, now: float) -> None:
        await self._call(
            lambda db: db.execute(
                "UPDATE parked SET due = ? WHERE outlet = ? AND NOT dead AND due > ?",
                (now, outlet, now),
            )
        )

    async def listed(self, limit: int) -> list[tuple[str, Parked]]:
        """Deliveries that wait or were given up, each with its endpoint: the dead ones first."""
        return await self._call(lambda db: listed(db, None, limit))

    async def disable(self, outlet: str, why: str | None) -> None:
        await self._call(lambda db: set_disabled(db, outlet, why))


# ---------------------------------------------------------------- what the command does, too


def read_row(db: sqlite3.Connection, outlet: str) -> OutletRow:
    row = db.execute(
        "SELECT cursor, disabled, waiting, dead, dropped FROM outlets WHERE outlet = ?", (outlet,)
    ).fetchone()
    return OutletRow(None) if row is None else OutletRow(*row)


def outlets(db: sqlite3.Connection) -> dict[str, OutletRow]:
    """All that were ever configured, by name."""
    names = [row[0] for row in db.execute("SELECT outlet FROM outlets ORDER BY outlet")]
    return {name: read_row(db, name) for name in names}


def listed(db: sqlite3.Connection, outlet: str | None, limit: int) -> list[tuple[str, Parked]]:
    """Deliveries that wait or were given up, each with its endpoint: the dead ones first."""
    where = "" if outlet is None else "WHERE outlet = :outlet"
    rows = db.execute(
        f"SELECT * FROM parked {where} ORDER BY dead DESC, number LIMIT :limit",  # noqa: S608
        {"outlet": outlet, "limit": limit},
    )
    return [(row["outlet"], _parked(row)) for row in rows]


def set_disabled(db: sqlite3.Connection, outlet: str, why: str | None) -> bool:
    """Returns False where there is no such endpoint; a reason in `why` makes one."""
    if why is not None:
        db.execute("INSERT OR IGNORE INTO outlets (outlet) VALUES (?)", (outlet,))
    done = db.execute("UPDATE outlets SET disabled = ? WHERE outlet = ?", (why, outlet))
    return done.rowcount > 0


def send_again(db: sqlite3.Connection, outlet: str | None, ids: Sequence[str], now: float) -> int:
    """Have deliveries tried again at once, from their first attempt on: these, or of no ids all
    that were given up and all that wait; how many."""
    conditions, values = ["1"], list[Any]()
    if outlet is not None:
        conditions.append("outlet = ?")
        values.append(outlet)
    if ids:
        conditions.append(f"id IN ({', '.join('?' * len(ids))})")
        values.extend(ids)
    done = db.execute(
        "UPDATE parked SET dead = 0, attempts = 0, due = NULL, parked_at = ?"  # noqa: S608
        f" WHERE {' AND '.join(conditions)}",
        (now, *values),
    ).rowcount
    for name in outlets(db):
        db.execute(
            "UPDATE parked SET due = CASE WHEN number IN (SELECT min(number) FROM parked"
            " WHERE outlet = ?1 AND NOT dead GROUP BY session) THEN ?2 END"
            " WHERE outlet = ?1 AND NOT dead",
            (name, now),
        )
        db.execute(
            "UPDATE outlets SET"
            " waiting = (SELECT count(*) FROM parked WHERE outlet = ?1 AND NOT dead),"
            " dead = (SELECT count(*) FROM parked WHERE outlet = ?1 AND dead) WHERE outlet = ?1",
            (name,),
        )
    return done


# ---------------------------------------------------------------- inside


def _parked(row: sqlite3.Row) -> Parked:
    return Parked(
        _decode(row["delivery"]),
        attempts=row["attempts"],
        due=row["due"] or 0.0,
        parked_at=row["parked_at"],
        error=row["error"],
        dead=bool(row["dead"]),
    )


def _blocked(db: sqlite3.Connection, outlet: str, among: Collection[str] | None) -> frozenset[str]:
    waits = "FROM parked WHERE outlet = ? AND NOT dead"
    if among is None:
        rows = db.execute(f"SELECT DISTINCT session {waits}", (outlet,))
        return frozenset(row[0] for row in rows)
    one = f"SELECT 1 {waits} AND session = ? LIMIT 1"
    return frozenset(
        session for session in among if db.execute(one, (outlet, session)).fetchone() is not None
    )


def _heads(db: sqlite3.Connection, outlet: str, due: float, limit: int) -> list[Parked]:
    sessions = db.execute(
        "SELECT session FROM parked WHERE outlet = ? AND NOT dead AND due <= ?"
        " ORDER BY due, number LIMIT ?",
        (outlet, due, limit),
    ).fetchall()
    ready = list[Parked]()
    for (session,) in sessions:
        rows = db.execute(
            "SELECT * FROM parked WHERE outlet = ? AND session = ? AND NOT dead"
            " ORDER BY number LIMIT ?",
            (outlet, session, min(AT_ONCE, limit - len(ready))),
        )
        ready += map(_parked, rows)
        if len(ready) >= limit:
            break
    return ready


def _save(
    db: sqlite3.Connection,
    outlet: str,
    cursor: str | None,
    parked: Sequence[Parked],
    delivered: Collection[str],
) -> OutletRow:
    db.execute("INSERT OR IGNORE INTO outlets (outlet) VALUES (?)", (outlet,))
    if cursor is not None:
        db.execute("UPDATE outlets SET cursor = ? WHERE outlet = ?", (cursor, outlet))
    moved, dead = set[str](), list[bool]()
    for one in delivered:
        row = db.execute(
            "DELETE FROM parked WHERE outlet = ? AND id = ? RETURNING session, dead", (outlet, one)
        ).fetchone()
        if row is not None:
            moved.add(row["session"])
            dead.append(bool(row["dead"]))
    if dead:
        _add(db, outlet, "dead", -sum(dead))
        _add(db, outlet, "waiting", sum(dead) - len(dead))
    for one in parked:
        _put(db, outlet, one)
        if one.dead:
            moved.add(one.session)
    for session in moved:
        db.execute(
            "UPDATE parked SET due = 0 WHERE due IS NULL AND number = (SELECT min(number)"
            " FROM parked WHERE outlet = ? AND session = ? AND NOT dead)",
            (outlet, session),
        )
    if any(one.dead for one in parked):
        forgotten = db.execute(
            "DELETE FROM parked WHERE outlet = ?1 AND dead AND number <= (SELECT number FROM parked"
            " WHERE outlet = ?1 AND dead ORDER BY number DESC LIMIT 1 OFFSET ?2)",
            (outlet, MOST_DEAD),
        ).rowcount
        _add(db, outlet, "dead", -forgotten)
    return read_row(db, outlet)


def _put(db: sqlite3.Connection, outlet: str, one: Parked) -> None:
    before = db.execute(
        "SELECT dead FROM parked WHERE outlet = ? AND id = ?", (outlet, one.delivery.id)
    ).fetchone()
    if before is not None:
        db.execute(
            "UPDATE parked SET due = ?, attempts = ?, error = ?, dead = ?"
            " WHERE outlet = ? AND id = ?",
            (one.due, one.attempts, one.error, int(one.dead), outlet, one.delivery.id),
        )
        if one.dead and not before["dead"]:
            _add(db, outlet, "waiting", -1)
            _add(db, outlet, "dead", 1)
        return
    if read_row(db, outlet).waiting >= MOST_PARKED:
        _add(db, outlet, "dropped", 1)
        return
    behind = db.execute(
        "SELECT 1 FROM parked WHERE outlet = ? AND session = ? AND NOT dead LIMIT 1",
        (outlet, one.session),
    ).fetchone()
    db.execute(
        "INSERT INTO parked (outlet, id, session, due, attempts, error, dead, parked_at, delivery)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            outlet,
            one.delivery.id,
            one.session,
            None if behind and not one.dead else one.due,
            one.attempts,
            one.error,
            int(one.dead),
            one.parked_at,
            _encode(one.delivery),
        ),
    )
    _add(db, outlet, "dead" if one.dead else "waiting", 1)


def _add(db: sqlite3.Connection, outlet: str, column: str, count: int) -> None:
    db.execute(f"UPDATE outlets SET {column} = {column} + ? WHERE outlet = ?", (count, outlet))  # noqa: S608


def closing_outbox(directory: Path) -> closing[sqlite3.Connection]:
    """For a command: the connection, closed at the end of the block."""
    return closing(open_outbox(directory))
