"""Sessions as JSON and as tables: which columns a list has, and how a value is printed."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias

from bridge.cli.command import Flags
from bridge.output.csv_columns import SESSION_COLUMNS, as_csv
from bridge.output.text import go_duration, key_values, plain

Json: TypeAlias = dict[str, Any]

_FORMATS: Final = frozenset(("json", "csv"))


def show_list(
    flags: Flags, whole: Json, rows: Sequence[Json], columns: Mapping[str, CellText]
) -> None:
    if "json" in flags:
        print_json(whole)
    elif "csv" in flags:
        sys.stdout.write(as_csv(SESSION_COLUMNS, rows))
    elif rows:
        print_rows(columns, rows)
    else:
        sys.stdout.write("none\n")


def print_json(value: Json) -> None:
    sys.stdout.write(ascii_json(json.dumps(value, indent=1)) + "\n")


def write_json(
    write: Callable[[str], object], session: Json, timeline: Iterable[Json] | None
) -> None:
    """A session as `print_json` prints it, its timeline entry by entry: it may be long."""
    last = {"timeline": None}
    others = {key: value for key, value in session.items() if key not in last}
    head = ascii_json(json.dumps({**others, **last}, indent=1))
    if timeline is None:
        write(head + "\n")
        return
    write(head.removesuffix("null\n}") + "[")
    between = "\n  "
    for entry in timeline:
        write(between + ascii_json(json.dumps(entry, indent=1).replace("\n", "\n  ")))
        between = ",\n  "
    write("]\n}\n" if between == "\n  " else "\n ]\n}\n")


def ascii_json(text: str) -> str:
    """JSON, which is ASCII already, with nothing in it that a terminal obeys."""
    return text.replace("\x7f", "\\u007f")


def print_rows(columns: Mapping[str, CellText], rows: Sequence[Json]) -> None:
    from bridge.output.table import print_table

    print_table(list(columns), [[cell(row) for cell in columns.values()] for row in rows])


CellText: TypeAlias = Callable[[Json], str]


def value_text(value: object) -> str:
    return "-" if value is None else plain(value)


def seconds_text(value: float | None) -> str:
    return "-" if value is None else go_duration(value)


def time_text(rfc3339: str | None) -> str:
    """In this machine's time zone, to the second."""
    return "-" if rfc3339 is None else local_time(datetime.fromisoformat(rfc3339).timestamp())


def clock_text(rfc3339: str | None) -> str:
    """The same without its date: within a report, whose head has it."""
    return time_text(rfc3339)[-8:]


def local_time(seconds: float) -> str:
    return time.strftime("%Y/%m/%d %H:%M:%S", time.localtime(seconds))


def count_text(row: Json, of: str, key: str) -> str:
    return value_text(None if row[of] is None else row[of][key])


def _left(person: Json) -> str:
    last = person["joins"][-1] if person["joins"] else None
    if last is None or last["left_at"] is None:
        return "-"
    within = last["left_within"]
    about = f"±{within:.0f}s" if within is not None and within >= 1 else None
    never = None if last["active"] else "never took part"
    rang = person["sip"] and person["sip"]["ringing_seconds"]
    call = f"rang {seconds_text(rang)}" if rang else None
    parts = (clock_text(last["left_at"]), about, last["leave_reason"], never, call)
    return " ".join(filter(None, parts))


def quality_text(seconds: Json) -> str:
    known = {level: held for level, held in seconds.items() if held}
    total = sum(known.values())
    return ", ".join(f"{level} {held / total:.0%}" for level, held in known.items()) or "-"


SESSIONS: Final[Mapping[str, CellText]] = {
    "session": lambda row: row["id"] or "-",
    "room": lambda row: row["room"],
    "status": lambda row: row["end_reason"] or row["status"],
    "started": lambda row: time_text(row["started_at"])[:-3],
    "duration": lambda row: seconds_text(row["duration"]),
    "watched": lambda row: f"{row['coverage']:.0%}",
    "people": lambda row: count_text(row, "people", "unique"),
    "messages": lambda row: count_text(row, "data_messages", "total"),
}
ROOMS: Final[Mapping[str, CellText]] = {
    "room": lambda row: row["room"],
    "session": lambda row: row["id"] or "-",
    "since": lambda row: time_text(row["started_at"])[:-3],
    "duration": lambda row: seconds_text(row["duration"]),
    "watched": lambda row: f"{row['coverage']:.0%}",
    "people": lambda row: count_text(row, "people", "current"),
    "tracks": lambda row: count_text(row, "track_counts", "current"),
    "messages": lambda row: count_text(row, "data_messages", "total"),
}
"""People and tracks are those that are there now."""
PEOPLE: Final[Mapping[str, CellText]] = {
    "identity": lambda person: person["identity"],
    "name": lambda person: person["name"] or "-",
    "kind": lambda person: person["kind"],
    "joined": lambda person: clock_text(
        person["joins"][0]["joined_at"] if person["joins"] else None
    ),
    "left": _left,
    "joins": lambda person: str(sum(join["active"] for join in person["joins"])),
    "present": lambda person: seconds_text(person["seconds"]),
    "talked": lambda person: seconds_text(person["talk_seconds"]),
    "messages": lambda person: value_text(person["data_messages"]),
    "quality": lambda person: quality_text(person["quality"]),
}


def people_columns(people: Sequence[Json]) -> Mapping[str, CellText]:
    """Who is whom, and who called whom, only where there is something to tell."""
    columns = dict(PEOPLE)
    if any(person["person"] != person["identity"] for person in people):
        named = {"identity": columns.pop("identity"), "person": lambda person: person["person"]}
        columns = {**named, **columns}
    if any(person["sip"] for person in people):
        columns["call"] = _call
    return columns


def _call(person: Json) -> str:
    call = person["sip"]
    if not call:
        return "-"
    return f"{call['from'] or '?'} to {call['to'] or '?'}"


TRACKS: Final[Mapping[str, CellText]] = {
    "track": lambda track: track["sid"],
    "by": lambda track: track["identity"],
    "source": lambda track: track["source"],
    "published": lambda track: clock_text(track["published_at"]),
    "unpublished": lambda track: clock_text(track["unpublished_at"]),
    "muted": lambda track: seconds_text(track["muted_seconds"]),
}
RECORDINGS: Final[Mapping[str, CellText]] = {
    "recording": lambda one: one["id"] or "-",
    "kind": lambda one: one["kind"] or "-",
    "started": lambda one: clock_text(one["started_at"]),
    "ended": lambda one: clock_text(one["ended_at"]),
    "status": lambda one: one["status"] or "-",
    "file": lambda one: one["file"] or one["error"] or "-",
}
EVENTS: Final[Mapping[str, CellText]] = {
    "at": lambda entry: clock_text(entry["at"]),
    "event": lambda entry: entry["event"],
    "": lambda entry: key_values(
        {key: value for key, value in entry.items() if key not in ("at", "event") and value}
    ),
}
