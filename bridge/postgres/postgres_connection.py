"""Connections to PostgreSQL: how they are made, and what they do with hostile text.

PostgreSQL takes neither the character NUL in a text nor a lone surrogate, and one such name would
stop a batch for ever.  So every text goes through `escape`, whatever statement it is in: a NUL
becomes two other characters, and is a NUL again when it is read.  A lone surrogate becomes "?", as
in SQLite.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final, TypeAlias, final

import psycopg
from psycopg.abc import Buffer
from psycopg.conninfo import conninfo_to_dict
from psycopg.types.string import StrDumper, TextLoader

from actors.journal.archive import ArchiveTrouble
from actors.journal.session_filters import CharacterClass, is_pattern, pattern_parts
from actors.journal.session_reader import StoreRefused, WorkerRow
from bridge.postgres.database_url import shown_url, without_secrets
from bridge.postgres.postgres_statements import SEEN_UNTIL
from bridge.store.read_connection import Mark, Values

Database: TypeAlias = "psycopg.Connection[tuple[Any, ...]]"

SCHEMA: Final = "room_actors"
"""The schema that all our tables are in."""
OLDEST_SERVER: Final = 15
"""The oldest major version of PostgreSQL that is tested."""
CONNECT_SECONDS: Final = 5
WRITER_LIMITS: Final = {
    "statement_timeout": "30s",
    "lock_timeout": "3s",
    # A writer that is stopped within a transaction must not block the others.
    "idle_in_transaction_session_timeout": "5s",
}
READER_LIMITS: Final = {
    "statement_timeout": "60s",
    "lock_timeout": "10s",
    "idle_in_transaction_session_timeout": "300s",
    "default_transaction_read_only": "on",
}


def batch_limits(lease: float) -> dict[str, str]:
    """Limits of a worker's batches.  All are below its lease (seconds).

    A worker that cannot write by then is about to lose its rooms.  One that is stopped within a
    transaction must not keep them.
    """
    parts = {
        "statement_timeout": 0.8,
        "lock_timeout": 0.4,
        "idle_in_transaction_session_timeout": 0.6,
    }
    return {name: f"{part * lease * 1e3:.0f}ms" for name, part in parts.items()}


_ESCAPE: Final = "\ufdd0"
"""A noncharacter: no text that people read has it."""


def escape(text: str) -> str:
    """The text as PostgreSQL can store it."""
    if _ESCAPE in text:
        text = text.replace(_ESCAPE, f"{_ESCAPE}1")
    return text.replace("\0", f"{_ESCAPE}0") if "\0" in text else text


def unescape(text: str) -> str:
    """The text that `escape` took."""
    if _ESCAPE not in text:
        return text
    return text.replace(f"{_ESCAPE}0", "\0").replace(f"{_ESCAPE}1", _ESCAPE)


class _StorableText(StrDumper):
    def dump(self, obj: str) -> Buffer | None:
        return escape(obj).encode(errors="replace")


class _StoredText(TextLoader):
    def load(self, data: Buffer) -> bytes | str:
        return unescape(bytes(data).decode(errors="replace"))


class _BinaryStoredText(_StoredText):
    format = psycopg.pq.Format.BINARY


def connect(url: str, limits: Mapping[str, str]) -> Database:
    """A connection without a transaction.  `limits` are settings of PostgreSQL.

    Raises `StoreRefused` where the URL or the server is of no use, and psycopg.Error.
    """
    try:
        parameters: dict[str, Any] = dict(conninfo_to_dict(url))
    except psycopg.Error:  # Its text may have the password.
        raise StoreRefused(
            "--database-url: the URL is malformed; in user and password write % as %25, "
            "@ as %40, / as %2F and : as %3A"
        ) from None
    options = {"search_path": SCHEMA, "timezone": "UTC", **limits}
    given = str(parameters.get("options", ""))
    parameters["options"] = " ".join((given, *(f"-c {k}={v}" for k, v in options.items()))).strip()
    parameters.setdefault("connect_timeout", CONNECT_SECONDS)
    parameters.setdefault("application_name", "room-actors")
    for name, value in (
        ("keepalives_idle", 5),
        ("keepalives_interval", 2),
        ("keepalives_count", 3),
        ("tcp_user_timeout", 10_000),
    ):
        parameters.setdefault(name, value)
    parameters["client_encoding"] = "utf8"
    db = psycopg.connect(autocommit=True, **parameters)
    try:
        _require_server(db, url)
    except BaseException:
        db.close()
        raise
    _adapt_text(db)
    return db


def hang_up(db: Database | None) -> None:
    """Make a call that waits for the server's answer fail.  From any thread."""
    if db is None or db.closed:
        return
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(db.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


def _require_server(db: Database, url: str) -> None:
    if db.info.server_version // 10_000 < OLDEST_SERVER:
        version = db.info.server_version // 10_000
        raise StoreRefused(
            f"{shown_url(url)} is PostgreSQL {version}: use {OLDEST_SERVER} or newer"
        )
    encoding = db.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreRefused(
            f"{shown_url(url)} has the encoding {encoding}: make a database with UTF8"
        )


def _adapt_text(db: Database) -> None:
    db.adapters.register_dumper(str, _StorableText)
    for name in ("text", "varchar"):
        db.adapters.register_loader(name, _StoredText)
        db.adapters.register_loader(name, _BinaryStoredText)


# ---------------------------------------------------------------- errors

_WAYS_OUT: Final = {
    "28": "set the user and the password in --database-url, and see pg_hba.conf",
    "3D": "make the database (createdb), or name another in --database-url",
    "42501": "give this user the right CREATE on the database, or let its owner start once",
    "53100": "the server's disk is full: make room",
    "53300": "the server has no free connection: raise max_connections",
    "25006": "the server takes no writes (a standby?): name the primary",
    "57P": "the server ends or begins: it is tried again",
}


def trouble_of_database(url: str, error: psycopg.Error) -> ArchiveTrouble:
    """The error as the port has it, with a text that says what to do, and without a secret."""
    state = error.sqlstate or ""
    text = " ".join(without_secrets(url, str(error)).split()) or type(error).__name__
    for begin, way_out in _WAYS_OUT.items():
        if state.startswith(begin):
            return ArchiveTrouble(f"{shown_url(url)}: {text}: {way_out}")
    return ArchiveTrouble(f"{shown_url(url)}: {text}")


# ---------------------------------------------------------------- reading

_PLACEHOLDER: Final = re.compile(r"\?|:(\w+)", re.ASCII)


@lru_cache(maxsize=256)
def _in_psycopg(sql: str) -> str:
    """The statement with psycopg's signs for values."""
    return _PLACEHOLDER.sub(lambda m: f"%({m[1]})s" if m[1] else "%s", sql)


def _escaped(char: str) -> str:
    """A character as PostgreSQL's regular expressions have it."""
    # Other characters have no meaning there; a NUL becomes two when it is sent.
    plain = char.isalnum() or not char.isascii() or not char.isprintable()
    return char if plain else f"\\{char}"


def _bracket(part: CharacterClass) -> str:
    if len(part.chars) == 1 and not part.negated:
        return _escaped(part.chars)  # A NUL is two characters there, which a bracket cannot have.
    chars, items, at = part.chars, list[str](), 0
    while at < len(chars):
        if chars[at + 1 : at + 2] == "-" and at + 2 < len(chars):
            if chars[at] <= chars[at + 2]:
                items.append(f"{_escaped(chars[at])}-{_escaped(chars[at + 2])}")
            at += 3
        else:
            items.append(_escaped(chars[at]))
            at += 1
    if not items:  # A range without a character.
        return "." if part.negated else "(?!x)x"
    return f"[{'^' if part.negated else ''}{''.join(items)}]"


def regex_in_postgres(pattern: str) -> str:
    """The pattern of a filter as PostgreSQL's `~` takes it."""
    wild = {"*": ".*", "?": "."}
    parts = (
        wild.get(part, _escaped(part)) if isinstance(part, str) else _bracket(part)
        for part in pattern_parts(pattern)
    )
    return f"^{''.join(parts)}$"


@final
class PostgresConnection:
    """See `ReadConnection`.  A writer's number is that of its row in `workers`."""

    def __init__(self, db: Database) -> None:
        self.db = db

    def execute(self, sql: str, values: Values = (), /) -> psycopg.Cursor[tuple[Any, ...]]:
        """See `ReadConnection`."""
        return self.db.execute(_in_psycopg(sql), values or None, binary=True)  # pyright: ignore[reportArgumentType]

    @contextmanager
    def snapshot(self) -> Generator[None, None, None]:
        """See `ReadConnection`."""
        self.db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield
        finally:
            if not self.db.closed:
                with suppress(psycopg.Error):
                    self.db.execute("ROLLBACK")

    def workers(self) -> list[WorkerRow]:
        """See `ReadConnection`.  Without those that are gone for a day, except the newest."""
        rows = self.execute(
            "SELECT instance, pid, started_at, coalesce(alive_at, started_at), expires > now(), "
            "name, version, url, rooms, max_rooms, load, draining FROM workers "
            "WHERE (alive_at IS NOT NULL OR name != '') AND (expires > now() - interval '1 day' "
            "OR expires = (SELECT max(expires) FROM workers)) "
            "ORDER BY expires > now() DESC, started_at DESC, worker DESC"
        )
        return [WorkerRow(*row) for row in rows]

    def signs_of_life(self) -> Callable[[int], float | None]:
        """See `ReadConnection`."""
        ends: dict[int, float | None] = dict(
            self.execute(
                f"SELECT session, {SEEN_UNTIL} FROM sessions JOIN workers ON owner = worker "  # noqa: S608
                "WHERE ended_at IS NULL AND expires <= now()"
            ).fetchall()
        )
        return ends.get

    def alive_at(self) -> float | None:
        """See `ReadConnection`."""
        row = self.execute("SELECT max(alive_at) FROM workers").fetchone()
        return None if row is None else row[0]

    def packs_in_no_chunk(self) -> Iterable[bytes]:
        """See `ReadConnection`."""
        packs = self.execute(
            "SELECT lines FROM workers, LATERAL (SELECT floor FROM journal "
            "WHERE journal.worker = workers.worker ORDER BY batch DESC LIMIT 1) AS newest, "
            "LATERAL (SELECT batch, lines FROM journal WHERE journal.worker = workers.worker "
            "AND batch >= newest.floor) AS packs ORDER BY workers.worker, batch"
        )
        return (packed for (packed,) in packs)

    def journal_end(self) -> tuple[object, Mark]:
        """See `ReadConnection`."""
        rows = self.execute(
            "SELECT worker, epoch, coalesce((SELECT max(batch) FROM journal "
            "WHERE journal.worker = workers.worker), 0) FROM workers ORDER BY worker"
        ).fetchall()
        return (
            tuple((worker, epoch) for worker, epoch, _ in rows),
            {worker: batch for worker, _, batch in rows},
        )

    def packs_after(self, mark: Mark) -> Iterable[bytes]:
        """See `ReadConnection`."""
        packs = self.execute(
            "SELECT lines FROM unnest(CAST(? AS integer[]), CAST(? AS bigint[])) AS seen (w, b), "
            "LATERAL (SELECT batch, lines FROM journal WHERE worker = w AND batch > b) AS packs "
            "ORDER BY w, batch",
            (list(mark), list(mark.values())),
        )
        return (packed for (packed,) in packs)

    def list_rows(
        self, sessions: Collection[int], form: str
    ) -> Mapping[int, tuple[bool, str, str, bytes]]:
        """See `ReadConnection`."""
        rows = self.execute(
            "SELECT session, ended_at IS NOT NULL, row, form, "
            "CASE WHEN form = ? THEN CAST('' AS bytea) ELSE state END "
            "FROM sessions JOIN states USING (session) WHERE session = ANY(?)",
            (form, list(sessions)),
        )
        return {session: (ended, *stored) for session, ended, *stored in rows}

    def has_alerts(self) -> bool:
        """See `ReadConnection`."""
        return True

    def equals(self, column: str) -> str:
        """See `ReadConnection`.

        The index has a hash of the text, because a long text does not fit into an index.
        """
        return f"hashtextextended({column}, 0) = hashtextextended(?, 0)"

    def like(self, column: str, pattern: str) -> tuple[str, str]:
        """See `ReadConnection`."""
        if not is_pattern(pattern):
            return self.equals(column), pattern
        return f"{column} ~ ?", regex_in_postgres(pattern)

    def damage(self) -> str | None:
        """See `ReadConnection`.  PostgreSQL reports its own damage when it reads."""
        self.execute("SELECT count(*), max(length(state)) FROM states").fetchone()
        return None


def execute_all(db: Database, statements: Sequence[str]) -> None:
    """Run statements without values."""
    for statement in statements:
        db.execute(statement.encode())
