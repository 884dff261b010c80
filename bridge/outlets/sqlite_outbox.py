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
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TypeVar, final

import trio

from actors.outlets.outbox_port import OutboxTrouble
from bridge.outlets.outbox_queries import OutboxConnection
from bridge.outlets.sql_outbox import SqlOutbox
from bridge.output.harmless import harmless

T = TypeVar("T")

FILE: Final = "outbox.db"
APPLICATION: Final = 0x526D4F62
"""SQLite's `application_id`: "RmOb"."""
VERSION: Final = 1
LOCK_TIMEOUT: Final = 5.0
"""Seconds to wait for another process that writes."""

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


def open_outbox(directory: Path) -> sqlite3.Connection:
    """A connection to the file, made where it is not there.  Raises `OutboxTrouble`."""
    path = directory / FILE
    try:
        db = sqlite3.connect(
            path, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
        )
        try:
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
class SqliteOutbox(SqlOutbox):
    """One connection for all endpoints; its calls run in a thread, one at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._db: sqlite3.Connection | None = None
        self._lock = trio.Lock()

    async def call(self, work: Callable[[OutboxConnection], T], outlet: str | None = None) -> T:  # noqa: ARG002
        """See `SqlOutbox`."""

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


@contextmanager
def changing_outbox(directory: Path) -> Generator[OutboxConnection, None, None]:
    """For a command: the outbox, in one transaction.  Raises `OutboxTrouble`."""
    try:
        with closing_outbox(directory) as db:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
    except sqlite3.Error as error:
        raise OutboxTrouble(f"{directory / FILE}: {harmless(str(error))}") from None


def closing_outbox(directory: Path) -> closing[sqlite3.Connection]:
    """For a command: the connection, closed at the end of the block."""
    return closing(open_outbox(directory))
