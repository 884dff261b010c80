"""A session's conversations with agents for people: what `report` prints of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from actors.journal.conversation_texts import MOST_TEXT, ConversationText
from actors.journal.conversations import ConversationPart, conversation
from bridge.cli.reading_tables import clock_text
from bridge.output.harmless import harmless

if TYPE_CHECKING:
    from actors.session import EntryView, SessionView

MOST_PARTS: Final = 200
"""Newest ones that the report for people has."""
NO_TEXT: Final = "(the text is not kept)"


def conversation_report(
    session: SessionView, entries: Iterable[EntryView], texts: Sequence[ConversationText]
) -> list[str]:
    """The lines of the conversation, safe to show; empty without an agent."""
    names = {one.identity: one.agent.name for one in session.participants if one.agent}
    parts = conversation(entries, texts)
    lines = [line for part in parts[-MOST_PARTS:] for line in _lines(part, names)]
    if len(parts) > MOST_PARTS:
        lines.insert(0, f"(the last {MOST_PARTS} of {len(parts)})")
    return lines


def _lines(part: ConversationPart, names: Mapping[str, str]) -> Iterator[str]:
    who = harmless(names.get(part.identity, part.identity), 40) or part.speaker
    numbers = ", ".join(part_numbers(part))
    beside = f"  [{numbers}]" if numbers else ""
    match part.kind:
        case "turn":
            text = NO_TEXT if part.text is None else harmless(part.text, MOST_TEXT)
            yield f"{clock_text(part.at)}  {who}: {text}{beside}"
        case "text":
            text = harmless(part.text or part.output or "", MOST_TEXT)
            yield f"{clock_text(part.at)}  {who}: {text}{' …' if part.interim else ''}"
        case "call":
            assert part.entry is not None
            payload = "" if part.text is None else f" {harmless(part.text, MOST_TEXT)}"
            output = "" if part.output is None else f" -> {harmless(part.output, MOST_TEXT)}"
            tool = harmless(str(part.entry.tool), 80)
            yield f"{clock_text(part.at)}  {who} calls {tool}{payload}{output}{beside}"
        case "error" | "problem":
            yield f"{clock_text(part.at)}  {who}: {numbers}"


def part_numbers(part: ConversationPart) -> Iterator[str]:
    """The numbers of a part in words, the most important first; harmless."""
    entry = part.entry
    if entry is None:
        return
    if part.kind == "error":
        yield f"error {harmless(str(entry.error), 80)} of {harmless(str(entry.label), 80)}"
    elif part.kind == "problem":
        yield harmless(str(entry.problem), 40)
    elif part.kind == "call":
        yield harmless(str(entry.result), 40)
    if isinstance(entry.delay, float | int):
        yield f"after {entry.delay:.2f} s"
    for name, what in (
        ("end_of_turn_delay", "end of turn"),
        ("transcription_delay", "transcript"),
        ("first_token", "first token"),
        ("first_byte", "first byte"),
    ):
        seconds = getattr(entry, name)
        if isinstance(seconds, float | int):
            yield f"{what} {seconds:.2f} s"
    if part.kind == "call" and isinstance(entry.seconds, float | int):
        yield f"{entry.seconds:.2f} s"
    if entry.interrupted is True:
        yield "interrupted"
