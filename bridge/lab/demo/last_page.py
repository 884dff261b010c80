"""The demo's last page: the people's account beside the worker's.

Names are shown harmless: the demo's own people try to break the terminal.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from attrs import frozen
from rich.box import SIMPLE
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from actors.session import SessionView
from bridge.lab.demo.agent_room import AgentComparison
from bridge.lab.demo.announced_room import PITCH, SECONDS, AnnouncementComparison
from bridge.lab.demo.chapters import Chapters
from bridge.lab.demo.compare import Comparison, FinalTotals, shape
from bridge.lab.demo.compare_monitoring import MonitoringComparison
from bridge.lab.demo.compare_rules import RuleComparison
from bridge.lab.demo.compare_tracks import TrackComparison
from bridge.lab.demo.compare_webhooks import WebhookComparison
from bridge.lab.demo.expected_session import Shape, expected
from bridge.lab.demo.play_script import RoomStory
from bridge.lab.demo.recorded_room import RecordingComparison
from bridge.lab.demo.script import GATECRASHER, Ending
from bridge.output.harmless import harmless

WIDTH: Final = 84
ROOM_WIDTH: Final = 15
"""Columns of a room's name, so that all numbers have room in a terminal of 80."""
SHOWN_DIFFERENCES: Final = 30
_FONT_FACE: Final = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)

_ENDINGS: Final[Mapping[Ending, str]] = {
    "left": "all left",
    "deleted": "deleted",
    "open": "our stop",
}


@frozen
class _Column:
    title: str
    number: Callable[[Shape], object]
    """The number in one session, expected or actual."""


def _mutes(session: Shape) -> int:
    return sum(track["mutes"] for track in session["tracks"].values())


_COLUMNS: Final = (
    _Column("people", lambda session: session["people"]["unique"]),
    _Column("peak", lambda session: session["people"]["peak"]),
    _Column("joins", lambda session: session["people"]["joins"]),
    _Column("tracks", lambda session: session["track_counts"]["total"]),
    _Column("messages", lambda session: session["data_messages"]["total"]),
    _Column("bytes", lambda session: session["data_messages"]["bytes"]),
    _Column("mutes", _mutes),
)


NO_RECORDING: Final = "Recording is not shown: it needs a Redis (docs/recording.md)"


