"""What is kept, for whoever wants to see it: while a worker writes, and after it died.

A reader never writes, makes no file and holds nobody up.  What it shows of a live session
is as of now: the state that was kept last with the lines after it folded in.  Where no
worker runs, it is as of the last sign of life.

The objects are those of `docs/contract.md`, ready for any JSON encoder.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final, TypeAlias, final

from attrs import frozen

from actors.journal.archive import JournalRow
from actors.session import SessionState, TimelineEntry, session_row, session_view
from actors.session.view import everyone
from bridge.store.directory_lock import holder
from bridge.store.filters import ALL, Filters, glob_of, is_pattern, regex_of
from bridge.store.journal_rows import newest_lines, unpack
from bridge.store.list_rows import FORM, decode_row
from bridge.store.live_sessions import LiveSession, LiveSessions
from bridge.store.replay import entries_of, replay
from bridge.store.schema import (
    FILE,
    VERSION,
    damage,
    open_for_reading,
    require_ours,
    transaction,
    version_of,
)
from bridge.store.store_errors import StoreRefused, trouble_of
from bridge.store.timeline_reader import BadCursor, Timeline

Json: TypeAlias = dict[str, Any]


class NoStore(Exception):
    """No session was ever kept there.  The text says where."""


class SessionUnreadable(ValueError):
    """The session is there, but what is kept of it cannot be read."""


@frozen
class Page:
    """A part of a list, the newest session first."""

    sessions: list[Json]
    next: str | None
    """The cursor of the page after this; None where this is the last."""


@frozen
class Day:
    """Totals of the sessions that began on one day."""

    date: str
    """ISO 8601, of UTC."""
    sessions: int
    participant_seconds: float
    peak: int
    """People who were in one room at once, at most."""


@frozen(order=True)
class Position:
    """A place in the order in which everything was written."""

    batch: int
    number: int
    """Of an entry in its batch, from 1 on; 0 is before the first."""


@frozen
class PositionedEntry:
    """One entry of one session, with its place among those of all."""

    position: Position
    room: str
    room_sid: str
    entry: TimelineEntry


@frozen
class WorkerRow:
    """The worker that writes, or wrote last."""

    instance: str
    pid: int
    started_at: float
    alive_at: float
    """Unix seconds of its last sign of life."""
    running: bool


@contextmanager
def open_reader(data_dir: Path) -> Generator[Reader, None, None]:
    """What is kept in this directory.

    Raises `NoStore`, `StoreRefused` where the file is not ours or of another version, and
    `ArchiveTrouble` where it cannot be read, also from within the block.
    """
    path = data_dir / FILE
    try:
        found = path.stat()
        if not S_ISREG(found.st_mode):
            raise StoreRefused(f"{path} is not a plain file: remove it, or name another directory")
        if not found.st_size:
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
            yield Reader(db, data_dir)
    except sqlite3.Error as error:
        raise trouble_of(path, error) from error


@final
class Reader:
    """Made by `open_reader`.  To be used by one thread at a time."""

    def __init__(self, db: sqlite3.Connection, data_dir: Path) -> None:
        self._db = db
        self._data_dir = data_dir
        self._live = LiveSessions(db)

    def worker(self) -> WorkerRow | None:
        """The newest worker; None where none has written yet."""
        row = self._db.execute(
            "SELECT instance, pid, started_at, alive_at FROM runs ORDER BY id DESC LIMIT 1"
        ).fetchone()
        return row and WorkerRow(*row, running=holder(self._data_dir) is not None)

    def count(self) -> int:
        """Sessions that are kept."""
        return self._db.execute("SELECT count(*) FROM sessions").fetchone()[0]

    def sessions(self, limit: int = 50, cursor: str | None = None, filters: Filters = ALL) -> Page:
        """One page.  Raises `BadCursor`."""
        fixed, changing = _fixed(filters), _changing(filters)
        sql = (
            f"SELECT session, place, {changing} FROM sessions WHERE {fixed} "  # noqa: S608
            f"AND (ended_at IS NULL OR {changing}) AND place < ? ORDER BY place DESC LIMIT ?"
        )
        values = (*changing.values, *fixed.values, *changing.values)
        below = NEWEST if cursor is None else _place_of(cursor)
        rows: list[tuple[int, Json]] = []
        with transaction(self._db, "DEFERRED"):
            # Some live sessions are not what the filters want: then this looks for more.
            while len(rows) <= limit:
                asked = limit + 1 - len(rows)
                found = self._db.execute(sql, (*values, below, asked)).fetchall()
                rows.extend(self._rows(found, filters))
                if len(found) < asked:
                    break
                below = found[-1][1]
        more = len(rows) > limit
        return Page([row for _, row in rows[:limit]], str(rows[limit - 1][0]) if more else None)

    def days(self, first: date, last: date, filters: Filters = ALL) -> list[Day]:
        """Totals of each day from the first through the last, also of those without any."""
        dates = [first + timedelta(days) for days in range((last - first).days + 1)]
        fixed, changing = _fixed(filters), _changing(filters)
        values = [*fixed.values, *changing.values]
        # Sessions are numbered by their begin, which needs no index of its own.
        values += [_midnight(first) * 1_000_000, _midnight(last + timedelta(1)) * 1_000_000]
        found = self._db.execute(
            "SELECT session / 86400000000, count(*), total(participant_seconds), "  # noqa: S608
            "coalesce(max(people_peak), 0) FROM sessions "
            f"WHERE {fixed} AND {changing} AND session >= ? AND session < ? GROUP BY 1",
            values,
        )
        totals = {day: of_day for day, *of_day in found}
        nothing: list[Any] = [0, 0.0, 0]
        return [
            Day(one.isoformat(), *totals.get(_midnight(one) // 86_400, nothing)) for one in dates
        ]

    def rooms(self, filters: Filters = ALL) -> list[Json]:
        """Every live session, as far as the filters want it, the newest first."""
        fixed, changing = _fixed(filters), _changing(filters)
        sql = (
            f"SELECT session, place, {changing} FROM sessions WHERE {fixed} "  # noqa: S608
            "AND ended_at IS NULL ORDER BY place DESC"
        )
        with transaction(self._db, "DEFERRED"):
            found = self._db.execute(sql, (*changing.values, *fixed.values))
            return [row for _, row in self._rows(found.fetchall(), filters)]

    def live(self) -> list[LiveSession]:
        """The same as states, for whoever looks again and again: only what is new is read."""
        with transaction(self._db, "DEFERRED"):
            return self._live.look()

    def session(self, name: str | None = None) -> Json | None:
        """The same as `open_session`, with the whole timeline as a list."""
        with self.open_session(name) as session:
            if session is None or session["timeline"] is None:
                return session
            return {**session, "timeline": list(session["timeline"])}

    @contextmanager
    def open_session(self, name: str | None = None) -> Generator[Json | None, None, None]:
        """One session whole: by its id, or of a room, or of None of all: the live one that
        began last, else the newest.

        Its timeline is a `Timeline`, which is read while somebody goes through it, within the
        block; None where it is not kept any more.  Raises `SessionUnreadable`.
        """
        with transaction(self._db, "DEFERRED"):
            found = self._find(name)
            if found is None:
                yield None
                return
            session, has_lines = found
            newest = newest_lines(self._db, (session,)).get(session, [])
            try:
                found = replay(self._db, session, newest)
            except ValueError as error:
                raise SessionUnreadable(str(error)) from error
            whole = session_view(found.state, self._now()(found.state))
            whole["timeline"] = Timeline(self._db, session, found.folded) if has_lines else None
            yield whole

    def told_after(self, position: Position, limit: int = 1_000) -> list[PositionedEntry]:
        """What all sessions told after a position, in the order in which it was written.

        The journal goes back some minutes (`bridge.store.retention.REPLAY`).
        """
        with transaction(self._db, "DEFERRED"):
            found: list[PositionedEntry] = []
            for placed in self._told(position):
                found.append(placed)
                if len(found) == limit:
                    break
            return found

    def newest_position(self) -> Position:
        """After everything that is written."""
        batch = self._db.execute("SELECT coalesce(max(batch), 0) FROM journal").fetchone()[0]
        return Position(batch + 1, 0)

    def oldest_batch(self) -> int:
        """Nothing that was told before this batch is in the journal any more."""
        return self._db.execute("SELECT coalesce(min(batch), 0) FROM journal").fetchone()[0]

    def damage(self) -> str | None:
        """Read the whole file; what is wrong with it, or None."""
        return damage(self._db)

    # ------------------------------------------------------------------ inside

    def _find(self, name: str | None) -> tuple[int, bool] | None:
        conditions = ("room_sid = ?", "room = ?") if name is not None else ("? IS NULL",)
        for condition in conditions:
            found = self._db.execute(
                f"SELECT session, has_lines FROM sessions WHERE {condition} "  # noqa: S608
                "ORDER BY ended_at IS NULL DESC, place DESC LIMIT 1",
                (name,),
            ).fetchone()
            if found is not None:
                return found
        return None

    def _now(self) -> Callable[[SessionState], float]:
        """Until when a live session is told of, by its own clock.

        That is the server's; the worker runs on this machine and told how far ours is ahead.
        """
        seen = self.worker()
        if seen is not None and not seen.running:
            return lambda _: seen.alive_at
        now = time.time()
        return lambda state: now - (state.clock_offset or 0.0)

    def _rows(
        self, found: list[tuple[int, int, bool]], filters: Filters = ALL
    ) -> list[tuple[int, Json]]:
        """Sessions with their places.  `found` says of each whether the filters want it as it
        was kept last; of a live one counts how it is now."""
        now, rows = self._now(), list[tuple[int, Json]]()
        wanted = frozenset(session for session, _, _ in found)
        newest: dict[int, list[JournalRow]] | None = None
        person = None if filters.person is None else regex_of(filters.person)
        for session, place, matches in found:
            ended, *body = self._db.execute(
                "SELECT ended_at IS NOT NULL, row, form, iif(form = ?, x'', state) "
                "FROM sessions JOIN states USING (session) WHERE session = ?",
                (FORM, session),
            ).fetchone()
            row = None
            if not ended:
                newest = newest_lines(self._db, wanted) if newest is None else newest
                with suppress(ValueError):  # unreadable: as it was kept last
                    state = replay(self._db, session, newest.get(session, [])).state
                    row = session_row(state, now(state))
                    matches = _matches(state, row, filters, person)
            if matches:
                rows.append((place, decode_row(*body) if row is None else row))
        return rows

    def _told(self, after: Position) -> Iterator[PositionedEntry]:
        rooms: dict[int, tuple[str, str]] = {}
        rows = self._db.execute(
            "SELECT batch, lines FROM journal WHERE batch >= ? ORDER BY batch", (after.batch,)
        )
        for batch, row in rows:
            number = 0
            for line in unpack(row):
                if line.session not in rooms:
                    rooms[line.session] = self._room(line.session)
                for entry in entries_of((line,)):
                    number += 1
                    position = Position(batch, number)
                    if position > after:
                        yield PositionedEntry(position, *rooms[line.session], entry)

    def _room(self, session: int) -> tuple[str, str]:
        found = self._db.execute(
            "SELECT room, room_sid FROM sessions WHERE session = ?", (session,)
        )
        return found.fetchone() or ("", "")


NEWEST: Final = 2**63 - 1
"""Above the place of every session."""


@frozen
class _Conditions:
    """A part of a WHERE, and its values."""

    conditions: tuple[str, ...]
    values: tuple[object, ...]

    def __str__(self) -> str:
        return f"({' AND '.join(self.conditions)})" if self.conditions else "1"


_STATUS: Final = {"active": "ended_at IS NULL", "ended": "ended_at IS NOT NULL"}


def _fixed(filters: Filters) -> _Conditions:
    """What does not change while a session lives."""
    conditions, values = list[str](), list[object]()
    for condition, value in (
        ("room GLOB ?", filters.room and glob_of(filters.room)),
        ("started_at >= ?", filters.since),
        ("started_at < ?", filters.until),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if filters.status is not None:
        conditions.append(_STATUS[filters.status])
    return _Conditions(tuple(conditions), tuple(values))


def _changing(filters: Filters) -> _Conditions:
    """What the columns of a live session say some seconds late."""
    conditions, values = list[str](), list[object]()
    if filters.person is not None:
        # A whole name is found by the indices.
        sign = "GLOB" if is_pattern(filters.person) else "="
        identified = f"SELECT session FROM people WHERE identity {sign} ?"  # noqa: S608
        named = f"SELECT session FROM people WHERE name {sign} ? AND name != ''"  # noqa: S608
        known = f"SELECT session FROM people WHERE person {sign} ? AND person != ''"  # noqa: S608
        conditions.append(f"session IN ({identified} UNION {named} UNION {known})")
        values += [glob_of(filters.person)] * 3
    if filters.people is not None:
        conditions.append("coalesce(people_peak, 0) >= ?")
        values.append(filters.people)
    if filters.quality is not None:
        conditions.append(f"coalesce(quality_{filters.quality}, 0) > 0")
    return _Conditions(tuple(conditions), tuple(values))


def _matches(
    state: SessionState, row: Json, filters: Filters, person: re.Pattern[str] | None
) -> bool:
    """Whether a live session meets the conditions of `_changing` now.

    `person` is the filter of that name, made once for all sessions of a list.
    """
    if filters.people is not None and (row["people"]["peak"] or 0) < filters.people:
        return False
    if filters.quality is not None and not row["quality"][filters.quality]:
        return False
    return person is None or any(
        any(map(person.match, (one.identity, one.name, one.person))) for one in everyone(state)
    )


def _midnight(day: date) -> int:
    """Unix seconds when it begins in UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _place_of(cursor: str) -> int:
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise BadCursor("this is no cursor of a list")
    return int(cursor)
