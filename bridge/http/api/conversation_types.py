"""The classes of the API's answers about conversations with agents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from actors.journal.conversation_texts import ConversationText
from actors.journal.conversations import ToolCallView, TurnView
from actors.session.agent_view_types import AgentView
from actors.session.entry_types import Time
from actors.session.time_text import rfc3339
from actors.session.view_base import Seconds, View


class TextView(View, frozen=True, kw_only=True):
    """One text of a conversation with an agent."""

    at: Time | None
    """When it began."""
    ended_at: Time | None
    """When it ended; null where nobody said."""
    session: str
    """Id of the session."""
    room: str
    """Name of the room."""
    job_id: str | None
    """The agent's job; null where it is not known."""
    item: str
    """The agent's id of the turn or call, the same as in the timeline; of a text that is heard
    just now, that of its transcription."""
    kind: Literal["speech", "chat", "tool_arguments", "tool_output"]
    """What it is."""
    speaker: Literal["agent", "person"]
    """Who spoke, wrote, or called the tool."""
    identity: str
    """Identity of that participant."""
    tool: str | None
    """Name of the tool; null for what was spoken or written."""
    interim: bool
    """It is of the live transcription; the agent's own text takes its place when the turn is
    over."""
    text: str
    """The text, with what is masked in brackets."""


class TranscriptAnswer(View, frozen=True, kw_only=True):
    """The texts of one session, as far as texts are kept."""

    session: str
    """Id of the session."""
    room: str
    """Name of the room."""
    texts: tuple[TextView, ...]
    """The oldest first; empty where no texts are kept."""
    next: str | None
    """The `cursor` of the next page; null where this is the last."""


class SpanView(View, frozen=True, kw_only=True):
    """A span of an agent, without content."""

    trace_id: str
    """32 hexadecimal digits."""
    span_id: str
    """16 hexadecimal digits."""
    parent_id: str | None
    """The span that it is part of; null for the root."""
    name: str
    """As `agent_turn`, `llm_request`, `function_tool`."""
    started_at: Time | None
    """By the agent's clock."""
    seconds: Seconds
    """How long it took."""
    failed: bool
    """Whether it ended with an error."""
    numbers: Mapping[str, float]
    """Its attributes that are numbers, and yes (1) and no (0)."""
    words: Mapping[str, str]
    """Names of models, providers and tools, and types of errors."""


class SpansAnswer(View, frozen=True, kw_only=True):
    """The spans of one job of an agent, as far as spans are kept."""

    session: str
    """Id of the session."""
    job_id: str
    """LiveKit's job."""
    spans: tuple[SpanView, ...]
    """In the order of their begins; empty where none are kept."""


class TurnsAnswer(View, frozen=True, kw_only=True):
    """The turns of one session's conversations with agents."""

    session: str
    """Id of the session."""
    room: str
    """Name of the room."""
    turns: tuple[TurnView, ...] | None
    """The oldest first; null where the session's timeline is not kept any more."""
    calls: tuple[ToolCallView, ...]
    """Calls of tools after the last answer."""
    next: str | None
    """The `cursor` of the next page; null where this is the last."""


class SessionAgent(View, frozen=True, kw_only=True):
    """One agent of a session, with its runs."""

    identity: str
    """Its identity in the room."""
    agent: AgentView
    """Its name and its runs."""


class RunsAnswer(View, frozen=True, kw_only=True):
    """The runs of agents in one session."""

    session: str
    """Id of the session."""
    room: str
    """Name of the room."""
    agents: tuple[SessionAgent, ...]
    """In the order of first sight."""


class TextList(View, frozen=True, kw_only=True):
    """A page of texts of all sessions."""

    texts: tuple[TextView, ...]
    """The newest first."""
    next: str | None
    """The `cursor` of the next page; null where this is the last."""


def text_view(text: ConversationText) -> TextView:
    """The text as the API gives it."""
    return TextView(
        at=rfc3339(text.at),
        ended_at=rfc3339(text.ended_at),
        session=text.room_sid,
        room=text.room,
        job_id=text.job_id or None,
        item=text.item,
        kind=text.kind,
        speaker=text.speaker,
        identity=text.identity,
        tool=text.name or None,
        interim=text.interim,
        text=text.text,
    )


def text_views(texts: Sequence[ConversationText]) -> tuple[TextView, ...]:
    """Several of them."""
    return tuple(map(text_view, texts))