def closing_page(
    stories: Sequence[RoomStory],
    sessions: Sequence[SessionView],
    totals: FinalTotals,
    compared: Chapters,
) -> RenderableType:
    """The whole page, for a rich console."""
    by_sid = {session.room_sid: session for session in sessions}
    table = Table(
        title="What people did, and what was seen",
        title_justify="left",
        box=SIMPLE,
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("room", no_wrap=True, overflow="ellipsis", max_width=ROOM_WIDTH)
    table.add_column("end", no_wrap=True, min_width=8)
    for column in _COLUMNS:
        table.add_column(column.title, justify="right", no_wrap=True, min_width=len(column.title))
    for story in stories:
        session = by_sid.get(story.truth.room_sid)
        name = Text(harmless(story.plan.room))
        if session is None:
            table.add_row(name, Text("not seen", style="bold red"))
            continue
        wanted = expected(story, session)
        shown = shape(session)
        cells = [_cell(column.number(wanted), column.number(shown)) for column in _COLUMNS]
        table.add_row(name, _ENDINGS[story.plan.ending], *cells)
    final = Text(
        f"Final Summary: {totals.rooms} rooms, {totals.participants} people, "
        f"{totals.tracks} tracks, {totals.data_messages} messages, {totals.seconds:.0f} s watched"
    )
    chapters = map(Text, (*_limits(stories), *_chapters(compared)))
    return Group(table, final, *chapters, *_verdict(compared.comparison))


def _chapters(compared: Chapters) -> Iterator[str]:
    if compared.webhooks is not None:
        yield _webhooks(compared.webhooks)
    if compared.monitoring is not None:
        yield _monitoring(compared.monitoring)
    if compared.rules is not None:
        yield _rules(compared.rules)
    if compared.tracks is not None:
        yield _tracks(compared.tracks)
    if compared.announcement is not None:
        yield _announcement(compared.announcement)
    if compared.agent is not None:
        yield _agent(compared.agent)
    yield NO_RECORDING if compared.recording is None else _recording(compared.recording)


def _limits(stories: Sequence[RoomStory]) -> Iterator[str]:
    for story in stories:
        times = [deed.at for deed in story.truth.deeds if deed.identity == GATECRASHER]
        if len(times) > 1:
            room, seconds = harmless(story.plan.room), times[-1] - times[0]
            yield (
                f"Limit: {story.plan.places} people in {room}; one more was out {seconds:.1f} s "
                "after the join"
            )


def _rules(rules: RuleComparison) -> str:
    return f"Rules: each join was greeted, {rules.fired} times; LiveKit took {rules.sent} messages"


def _tracks(tracks: TrackComparison) -> str:
    name, stats, counts = harmless(tracks.identity), tracks.stats, tracks.counts
    if stats is None:
        return f"Track quality: nothing was measured of {name}"
    truth = "nothing was dropped: there is no C compiler"
    if counts is not None:
        truth = f"in truth {counts.dropped} of {counts.sent + counts.dropped}"
    return (
        f"Track quality: {name} lost {stats.packets_lost} of {stats.packets_lost + stats.packets} "
        f"packets ({truth}), MOS {stats.mos}"
    )


def _announcement(announcement: AnnouncementComparison) -> str:
    sound = announcement.sound
    if sound is None:
        return "Announcement: nobody heard it"
    return (
        f"Announcement: a listener heard {sound.pitch:.0f} Hz for {sound.seconds:.1f} s "
        f"(played: {PITCH} Hz for {SECONDS:.1f} s), with {10 * sound.gaps} ms of gaps"
    )


def _agent(agent: AgentComparison) -> str:
    truth = agent.truth
    delays = sorted(
        turn.delay for turn in truth.turns if turn.role == "agent" and turn.delay is not None
    )
    shown = ", ".join(f"{seconds:.2f}" for seconds in delays)
    failed = sum(not call.ok for call in truth.calls)
    interruptions = sum(turn.interrupted for turn in truth.turns)
    return (
        f"Voice agent (a stub of ours with livekit-agents' protocol): {len(truth.turns)} turns, "
        f"answers after {shown} s, {len(truth.calls)} tool calls ({failed} failed), "
        f"{interruptions} interrupted; {agent.numbers} numbers compared with its own log"
    )


def _recording(recording: RecordingComparison) -> str:
    room, one = harmless(recording.room), recording.recording
    if one is None:
        return f"Recording: no rule recorded {room}"
    if one.ended_at is None:
        return f"Recording: a rule recorded {room} until the end"
    return f"Recording: a rule recorded {room} for {one.ended_at - one.started_at:.1f} s"


def _webhooks(webhooks: WebhookComparison) -> str:
    return (
        f"Webhooks: {webhooks.received} came with a right signature: {webhooks.joins} joins, "
        f"{webhooks.tracks} tracks, {webhooks.summaries} sessions with their summary"
    )


def _monitoring(monitoring: MonitoringComparison) -> str:
    name, one = harmless(monitoring.identity), monitoring.summary
    if one is None:
        return f"Monitored: {name}, of whom no monitor knows"
    return (
        f"Monitored: {name} spoke {one.speaking:.1f} s (in truth {monitoring.spoke:.1f} s), "
        f"{one.tracks} tracks, quality {one.quality or 'unknown'}"
    )


def _cell(expected: object, actual: object) -> Text:
    if expected == actual:
        return Text(str(actual), style="green")
    return Text(f"{actual}≠{expected}", style="bold red")


def _verdict(comparison: Comparison) -> Iterator[RenderableType]:
    if not comparison.differences:
        text = f"All {comparison.numbers} numbers compared are what the people really did."
        yield Panel(Text(text, style="bold green"), expand=False, border_style="green")
        return
    differences = Table(
        title="Differences", title_justify="left", title_style="bold red", box=SIMPLE
    )
    for title in ("where", "what", "they did", "seen"):
        differences.add_column(title, overflow="fold")
    for one in comparison.differences[:SHOWN_DIFFERENCES]:
        row = (one.room, one.path, one.expected, one.actual)
        differences.add_row(*(Text(harmless(text, 80)) for text in row))
    yield differences
    count = len(comparison.differences)
    text = f"{count} of {comparison.numbers} numbers are not what the people really did."
    yield Panel(Text(text, style="bold red"), expand=False, border_style="red")


def save_svg(page: RenderableType, path: Path, command: str) -> None:
    """The page as an SVG picture of a terminal that ran `command`."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(f"[bold]$[/] {escape(command)}")
    console.print(page)
    # Without fonts: rich would make the reader's browser fetch them from elsewhere.
    svg = _FONT_FACE.sub("", console.export_svg(title="room-actors"))
    path.write_text(svg, encoding="utf-8")
