"""Run facts in the words of a session: `AgentTurn`, `AgentCall`, `ModelUsage`, and texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from attrs import evolve

from actors.journal.conversation_texts import ConversationText, Speaker
from actors.session.agent_reports import AgentCall, AgentTurn, ModelUsage, UsageKind
from bridge.uploads.upload_facts import RunFacts, UploadedToolCall, UploadedTurn

SPAN: Final = "span/"
"""The begin of ids of ours, of turns and calls that only spans told of."""
_USAGE: Final[Mapping[str, UsageKind]] = {
    "llm_usage": "llm",
    "tts_usage": "tts",
    "stt_usage": "stt",
    "interruption_usage": "interruption",
    "eot_usage": "eot",
}


def turns_of(run_facts: RunFacts) -> list[AgentTurn]:
    """The turns in the order of the upload."""
    return [
        AgentTurn(
            turn.item_id,
            "user" if turn.role == "user" else "agent",
            began_at=turn.created_at if turn.started_at is None else turn.started_at,
            ended_at=turn.stopped_at,
            delay=turn.e2e_latency,
            first_token=turn.llm_ttft,
            first_byte=turn.tts_ttfb,
            transcription_delay=turn.transcription_delay,
            end_of_turn_delay=turn.end_of_turn_delay,
            interrupted=turn.interrupted,
        )
        for turn in run_facts.turns
    ]


def turn_of_span(turn: UploadedTurn) -> UploadedTurn:
    """A turn that only a span told of, with an id of ours: the same for the same span."""
    return evolve(turn, item_id=f"{SPAN}{turn.role}/{turn.created_at:.3f}")


def calls_of(run_facts: RunFacts) -> list[AgentCall]:
    """Calls that are over.  A model may give one id to several calls, one after the other: an
    output belongs to the newest call before it."""
    return [
        AgentCall(
            call.item_id or f"{SPAN}{call.call_id}/{call.started_at or 0.0:.3f}",
            call.call_id,
            call.name,
            began_at=call.started_at,
            ended_at=call.ended_at,
            result="cancelled" if call.failed is None else "error" if call.failed else "ok",
        )
        for call in _whole_calls(run_facts)
        if call.ended_at is not None or run_facts.report
    ]


def models_of(run_facts: RunFacts) -> tuple[ModelUsage, ...]:
    """The usage of known kinds."""
    return tuple(
        ModelUsage(_USAGE[usage.type], usage.provider, usage.model, usage.amounts)
        for usage in run_facts.usage
        if usage.type in _USAGE
    )


def texts_of(
    run_facts: RunFacts, room: str, job: str, agent: str, person: str | None
) -> Iterator[ConversationText]:
    """The texts of turns and calls.  `job` is that of the texts of the room, `person` the user;
    None: their turns are left out."""
    run = run_facts.run
    for turn in run_facts.turns:
        identity = person if turn.role == "user" else agent
        if not turn.text or identity is None:
            continue
        speaker: Speaker = "person" if turn.role == "user" else "agent"
        at = turn.created_at if turn.started_at is None else turn.started_at
        # What a person wrote has no time of speech.
        wrote = speaker == "person" and turn.started_at is None
        yield ConversationText(
            room, run.room_sid, job, turn.item_id, "chat" if wrote else "speech", speaker,
            identity, at,
            turn.text, ended_at=turn.stopped_at,
        )  # fmt: skip
    for call in _whole_calls(run_facts):
        item, at = call.item_id or call.call_id, call.started_at or call.ended_at or 0.0
        if call.arguments:
            yield ConversationText(
                room, run.room_sid, job, item, "tool_arguments", "agent", agent, at,
                call.arguments, ended_at=call.ended_at, name=call.name,
            )  # fmt: skip
        if call.output:
            yield ConversationText(
                room, run.room_sid, job, item, "tool_output", "agent", agent, at,
                call.output, ended_at=call.ended_at, name=call.name,
            )  # fmt: skip


def _whole_calls(run_facts: RunFacts) -> list[UploadedToolCall]:
    """Each call with its output, in the order of the calls."""
    whole: list[UploadedToolCall] = []
    waits: dict[str, int] = {}
    for call in run_facts.tool_calls:
        begin = waits.pop(call.call_id, None)
        if begin is not None and call.ended_at is not None and call.started_at is None:
            first = whole[begin]
            whole[begin] = evolve(
                first, ended_at=call.ended_at, failed=call.failed, output=call.output
            )
            continue
        if call.ended_at is None:
            waits[call.call_id] = len(whole)
        whole.append(call)
    return whole
