"""The filters of a list of sessions as conditions of SQL, and a list's cursor.

The columns of a live session are as of its newest checkpoint, some seconds late.  So there are
two groups of conditions: those on what never changes while a session lives, and the others,
which a reader checks again on the live state (`matches`).
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from actors.journal.session_filters import Filters, is_pattern
from actors.journal.session_reader import BadCursor
from actors.session import SessionRow, SessionState
from actors.session.view import everyone
from bridge.store.read_connection import ReadConnection

HIGHEST: Final = 2**63 - 1
"""Above every number that a session has in the order of a list."""


@frozen
class Conditions:
    """A part of a WHERE, with its values."""

    conditions: tuple[str, ...]
    values: tuple[object, ...]

    def __str__(self) -> str:
        return f"({' AND '.join(self.conditions)})" if self.conditions else "TRUE"


_STATUS: Final = {"active": "ended_at IS NULL", "ended": "ended_at IS NOT NULL"}


def stable_conditions(db: ReadConnection, filters: Filters) -> Conditions:
    """The filters on what does not change while a session lives, and on its status."""
    conditions, values = list[str](), list[object]()
    if filters.room is not None:
        condition, value = db.like("room", filters.room)
        conditions.append(condition)
        values.append(value)
    for condition, value in (
        ("started_at >= ?", filters.since),
        ("started_at < ?", filters.until),
    ):
        if value is not None:
            conditions.append(condition)
            values.append(value)
    if filters.status is not None:
        conditions.append(_STATUS[filters.status])
    return Conditions(tuple(conditions), tuple(values))


def changing_conditions(db: ReadConnection, filters: Filters) -> Conditions:
    """The filters on columns that are some seconds late for a live session."""
    conditions, values = list[str](), list[object]()
    if filters.person is not None:
        tests, text = dict[str, str](), filters.person
        for column in ("identity", "name", "person"):
            if is_pattern(filters.person):
                tests[column], text = db.like(column, filters.person)
            else:  # The indices find a name without a pattern.
                tests[column] = db.equals(column)
        identified = f"SELECT session FROM people WHERE {tests['identity']}"  # noqa: S608
        named = f"SELECT session FROM people WHERE {tests['name']} AND name != ''"  # noqa: S608
        keyed = f"SELECT session FROM people WHERE {tests['person']} AND person != ''"  # noqa: S608
        conditions.append(f"session IN ({identified} UNION {named} UNION {keyed})")
        values += [text] * 3
    if filters.people is not None:
        conditions.append("coalesce(people_peak, 0) >= ?")
        values.append(filters.people)
    if filters.quality is not None:
        conditions.append(f"coalesce(quality_{filters.quality}, 0) > 0")
    return Conditions(tuple(conditions), tuple(values))


def matches(
    state: SessionState, row: SessionRow, filters: Filters, person: re.Pattern[str] | None
) -> bool:
    """True if a session meets the conditions of `changing_conditions` now.

    `person` is the filter of that name, compiled once for all sessions of a list.
    """
    if filters.people is not None and (row.people.peak or 0) < filters.people:
        return False
    if filters.quality is not None and not row.quality.of(filters.quality):
        return False
    return person is None or any(
        any(map(person.match, (one.identity, one.name, one.person))) for one in everyone(state)
    )


def read_list_cursor(cursor: str) -> int:
    """The number in the order of a list.  Raises `BadCursor`."""
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise BadCursor("this is not a cursor of a list")
    return int(cursor)
