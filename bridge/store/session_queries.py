"""The filters of a list of sessions as SQLite's conditions, and a list's cursor.

The columns of a live session are as of its newest checkpoint, some seconds late.  So there are
two groups of conditions: those on what never changes while a session lives, and the others,
which a reader checks again on the live state (`matches`).
"""

from __future__ import annotations

import re
from typing import Final

from attrs import frozen

from actors.journal.session_filters import Filters, is_pattern, pattern_parts
from actors.journal.session_reader import BadCursor
from actors.session import SessionRow, SessionState
from actors.session.view import everyone

HIGHEST: Final = 2**63 - 1
"""Above every number that a session has in the order of a list."""


@frozen
class Conditions:
    """A part of a WHERE, with its values."""

    conditions: tuple[str, ...]
    values: tuple[object, ...]

    def __str__(self) -> str:
        return f"({' AND '.join(self.conditions)})" if self.conditions else "1"


_STATUS: Final = {"active": "ended_at IS NULL", "ended": "ended_at IS NOT NULL"}


def glob_of(pattern: str) -> str:
    """The pattern of a filter as SQLite's GLOB takes it."""
    return "".join(
        part if isinstance(part, str) else part.glob("^") for part in pattern_parts(pattern)
    )


def stable_conditions(filters: Filters) -> Conditions:
    """The filters on what does not change while a session lives, and on its status."""
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
    return Conditions(tuple(conditions), tuple(values))


def changing_conditions(filters: Filters) -> Conditions:
    """The filters on columns that are some seconds late for a live session."""
    conditions, values = list[str](), list[object]()
    if filters.person is not None:
        # The indices find a name without a pattern.
        sign = "GLOB" if is_pattern(filters.person) else "="
        identified = f"SELECT session FROM people WHERE identity {sign} ?"  # noqa: S608
        named = f"SELECT session FROM people WHERE name {sign} ? AND name != ''"  # noqa: S608
        keyed = f"SELECT session FROM people WHERE person {sign} ? AND person != ''"  # noqa: S608
        conditions.append(f"session IN ({identified} UNION {named} UNION {keyed})")
        values += [glob_of(filters.person)] * 3
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
