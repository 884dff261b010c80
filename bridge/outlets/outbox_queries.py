"""The queries of an outbox, the same over SQLite and PostgreSQL.

They write their SQL with `?` and `:name` for values, in words that both databases know.  Each
function is called within a transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from actors.outlets.outbox_port import OutletRow, Parked
from actors.outlets.outlet_port import Delivery

MOST_PARKED: Final = 500_000
"""Deliveries of one endpoint that wait; what comes beyond is dropped and counted."""
MOST_DEAD: Final = 10_000
"""Deliveries of one endpoint that were given up and stay to be looked at, the newest."""
AT_ONCE: Final = 100
"""Of one session in one look, so that one session's backlog does not hold up the others."""

_COLUMNS: Final = "delivery, attempts, due, parked_at, error, dead"
encode_delivery: Final = msgspec.msgpack.Encoder().encode
decode_delivery: Final = msgspec.msgpack.Decoder(Delivery).decode


class QueryResult(Protocol):
    """The rows of a query, or the number of rows that a statement changed."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...


class OutboxConnection(Protocol):
    """A connection to the tables `outlets` and `parked`."""

    def execute(
        self, sql: str, values: Sequence[Any] | Mapping[str, Any] = (), /
    ) -> QueryResult: ...


def read_row(db: OutboxConnection, outlet: str) -> OutletRow:
    row = db.execute(
        "SELECT cursor, disabled, waiting, dead, dropped FROM outlets WHERE outlet = ?", (outlet,)
    ).fetchone()
    return OutletRow(None) if row is None else OutletRow(*row)


def outlets(db: OutboxConnection) -> dict[str, OutletRow]:
    """All that were ever configured, by name."""
    names = [row[0] for row in db.execute("SELECT outlet FROM outlets ORDER BY outlet")]
    return {name: read_row(db, name) for name in names}


def listed(db: OutboxConnection, outlet: str | None, limit: int) -> list[tuple[str, Parked]]:
    """Deliveries that wait or were given up, each with its endpoint: the dead ones first."""
    where = "" if outlet is None else "WHERE outlet = :outlet"
    rows = db.execute(
        f"SELECT outlet, {_COLUMNS} FROM parked {where} ORDER BY dead DESC, number LIMIT :limit",  # noqa: S608
        {"outlet": outlet, "limit": limit},
    )
    return [(name, _parked(row)) for name, *row in rows]


def set_disabled(db: OutboxConnection, outlet: str, why: str | None) -> bool:
    """Returns False where there is no such endpoint; a reason in `why` makes one."""
    if why is not None:
        db.execute("INSERT INTO outlets (outlet) VALUES (?) ON CONFLICT DO NOTHING", (outlet,))
    done = db.execute("UPDATE outlets SET disabled = ? WHERE outlet = ?", (why, outlet))
    return done.rowcount > 0


def send_again(db: OutboxConnection, outlet: str | None, ids: Sequence[str], now: float) -> int:
    """Have deliveries tried again at once, from their first attempt on: these, or of no ids all
    that were given up and all that wait; how many."""
    conditions, values = ["TRUE"], list[Any]()
    if outlet is not None:
        conditions.append("outlet = ?")
        values.append(outlet)
    if ids:
        conditions.append(f"id IN ({', '.join('?' * len(ids))})")
        values.extend(ids)
    done = db.execute(
        "UPDATE parked SET dead = FALSE, attempts = 0, due = NULL, parked_at = ?"  # noqa: S608
        f" WHERE {' AND '.join(conditions)}",
        (now, *values),
    ).rowcount
    for name in outlets(db):
        of = {"outlet": name, "now": now}
        db.execute(
            "UPDATE parked SET due = CASE WHEN number IN (SELECT min(number) FROM parked"
            " WHERE outlet = :outlet AND NOT dead GROUP BY session) THEN :now END"
            " WHERE outlet = :outlet AND NOT dead",
            of,
        )
        db.execute(
            "UPDATE outlets SET"
            " waiting = (SELECT count(*) FROM parked WHERE outlet = :outlet AND NOT dead),"
            " dead = (SELECT count(*) FROM parked WHERE outlet = :outlet AND dead)"
            " WHERE outlet = :outlet",
            {"outlet": name},
        )
    return done


def _parked(row: Sequence[Any]) -> Parked:
    delivery, attempts, due, parked_at, error, dead = row
    return Parked(
        decode_delivery(delivery),
        attempts=attempts,
        due=due or 0.0,
        parked_at=parked_at,
        error=error,
        dead=bool(dead),
    )


def blocked_sessions(
    db: OutboxConnection, outlet: str, among: Collection[str] | None
) -> frozenset[str]:
    waits = "FROM parked WHERE outlet = ? AND NOT dead"
    if among is None:
        rows = db.execute(f"SELECT DISTINCT session {waits}", (outlet,))
        return frozenset(row[0] for row in rows)
    one = f"SELECT 1 {waits} AND session = ? LIMIT 1"
    return frozenset(
        session for session in among if db.execute(one, (outlet, session)).fetchone() is not None
    )


def read_heads(db: OutboxConnection, outlet: str, due: float, limit: int) -> list[Parked]:
    sessions = db.execute(
        "SELECT session FROM parked WHERE outlet = ? AND NOT dead AND due <= ?"
        " ORDER BY due, number LIMIT ?",
        (outlet, due, limit),
    ).fetchall()
    ready = list[Parked]()
    for (session,) in sessions:
        rows = db.execute(
            f"SELECT {_COLUMNS} FROM parked WHERE outlet = ? AND session = ? AND NOT dead"  # noqa: S608
            " ORDER BY number LIMIT ?",
            (outlet, session, min(AT_ONCE, limit - len(ready))),
        )
        ready += map(_parked, rows)
        if len(ready) >= limit:
            break
    return ready


def next_due(db: OutboxConnection, outlet: str) -> float | None:
    """See `OutboxStore.next_due`."""
    row = db.execute(
        "SELECT min(due) FROM parked WHERE outlet = ? AND NOT dead AND due IS NOT NULL", (outlet,)
    ).fetchone()
    return row[0]


def hasten(db: OutboxConnection, outlet: str, now: float) -> None:
    """See `OutboxStore.hasten`."""
    db.execute(
        "UPDATE parked SET due = :now WHERE outlet = :outlet AND NOT dead AND due > :now",
        {"outlet": outlet, "now": now},
    )


def save_deliveries(
    db: OutboxConnection,
    outlet: str,
    cursor: str | None,
    parked: Sequence[Parked],
    delivered: Collection[str],
) -> OutletRow:
    db.execute("INSERT INTO outlets (outlet) VALUES (?) ON CONFLICT DO NOTHING", (outlet,))
    if cursor is not None:
        db.execute("UPDATE outlets SET cursor = ? WHERE outlet = ?", (cursor, outlet))
    moved, dead = set[str](), list[bool]()
    for one in delivered:
        row = db.execute(
            "DELETE FROM parked WHERE outlet = ? AND id = ? RETURNING session, dead", (outlet, one)
        ).fetchone()
        if row is not None:
            moved.add(row[0])
            dead.append(bool(row[1]))
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
            "DELETE FROM parked WHERE outlet = :outlet AND dead AND number <= (SELECT number"
            " FROM parked WHERE outlet = :outlet AND dead"
            " ORDER BY number DESC LIMIT 1 OFFSET :most)",
            {"outlet": outlet, "most": MOST_DEAD},
        ).rowcount
        _add(db, outlet, "dead", -forgotten)
    return read_row(db, outlet)


def _put(db: OutboxConnection, outlet: str, one: Parked) -> None:
    before = db.execute(
        "SELECT dead FROM parked WHERE outlet = ? AND id = ?", (outlet, one.delivery.id)
    ).fetchone()
    if before is not None:
        db.execute(
            "UPDATE parked SET due = ?, attempts = ?, error = ?, dead = ?"
            " WHERE outlet = ? AND id = ?",
            (one.due, one.attempts, one.error, one.dead, outlet, one.delivery.id),
        )
        if one.dead and not before[0]:
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
            one.dead,
            one.parked_at,
            encode_delivery(one.delivery),
        ),
    )
    _add(db, outlet, "dead" if one.dead else "waiting", 1)


def _add(db: OutboxConnection, outlet: str, column: str, count: int) -> None:
    db.execute(f"UPDATE outlets SET {column} = {column} + ? WHERE outlet = ?", (count, outlet))  # noqa: S608
