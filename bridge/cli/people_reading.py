"""`attendance`, `person` and `days`: sessions by person and by day, from a store or from an API."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import Final

from actors.journal.attendance import (
    AttendancePage,
    AttendanceRow,
    PersonDay,
    days_of,
    read_attendance,
    read_visits,
    totals_of,
)
from actors.journal.session_filters import WrongFilter, read_value
from actors.journal.session_reader import BadCursor
from bridge.cli.command import Flags
from bridge.cli.reading import CURSOR, LIMIT, filters_of
from bridge.cli.reading_tables import (
    TableColumns,
    clock_text,
    print_rows,
    seconds_text,
    time_text,
    value_text,
)
from bridge.cli.store_access import StoreUnavailable, open_store_of
from bridge.cli.time_flags import wrong_flag
from bridge.config.settings import SettingsError
from bridge.http.api.answer_types import DayView
from bridge.output.ascii_json import spaced_json
from bridge.output.csv_columns import ATTENDANCE_COLUMNS, DAY_COLUMNS, csv_parts
from bridge.output.durations import go_duration
from bridge.output.harmless import harmless

AT_ONCE: Final = 100
"""Sessions of which people are read, and are in memory, at a time."""

Read = Callable[[int, str | None], AttendancePage]


def attendance(flags: Flags) -> None:
    """Print who was in which session.  Raises `StoreUnavailable` and `SettingsError`."""
    filters = filters_of(flags)
    with open_store_of(flags) as reader:
        rows = _Rows(flags, lambda size, cursor: read_attendance(reader, size, cursor, filters))
        _print(flags, "attendance", rows, PEOPLE)
    rows.say_more()


def person(flags: Flags) -> None:
    """Print one person over all sessions.  Raises `StoreUnavailable` and `SettingsError`."""
    name = str(flags.get("identity") or "")
    if not name:
        raise SettingsError("person needs an identity or a person key: room-actors person IDENTITY")
    filters = filters_of(flags)
    with open_store_of(flags) as reader:
        rows = _Rows(flags, lambda size, cursor: read_visits(reader, name, size, cursor, filters))
        if "csv" in flags:
            _print(flags, "visits", rows, VISITS)
        else:
            _print_person(flags, name, rows)
    rows.say_more()


def days(flags: Flags) -> None:
    """Print sessions and minutes by day.  Raises `StoreUnavailable` and `SettingsError`."""
    from bridge.http.api.days import day_view, days_between

    patterns: list[str | None] = list(_patterns(flags)) or [None]
    chosen = [filters_of({**_without_room(flags), **_room(one)}) for one in patterns]
    rows = list[tuple[str | None, DayView]]()
    with open_store_of(flags) as reader:
        for filters in chosen:
            first, last = days_between(filters.since, filters.until, time.time())
            of_room = reader.days(first, last, filters)
            rows += [(filters.room, day_view(one)) for one in of_room]
    if "json" in flags:
        days = [{"room": room or "*", **_fields(day)} for room, day in rows]
        sys.stdout.write(f"{spaced_json({'days': days}, indent=1)}\n")
    elif "csv" in flags:
        sys.stdout.write("".join(csv_parts(DAY_COLUMNS, rows)))
    else:
        print_rows(DAYS, rows)


def _fields(day: DayView) -> dict[str, object]:
    return {name: getattr(day, name) for name in day.__struct_fields__}


def _patterns(flags: Flags) -> Iterator[str]:
    given = flags.get("room")
    yield from map(str, given if isinstance(given, list) else () if given is None else (given,))


def _without_room(flags: Flags) -> dict[str, object]:
    return {name: value for name, value in flags.items() if name != "room"}


def _room(pattern: str | None) -> dict[str, object]:
    return {} if pattern is None else {"room": pattern}


# ---------------------------------------------------------------- rows


class _Rows:
    """Rows, the newest session first, read part by part.

    `--limit` counts sessions.  After the iteration `next` is the cursor of those that it left out.
    """

    def __init__(self, flags: Flags, read: Read) -> None:
        try:
            self._left = read_value(LIMIT, str(flags["limit"])) if "limit" in flags else None
            cursor = read_value(CURSOR, str(flags["cursor"])) if "cursor" in flags else None
        except WrongFilter as error:
            raise wrong_flag(error) from None
        self._read = read
        self.next: str | None = cursor
        self.spans: list[tuple[str, float, float]] = []

    def __iter__(self) -> Iterator[AttendanceRow]:
        while True:
            size = AT_ONCE if self._left is None else min(AT_ONCE, self._left)
            try:
                page = self._read(size, self.next)
            except BadCursor:
                raise SettingsError("--cursor: give the `next` of an earlier list") from None
            self.next = page.next
            self.spans += page.spans
            yield from page.rows
            if self._left is not None:
                self._left -= size
            if page.next is None or self._left == 0:
                return

    def say_more(self) -> None:
        """On stderr, where sessions were left out."""
        if self.next is not None:
            sys.stdout.flush()
            sys.stderr.write(f"older sessions are left out: --cursor {self.next} goes on there\n")


def _print(flags: Flags, key: str, rows: _Rows, columns: TableColumns[AttendanceRow]) -> None:
    if "csv" in flags:
        for part in csv_parts(ATTENDANCE_COLUMNS, rows):
            sys.stdout.write(part)
        return
    if "json" in flags:
        sys.stdout.write(f'{{"{key}": [')
        separator = "\n"
        for row in rows:
            sys.stdout.write(separator + spaced_json(row))
            separator = ",\n"
        sys.stdout.write(f'\n], "next": {spaced_json(rows.next)}}}\n')
        return
    listed = list(rows)
    if listed:
        print_rows(columns, listed)
    else:
        sys.stdout.write("nobody\n")


def _print_person(flags: Flags, name: str, rows: _Rows) -> None:
    visits = list(rows)
    if not visits and rows.next is None:
        raise StoreUnavailable(
            f"nobody with the identity or person key '{harmless(name)}' is in a session that "
            "matches"
        )
    totals, by_day = totals_of(visits), days_of(rows.spans)
    if "json" in flags:
        whole = {"person": name, "totals": totals, "days": by_day, "visits": visits}
        sys.stdout.write(f"{spaced_json({**whole, 'next': rows.next}, indent=1)}\n")
        return
    names = ", ".join(sorted({harmless(row.name) for row in visits if row.name}))
    sys.stdout.write(
        f"{harmless(name)}{f' ({names})' if names else ''}: {totals.sessions} sessions, "
        f"{totals.joins} joins, {totals.aborted} failed joins, present "
        f"{seconds_text(totals.seconds)}, talked {seconds_text(totals.talk_seconds)}, "
        f"{value_text(totals.data_messages)} messages\n\n"
    )
    print_rows(VISITS, visits)
    sys.stdout.write("\nBy day (UTC)\n")
    print_rows(BY_DAY, by_day)


def _left(row: AttendanceRow) -> str:
    if row.left_at is None:
        return "-"
    within = "" if row.left_within is not None else " or later"
    if row.left_within is not None and row.left_within >= 1:
        within = f" ±{row.left_within:.0f}s"
    return f"{clock_text(row.left_at)}{within} {row.leave_reason or ''}".rstrip()


VISITS: Final[TableColumns[AttendanceRow]] = {
    "room": lambda row: row.room,
    "session": lambda row: row.session or "-",
    "identity": lambda row: row.identity,
    "joined": lambda row: time_text(row.joined_at),
    "left": _left,
    "joins": lambda row: str(row.joins),
    "failed": lambda row: str(row.aborted),
    "present": lambda row: seconds_text(row.seconds),
    "talked": lambda row: seconds_text(row.talk_seconds),
    "first media": lambda row: seconds_text(row.first_media_after),
    "messages": lambda row: value_text(row.data_messages),
}
PEOPLE: Final[TableColumns[AttendanceRow]] = {
    "room": VISITS["room"],
    "identity": VISITS["identity"],
    "name": lambda row: row.name or "-",
    **{
        title: VISITS[title] for title in ("joined", "left", "joins", "failed", "present", "talked")
    },
    "session": VISITS["session"],
}
BY_DAY: Final[TableColumns[PersonDay]] = {
    "day": lambda day: day.date,
    "sessions": lambda day: str(day.sessions),
    "present": lambda day: go_duration(day.seconds),
}
DAYS: Final[TableColumns[tuple[str | None, DayView]]] = {
    "day": lambda row: row[1].date,
    "rooms": lambda row: row[0] or "*",
    "sessions": lambda row: str(row[1].sessions),
    "minutes": lambda row: f"{row[1].people_minutes:.1f}",
    "peak": lambda row: str(row[1].peak),
}
