"""The tables in PostgreSQL, and their versions.

    workers    the workers that wrote here: one row each.  `epoch` is another one for each process
               of a worker, `expires` is the end of its lease, by the database's clock,
               `dropped` is the newest of its batches that is not in the journal any more, `ended`
               is its epoch if another worker ended the one before, the rest is what it says itself
    sessions   as in SQLite (`bridge.store.schema`); `owner` is the worker that writes the session
    states     as in SQLite
    journal    as in SQLite, numbered for each worker alone
    chunks     as in SQLite, in a partition for each day on which they were written, by the
               database's clock: retention drops whole days
    people     as in SQLite
    alerts     as in SQLite (`bridge.store.alert_rows`)
    texts      as in SQLite (`bridge.store.sqlite_texts`), with its words
    outlets    the endpoints of webhooks, as in `outbox.db` (`bridge.outlets.sqlite_outbox`).  One
               worker at a time delivers to an endpoint: `worker` is its instance, `holder` is
               another text for each of its processes, `expires` is the end of its lease.  `url`
               is without secrets, and the counts are those of all workers
    parked     deliveries that wait, as in `outbox.db`
    bans       who is banned from which room, until when (Unix seconds), by any worker's rule
    room_leases  the rooms that workers watch or may watch, with the session of each.  `owner` and
               `epoch` are the newest owner, whose epoch may be over: then nobody owns the room
    leader     at most one row: the worker and its epoch
    webhook_events  events for the owners of rooms, by LiveKit's id
    layout     one row: the version of the tables, the oldest program that may use them, and an id
               of this store

All tables are in the schema `room_actors`.  Texts are indexed by a hash: they come from
participants, and a long one would not fit into an index.

Every step of `STEPS` only adds: an older program goes on beside a newer one, because workers are
updated one after the other.  A step that an older program cannot stand raises `OLDEST`, the
version that a program must know to use the tables.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

from psycopg import errors

from actors.journal.session_reader import NoStore, StoreRefused
from bridge.postgres.database_url import shown_url
from bridge.postgres.postgres_connection import SCHEMA, Database, execute_all

DAYS_AHEAD: Final = 7
"""Partitions that are made ahead: without a worker for so long, chunks go to the default one."""
PARTITION_WAIT: Final = "500ms"
"""Time to wait for readers, when a partition is made or dropped: others wait behind it."""
_LOCK: Final = 0x526D4163
"""Of the migration, among PostgreSQL's advisory locks: "RmAc"."""
OLDEST: Final = 1
LONGEST_SID: Final = 200
"""Characters of a room SID: an index cannot have a long text.  LiveKit's have 15.  A session with a
longer one has no lease."""

STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """CREATE TABLE workers (
            worker integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            instance text NOT NULL,
            epoch bigint NOT NULL,
            pid bigint NOT NULL,
            started_at double precision,
            alive_at double precision,
            expires timestamptz NOT NULL,
            dropped bigint NOT NULL DEFAULT -1
        )""",
        "CREATE UNIQUE INDEX workers_by_instance ON workers (instance)",
        """CREATE TABLE sessions (
            session bigint PRIMARY KEY,
            owner integer NOT NULL,
            place bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
            room text COLLATE "C" NOT NULL,
            room_sid text COLLATE "C" NOT NULL,
            started_at double precision,
            ended_at double precision,
            end_reason text,
            seq bigint NOT NULL,
            lines_lost bigint NOT NULL,
            has_lines boolean NOT NULL,
            bytes bigint NOT NULL DEFAULT 0,
            state_bytes bigint NOT NULL DEFAULT 0,
            people_peak bigint,
            people_unique bigint,
            participant_seconds double precision,
            quality_excellent double precision,
            quality_good double precision,
            quality_poor double precision,
            quality_lost double precision
        )""",
        "CREATE INDEX sessions_of_sid ON sessions (hashtextextended(room_sid, 0), place)",
        "CREATE INDEX sessions_of_room ON sessions (hashtextextended(room, 0), place)",
        "CREATE INDEX sessions_active ON sessions (place) WHERE ended_at IS NULL",
        "CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL",
        "CREATE INDEX sessions_by_bytes ON sessions (bytes DESC, session) WHERE bytes > 0",
        """CREATE INDEX sessions_continued ON sessions (owner, place) WHERE end_reason IN
            ('dispatch_deleted', 'removed', 'server_lost', 'worker_stopped')""",
        """CREATE TABLE states (
            session bigint PRIMARY KEY, state bytea NOT NULL, row text NOT NULL, form text NOT NULL
        )""",
        "ALTER TABLE states ALTER state SET STORAGE EXTERNAL",
        """CREATE TABLE journal (
            worker integer NOT NULL,
            batch bigint NOT NULL,
            floor bigint NOT NULL,
            at double precision,
            lines bytea NOT NULL,
            PRIMARY KEY (worker, batch)
        )""",
        "ALTER TABLE journal ALTER lines SET STORAGE EXTERNAL",
        """CREATE TABLE chunks (
            session bigint NOT NULL,
            first bigint NOT NULL,
            day date NOT NULL,
            at double precision,
            lines bytea NOT NULL,
            PRIMARY KEY (session, first, day)
        ) PARTITION BY RANGE (day)""",
        "ALTER TABLE chunks ALTER lines SET STORAGE EXTERNAL",
        "CREATE TABLE chunks_other PARTITION OF chunks DEFAULT",
        """CREATE TABLE people (
            session bigint NOT NULL,
            identity text COLLATE "C" NOT NULL,
            name text COLLATE "C" NOT NULL,
            person text COLLATE "C" NOT NULL
        )""",
        "CREATE UNIQUE INDEX people_of_session ON people (session, hashtextextended(identity, 0))",
        "CREATE INDEX people_by_identity ON people (hashtextextended(identity, 0))",
        "CREATE INDEX people_by_name ON people (hashtextextended(name, 0)) WHERE name != ''",
        "CREATE INDEX people_by_person ON people (hashtextextended(person, 0)) WHERE person != ''",
        """CREATE TABLE alerts (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            session bigint NOT NULL,
            rule text NOT NULL,
            person text NOT NULL,
            text text NOT NULL,
            fired_at double precision NOT NULL,
            resolved_at double precision
        )""",
        "CREATE INDEX alerts_of_session ON alerts (session)",
    ),
    (
        """CREATE TABLE texts (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            room text COLLATE "C" NOT NULL,
            room_sid text COLLATE "C" NOT NULL,
            job_id text COLLATE "C" NOT NULL,
            item text COLLATE "C" NOT NULL,
            kind text NOT NULL,
            speaker text NOT NULL,
            identity text COLLATE "C" NOT NULL,
            at double precision NOT NULL,
            text text NOT NULL,
            ended_at double precision,
            name text NOT NULL,
            interim integer NOT NULL,
            expires double precision NOT NULL,
            words tsvector NOT NULL
        )""",
        "CREATE UNIQUE INDEX texts_by_item ON texts (room_sid, job_id, item, kind)",
        "CREATE INDEX texts_of_session ON texts (room_sid, at)",
        "CREATE INDEX texts_by_end ON texts (expires)",
        "CREATE INDEX texts_by_identity ON texts (hashtextextended(identity, 0))",
        "CREATE INDEX texts_by_words ON texts USING gin (words)",
    ),
    (
        """CREATE TABLE outlets (
            outlet text PRIMARY KEY,
            cursor text,
            disabled text,
            dropped bigint NOT NULL DEFAULT 0,
            waiting bigint NOT NULL DEFAULT 0,
            dead bigint NOT NULL DEFAULT 0,
            worker text NOT NULL DEFAULT '',
            holder text NOT NULL DEFAULT '',
            expires timestamptz NOT NULL DEFAULT '-infinity',
            url text NOT NULL DEFAULT '',
            delivered bigint NOT NULL DEFAULT 0,
            failed bigint NOT NULL DEFAULT 0,
            last_error text NOT NULL DEFAULT '',
            last_delivered_at double precision
        )""",
        """CREATE TABLE parked (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            outlet text NOT NULL,
            id text NOT NULL,
            session text NOT NULL,
            due double precision,
            attempts bigint NOT NULL,
            parked_at double precision NOT NULL,
            error text NOT NULL,
            dead boolean NOT NULL,
            delivery bytea NOT NULL
        )""",
        "CREATE UNIQUE INDEX parked_by_id ON parked (outlet, id)",
        "CREATE INDEX parked_by_session ON parked (outlet, session, number) WHERE NOT dead",
        """CREATE INDEX parked_by_due ON parked (outlet, due)
            WHERE NOT dead AND due IS NOT NULL""",
        "CREATE INDEX parked_dead ON parked (outlet, number) WHERE dead",
    ),
    (
        """ALTER TABLE workers
            ADD COLUMN ended bigint NOT NULL DEFAULT 0,
            ADD COLUMN written_at timestamptz,
            ADD COLUMN name text NOT NULL DEFAULT '',
            ADD COLUMN version text NOT NULL DEFAULT '',
            ADD COLUMN url text NOT NULL DEFAULT '',
            ADD COLUMN rooms integer NOT NULL DEFAULT 0,
            ADD COLUMN max_rooms integer NOT NULL DEFAULT 0,
            ADD COLUMN load double precision NOT NULL DEFAULT 0,
            ADD COLUMN draining boolean NOT NULL DEFAULT false""",
        """CREATE TABLE room_leases (
            room_sid text COLLATE "C" PRIMARY KEY,
            room text COLLATE "C" NOT NULL,
            session bigint UNIQUE,
            owner integer,
            epoch bigint,
            unwatched_since timestamptz,
            seen_until double precision,
            released_at timestamptz,
            offered boolean NOT NULL DEFAULT false,
            successor integer,
            successor_epoch bigint,
            successor_is_ready boolean NOT NULL DEFAULT false
        )""",
        "CREATE INDEX room_leases_of_owner ON room_leases (owner, epoch)",
        # The sessions of the program's versions before leases.
        """INSERT INTO room_leases (room_sid, room, session, owner, epoch)
            SELECT DISTINCT ON (room_sid) room_sid, room, session, owner, epoch
            FROM sessions JOIN workers ON owner = worker
            WHERE ended_at IS NULL AND room_sid != '' AND length(room_sid) <= 200
            ORDER BY room_sid, place DESC""",
        """CREATE TABLE leader (
            one boolean PRIMARY KEY CHECK (one), worker integer NOT NULL, epoch bigint NOT NULL
        )""",
        """CREATE TABLE webhook_events (
            id text COLLATE "C" PRIMARY KEY,
            room text COLLATE "C" NOT NULL,
            room_sid text COLLATE "C" NOT NULL,
            at timestamptz NOT NULL,
            body bytea NOT NULL,
            taker integer,
            taker_epoch bigint,
            dropped boolean NOT NULL DEFAULT false
        )""",
        "CREATE INDEX webhook_events_by_time ON webhook_events (at)",
        "CREATE INDEX webhook_events_of_room ON webhook_events (room_sid) WHERE NOT dropped",
    ),
    ("ALTER TABLE workers ADD COLUMN local_events boolean NOT NULL DEFAULT false",),
    (
        """CREATE TABLE bans (
            room text COLLATE "C" NOT NULL,
            identity text COLLATE "C" NOT NULL,
            rule text NOT NULL,
            until double precision NOT NULL
        )""",
        """CREATE UNIQUE INDEX bans_by_room ON bans
            (hashtextextended(room, 0), hashtextextended(identity, 0))""",
        "CREATE INDEX bans_by_end ON bans (until)",
    ),
)
VERSION: Final = len(STEPS)


