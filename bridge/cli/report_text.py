"""One session for people: what `report` prints."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Final, TypeVar

from msgspec.structs import asdict

from bridge.cli.reading_tables import (
    EVENTS,
    RECORDINGS,
    TableColumns,
    clock_text,
    people_columns,
    print_rows,
    quality_text,
    seconds_text,
    time_text,
    track_columns,
    value_text,
)
from bridge.output.harmless import harmless

if TYPE_CHECKING:
    from rich.text import Text

    from actors.session import EntryView, GapView, SessionView
    from actors.session.agent_view_types import AgentTotalsView
    from actors.session.view_types import MessagesView

R = TypeVar("R")

GAPS: Final = 5
"""Newest ones that the report for people has."""
EVENTS_SHOWN: Final = 25
"""Newest ones that the report for people has."""


def print_report(
    session: SessionView,
    drawing: Sequence[Text],
    newest: Sequence[EntryView] | None,
    count: int,
    conversation: Sequence[str] = (),
) -> None:
    from bridge.output.table import print_lines

    lines = {
        "Session": f"{session.id or '-'} of room {harmless(session.room)}",
        "Status": session.end_reason or session.status,
        "Time": f"{time_text(session.started_at)} to {time_text(session.ended_at)}"
        f" ({seconds_text(session.duration)}), watched {session.coverage:.0%} of it"
        f"{_entered(session.entered_after)}",
        "Unwatched": _gaps(session.gaps),
        "Clock": _offset(session.clock_offset),
        "People": _counts(asdict(session.people))
        + f"; present {seconds_text(session.people_seconds)} in all",
        "Tracks": _counts(asdict(session.track_counts)),
        "Messages": _messages(session.data_messages),
        "Quality": quality_text(session.quality),
        "Talk": seconds_text(session.talk.seconds),
        "Metadata": harmless(session.metadata or "-"),
    }
    for agent in session.agents or ():
        lines[f"Agent {harmless(agent.name, 40)}"] = _agent(agent)
    if session.encrypted:
        lines["Encrypted"] = "end to end"
    sys.stdout.write("".join(f"{name:<9} {line}\n" for name, line in lines.items()))
    sys.stdout.write("\nTimeline\n")
    print_lines(drawing)
    _print_part("People", people_columns(session.participants), session.participants)
    _print_part("Tracks", track_columns(session), session.tracks)
    _print_part("Recordings", RECORDINGS, session.recordings or ())
    if conversation:
        sys.stdout.write("\nConversation\n" + "".join(f"{line}\n" for line in conversation))
    if newest is None:
        sys.stdout.write("\nIts events are not kept any more.\n")
        return
    all_of_it = f"the last {len(newest)} of {count}, --json has all"
    title = "Events" if len(newest) == count else f"Events ({all_of_it})"
    _print_part(title, EVENTS, newest)


def _messages(messages: MessagesView | None) -> str:
    if messages is None:
        return "unknown: the room is encrypted end to end"
    counts = asdict(messages)
    return _counts(counts) + (" (or more)" if counts.pop("lower_bound") else "")


def _agent(agent: AgentTotalsView) -> str:
    counts = {
        "turns": agent.turns,
        "interruptions": agent.interruptions,
        "tool calls": agent.tool_calls,
        "tool errors": agent.tool_errors,
        "errors": agent.errors,
        "never came": agent.missing,
    }
    words = [f"{name} {count}" for name, count in counts.items() if count]
    answer = agent.delays.get("answer")
    if answer is not None and answer.p50 is not None and answer.p95 is not None:
        words.insert(1, f"delay p50 {answer.p50:.2f} s, p95 {answer.p95:.2f} s")
    return ", ".join(words) or "-"


def _entered(after: float | None) -> str:
    return f", entered {seconds_text(after)} after the first person" if after else ""


def _gaps(gaps: Sequence[GapView]) -> str:
    """The newest ones, with their reasons."""
    shown = [
        f"{clock_text(gap.since)} to {(gap.until and clock_text(gap.until)) or 'now'}"
        f" ({gap.reason})"
        for gap in gaps[-GAPS:]
    ]
    more = f"{len(gaps) - GAPS} before, " if len(gaps) > GAPS else ""
    return more + ", ".join(shown) or "-"


def _offset(seconds: float | None) -> str:
    if seconds is None:
        return "not compared with LiveKit's"
    if abs(seconds) < 0.001:
        return "times are LiveKit's; the worker's clock agreed with it"
    side = "ahead of" if seconds > 0 else "behind"
    return f"times are LiveKit's; the worker's clock was {abs(seconds):.3f} s {side} it"


def timeline_drawing(session: SessionView) -> Iterator[Text]:
    from bridge.output.timeline_text import ASCII, UNICODE, draw

    glyphs = UNICODE
    try:
        UNICODE.all.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        glyphs = ASCII
    return draw(session, get_terminal_size().columns, glyphs)


def _counts(counts: Mapping[str, object]) -> str:
    """`current 1, peak 2, by_source microphone=1, camera=1`."""
    return ", ".join(
        f"{name} {harmless(value_text(count))}" for name, count in counts.items() if count != {}
    )


def _print_part(title: str, columns: TableColumns[R], rows: Sequence[R]) -> None:
    if rows:
        sys.stdout.write(f"\n{title}\n")
        print_rows(columns, rows)
