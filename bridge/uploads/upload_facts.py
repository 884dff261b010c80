"""The facts of uploads, in our words: frozen values without protobuf and without OpenTelemetry.

Times are Unix seconds on the clock of the agent's machine; delays are seconds.  Everything here was
written by an agent, and quotes people and models: it is cut where it is read, and made harmless
where it is shown.  Texts are in no `repr`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from attrs import field, frozen

TurnRole: TypeAlias = Literal["user", "assistant"]


@frozen
class RunKey:
    """An agent run: one job in one instance of a room."""

    room_sid: str
    job_id: str


@frozen
class UploadedTurn:
    """One finished turn."""

    item_id: str
    """The agent's id of the item, as in its live messages.  Empty where a span told of it: spans
    have no such id."""
    role: TurnRole
    created_at: float
    started_at: float | None = None
    """Begin of speech; None for a typed turn."""
    stopped_at: float | None = None
    interrupted: bool = False
    e2e_latency: float | None = None
    """From the end of the user's speech to the begin of the agent's."""
    llm_ttft: float | None = None
    """Time to the model's first token."""
    tts_ttfb: float | None = None
    """Time to the voice's first byte."""
    transcription_delay: float | None = None
    end_of_turn_delay: float | None = None
    confidence: float | None = None
    """Of the transcript, 0 to 1."""
    text: str = field(default="", repr=False)


@frozen
class UploadedToolCall:
    """A call of a tool; two uploads may each have a half of it."""

    call_id: str
    """The same in the call, its output and its span."""
    item_id: str = ""
    """The id of the call's item; empty where only the output or a span told of it."""
    name: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    failed: bool | None = None
    """None while its end is not known."""
    arguments: str = field(default="", repr=False)
    output: str = field(default="", repr=False)


@frozen
class UploadedError:
    """A request to a model that failed."""

    at: float
    source: str
    """`llm`, `stt`, `tts` or `realtime`."""
    type: str
    """The name of the exception's class.  Its text may quote people, and is not read."""


@frozen
class UploadedUsage:
    """Running totals of one model in a run."""

    type: str
    """As `llm_usage`."""
    provider: str
    model: str
    amounts: Mapping[str, float]
    """By the agent's own names, as `input_tokens`."""


@frozen
class RunFacts:
    """The facts of one upload about one run."""

    run: RunKey
    agent_name: str = ""
    room: str = ""
    """The room's name, where the upload has it."""
    sdk_version: str = ""
    participant_sid: str = ""
    """Of the agent in the room.  Only spans tell it."""
    started_at: float | None = None
    ended_at: float | None = None
    close_reason: str = ""
    """In LiveKit's words, in lower case, as `participant_disconnected`."""
    turns: tuple[UploadedTurn, ...] = ()
    tool_calls: tuple[UploadedToolCall, ...] = ()
    errors: tuple[UploadedError, ...] = ()
    error_counts: Mapping[str, int] = field(factory=dict[str, int])
    """Errors of the whole run, by source.  Only a report has them."""
    usage: tuple[UploadedUsage, ...] = ()
    outcome: str = ""
    """`success` or `fail`, where the agent judged itself."""
    log_errors: int = 0
    """Log records of level error and above."""
    retries: int = 0
    """Requests to models that were tried again."""
    redacted: bool = False
    """The agent asked for redaction: there are no texts here."""
    report: bool = False
    """The final report of the job: nothing comes after it."""
    spans: tuple[UploadedSpan, ...] = ()


@frozen
class UploadedSpan:
    """A span without content."""

    trace_id: str
    span_id: str
    parent_id: str
    """Empty for the root."""
    name: str
    started_at: float
    ended_at: float
    failed: bool = False
    numbers: Mapping[str, float] = field(factory=dict[str, float])
    """Attributes that are numbers or yes and no."""
    words: Mapping[str, str] = field(factory=dict[str, str])
    """Attributes of a short list (`bridge.uploads.trace_reader`)."""
