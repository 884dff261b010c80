"""Spans of an agent become turns, calls of tools, errors and the begin and end of a run.

Ids are taken from each span's own attributes: a process that is used for another job goes on with
the resource of its first one.  No content is read: of attributes only numbers, and words of a short
list.  A span has no item id, so a turn that it tells of is known by its role and its begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from attrs import define, field
from google.protobuf.message import DecodeError
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from bridge.uploads.bounded_gzip import BadUpload
from bridge.uploads.chat_items import MOST_ID
from bridge.uploads.otlp_values import (
    Attributes,
    as_number,
    by_key,
    flag_of,
    nanoseconds,
    number_of,
    plain,
    text_of,
)
from bridge.uploads.protobuf_fields import FieldWalk
from bridge.uploads.run_gathering import GatheredRun, all_facts
from bridge.uploads.upload_facts import (
    RunFacts,
    RunKey,
    UploadedError,
    UploadedSpan,
    UploadedToolCall,
    UploadedTurn,
)

MOST_SPANS: Final = 2048
"""Of one body; a real batch has at most 512.  More are left out."""
MOST_SPAN_BYTES: Final = 1024 * 1024
"""Of one span.  A span of a model has the whole context of the conversation."""
MOST_ATTRIBUTES: Final = 64

_SPANS: Final = (1, 2, 2)
"""resource_spans, scope_spans, spans (opentelemetry/proto/trace/v1/trace.proto)."""
_REQUESTS: Final = {
    "llm_request": "llm",
    "tts_request": "tts",
    "stt_request": "stt",
    "realtime_request": "realtime",
}
"""Spans of a request to a model, by what kind of model it is."""
_WORDS: Final = frozenset({
    "gen_ai.request.model", "gen_ai.provider.name", "lk.function_tool.name", "error.type",
    "lk.interruption.source", "lk.close_reason", "lk.eou.outcome", "lk.eou.source", "lk.speech_id",
    "lk.participant_id", "lk.track_sid", "lk.dispatch_id", "lk.shutdown.reason",
})  # fmt: skip
"""Text attributes that are kept of a span, if spans are kept.  None has content."""


def read_traces(body: bytes, *, spans: bool) -> tuple[RunFacts, ...]:
    """The facts of one unpacked body, by run; with `spans` also the spans themselves.

    Raises `BadUpload` if it is no OTLP.
    """
    runs: dict[RunKey, GatheredRun] = {}
    speeches: dict[bytes, _Speech] = {}
    for span in _spans(body):
        attributes = by_key(span.attributes)
        room_sid = text_of(attributes, "room_id", MOST_ID)
        job_id = text_of(attributes, "job_id", MOST_ID)
        if not room_sid or not job_id:
            continue
        run = runs.setdefault(RunKey(room_sid, job_id), GatheredRun())
        run.agent_name = run.agent_name or text_of(attributes, "lk.agent_name", MOST_ID)
        run.redacted = run.redacted or flag_of(attributes, "lk.redaction.enabled")
        _add_span(run, span, attributes)
        _add_speech(speeches, run, span, attributes)
        if spans:
            run.spans.append(_without_content(span, attributes))
    for speech in speeches.values():
        speech.run.turns += speech.turns()
    return all_facts(runs)


@define
class _Speech:
    """An agent's turn: its `agent_speaking` ends before its `agent_turn`, often in an earlier body.
    What is not in the same body is left to the items."""

    run: GatheredRun
    spoken: list[tuple[float, float]] = field(factory=list[tuple[float, float]])
    interrupted: bool = False
    e2e_latency: float | None = None

    def turns(self) -> list[UploadedTurn]:
        """The delay belongs to the first words, and the interruption to the last ones."""
        last = len(self.spoken) - 1
        return [
            UploadedTurn(
                "",
                "assistant",
                begin,
                started_at=begin,
                stopped_at=end,
                interrupted=self.interrupted and number == last,
                e2e_latency=None if number else self.e2e_latency,
            )
            for number, (begin, end) in enumerate(sorted(self.spoken))
        ]


def _add_speech(
    speeches: dict[bytes, _Speech], run: GatheredRun, span: Span, attributes: Attributes
) -> None:
    if span.name == "agent_speaking":
        speech = speeches.setdefault(span.parent_span_id, _Speech(run))
        begin, end = nanoseconds(span.start_time_unix_nano), nanoseconds(span.end_time_unix_nano)
        speech.spoken.append((begin, end))
    elif span.name == "agent_turn":
        speech = speeches.setdefault(span.span_id, _Speech(run))
        speech.interrupted = flag_of(attributes, "lk.interrupted")
        speech.e2e_latency = number_of(attributes, "lk.e2e_latency")


def _spans(body: bytes) -> Iterator[Span]:
    for number, piece in enumerate(FieldWalk(body).nested(_SPANS)):
        if number >= MOST_SPANS:
            return
        if len(piece) > MOST_SPAN_BYTES:
            continue
        try:
            yield Span.FromString(bytes(piece))
        except DecodeError:
            raise BadUpload("not protobuf") from None


def _add_span(run: GatheredRun, span: Span, attributes: Attributes) -> None:
    begin, end = nanoseconds(span.start_time_unix_nano), nanoseconds(span.end_time_unix_nano)
    failed = span.status.code == Status.STATUS_CODE_ERROR
    match span.name:
        case "user_turn":
            run.turns.append(
                UploadedTurn(
                    "",
                    "user",
                    begin,
                    started_at=begin,
                    transcription_delay=number_of(attributes, "lk.transcription_delay"),
                    end_of_turn_delay=number_of(attributes, "lk.end_of_turn_delay"),
                    confidence=number_of(attributes, "lk.transcript_confidence"),
                )
            )
        case "function_tool":
            call_id = text_of(attributes, "lk.function_tool.id", MOST_ID)
            if call_id:
                run.tool_calls.append(
                    UploadedToolCall(
                        call_id,
                        name=text_of(attributes, "lk.function_tool.name", MOST_ID),
                        started_at=begin,
                        ended_at=end,
                        failed=flag_of(attributes, "lk.function_tool.is_error") or failed,
                    )
                )
        case "session_close":
            run.close_reason = text_of(attributes, "lk.close_reason", MOST_ID)
            run.ended_at = end
        case "job_entrypoint":
            run.started_at, run.ended_at = begin, end
        case "room_connect" | "agent_turn" | "agent_speaking":
            sid = text_of(attributes, "lk.participant_id", MOST_ID)
            run.participant_sid = run.participant_sid or sid
        case _:
            pass
    if span.name in _REQUESTS and failed:
        error = text_of(attributes, "error.type", MOST_ID)
        run.errors.append(UploadedError(end, _REQUESTS[span.name], error))
    if span.name.endswith("_request_run") and (number_of(attributes, "lk.retry_count") or 0) > 0:
        run.retries += 1


def _without_content(span: Span, attributes: Attributes) -> UploadedSpan:
    numbers: dict[str, float] = {}
    words: dict[str, str] = {}
    for key, value in list(attributes.items())[:MOST_ATTRIBUTES]:
        if key in _WORDS:
            words[key] = value.string_value[:MOST_ID]
            continue
        simple: Any = plain(value, 0)
        number = float(simple) if isinstance(simple, bool) else as_number(simple)
        if number is not None:
            numbers[key[:MOST_ID]] = number
    return UploadedSpan(
        span.trace_id.hex()[:32],
        span.span_id.hex()[:16],
        span.parent_span_id.hex()[:16],
        span.name[:MOST_ID],
        nanoseconds(span.start_time_unix_nano),
        nanoseconds(span.end_time_unix_nano),
        span.status.code == Status.STATUS_CODE_ERROR,
        numbers,
        words,
    )
