"""Chat items, as the report and the log records have them, become turns and calls of tools.

The two spell the same things differently: the report is the agent's own JSON (`role: assistant`,
`created_at` a number), the log record is protobuf's JSON (`role: ASSISTANT`, `created_at` RFC 3339
text, one key that names the kind).  Ids are the same as in the agent's live messages.

The system prompt (`agent_config_update`, messages of the roles system and developer) is never read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from bridge.uploads.otlp_values import as_number, as_text, as_time
from bridge.uploads.upload_facts import TurnRole, UploadedToolCall, UploadedTurn

MOST_ID: Final = 128
"""Characters of an id or a name."""
MOST_TEXT: Final = 16 * 1024
"""Characters of a text."""

_ROLES: Final[Mapping[str, TurnRole]] = {"user": "user", "assistant": "assistant"}


def turn_of(item: Mapping[str, Any], *, texts: bool) -> UploadedTurn | None:
    """The turn that a message is; None for one that is no turn.  Without `texts` it has none."""
    role = _ROLES.get(as_text(item.get("role"), MOST_ID).lower())
    item_id = as_text(item.get("id"), MOST_ID)
    created_at = as_time(item.get("created_at"))
    if role is None or not item_id or created_at is None:
        return None
    metrics = _mapping(item.get("metrics"))
    return UploadedTurn(
        item_id,
        role,
        created_at,
        started_at=as_time(metrics.get("started_speaking_at")),
        stopped_at=as_time(metrics.get("stopped_speaking_at")),
        interrupted=item.get("interrupted") is True,
        e2e_latency=as_number(metrics.get("e2e_latency")),
        llm_ttft=as_number(metrics.get("llm_node_ttft")),
        tts_ttfb=as_number(metrics.get("tts_node_ttfb")),
        transcription_delay=as_number(metrics.get("transcription_delay")),
        end_of_turn_delay=as_number(metrics.get("end_of_turn_delay")),
        confidence=as_number(item.get("transcript_confidence")),
        text=_content(item.get("content")) if texts else "",
    )


def call_of(item: Mapping[str, Any], *, texts: bool) -> UploadedToolCall | None:
    """The begin of a call of a tool."""
    call_id = as_text(item.get("call_id"), MOST_ID)
    if not call_id:
        return None
    return UploadedToolCall(
        call_id,
        item_id=as_text(item.get("id"), MOST_ID),
        name=as_text(item.get("name"), MOST_ID),
        started_at=as_time(item.get("created_at")),
        arguments=as_text(item.get("arguments"), MOST_TEXT) if texts else "",
    )


def output_of(item: Mapping[str, Any], *, texts: bool) -> UploadedToolCall | None:
    """The end of a call of a tool."""
    call_id = as_text(item.get("call_id"), MOST_ID)
    if not call_id:
        return None
    return UploadedToolCall(
        call_id,
        name=as_text(item.get("name"), MOST_ID),
        ended_at=as_time(item.get("created_at")),
        failed=item.get("is_error") is True,
        output=as_text(item.get("output"), MOST_TEXT) if texts else "",
    )


def _mapping(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _content(value: object) -> str:
    """The text of a message's parts; pictures and sound are left out."""
    if not isinstance(value, list):
        return ""
    texts: list[str] = []
    for part in cast("list[object]", value)[:64]:
        text = part if isinstance(part, str) else _mapping(part).get("text")
        if isinstance(text, str):
            texts.append(text[:MOST_TEXT])
    return "\n".join(texts)[:MOST_TEXT]
