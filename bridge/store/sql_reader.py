"""The session reader over a database (port: `actors.journal.session_reader`).

It is the same for SQLite and PostgreSQL; `bridge.store.read_connection` is what differs.
It reads while workers write, and after they died.  It writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any, final

from actors.journal.alert_history import ALL_ALERTS, AlertFilters, AlertPage
from actors.journal.archive import JournalRow
from actors.journal.session_filters import ALL, Filters, regex_of
from actors.journal.session_reader import (
    Day,
    LiveSession,
    OpenSession,
    SessionPage,
    SessionUnreadable,
    WorkerRow,
    whole_view,
)
from actors.session import SessionRow, SessionState, SessionView, session_row
from actors.session.view import view_with
from bridge.store.alert_rows import read_alerts
from bridge.store.journal_rows import newest_rows
from bridge.store.list_rows import FORM, decode_row
from bridge.store.live_sessions import LiveSessions
from bridge.store.read_connection import ReadConnection
from bridge.store.replay import replay
from bridge.store.session_queries import (
    HIGHEST,
    Conditions,
    changing_conditions,
    matches,
    read_list_cursor,
    stable_conditions,
)
from bridge.store.timeline_reader import StoredTimeline


@final
class SqlReader:
    """See `SessionReader`.  `open_reader` of each store makes it."""

    def __init__(self, db: ReadConnection) -> None:
        self._db = db
        self._live = LiveSessions(db)

    def workers(self) -> list[WorkerRow]:
        """See `SessionReader`."""
        return self._db.workers()

    def count(self) -> int:
        """See `SessionReader`."""
        return self._db.execute("SELECT count(*) FROM sessions").fetchone()[0]

    def sessions(
        self, limit: int = 50, cursor: str | None = None, filters: Filters = ALL
    ) -> SessionPage:
        """See `SessionReader`."""
        stable, changing = self._conditions(filters)
        sql = (
            f"SELECT session, place, {changing} FROM sessions WHERE {stable} "  # noqa: S608
            f"AND (ended_at IS NULL OR {changing}) AND place < ? ORDER BY place DESC LIMIT ?"
        )
        values = (*changing.values, *stable.values, *changing.values)
        below = HIGHEST if cursor is None else read_list_cursor(cursor)
        rows: list[tuple[int, SessionRow]] = []
        with self._db.snapshot():
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
        stable, changing = self._conditions(filters)
        values = [*stable.values, *changing.values]
        # The number of a session is its begin in microseconds, so this needs no index.
        values += [_midnight(first) * 1_000_000, _midnight(last + timedelta(1)) * 1_000_000]
        rows = self._db.execute(
            "SELECT session / 86400000000, count(*), coalesce(sum(participant_seconds), 0.0), "  # noqa: S608
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
        with self._db.snapshot():
            return read_alerts(self._db, limit, cursor, filters)

    def rooms(self, filters: Filters = ALL) -> list[SessionRow]:
        """See `SessionReader`."""
        stable, changing = self._conditions(filters)
        sql = (
            f"SELECT session, place, {changing} FROM sessions WHERE {stable} "  # noqa: S608
            "AND ended_at IS NULL ORDER BY place DESC"
        )
        with self._db.snapshot():
            candidates = self._db.execute(sql, (*changing.values, *stable.values)).fetchall()
            return [row for _, row in self._rows(candidates, filters)]

    def live(self) -> list[LiveSession]:
        """See `SessionReader`."""
        with self._db.snapshot():
            return self._live.look()

    def session(self, name: str | None = None) -> SessionView | None:
        """See `SessionReader`."""
        with self.open_session(name) as session:
            return None if session is None else whole_view(session)

    @contextmanager
    def open_session(self, name: str | None = None) -> Generator[OpenSession | None, None, None]:
        """See `SessionReader`.  The block is one transaction."""
        with self._db.snapshot():
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
            as_of = self._as_of()(session, replayed.state)
            yield OpenSession(view_with(replayed.state, as_of, timeline), timeline)

    def damage(self) -> str | None:
        """See `SessionReader`."""
        return self._db.damage()

    # ------------------------------------------------------------------ inside

    def _find(self, name: str | None) -> tuple[int, bool] | None:
        """The number of a session, and whether its timeline is stored."""
        conditions = ["TRUE"] if name is None else map(self._db.equals, ("room_sid", "room"))
        for condition in conditions:
            row = self._db.execute(
                f"SELECT session, has_lines FROM sessions WHERE {condition} "  # noqa: S608
                "ORDER BY ended_at IS NULL DESC, place DESC LIMIT 1",
                () if name is None else (name,),
            ).fetchone()
            if row is not None:
                return row
        return None

    def _conditions(self, filters: Filters) -> tuple[Conditions, Conditions]:
        return stable_conditions(self._db, filters), changing_conditions(self._db, filters)

    def _as_of(self) -> Callable[[int, SessionState], float]:
        """Gives the moment as of which a live session is shown, by the session's own clock.

        That clock is the server's.  The worker recorded how far its machine's clock is ahead;
        this machine's clock is taken to be the same.
        """
        signs_of_life, now = self._db.signs_of_life(), time.time()

        def as_of(session: int, state: SessionState) -> float:
            alive_at = signs_of_life(session)
            return now - (state.clock_offset or 0.0) if alive_at is None else alive_at

        return as_of

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
        stored_rows = self._db.list_rows(numbers, FORM)
        for session, place, matching in candidates:
            ended, text, form, encoded = stored_rows[session]
            row = None
            if not ended:
                newest = newest_rows(self._db, numbers) if newest is None else newest
                with suppress(ValueError):  # unreadable: the row of the checkpoint
                    state = replay(self._db, session, newest.get(session, [])).state
                    row = session_row(state, as_of(session, state))
                    matching = matches(state, row, filters, person)
            if matching:
                rows.append((place, decode_row(text, form, encoded) if row is None else row))
        return rows


def _midnight(day: date) -> int:
    """Unix seconds when it begins in UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
