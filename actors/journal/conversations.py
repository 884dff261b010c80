"""A session's conversations with agents, in order: turns, calls of tools, errors and problems.

The numbers are entries of the timeline.  The texts are in a store of their own, and only where they
are kept; the item's id joins the two.  A text without an entry (a chat, a speech that goes on or
that no turn came of) is a part of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from attrs import frozen

from actors.journal.conversation_texts import ConversationText, Speaker
from actors.session import EntryView
from actors.session.entry_types import Time
from actors.session.time_text import rfc3339
from actors.session.view_base import AFTER_ALL_TIMES, Seconds, View

PartKind: TypeAlias = Literal["turn", "call", "error", "problem", "text"]

_KINDS: Final[Mapping[str, PartKind]] = {
    "agent_turn": "turn",
    "agent_tool_call": "call",
    "agent_error": "error",
    "agent_problem": "problem",
}


@frozen
class ConversationPart:
    """One line of a conversation."""

    at: str
    """When it began."""
    kind: PartKind
    speaker: Speaker
    identity: str
    """The identity of the speaker, writer or caller; empty where only the agent's side is known."""
    entry: EntryView | None = None
    """Its numbers; None of a text alone."""
    text: str | None = None
    """The arguments of a call, else the text itself.  None where no text is stored."""
    output: str | None = None
    """The result of a call; None where it is not kept."""
    interim: bool = False
    """The text is of the live transcription."""


def conversation(
    entries: Iterable[EntryView], texts: Sequence[ConversationText] = ()
) -> list[ConversationPart]:
    """The parts, in the order of their begin."""
    by_item = {(one.kind, one.item): one for one in texts}
    parts = [_part(entry, by_item) for entry in entries if entry.event in _KINDS]
    parts += map(_text_part, by_item.values())
    return sorted(parts, key=lambda part: part.at)


def _part(entry: EntryView, texts: dict[tuple[str, str], ConversationText]) -> ConversationPart:
    """The part of an entry.  Its texts are taken out of `texts`."""
    kind, identity = _KINDS[entry.event], entry.identity or ""
    item = entry.item if isinstance(entry.item, str) else ""
    if kind == "call":
        arguments = texts.pop(("tool_arguments", item), None)
        output = texts.pop(("tool_output", item), None)
        return ConversationPart(
            entry.at,
            kind,
            "agent",
            identity,
            entry,
            None if arguments is None else arguments.text,
            None if output is None else output.text,
        )
    if kind != "turn":
        return ConversationPart(entry.at, kind, "agent", identity, entry)
    text = texts.pop(("speech", item), None) or texts.pop(("chat", item), None)
    if entry.role == "user":
        who = "" if text is None else text.identity
        return ConversationPart(entry.at, kind, "person", who, entry, text and text.text)
    return ConversationPart(entry.at, kind, "agent", identity, entry, text and text.text)


def _text_part(one: ConversationText) -> ConversationPart:
    output = one.kind == "tool_output"
    return ConversationPart(
        rfc3339(one.at) or AFTER_ALL_TIMES,
        "text",
        one.speaker,
        one.identity,
        text=None if output else one.text,
        output=one.text if output else None,
        interim=one.interim,
    )


# ---------------------------------------------------------------- turns for programs


class ToolCallView(View, frozen=True, kw_only=True):
    """One call of a tool."""

    at: Time
    """When it began."""
    item: str
    """The agent's id of the call."""
    tool: str
    """Name of the tool."""
    seconds: Seconds | None
    """Seconds that it took; null where it is not known."""
    result: str
    """How it ended: ok, error or cancelled."""
    arguments: str | None
    """The arguments; null where they are not kept (--keep-tool-payloads)."""
    output: str | None
    """The result; null where it is not kept."""


class TurnView(View, frozen=True, kw_only=True):
    """One turn of a conversation."""

    at: Time
    """When the speech began."""
    item: str
    """The agent's id of the turn."""
    agent: str
    """Identity of the agent."""
    role: Literal["agent", "user"]
    """Whose turn it was."""
    seconds: Seconds | None
    """Seconds of speech; null where it is not known."""
    delay: Seconds | None
    """Seconds from the end of the user's speech to the begin of the agent's."""
    computed: bool
    """True if the delay is computed from the agent's states; else the agent reported it."""
    first_token: Seconds | None
    """Seconds until the language model's first token."""
    first_byte: Seconds | None
    """Seconds until the voice's first byte."""
    transcription_delay: Seconds | None
    """Seconds from the end of the user's speech to its transcript."""
    end_of_turn_delay: Seconds | None
    """Seconds from the end of the user's speech until the agent takes its turn."""
    interrupted: bool
    """True if somebody interrupted the agent."""
    text: str | None
    """The text; null where it is not kept (--keep-transcripts)."""
    calls: tuple[ToolCallView, ...]
    """Calls of tools before this answer, since the answer before."""


def turns_of(parts: Iterable[ConversationPart]) -> tuple[list[TurnView], list[ToolCallView]]:
    """The turns, and the calls after the last answer of an agent."""
    turns, calls = list[TurnView](), dict[str, list[ToolCallView]]()
    for part in parts:
        if part.entry is None:
            continue
        if part.kind == "call":
            calls.setdefault(part.identity, []).append(_call_view(part, part.entry))
        elif part.kind == "turn":
            mine = calls.pop(part.identity, []) if part.speaker == "agent" else []
            turns.append(_turn_view(part, part.entry, mine))
    return turns, [call for of_agent in calls.values() for call in of_agent]


def _call_view(part: ConversationPart, entry: EntryView) -> ToolCallView:
    return ToolCallView(
        at=part.at,
        item=_text(entry.item),
        tool=_text(entry.tool),
        seconds=_number(entry.seconds),
        result=_text(entry.result),
        arguments=part.text,
        output=part.output,
    )


def _turn_view(part: ConversationPart, entry: EntryView, calls: Sequence[ToolCallView]) -> TurnView:
    return TurnView(
        at=part.at,
        item=_text(entry.item),
        agent=entry.identity or "",
        role="user" if entry.role == "user" else "agent",
        seconds=_number(entry.seconds),
        delay=_number(entry.delay),
        computed=entry.computed is True,
        first_token=_number(entry.first_token),
        first_byte=_number(entry.first_byte),
        transcription_delay=_number(entry.transcription_delay),
        end_of_turn_delay=_number(entry.end_of_turn_delay),
        interrupted=entry.interrupted is True,
        text=part.text,
        calls=tuple(calls),
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) else None