def migrate(db: Database, url: str) -> str:
    """Make the tables, or bring them up to date.  Gives the id of the store.

    Several programs may do this at the same time: one works, the others wait for it.
    Raises `StoreRefused` and psycopg.Error.
    """
    layout = _layout(db)
    if layout is None or layout[0] < VERSION:
        # Not a lock of the transaction: within one, a program that waited would not see the tables
        # that another one made meanwhile.
        with _locked(db), db.transaction():
            _migrate(db)
        layout = _layout(db)
    assert layout is not None
    _require_known(layout, url)
    return layout[2]


@contextmanager
def _locked(db: Database) -> Generator[None, None, None]:
    """One program at a time may change the tables."""
    db.execute("SET lock_timeout = '60s'")
    db.execute("SET statement_timeout = 0")
    db.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
    try:
        yield
    finally:
        if not db.closed:
            db.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))
            db.execute("RESET lock_timeout")
            db.execute("RESET statement_timeout")


def _migrate(db: Database) -> None:
    layout = _layout(db)  # Another program may have done it while this one waited.
    version = 0
    if layout is None:
        execute_all(
            db,
            (
                f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}",
                """CREATE TABLE layout (
                    one boolean PRIMARY KEY CHECK (one),
                    version integer NOT NULL,
                    oldest integer NOT NULL,
                    store text NOT NULL
                )""",
                "INSERT INTO layout VALUES (true, 0, 0, gen_random_uuid()::text)",
            ),
        )
    else:
        version = layout[0]
    for step in STEPS[version:]:
        execute_all(db, step)
    db.execute(
        "UPDATE layout SET version = greatest(version, %s), oldest = greatest(oldest, %s)",
        (VERSION, OLDEST),
    )


