"""The connection of the readers over SQLite (port: `bridge.store.read_connection`)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import final

from actors.journal.session_filters import pattern_parts
from actors.journal.session_reader import WorkerRow
from bridge.store.directory_lock import lock_owner
from bridge.store.read_connection import Mark, Values
from bridge.store.schema import damage, transaction


def glob_of(pattern: str) -> str:
    """The pattern of a filter as SQLite's GLOB takes it."""
    return "".join(
        part if isinstance(part, str) else part.glob("^") for part in pattern_parts(pattern)
    )


@final
class SqliteConnection:
    """See `ReadConnection`.  The file has one writer: its number is 0."""

    def __init__(self, db: sqlite3.Connection, data_dir: Path | None = None) -> None:
        """`data_dir`: the directory of the file, whose lock says whether the writer runs.

        None: nobody asks.
        """
        self.db = db
        self._data_dir = data_dir

    def execute(self, sql: str, values: Values = (), /) -> sqlite3.Cursor:
        """See `ReadConnection`."""
        return self.db.execute(sql, values)

    def snapshot(self) -> AbstractContextManager[None]:
        """See `ReadConnection`."""
        return transaction(self.db, "DEFERRED")

    def workers(self) -> list[WorkerRow]:
        """See `ReadConnection`.  A directory has one worker at a time: the newest."""
        rows = self.db.execute(
            "SELECT instance, pid, started_at, alive_at FROM runs ORDER BY id DESC LIMIT 1"
        )
        return [WorkerRow(*row, running=self._is_running()) for row in rows]

    def _is_running(self) -> bool:
        return self._data_dir is not None and lock_owner(self._data_dir) is not None

    def signs_of_life(self) -> Callable[[int], float | None]:
        """See `ReadConnection`."""
        at = next((one.alive_at for one in self.workers() if not one.running), None)
        return lambda _: at

    def alive_at(self) -> float | None:
        """See `ReadConnection`."""
        return self.db.execute("SELECT max(alive_at) FROM runs").fetchone()[0]

    def packs_in_no_chunk(self) -> Iterator[bytes]:
        """See `ReadConnection`."""
        packs = self.db.execute(
            "SELECT lines FROM journal WHERE batch >= "
            "(SELECT floor FROM journal ORDER BY batch DESC LIMIT 1) ORDER BY batch"
        )
        return (packed for (packed,) in packs)

    def journal_end(self) -> tuple[object, Mark]:
        """See `ReadConnection`."""
        run, batch = self.db.execute(
            "SELECT (SELECT coalesce(max(id), 0) FROM runs), "
            "(SELECT coalesce(max(batch), 0) FROM journal)"
        ).fetchone()
        return run, {0: batch}

    def packs_after(self, mark: Mark) -> Iterator[bytes]:
        """See `ReadConnection`."""
        packs = self.db.execute(
            "SELECT lines FROM journal WHERE batch > ? ORDER BY batch", (mark.get(0, -1),)
        )
        return (packed for (packed,) in packs)

    def list_rows(
        self, sessions: Collection[int], form: str
    ) -> Mapping[int, tuple[bool, str, str, bytes]]:
        """See `ReadConnection`."""
        return {
            session: self.db.execute(
                "SELECT ended_at IS NOT NULL, row, form, iif(form = ?, x'', state) "
                "FROM sessions JOIN states USING (session) WHERE session = ?",
                (form, session),
            ).fetchone()
            for session in sessions
        }

    def has_alerts(self) -> bool:
        """See `ReadConnection`."""
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alerts'"
        return self.db.execute(sql).fetchone() is not None

    def equals(self, column: str) -> str:
        """See `ReadConnection`."""
        return f"{column} = ?"

    def like(self, column: str, pattern: str) -> tuple[str, str]:
        """See `ReadConnection`."""
        return f"{column} GLOB ?", glob_of(pattern)

    def damage(self) -> str | None:
        """See `ReadConnection`."""
        return damage(self.db)
