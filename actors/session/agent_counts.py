"""The counts of a run: turns, calls of tools, errors, usage.  Each function takes a run and returns
the next one; entries are added to `entries`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from actors.session.agent_reports import (
    AgentCall,
    AgentErrorReported,
    AgentTurn,
    AgentUserReported,
    ModelUsage,
)
from actors.session.agent_run import (
    COMPONENTS,
    MAX_COMPONENT_SAMPLE,
    MAX_MODELS,
    MAX_OPEN_CALLS,
    AgentEnd,
    AgentError,
    AgentRun,
    DelaySample,
    OpenCall,
    add_amounts,
    delay_or_none,
    total_usage,
)
from actors.session.changes import change
from actors.session.intervals import stretch
from actors.session.timeline_entry import EntryList

_LARGEST_OF: Final = 1_000_000_000_000.0
"""The largest amount of usage that is believed."""


def note_user(run: AgentRun, event: AgentUserReported) -> AgentRun:
    """The agent's user does something else now."""
    before, now = run.user, event.activity
    run = change(run, user=now)
    if now == "listening":
        if before == "speaking":
            return change(run, user_stopped_at=event.sent_at)
        return run
    return change(run, user_stopped_at=None, unanswered_since=None)


def add_turn(run: AgentRun, turn: AgentTurn, at: float, entries: EntryList) -> AgentRun:
    """The run with a turn, unless it has it already.  `at`: when we got it."""
    if run.has_item(turn.id):
        return run
    run = run.with_item(turn.id)
    agent, delay, computed = turn.role == "agent", delay_or_none(turn.delay), False
    if agent:
        if delay is None and run.computed_delay is not None:
            delay, computed = run.computed_delay, True
        run = change(
            run,
            computed_delay=None,
            interruptions=run.interruptions + turn.interrupted,
            delays=run.delays if delay is None else run.delays.add(delay),
        )
    run = change(
        run,
        turns=run.turns + 1,
        user_turns=run.user_turns + (not agent),
        components=_with_components(run, turn),
    )
    began = at if turn.began_at is None else run.to_our_clock(turn.began_at, at)
    seconds = None
    if turn.began_at is not None and turn.ended_at is not None:
        seconds = delay_or_none(turn.ended_at - turn.began_at)
    if agent and run.first_word_at is None:
        run = change(run, first_word_at=began)
    entries.add(
        began,
        "agent_turn",
        identity=run.identity,
        item=turn.id,
        role=turn.role,
        seconds=rounded_delay(seconds),
        delay=rounded_delay(delay),
        computed=computed,
        first_token=rounded_delay(delay_or_none(turn.first_token)),
        first_byte=rounded_delay(delay_or_none(turn.first_byte)),
        transcription_delay=rounded_delay(delay_or_none(turn.transcription_delay)),
        end_of_turn_delay=rounded_delay(delay_or_none(turn.end_of_turn_delay)),
        interrupted=turn.interrupted,
    )
    return run


def _with_components(run: AgentRun, turn: AgentTurn) -> Mapping[str, DelaySample]:
    seconds = {name: delay_or_none(getattr(turn, name)) for name in COMPONENTS}
    more = {
        name: run.components.get(name, DelaySample()).add(one, MAX_COMPONENT_SAMPLE)
        for name, one in seconds.items()
        if one is not None
    }
    return {**run.components, **more} if more else run.components


