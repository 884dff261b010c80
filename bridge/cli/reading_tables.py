"""Sessions as JSON and as tables: which columns a list has, and how a value is printed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from msgspec.structs import replace

from bridge.cli.command import Flags
from bridge.output.ascii_json import spaced_json
from bridge.output.csv_columns import SESSION_COLUMNS, active_joins, as_csv
from bridge.output.durations import go_duration
from bridge.output.text import key_values, plain

if TYPE_CHECKING:
    from actors.session import (
        EntryView,
        ParticipantView,
        QualityView,
        RecordingView,
        SessionRow,
        SessionView,
        TrackView,
    )

R = TypeVar("R")

_FORMATS: Final = frozenset(("json", "csv"))


def show_list(
    flags: Flags,
    whole: Mapping[str, object],
    rows: Sequence[SessionRow],
    columns: TableColumns[SessionRow],
) -> None:
    if "json" in flags:
        sys.stdout.write(spaced_json(whole, indent=1) + "\n")
    elif "csv" in flags:
        sys.stdout.write(as_csv(SESSION_COLUMNS, rows))
    elif rows:
        print_rows(columns, rows)
    else:
        sys.stdout.write("none\n")


def write_json(
    write: Callable[[str], object], session: SessionView, timeline: Iterable[EntryView] | None
) -> None:
    """A session as indented JSON, its timeline entry by entry: it may be long."""
    head = spaced_json(replace(session, timeline=None), indent=1)
    if timeline is None:
        write(head + "\n")
        return
    write(head.removesuffix("null\n}") + "[")
    between = "\n  "
    for entry in timeline:
        write(between + spaced_json(entry, indent=1).replace("\n", "\n  "))
        between = ",\n  "
    write("]\n}\n" if between == "\n  " else "\n ]\n}\n")


def print_rows(columns: TableColumns[R], rows: Sequence[R]) -> None:
    from bridge.output.table import print_table

    print_table(list(columns), [[cell(row) for cell in columns.values()] for row in rows])


TableColumns: TypeAlias = Mapping[str, Callable[[R], str]]
"""The text of a row's cell, by the column's heading."""


def value_text(value: object) -> str:
    return "-" if value is None else plain(value)


def seconds_text(value: float | None) -> str:
    return "-" if value is None else go_duration(value)


def time_text(rfc3339: str | None) -> str:
    """In this machine's time zone, to the second."""
    return "-" if rfc3339 is None else local_time(datetime.fromisoformat(rfc3339).timestamp())


def clock_text(rfc3339: str | None) -> str:
    """The same without date and zone: within a report, whose head has them."""
    return time_text(rfc3339)[11:19] or "-"


def local_time(seconds: float) -> str:
    """In this machine's time zone, which stands behind it: somebody may read it elsewhere."""
    return time.strftime("%Y/%m/%d %H:%M:%S %z", time.localtime(seconds))


def messages_text(row: SessionRow) -> str:
    return value_text(None if row.data_messages is None else row.data_messages.total)


def _left(one: ParticipantView) -> str:
    last = one.joins[-1] if one.joins else None
    if last is None or last.left_at is None:
        return "-"
    within = last.left_within
    about = "or later" if within is None else f"±{within:.0f}s" if within >= 1 else None
    never = None if last.active else "never took part"
    rang = one.sip and one.sip.ringing_seconds
    call = f"rang {seconds_text(rang)}" if rang else None
    parts = (clock_text(last.left_at), about, last.leave_reason, never, call)
    return " ".join(filter(None, parts))


def quality_text(quality: QualityView) -> str:
    known = {level: seconds for level, seconds in quality.seconds().items() if seconds}
    total = sum(known.values())
    return ", ".join(f"{level} {seconds / total:.0%}" for level, seconds in known.items()) or "-"


SESSIONS: Final[TableColumns[SessionRow]] = {
    "session": lambda row: row.id or "-",
    "room": lambda row: row.room,
    "status": lambda row: row.end_reason or row.status,
    "started": lambda row: time_text(row.started_at)[:-3],
    "duration": lambda row: seconds_text(row.duration),
    "watched": lambda row: f"{row.coverage:.0%}",
    "people": lambda row: value_text(row.people.unique),
    "messages": messages_text,
}
ROOMS: Final[TableColumns[SessionRow]] = {
    "room": lambda row: row.room,
    "session": lambda row: row.id or "-",
    "since": lambda row: time_text(row.started_at)[:-3],
    "duration": lambda row: seconds_text(row.duration),
    "watched": lambda row: f"{row.coverage:.0%}",
    "people": lambda row: value_text(row.people.current),
    "tracks": lambda row: value_text(row.track_counts.current),
    "messages": messages_text,
}
"""People and tracks are those that are there now."""
PEOPLE: Final[TableColumns[ParticipantView]] = {
    "identity": lambda one: one.identity,
    "name": lambda one: one.shown_name or "-",
    "kind": lambda one: one.kind,
    "joined": lambda one: clock_text(one.joins[0].joined_at if one.joins else None),
    "left": _left,
    "joins": lambda one: str(active_joins(one.joins)),
    "present": lambda one: seconds_text(one.seconds),
    "talked": lambda one: seconds_text(one.talk_seconds),
    "turns": lambda one: value_text(one.turns),
    "camera": lambda one: seconds_text(one.camera_seconds),
    "messages": lambda one: value_text(one.data_messages),
    "quality": lambda one: quality_text(one.quality),
}


def people_columns(people: Sequence[ParticipantView]) -> TableColumns[ParticipantView]:
    """With the columns for persons and calls only where some participant has these."""
    columns = dict(PEOPLE)
    if any(one.person != one.identity for one in people):
        named = {"identity": columns.pop("identity"), "person": lambda one: one.person}
        columns = {**named, **columns}
    if any(one.sip for one in people):
        columns["call"] = _call
    return columns


def _call(one: ParticipantView) -> str:
    call = one.sip
    return f"{call.caller or '?'} to {call.callee or '?'}" if call else "-"


TRACKS: Final[TableColumns[TrackView]] = {
    "track": lambda track: track.sid,
    "by": lambda track: track.identity,
    "source": lambda track: track.source,
    "published": lambda track: clock_text(track.published_at),
    "unpublished": lambda track: clock_text(track.unpublished_at),
    "muted": lambda track: seconds_text(track.muted_seconds),
}


def track_columns(session: SessionView) -> TableColumns[TrackView]:
    """With agents under their names, because an agent's identity is a job's id, and with a column
    for what was measured only where something was."""
    agents = {one.identity: one.agent.name for one in session.participants if one.agent}
    columns = {**TRACKS, "by": lambda track: agents.get(track.identity, track.identity)}
    if any(track.stats is not None for track in session.tracks):
        columns["measured"] = _measured
    return columns


def _measured(track: TrackView) -> str:
    from bridge.output.timeline_lanes import stats_text

    return "-" if track.stats is None else stats_text(track.stats) or "-"


RECORDINGS: Final[TableColumns[RecordingView]] = {
    "recording": lambda one: one.id or "-",
    "kind": lambda one: one.kind or "-",
    "started": lambda one: clock_text(one.started_at),
    "ended": lambda one: clock_text(one.ended_at),
    "status": lambda one: "lost" if one.lost_at else one.status or "-",
    "rule": lambda one: one.rule or "-",
    "file": lambda one: one.file or one.error or "-",
}
EVENTS: Final[TableColumns[EntryView]] = {
    "at": lambda entry: clock_text(entry.at),
    "event": lambda entry: entry.event,
    "": lambda entry: key_values({key: value for key, value in entry.values().items() if value}),
}
