"""The file: its tables, its versions, and whether it is ours at all.

    sessions   one narrow row a session, with the columns by which lists filter and sort
    states     the checkpoint of a session (`actors.session.codec`), after its record `seq`, and
               its row of a list as JSON (`docs/contract.md`); `form` says which keys that JSON
               has (`bridge.store.list_rows`)
    journal    one batch a row, with the journal rows of all sessions in it, packed; its numbers
               are the places of the feed (`bridge.store.sqlite_feed`)
    chunks     packed journal rows of one session, moved here by each checkpoint
    people     the identities in each session, the last display name of each, and the person key
               where it differs from the identity
    runs       the runs of workers that wrote here, with their last sign of life

The key of a session is a number: microseconds of its begin, made unique.  A clock may be wrong, so
the order of sessions is the one in which they were stored first (`sessions.place`, a counter): the
newest has the highest number, and the next page of a list begins below the last one.

`sessions.bytes` is the size of its chunks.  `has_lines` says whether its timeline is stored.
`lines` are packed journal rows (`bridge.store.journal_rows`), `lines_lost` counts rows that were
dropped.

`journal.floor` is the first batch with rows that are not in chunks yet.  `chunks.first` is the
number of a chunk's first row, `at` the time of its last.

The version is SQLite's `user_version`, and `STEPS` leads from each to the next.  A step does not
change after its release.  The names of columns are older than the glossary; they stay.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_reader import StoreRefused

FILE: Final = "store.db"
APPLICATION: Final = 0x526D4163
"""SQLite's `application_id` of our files: "RmAc"."""

STEPS: Final[tuple[str, ...]] = (
    """
    CREATE TABLE sessions (
        session INTEGER PRIMARY KEY,
        room TEXT NOT NULL,
        room_sid TEXT NOT NULL,
        started_at REAL,
        ended_at REAL,
        end_reason TEXT,
        seq INTEGER NOT NULL,
        lines_lost INTEGER NOT NULL,
        has_lines INTEGER NOT NULL,
        people_peak INTEGER,
        people_unique INTEGER,
        participant_seconds REAL,
        quality_excellent REAL,
        quality_good REAL,
        quality_poor REAL,
        quality_lost REAL
    );
    CREATE INDEX sessions_of_sid ON sessions (room_sid, session);
    CREATE INDEX sessions_of_room ON sessions (room, session);
    CREATE INDEX sessions_active ON sessions (session) WHERE ended_at IS NULL;
    CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
    CREATE INDEX sessions_continued ON sessions (session) WHERE end_reason IN
        ('dispatch_deleted', 'removed', 'server_lost', 'worker_stopped');
    CREATE INDEX sessions_with_lines ON sessions (session) WHERE has_lines;

    CREATE TABLE states (
        session INTEGER PRIMARY KEY,
        state BLOB NOT NULL,
        row TEXT NOT NULL
    );

    CREATE TABLE journal (
        batch INTEGER PRIMARY KEY,
        floor INTEGER NOT NULL,
        at REAL,
        lines BLOB NOT NULL
    );

    CREATE TABLE chunks (
        session INTEGER NOT NULL,
        first INTEGER NOT NULL,
        at REAL,
        lines BLOB NOT NULL,
        PRIMARY KEY (session, first)
    ) WITHOUT ROWID;

    CREATE TABLE people (
        session INTEGER NOT NULL,
        identity TEXT NOT NULL,
        PRIMARY KEY (session, identity)
    ) WITHOUT ROWID;
    CREATE INDEX people_by_identity ON people (identity);

    CREATE TABLE runs (
        id INTEGER PRIMARY KEY,
        run TEXT NOT NULL UNIQUE,
        instance TEXT NOT NULL,
        pid INTEGER NOT NULL,
        started_at REAL,
        alive_at REAL
    );
    """,
    """
    ALTER TABLE people ADD COLUMN name TEXT NOT NULL DEFAULT '';
    CREATE INDEX people_by_name ON people (name) WHERE name != '';
    ALTER TABLE people ADD COLUMN person TEXT NOT NULL DEFAULT '';
    CREATE INDEX people_by_person ON people (person) WHERE person != '';
    ALTER TABLE states ADD COLUMN form TEXT NOT NULL DEFAULT '';
    """,
    """
    ALTER TABLE sessions ADD COLUMN place INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
    UPDATE sessions SET place = session, bytes = (
        SELECT coalesce(sum(length(lines)), 0) FROM chunks WHERE chunks.session = sessions.session);
    CREATE UNIQUE INDEX sessions_in_order ON sessions (place);
    CREATE INDEX sessions_by_bytes ON sessions (bytes DESC, session) WHERE bytes > 0;
    CREATE INDEX sessions_of_room_in_order ON sessions (room, place);
    DROP INDEX sessions_of_room;
    DROP INDEX sessions_continued;
    CREATE INDEX sessions_continued ON sessions (place) WHERE end_reason IN
        ('dispatch_deleted', 'removed', 'server_lost', 'worker_stopped');
    """,
)
VERSION: Final = len(STEPS)