def add_call(run: AgentRun, call: AgentCall, at: float, entries: EntryList) -> AgentRun:
    """The run with the begin or the end of a call.  The end may come without a begin."""
    if call.result is None:
        if run.has_item(call.id) or len(run.open_calls) >= MAX_OPEN_CALLS:
            return run
        opened = OpenCall(call.id, call.name, call.began_at)
        run = change(run, open_calls={**run.open_calls, call.call_id: opened})
        return change(run.with_item(call.id), tool_calls=run.tool_calls + 1)
    opened = run.open_calls.get(call.call_id)
    if opened is None:
        if not call.id or run.has_item(call.id):
            return run
        opened = OpenCall(call.id, call.name, call.began_at)
        run = change(run.with_item(call.id), tool_calls=run.tool_calls + 1)
    else:
        calls = {one: it for one, it in run.open_calls.items() if one != call.call_id}
        run = change(run, open_calls=calls)
    seconds = None
    if opened.began_at is not None and call.ended_at is not None:
        seconds = delay_or_none(call.ended_at - opened.began_at)
    entries.add(
        at if opened.began_at is None else run.to_our_clock(opened.began_at, at),
        "agent_tool_call",
        identity=run.identity,
        item=opened.id,
        tool=opened.name,
        seconds=rounded_delay(seconds),
        result=call.result,
    )
    return change(
        run,
        tool_errors=run.tool_errors + (call.result == "error"),
        tool_cancelled=run.tool_cancelled + (call.result == "cancelled"),
    )


def add_error(run: AgentRun, event: AgentErrorReported, entries: EntryList) -> AgentRun:
    """The run with an error that the agent reported."""
    at = run.to_our_clock(event.sent_at, event.at)
    entries.add(
        at,
        "agent_error",
        identity=run.identity,
        error=event.kind or "unknown",
        label=event.label,
        recoverable=event.recoverable,
    )
    error = AgentError(at, event.kind, event.label, event.recoverable)
    since = event.at if run.error_since is None else run.error_since
    silent = since if run.activity != "speaking" and run.ended_at is None else None
    return change(run, errors=run.errors + 1, last_error=error, error_since=silent)


def add_usage(run: AgentRun, models: Sequence[ModelUsage]) -> AgentRun:
    """The newest totals.  Totals that shrink are of another session of the same job."""
    usage, earlier = {**run.usage}, run.earlier_usage
    for one in models:
        one = _possible_amounts(one)
        before = usage.get(one.key)
        if before is None and len(usage) >= MAX_MODELS:
            continue
        if before is not None and any(
            one.amounts.get(name, 0.0) < amount for name, amount in before.amounts.items()
        ):
            earlier = {**earlier, one.key: add_amounts(earlier.get(one.key), before)}
        usage[one.key] = one
    return change(run, usage=usage, earlier_usage=earlier)


def with_final_usage(run: AgentRun, models: Sequence[ModelUsage]) -> AgentRun:
    """The totals of a whole job, where they are not less than what is known."""
    usage, earlier = {**run.usage}, {**run.earlier_usage}
    for one in map(_possible_amounts, models[:MAX_MODELS]):
        known = total_usage(run).get(one.key)
        if one.key not in usage and len(usage) >= MAX_MODELS:
            continue
        if known is None or sum(one.amounts.values()) >= sum(known.amounts.values()):
            usage[one.key] = one
            earlier.pop(one.key, None)
    return change(run, usage=usage, earlier_usage=earlier)


def _possible_amounts(usage: ModelUsage) -> ModelUsage:
    """Amounts that can be ones."""
    amounts = {
        name: amount for name, amount in usage.amounts.items() if 0.0 < amount <= _LARGEST_OF
    }
    return ModelUsage(usage.kind, usage.provider, usage.model, amounts)


def closed_run(run: AgentRun, at: float, end: AgentEnd) -> AgentRun:
    """A call that goes on has no result."""
    return change(
        run,
        seconds=run.activity_seconds(at),
        activity=None,
        ended_at=max(at, run.started_at),
        end=end,
        open_calls={},
        tool_cancelled=run.tool_cancelled + len(run.open_calls),
        problem=None,
        soundless_since=None,
        error_since=None,
        unanswered_since=None,
    )


def rounded_delay(seconds: float | None) -> float | None:
    """Seconds to a tenth of a millisecond, as entries have them."""
    return None if seconds is None else round(stretch(0.0, seconds), 4)
