"""The messages that agents send on ``lk.agent.session``, as events of a session.

The protobuf is ``livekit.protocol.agent_pb.agent_session``.  It is imported at the first message: a
process that meets no agent does without it (3 MiB, 23 ms).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from actors.session.agent_reports import (
    MAX_LABEL,
    AgentActivity,
    AgentActivityReported,
    AgentCall,
    AgentCallReported,
    AgentErrorReported,
    AgentMessage,
    AgentTurn,
    AgentTurnReported,
    AgentUsageReported,
    AgentUserReported,
    AgentVersionReported,
    CallResult,
    ModelUsage,
    UsageKind,
    UserActivity,
)

if TYPE_CHECKING:
    from livekit.protocol.agent_pb import agent_session

_ACTIVITIES: Final[Mapping[int, AgentActivity]] = {
    0: "initializing",
    1: "idle",
    2: "listening",
    3: "thinking",
    4: "speaking",
}
_USERS: Final[Mapping[int, UserActivity]] = {0: "speaking", 1: "listening", 2: "away"}
_RESULTS: Final[Mapping[int, CallResult]] = {1: "ok", 2: "error", 3: "cancelled"}
USER, ASSISTANT = 2, 3
"""Roles of a message.  The others are instructions."""
_KINDS: Final[tuple[UsageKind, ...]] = ("llm", "tts", "stt", "interruption", "eot")
MAX_MODELS: Final = 32
_ERROR: Final = re.compile(
    r"type='(?P<type>\w{1,64})'|label='(?P<label>[\w.<>]{1,128})'|recoverable=(?P<more>True|False)"
)
"""Parts of the text of an error, which has the error's own words too."""


@cache
def messages() -> Any:
    """The module of the protobuf."""
    from livekit.protocol.agent_pb import agent_session

    return agent_session


def parse(payload: bytes) -> agent_session.AgentSessionMessage | None:
    """The message of a stream; None for anything else."""
    try:
        return messages().AgentSessionMessage.FromString(payload)
    except Exception:  # noqa: BLE001  whatever the protobuf library raises: it is no message
        return None


def events_of(
    at: float, identity: str, message: agent_session.AgentSessionMessage, *, calls_updated: bool
) -> Iterator[AgentMessage]:
    """The events of one message.

    `calls_updated`: the agent reports each begin and end of a call by itself.  Then the message
    that repeats them when all are over says nothing new.
    """
    if message.HasField("response"):
        yield from _version(at, identity, message.response)
        return
    if not message.HasField("event"):
        return
    event = message.event
    sent_at = time_of_stamp(event, "created_at")
    kind = event.WhichOneof("event")
    if kind == "function_tools_executed" and calls_updated:
        return
    translate = _TRANSLATORS.get(kind)
    if translate is not None:
        yield from translate(_Sent(at, identity, at if sent_at is None else sent_at), event)


@frozen
class _Sent:
    """The fields that each event of an agent has."""

    at: float
    identity: str
    sent_at: float


def _activity(sent: _Sent, event: agent_session.AgentSessionEvent) -> Iterator[AgentMessage]:
    activity = _ACTIVITIES.get(event.agent_state_changed.new_state)
    if activity is not None:
        yield AgentActivityReported(sent.at, sent.identity, sent.sent_at, activity)


def _user(sent: _Sent, event: agent_session.AgentSessionEvent) -> Iterator[AgentMessage]:
    user = _USERS.get(event.user_state_changed.new_state)
    if user is not None:
        yield AgentUserReported(sent.at, sent.identity, sent.sent_at, user)


def _turn(sent: _Sent, event: agent_session.AgentSessionEvent) -> Iterator[AgentMessage]:
    turn = turn_of(event.conversation_item_added.item)
    if turn is not None:
        yield AgentTurnReported(sent.at, sent.identity, sent.sent_at, turn)


def turn_of(item: agent_session.ChatContext.ChatItem) -> AgentTurn | None:
    """The turn of an item; None for what is no message of the agent or its user."""
    if not item.HasField("message") or item.message.role not in (USER, ASSISTANT):
        return None
    message = item.message
    numbers = message.metrics
    return AgentTurn(
        id=_label(message.id),
        role="agent" if message.role == ASSISTANT else "user",
        began_at=time_of_stamp(numbers, "started_speaking_at"),
        ended_at=time_of_stamp(numbers, "stopped_speaking_at"),
        delay=_number(numbers, "e2e_latency"),
        first_token=_number(numbers, "llm_node_ttft"),
        first_byte=_number(numbers, "tts_node_ttfb"),
        transcription_delay=_number(numbers, "transcription_delay"),
        end_of_turn_delay=_number(numbers, "end_of_turn_delay"),
        interrupted=message.interrupted,
    )


