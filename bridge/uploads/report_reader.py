"""The report of a job: how the run ended, its usage and errors, and all its chat items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec
from google.protobuf.message import DecodeError
from livekit.protocol.metrics import MetricsRecordingHeader

from bridge.uploads.bounded_gzip import BadUpload
from bridge.uploads.chat_items import MOST_ID, call_of, output_of, turn_of
from bridge.uploads.log_reader import MOST_ROOM, usage_of
from bridge.uploads.otlp_values import as_number, as_text
from bridge.uploads.upload_facts import RunFacts, RunKey, UploadedToolCall, UploadedTurn

MOST_ITEMS: Final = 10_000
MOST_COMMAS: Final = 400_000
"""In the JSON of a conversation.  It bounds the number of values in it before they are made: an
hour of talk has 30,000."""
MOST_ITEM_BYTES: Final = 256 * 1024
_SOURCES: Final = ("llm", "stt", "tts", "realtime", "interruption")


class _History(msgspec.Struct):
    items: list[msgspec.Raw] = []


def read_report(header: bytes, chat_history: bytes, *, texts: bool) -> RunFacts:
    """The facts of a report; turns have their texts if `texts` and it is not redacted.

    Raises `BadUpload` if they are not what they should be.
    """
    try:
        head = MetricsRecordingHeader.FromString(header)
    except DecodeError:
        raise BadUpload("the header is no protobuf") from None
    run = RunKey(head.room_id[:MOST_ID], head.job_id[:MOST_ID])
    if not run.room_sid or not run.job_id:
        raise BadUpload("the header names no room or no job")
    summary = _mapping(_json(head.session_summary.encode()))
    texts = texts and not head.redaction_enabled
    turns, calls = _items(chat_history, texts=texts)
    duration = head.duration / 1000
    ended_at = as_number(summary.get("timestamp"))
    errors = _mapping(summary.get("errors"))
    return RunFacts(
        run,
        agent_name=as_text(summary.get("agent_name"), MOST_ID),
        room=as_text(summary.get("room"), MOST_ROOM),
        sdk_version=as_text(summary.get("sdk_version"), MOST_ID),
        started_at=None if ended_at is None else max(0.0, ended_at - duration),
        ended_at=ended_at,
        close_reason=as_text(summary.get("close_reason"), MOST_ID).removeprefix("CR_").lower(),
        turns=tuple(turns),
        tool_calls=tuple(calls),
        error_counts={
            source: int(count)
            for source in _SOURCES
            if (count := as_number(errors.get(source))) is not None
        },
        usage=usage_of(summary.get("usage")),
        redacted=head.redaction_enabled,
        report=True,
    )


def audio_start(header: bytes) -> float | None:
    """Unix seconds when the recording of a report begins; None where it does not say."""
    try:
        start = MetricsRecordingHeader.FromString(header).start_time
    except DecodeError:
        return None
    return as_number(start.seconds + start.nanos / 1e9) or None


def _items(
    chat_history: bytes, *, texts: bool
) -> tuple[list[UploadedTurn], list[UploadedToolCall]]:
    turns: list[UploadedTurn] = []
    calls: list[UploadedToolCall] = []
    if not chat_history:
        return turns, calls
    if chat_history.count(b",") > MOST_COMMAS:
        raise BadUpload("too many chat items")
    try:
        items = msgspec.json.decode(chat_history, type=_History).items
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise BadUpload("the chat history is no JSON") from None
    for raw in items[:MOST_ITEMS]:
        if len(bytes(raw)) > MOST_ITEM_BYTES:
            continue
        item = _mapping(_json(bytes(raw)))
        kind = item.get("type")
        if kind == "message":
            turn = turn_of(item, texts=texts)
            turns += () if turn is None else (turn,)
        elif kind in ("function_call", "function_call_output"):
            call = (call_of if kind == "function_call" else output_of)(item, texts=texts)
            calls += () if call is None else (call,)
    return turns, calls


def _json(data: bytes) -> Any:
    """The decoded value; None for what is no JSON."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, dict) else {}


def audio_run(header: bytes) -> tuple[str, str, float | None] | None:
    """Room SID, job and begin of a recording; None where it must not be kept."""
    try:
        head = MetricsRecordingHeader.FromString(header)
    except DecodeError:
        return None
    if head.redaction_enabled:
        return None
    return head.room_id, head.job_id, audio_start(header)
