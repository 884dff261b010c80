"""A look at a database before a worker uses it: reachable, new enough, ours to write to."""

from __future__ import annotations

from typing import Final

import psycopg
from attrs import frozen

from actors.journal.session_reader import StoreRefused
from bridge.postgres.postgres_connection import (
    SCHEMA,
    WRITER_LIMITS,
    Database,
    connect,
    trouble_of_database,
)
from bridge.postgres.postgres_schema import require_ours

NEWEST_SERVER: Final = 18
"""The newest major version of PostgreSQL that is tested."""


@frozen
class DatabaseProbe:
    """What was found."""

    version: str
    """Of the server."""
    is_tested: bool
    """The program's tests run with this version of PostgreSQL."""
    sessions: int
    workers: int
    """That run now."""


def probe_database(url: str) -> DatabaseProbe:
    """Look at a database; it changes nothing.

    Raises `StoreRefused` where a worker could not use it, and `ArchiveTrouble`.
    """
    try:
        with connect(url, WRITER_LIMITS) as db:
            has_tables = require_ours(db, url)
            _require_rights(db)
            sessions = workers = 0
            if has_tables:
                sessions = _value(db, "SELECT count(*) FROM sessions")
                workers = _value(db, "SELECT count(*) FROM workers WHERE expires > now()")
            major = db.info.server_version // 10_000
            version = db.info.parameter_status("server_version") or str(major)
            return DatabaseProbe(version, major <= NEWEST_SERVER, sessions, workers)
    except psycopg.Error as error:
        raise trouble_of_database(url, error) from None


def _require_rights(db: Database) -> None:
    if _value(db, "SELECT pg_is_in_recovery()"):
        raise StoreRefused("the server is a standby, which takes no writes: name the primary")
    if not _value(db, f"SELECT to_regnamespace('{SCHEMA}') IS NOT NULL"):
        if not _value(db, "SELECT has_database_privilege(current_database(), 'CREATE')"):
            raise StoreRefused(
                "this user may not make a schema: GRANT CREATE ON DATABASE to this user, or let "
                "the database's owner start a worker once"
            )
        return
    tables = _value(
        db,
        "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema() AND NOT "
        "(has_table_privilege(schemaname || '.' || tablename, 'INSERT, UPDATE, DELETE, SELECT'))",
    )
    if tables or not _value(db, f"SELECT has_schema_privilege('{SCHEMA}', 'CREATE')"):
        raise StoreRefused(
            f"this user may not write to the schema {SCHEMA}: use the user who made it"
        )


def _value(db: Database, sql: str) -> int:
    row = db.execute(sql.encode()).fetchone()
    return 0 if row is None else int(row[0] or 0)