_BUSY: Final = 1.0
"""Seconds to wait for another program's lock."""
_CACHE: Final = 4 << 20
"""Bytes."""
_WAL_LEFT: Final = 64 << 20
"""Bytes.  A write-ahead log that grew larger is cut to this size."""

CHECKPOINT_EVERY: Final = 5.0
"""Seconds between two copies of the write-ahead log into the file.  A log that somebody removes
then costs little."""

_CHECKED: Final = 256 << 20
"""Bytes.  A file up to this size is checked as a whole before it is written to, which takes a
quarter of a second.  Damage in a larger one shows when the damaged page is read."""


def open_for_writing(
    path: Path, steps: Sequence[str] = STEPS, *, again: bool = False
) -> sqlite3.Connection:
    """Open the file; make it, or bring it up to date, first.

    Any thread may use the connection, one at a time.  The connection begins no transaction by
    itself.  A file that is opened `again` is not checked as a whole.

    Raises sqlite3.Error, OSError, `StoreRefused` and `ArchiveTrouble`.
    """
    # SQLite would make the file readable for all, and its companions with it.  An existing file
    # is not opened here: its close would release SQLite's own locks in this process.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    if path.stat().st_size:
        # Over a connection that cannot change the file, whatever is in it.
        with closing(open_for_reading(path)) as reading:
            require_ours(reading, path, len(steps))
            if not again and path.stat().st_size <= _CHECKED:
                require_whole(reading)
    db = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        if not version_of(db):
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # has no effect once there is a table
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise ArchiveTrouble(
                f"{path}: SQLite cannot write ahead there (journal mode {mode}): "
                "name a data directory on a local disk"
            )
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = FAST")
        db.execute(f"PRAGMA cache_size = -{_CACHE >> 10}")
        db.execute(f"PRAGMA journal_size_limit = {_WAL_LEFT}")
        _migrate(db, steps)
    except BaseException:
        db.close()
        raise
    return db


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the file as it is.  It makes and changes nothing, and delays no writer.

    Without a write-ahead log beside it, no process has the file open, and the file is complete.  It
    is opened as immutable then: otherwise SQLite would leave an empty log there.  A worker that
    starts meanwhile writes to its log first, and to the file only when that has some megabytes.
    """
    alone = "" if Path(f"{path}-wal").exists() else "&immutable=1"
    # Not `as_uri`: where the path begins with //, it would make a URI with a host.
    quoted = str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(
        f"file:{quoted}?mode=ro{alone}",
        uri=True,
        timeout=_BUSY,
        isolation_level=None,
        check_same_thread=False,
    )


def version_of(db: sqlite3.Connection) -> int:
    """The version of the file's layout; 0 for an empty file."""
    return db.execute("PRAGMA user_version").fetchone()[0]


def require_ours(db: sqlite3.Connection, path: Path, newest: int = VERSION) -> None:
    """Raise `StoreRefused` for another program's database and for a store of a newer version."""
    application = db.execute("PRAGMA application_id").fetchone()[0]
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION and (application or tables):
        raise StoreRefused(
            f"{path} is another program's database: name another data directory, or move it away"
        )
    version = version_of(db)
    if version > newest:
        raise StoreRefused(
            f"{path} was written by a newer version of this program (its layout is {version}, "
            f"this one knows {newest}): use that version, or another data directory"
        )


def damage(db: sqlite3.Connection) -> str | None:
    """Check the whole file.  Gives what is wrong with it, or None."""
    result = db.execute("PRAGMA quick_check(1)").fetchone()[0]
    return None if result == "ok" else str(result)


def require_whole(db: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError where the file is damaged."""
    problem = damage(db)
    if problem is not None:
        error = sqlite3.DatabaseError(problem)
        error.sqlite_errorcode, error.sqlite_errorname = sqlite3.SQLITE_CORRUPT, "SQLITE_CORRUPT"
        raise error


def _migrate(db: sqlite3.Connection, steps: Sequence[str]) -> None:
    while (version := version_of(db)) < len(steps):
        with transaction(db):
            for statement in steps[version].split(";\n"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            db.execute(f"PRAGMA user_version = {version + 1}")


@contextmanager
def transaction(db: sqlite3.Connection, mode: str = "IMMEDIATE") -> Generator[None, None, None]:
    """Run the block as one transaction: all of it is durable at its end, or nothing."""
    db.execute(f"BEGIN {mode}")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
