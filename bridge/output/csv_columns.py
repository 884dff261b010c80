"""Sessions as CSV, for spreadsheets.

A spreadsheet runs what begins like a formula, and the names in a session are whatever
somebody typed: such a cell gets an apostrophe before it, which spreadsheets take for
"this is text".  Characters that do not print are escaped as everywhere
(`bridge.output.harmless`), so a cell is one line and a terminal obeys none of it.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from actors.session import QUALITIES
from bridge.output.harmless import harmless

Json: TypeAlias = Mapping[str, Any]
Columns: TypeAlias = Mapping[str, Callable[[Json], object]]

CELL_LIMIT: Final = 32_000
"""Characters; spreadsheets take a little more."""

_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with, also in the wide forms of East Asian keyboards."""

_SECOND_CELL: Final = re.compile(f";[ \"']*(?=[{''.join(map(re.escape, _FORMULA))}])")
"""Where a spreadsheet that takes ";" for the separator, as it does in many countries, would
begin a cell with a formula: such a place gets an apostrophe too."""


def _key(*path: str) -> Callable[[Json], object]:
    def read(row: Json) -> object:
        value: Any = row
        for key in path:
            if value is None:
                return None
            value = value[key]
        return value

    return read


SESSION_COLUMNS: Final[Columns] = {
    **{
        name: _key(name)
        for name in (
            "id", "room", "room_sid", "status", "end_reason", "started_at", "ended_at",
            "duration", "entered_after", "coverage", "clock_offset", "encrypted",
        )
    },
    "people_current": _key("people", "current"),
    "people_peak": _key("people", "peak"),
    "people_unique": _key("people", "unique"),
    "joins": _key("people", "joins"),
    "joins_aborted": _key("people", "aborted"),
    "people_seconds": _key("people_seconds"),
    "tracks_current": _key("track_counts", "current"),
    "tracks_total": _key("track_counts", "total"),
    "data_messages": _key("data_messages", "total"),
    "data_bytes": _key("data_messages", "bytes"),
    "data_lower_bound": _key("data_messages", "lower_bound"),
    "attachments": _key("data_messages", "attachments"),
    "recordings": lambda row: None if row["recordings"] is None else len(row["recordings"]),
    **{
        f"quality_{level}": _key("quality", level)
        for level in QUALITIES
    },
    "talk_seconds": _key("talk", "seconds"),
    "metadata": _key("metadata"),
    "worker": _key("worker"),
    "agent_name": _key("agent_name"),
    "job_ids": lambda row: " ".join(row["job_ids"]),
}  # fmt: skip

PERSON_COLUMNS: Final[Columns] = {
    **{name: _key(name) for name in ("identity", "person", "name", "kind")},
    "joins": lambda person: sum(join["active"] for join in person["joins"]),
    "joins_aborted": lambda person: sum(
        not join["active"] and join["left_at"] is not None for join in person["joins"]
    ),
    "first_joined_at": lambda person: _join(person, 0, "joined_at"),
    "last_left_at": lambda person: _join(person, -1, "left_at"),
    "left_within": lambda person: _join(person, -1, "left_within"),
    "leave_reason": lambda person: _join(person, -1, "leave_reason"),
    "ringing_seconds": lambda person: person["sip"] and person["sip"]["ringing_seconds"],
    **{name: _key(name) for name in ("seconds", "talk_seconds", "data_messages")},
    **{f"quality_{level}": _key("quality", level) for level in QUALITIES},
    "metadata": _key("metadata"),
}


def _join(person: Json, index: int, key: str) -> object:
    joins = person["joins"]
    return joins[index][key] if joins else None


def as_csv(columns: Columns, rows: Iterable[Json]) -> str:
    """A line of headings, then one a row; what was not observed is empty."""
    return "".join(csv_parts(columns, rows))


def csv_parts(columns: Columns, rows: Iterable[Json]) -> Iterator[str]:
    """The same line by line, for a list that does not fit into memory."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        yield text.getvalue()
        text.seek(0)
        text.truncate()
        writer.writerow([_cell(read(row)) for read in columns.values()])
    yield text.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = _SECOND_CELL.sub(r"\g<0>'", harmless(value, CELL_LIMIT))
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