def _layout(db: Database) -> tuple[int, int, str] | None:
    """The version of the tables, the oldest version that may use them, the store's id."""
    row = db.execute("SELECT to_regclass('layout') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return None
    layout = db.execute("SELECT version, oldest, store FROM layout").fetchone()
    return None if layout is None else (layout[0], layout[1], layout[2])


def _require_known(layout: tuple[int, int, str], url: str) -> None:
    if layout[1] > VERSION:
        raise StoreRefused(
            f"{shown_url(url)} was changed by a newer version of this program (its layout needs "
            f"{layout[1]}, this one knows {VERSION}): use that version, or another database"
        )


def require_ours(db: Database, url: str) -> bool:
    """True if there are tables.  Raises `StoreRefused` where only a newer program may use them."""
    layout = _layout(db)
    if layout is not None:
        _require_known(layout, url)
    return layout is not None


def require_store(db: Database, url: str) -> None:
    """For a reader.  Raises `NoStore`, and `StoreRefused` for tables of another version."""
    layout = _layout(db)
    if layout is None:
        raise NoStore(f"no sessions are kept in {shown_url(url)}")
    _require_known(layout, url)
    if layout[0] < VERSION:
        raise StoreRefused(
            f"{shown_url(url)} was written by an older version of this program (its layout is "
            f"{layout[0]}, this one reads {VERSION}): `start` brings it up to date"
        )


def make_partitions(db: Database) -> None:
    """Make the partitions of today and of the next days, by the database's clock.

    It waits for nobody: what a long read or another program is in the way of is made later.
    """
    if not _missing_partitions(db) or not _is_true(db, "SELECT pg_try_advisory_lock(%s)", _LOCK):
        return
    try:
        with db.transaction():
            db.execute(f"SET LOCAL lock_timeout = '{PARTITION_WAIT}'".encode())
            for name, begin, end in _missing_partitions(db):
                days = f"FOR VALUES FROM ('{begin}') TO ('{end}')"
                # The default partition may have rows of that day: then they stay there.
                with suppress(errors.CheckViolation, errors.LockNotAvailable), db.transaction():
                    execute_all(db, (f"CREATE TABLE {name} PARTITION OF chunks {days}",))
    finally:
        if not db.closed:
            db.execute("SELECT pg_advisory_unlock(%s)", (_LOCK,))


def _is_true(db: Database, sql: str, *values: object) -> bool:
    row = db.execute(sql.encode(), values).fetchone()
    return row is not None and bool(row[0])


def _missing_partitions(db: Database) -> list[tuple[str, str, str]]:
    """Of each: its name, its day, and the day after it."""
    rows = db.execute(
        "SELECT name, d::date::text, (d + interval '1 day')::date::text FROM ("
        "SELECT d, 'chunks_' || to_char(d, 'YYYYMMDD') AS name FROM generate_series("
        "date_trunc('day', now()), now() + make_interval(days => %s), interval '1 day') AS d"
        ") AS wanted WHERE to_regclass(name) IS NULL",
        (DAYS_AHEAD,),
    )
    return [(name, begin, end) for name, begin, end in rows]
