"""Sessions as CSV, for spreadsheets.

A spreadsheet runs a cell that begins like a formula, and strangers choose the names in a session.
Such a cell gets an apostrophe in front, which tells a spreadsheet that it is text.  Characters that
do not print are escaped (`bridge.output.harmless`), so a cell is one line and cannot control a
terminal.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Final, Protocol, TypeAlias, TypeVar

from actors.journal.attendance import AttendanceRow
from actors.session import QUALITIES, JoinView, ParticipantView, SessionRow
from actors.session.agent_totals import ANSWER, in_order, merged, percentile_of
from actors.session.agent_view_types import AgentTotalsView
from bridge.output.harmless import harmless

R = TypeVar("R")

Columns: TypeAlias = Mapping[str, Callable[[R], object]]
"""The function that reads a cell of a row, by the column's heading."""

CELL_LIMIT: Final = 32_000
"""Characters of a cell; spreadsheets take a little more."""


class DayRow(Protocol):
    """Totals of one day."""

    @property
    def date(self) -> str: ...
    @property
    def sessions(self) -> int: ...
    @property
    def people_minutes(self) -> float: ...
    @property
    def peak(self) -> int: ...


_FORMULA: Final = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The first characters of a formula, also in the wide forms of East Asian keyboards."""

_SECOND_CELL: Final = re.compile(f";[ \"']*(?=[{''.join(map(re.escape, _FORMULA))}])")
"""In many countries a spreadsheet separates cells by ";".  A formula after it gets an apostrophe
too."""


def _of_messages(key: str) -> Callable[[SessionRow], object]:
    read = attrgetter(key)
    return lambda row: None if row.data_messages is None else read(row.data_messages)


USAGE: Final = (
    ("input_tokens", "llm", "input_tokens"),
    ("output_tokens", "llm", "output_tokens"),
    ("characters", "tts", "characters_count"),
    ("spoken_seconds", "tts", "audio_duration"),
    ("heard_seconds", "stt", "audio_duration"),
)
"""Usage that tables show: its name, the kind of model, and LiveKit's name."""


def usage_of(agent: AgentTotalsView, kind: str, what: str) -> float:
    """An amount of usage; 0 where there is none."""
    return agent.usage.get(kind, {}).get(what, 0.0)


def _of_usage(kind: str, what: str) -> Callable[[AgentTotalsView], float]:
    return lambda agent: usage_of(agent, kind, what)


def _of_agents(read: Callable[[AgentTotalsView], float]) -> Callable[[SessionRow], object]:
    """The sum over all agents; empty where there was none."""

    def total(row: SessionRow) -> object:
        return None if row.agents is None else _whole(sum(map(read, row.agents)))

    return total


def _whole(amount: float) -> float:
    """Without a fraction where it is a whole number."""
    return int(amount) if amount == int(amount) else round(amount, 3)


def _of_delays(share: float) -> Callable[[SessionRow], object]:
    def percentile(row: SessionRow) -> object:
        delays = [one.delays[ANSWER] for one in row.agents or () if ANSWER in one.delays]
        if len(delays) == 1:  # exactly
            return delays[0].p50 if share == 0.5 else delays[0].p95
        return percentile_of(in_order(merged(one.counts for one in delays)), share)

    return percentile


SESSION_COLUMNS: Final[Columns[SessionRow]] = {
    **{
        name: attrgetter(name)
        for name in (
            "id", "room", "room_sid", "status", "end_reason", "started_at", "ended_at",
            "duration", "entered_after", "coverage", "clock_offset", "encrypted",
        )
    },
    "people_current": lambda row: row.people.current,
    "people_peak": lambda row: row.people.peak,
    "people_unique": lambda row: row.people.unique,
    "joins": lambda row: row.people.joins,
    "joins_aborted": lambda row: row.people.aborted,
    "joins_aborted_by_reason": lambda row: " ".join(
        f"{reason}={count}" for reason, count in row.people.aborted_by_reason.items()
    ),
    "people_seconds": lambda row: row.people_seconds,
    "first_media_after": lambda row: row.first_media_after,
    "tracks_current": lambda row: row.track_counts.current,
    "tracks_total": lambda row: row.track_counts.total,
    "data_messages": _of_messages("total"),
    "data_bytes": _of_messages("bytes"),
    "data_lower_bound": _of_messages("lower_bound"),
    "attachments": _of_messages("attachments"),
    "recordings": lambda row: None if row.recordings is None else len(row.recordings),
    **{f"quality_{level}": attrgetter(f"quality.{level}") for level in QUALITIES},
    "talk_seconds": lambda row: row.talk.seconds,
    "agents": lambda row: None if row.agents is None else " ".join(one.name for one in row.agents),
    **{
        f"agent_{name}": _of_agents(attrgetter(name))
        for name in (
            "turns", "interruptions", "tool_calls", "tool_errors", "errors", "missing",
        )
    },
    **{
        f"agent_delay_{name}": _of_delays(share) for name, share in (("p50", 0.5), ("p95", 0.95))
    },
    **{
        f"agent_{name}": _of_agents(_of_usage(kind, what))
        for name, kind, what in USAGE
    },
    "metadata": lambda row: row.metadata,
    "worker": lambda row: row.worker,
    "agent_name": lambda row: row.agent_name,
    "job_ids": lambda row: " ".join(row.job_ids),
}  # fmt: skip

PARTICIPANT_COLUMNS: Final[Columns[ParticipantView]] = {
    **{name: attrgetter(name) for name in ("identity", "person")},
    "name": lambda one: one.shown_name,
    "kind": lambda one: one.kind,
    "joins": lambda one: active_joins(one.joins),
    "joins_aborted": lambda one: sum(
        not join.active and join.left_at is not None for join in one.joins
    ),
    "first_joined_at": lambda one: one.joins[0].joined_at if one.joins else None,
    "last_left_at": lambda one: one.joins[-1].left_at if one.joins else None,
    "left_within": lambda one: one.joins[-1].left_within if one.joins else None,
    "leave_reason": lambda one: one.joins[-1].leave_reason if one.joins else None,
    "ringing_seconds": lambda one: one.sip and one.sip.ringing_seconds,
    **{
        name: attrgetter(name)
        for name in (
            "seconds", "talk_seconds", "turns", "longest_turn", "interruptions",
            "camera_seconds", "screen_seconds", "first_media_after", "data_messages",
        )
    },
    **{f"quality_{level}": attrgetter(f"quality.{level}") for level in QUALITIES},
    "metadata": lambda one: one.metadata,
}  # fmt: skip


ATTENDANCE_COLUMNS: Final[Columns[AttendanceRow]] = {
    name: attrgetter(name) for name in AttendanceRow.__struct_fields__
}
DAY_COLUMNS: Final[Columns[tuple[str | None, DayRow]]] = {
    "date": lambda row: row[1].date,
    "room": lambda row: row[0] or "*",
    "sessions": lambda row: row[1].sessions,
    "people_minutes": lambda row: row[1].people_minutes,
    "peak": lambda row: row[1].peak,
}
"""Each day with the pattern of its rooms."""


def active_joins(joins: Iterable[JoinView]) -> int:
    """Joins in which somebody took part."""
    return sum(join.active for join in joins)


def as_csv(columns: Columns[R], rows: Iterable[R]) -> str:
    """A line of headings, then one line a row.  A value that was not observed is empty."""
    return "".join(csv_parts(columns, rows))


def csv_parts(columns: Columns[R], rows: Iterable[R]) -> Iterator[str]:
    """As `as_csv`, line by line, for a list that does not fit into memory."""
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
