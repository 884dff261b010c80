"""The session reader over the SQLite file of a worker (port: `actors.journal.session_reader`).

It reads while a worker writes, and after the worker died.  It makes no file and changes none.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from stat import S_ISREG
from typing import Any, final

from msgspec.structs import replace

from actors.journal.alert_history import ALL_ALERTS, AlertFilters, AlertPage
from actors.journal.archive import JournalRow
from actors.journal.session_filters import ALL, Filters, regex_of
from actors.journal.session_reader import (
    Day,
    LiveSession,
    NoStore,
    OpenSession,
    SessionPage,
    SessionUnreadable,
    StoreRefused,
    WorkerRow,
    newest_worker,
)
from actors.session import SessionRow, SessionState, SessionView, session_row
from actors.session.view import view_with
from bridge.store.alert_rows import read_alerts
from bridge.store.directory_lock import lock_owner
from bridge.store.journal_rows import newest_rows
from bridge.store.list_rows import FORM, decode_row
from bridge.store.live_sessions import LiveSessions
from bridge.store.replay import replay
from bridge.store.schema import (
    FILE,
    VERSION,
    damage,
    open_for_reading,
    require_ours,
    transaction,
    version_of,
)
from bridge.store.session_queries import (
    HIGHEST,
    changing_conditions,
    matches,
    read_list_cursor,
    stable_conditions,
)
from bridge.store.store_errors import trouble_of
from bridge.store.timeline_reader import StoredTimeline


@contextmanager
def open_database(data_dir: Path) -> Generator[sqlite3.Connection, None, None]:
    """The file of this directory, for reading.

    Raises `NoStore`, `StoreRefused` where the file is not ours or of another version, and
    `ArchiveTrouble` where it cannot be read, the last one also from within the block.
    """
    path = data_dir / FILE
    try:
        status = path.stat()
        if not S_ISREG(status.st_mode):
            raise StoreRefused(f"{path} is not a plain file: remove it, or name another directory")
        if not status.st_size:
            raise NoStore(f"no sessions are kept in {data_dir}")
    except FileNotFoundError:
        raise NoStore(f"no sessions are kept in {data_dir}") from None
    except OSError as error:
        raise trouble_of(path, error) from error
    try:
        with closing(open_for_reading(path)) as db:
            require_ours(db, path)
            version = version_of(db)
            if not version:
                raise NoStore(f"no sessions are kept in {data_dir}")
            if version < VERSION:
                raise StoreRefused(
                    f"{path} was written by an older version of this program (its layout is "
                    f"{version}, this one reads {VERSION}): `start` brings it up to date"
                )
            yield db
    except sqlite3.Error as error:
        raise trouble_of(path, error) from error


@contextmanager
def open_reader(data_dir: Path) -> Generator[SqliteReader, None, None]:
    """The sessions of this directory.  Raises as `open_database` does."""
    with open_database(data_dir) as db:
        yield SqliteReader(db, data_dir)


@final
class SqliteReader:
    """See `SessionReader`.  `open_reader` makes it."""

    def __init__(self, db: sqlite3.Connection, data_dir: Path) -> None:
        self._db = db
        self._data_dir = data_dir
        self._live = LiveSessions(db)

    def workers(self) -> list[WorkerRow]:
        """See `SessionReader`.  A directory has one worker at a time: the newest."""
        rows = self._db.execute(
            "SELECT instance, pid, started_at, alive_at FROM runs ORDER BY id DESC LIMIT 1"
        )
        return [WorkerRow(*row, running=lock_owner(self._data_dir) is not None) for row in rows]

    def count(self) -> int:
        """See `SessionReader`."""
        return self._db.execute("SELECT count(*) FROM sessions").fetchone()[0]

    def sessions(
        self, limit: int = 50, cursor: str | None = None, filters: Filters = ALL
    ) -> SessionPage:
        """See `SessionReader`."""
        stable, changing = stable_conditions(filters), changing_conditions(filters)
        sql = (
            f"SELECT session, place, {changing} FROM sessions WHERE {stable} "  # noqa: S608
            f"AND (ended_at IS NULL OR {changing}) AND place < ? ORDER BY place DESC LIMIT ?"
        )
        values = (*changing.values, *stable.values, *changing.values)
        below = HIGHEST if cursor is None else read_list_cursor(cursor)
        rows: list[tuple[int, SessionRow]] = []
        with transaction(self._db, "DEFERRED"):
            # Live sessions may not match after all: then it looks for more.
            while len(rows) <= limit:
                missing = limit + 1 - len(rows)
                candidates = self._db.execute(sql, (*values, below, missing)).fetchall()
                rows.extend(self._rows(candidates, filters))
                if len(candidates) < missing:
                    break
                below = candidates[-1][1]
        more = len(rows) > limit
        return SessionPage(
            [row for _, row in rows[:limit]], str(rows[limit - 1][0]) if more else None
        )

    def days(self, first: date, last: date, filters: Filters = ALL) -> list[Day]:
        """See `SessionReader`."""
        dates = [first + timedelta(days) for days in range((last - first).days + 1)]
        stable, changing = stable_conditions(filters), changing_conditions(filters)
        values = [*stable.values, *changing.values]
        # The number of a session is its begin in microseconds, so this needs no index.
        values += [_midnight(first) * 1_000_000, _midnight(last + timedelta(1)) * 1_000_000]
        rows = self._db.execute(
            "SELECT session / 86400000000, count(*), total(participant_seconds), "  # noqa: S608
            "coalesce(max(people_peak), 0) FROM sessions "
            f"WHERE {stable} AND {changing} AND session >= ? AND session < ? GROUP BY 1",
            values,
        )
        totals = {day: of_day for day, *of_day in rows}
        nothing: list[Any] = [0, 0.0, 0]
        return [
            Day(one.isoformat(), *totals.get(_midnight(one) // 86_400, nothing)) for one in dates
        ]

    def alerts(
        self, limit: int = 50, cursor: str | None = None, filters: AlertFilters = ALL_ALERTS
    ) -> AlertPage:
        """See `SessionReader`."""
        with transaction(self._db, "DEFERRED"):
            return read_alerts(self._db, limit, cursor, filters)

    def rooms(self, filters: Filters = ALL) -> list[SessionRow]:
        """See `SessionReader`."""
        stable, changing = stable_conditions(filters), changing_conditions(filters)
        sql = (
            f"SELECT session, place, {changing} FROM sessions WHERE {stable} "  # noqa: S608
            "AND ended_at IS NULL ORDER BY place DESC"
        )
        with transaction(self._db, "DEFERRED"):
            candidates = self._db.execute(sql, (*changing.values, *stable.values)).fetchall()
            return [row for _, row in self._rows(candidates, filters)]

    def live(self) -> list[LiveSession]:
        """See `SessionReader`."""
        with transaction(self._db, "DEFERRED"):
            return self._live.look()

    def session(self, name: str | None = None) -> SessionView | None:
        """See `SessionReader`."""
        with self.open_session(name) as session:
            if session is None or session.timeline is None:
                return None if session is None else session.view
            return replace(session.view, timeline=tuple(session.timeline))

    @contextmanager
    def open_session(self, name: str | None = None) -> Generator[OpenSession | None, None, None]:
        """See `SessionReader`.  The block is one transaction."""
        with transaction(self._db, "DEFERRED"):
            key = self._find(name)
            if key is None:
                yield None
                return
            session, has_timeline = key
            rows = newest_rows(self._db, (session,)).get(session, [])
            try:
                replayed = replay(self._db, session, rows)
            except ValueError as error:
                raise SessionUnreadable(str(error)) from error
            timeline = StoredTimeline(self._db, session, replayed.rows) if has_timeline else None
            as_of = self._as_of()(replayed.state)
            yield OpenSession(view_with(replayed.state, as_of, timeline), timeline)

    def damage(self) -> str | None:
        """See `SessionReader`."""
        return damage(self._db)

    # ------------------------------------------------------------------ inside

    def _find(self, name: str | None) -> tuple[int, bool] | None:
        """The number of a session, and whether its timeline is stored."""
        conditions = ("room_sid = ?", "room = ?") if name is not None else ("? IS NULL",)
        for condition in conditions:
            row = self._db.execute(
                f"SELECT session, has_lines FROM sessions WHERE {condition} "  # noqa: S608
                "ORDER BY ended_at IS NULL DESC, place DESC LIMIT 1",
                (name,),
            ).fetchone()
            if row is not None:
                return row
        return None

    def _as_of(self) -> Callable[[SessionState], float]:
        """Gives the moment as of which a live session is shown, by the session's own clock.

        That clock is the server's.  The worker runs on this machine and recorded how far this
        machine's clock is ahead.
        """
        worker = newest_worker(self)
        if worker is not None and not worker.running:
            return lambda _: worker.alive_at
        now = time.time()
        return lambda state: now - (state.clock_offset or 0.0)

    def _rows(
        self, candidates: list[tuple[int, int, bool]], filters: Filters
    ) -> list[tuple[int, SessionRow]]:
        """The rows of a list, each with its number in the order.

        A candidate says whether its columns match the filters.  For a live session its state
        now decides.
        """
        as_of, rows = self._as_of(), list[tuple[int, SessionRow]]()
        numbers = frozenset(session for session, _, _ in candidates)
        newest: dict[int, list[JournalRow]] | None = None
        person = None if filters.person is None else regex_of(filters.person)
        for session, place, matching in candidates:
            ended, *stored = self._db.execute(
                "SELECT ended_at IS NOT NULL, row, form, iif(form = ?, x'', state) "
                "FROM sessions JOIN states USING (session) WHERE session = ?",
                (FORM, session),
            ).fetchone()
            row = None
            if not ended:
                newest = newest_rows(self._db, numbers) if newest is None else newest
                with suppress(ValueError):  # unreadable: the row of the checkpoint
                    state = replay(self._db, session, newest.get(session, [])).state
                    row = session_row(state, as_of(state))
                    matching = matches(state, row, filters, person)
            if matching:
                rows.append((place, decode_row(*stored) if row is None else row))
        return rows


def _midnight(day: date) -> int:
    """Unix seconds when it begins in UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