def _call(sent: _Sent, event: agent_session.AgentSessionEvent) -> Iterator[AgentMessage]:
    update = event.tool_execution_updated
    if update.HasField("started"):
        one = update.started.function_call
        call = AgentCall(_label(one.id), _label(one.call_id), _label(one.name), sent.sent_at)
        yield AgentCallReported(sent.at, sent.identity, sent.sent_at, call)
    elif update.HasField("ended") and update.ended.status in _RESULTS:
        result = _RESULTS[update.ended.status]
        call = AgentCall("", _label(update.ended.call_id), "", None, sent.sent_at, result)
        yield AgentCallReported(sent.at, sent.identity, sent.sent_at, call)


def _executed(sent: _Sent, event: agent_session.AgentSessionEvent) -> Iterator[AgentMessage]:
    """Of older agents: no ids of items, no times, and the model's ids may come again."""
    executed = event.function_tools_executed
    failed = {one.call_id for one in executed.function_call_outputs if one.is_error}
    for one in executed.function_calls:
        item = _label(one.id or f"{one.call_id} {sent.sent_at}")
        result: CallResult = "error" if one.call_id in failed else "ok"
        call = AgentCall(item, _label(one.call_id), _label(one.name), None, sent.sent_at, result)
        yield AgentCallReported(sent.at, sent.identity, sent.sent_at, call)


def _error(sent: _Sent, event: agent_session.AgentSessionEvent) -> Iterator[AgentMessage]:
    parts = dict[str, str]()
    for match in _ERROR.finditer(event.error.message[:4_096]):
        assert match.lastgroup is not None
        parts.setdefault(match.lastgroup, match[match.lastgroup])
    more = parts.get("more")
    recoverable = None if more is None else more == "True"
    kind, label = parts.get("type", ""), parts.get("label", "")
    yield AgentErrorReported(sent.at, sent.identity, sent.sent_at, kind, label, recoverable)


def _usage(sent: _Sent, event: agent_session.AgentSessionEvent) -> Iterator[AgentMessage]:
    models = _models(event.session_usage_updated.usage)
    yield AgentUsageReported(sent.at, sent.identity, sent.sent_at, models)


_TRANSLATORS: Final[Mapping[str | None, Callable[[_Sent, Any], Iterator[AgentMessage]]]] = {
    "agent_state_changed": _activity,
    "user_state_changed": _user,
    "conversation_item_added": _turn,
    "tool_execution_updated": _call,
    "function_tools_executed": _executed,
    "error": _error,
    "session_usage_updated": _usage,
}
"""By the name of the event in the protobuf.  No other event changes anything here."""


def _models(usage: agent_session.AgentSessionUsage) -> tuple[ModelUsage, ...]:
    models = list[ModelUsage]()
    for one in usage.model_usage[:MAX_MODELS]:
        kind = one.WhichOneof("usage")
        if kind not in _KINDS:
            continue
        of_kind = getattr(one, kind)
        amounts = {
            field.name: float(value)
            for field, value in of_kind.ListFields()
            if isinstance(value, int | float)
        }
        models.append(ModelUsage(kind, _label(of_kind.provider), _label(of_kind.model), amounts))
    return tuple(models)


def _version(
    at: float, identity: str, response: agent_session.SessionResponse
) -> Iterator[AgentMessage]:
    """Somebody asked the agent, and it answered everybody.  Other answers have its prompt."""
    if response.HasField("get_framework_info"):
        version = _label(response.get_framework_info.sdk_version)
        if version:
            yield AgentVersionReported(at, identity, version)


def time_of_stamp(message: Any, name: str) -> float | None:
    """Unix seconds of a timestamp; None without one."""
    if not message.HasField(name):
        return None
    stamp = getattr(message, name)
    return stamp.seconds + stamp.nanos / 1e9


def _number(message: Any, name: str) -> float | None:
    return getattr(message, name) if message.HasField(name) else None


def _label(text: str) -> str:
    return text[:MAX_LABEL]
