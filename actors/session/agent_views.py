"""The part ``agent`` of a participant's view, from a session's state."""

from __future__ import annotations

from collections import defaultdict

from actors.session.agent_run import AgentRun, RoomAgents, on_behalf_of, total_usage
from actors.session.agent_view_types import AgentErrorView, AgentRunView, AgentView, DelayView
from actors.session.participant import Participant
from actors.session.time_text import rfc3339
from actors.session.view_base import AFTER_ALL_TIMES


def agent_view(person: Participant, agents: RoomAgents | None, until: float) -> AgentView | None:
    """None for a participant who is no agent."""
    name = person.agent_name
    runs = [] if agents is None else runs_of(agents, person.identity)
    if name is None and not runs:
        return None
    return AgentView(
        name=runs[-1].name if name is None else name,
        on_behalf_of=on_behalf_of(person),
        runs=tuple(_run_view(run, until) for run in runs),
    )


def runs_of(agents: RoomAgents, identity: str) -> list[AgentRun]:
    """The runs of one identity, oldest first."""
    return [run for run in agents.runs.values() if run.identity == identity]


def _run_view(run: AgentRun, until: float) -> AgentRunView:
    usage = defaultdict[str, dict[str, dict[str, float]]](dict)
    for one in total_usage(run).values():
        amounts = {name: round(amount, 3) for name, amount in one.amounts.items()}
        usage[one.kind][f"{one.provider}/{one.model}"] = amounts
    error = run.last_error
    return AgentRunView(
        job_id=run.job_id or None,
        version=run.version or None,
        dispatched_at=rfc3339(run.dispatched_at),
        started_at=rfc3339(run.started_at) or AFTER_ALL_TIMES,
        late=run.late,
        first_word_at=rfc3339(run.first_word_at),
        ended_at=rfc3339(run.ended_at),
        end=run.end,
        close_reason=run.close_reason,
        state=run.activity,
        state_seconds={
            name: round(seconds, 3) for name, seconds in run.activity_seconds(until).items()
        },
        problem=run.problem,
        turns=run.turns,
        user_turns=run.user_turns,
        delay=DelayView(p50=_rounded(run, 0.5), p95=_rounded(run, 0.95)),
        interruptions=run.interruptions,
        tool_calls=run.tool_calls,
        tool_errors=run.tool_errors,
        errors=run.errors,
        retries=run.retries,
        log_errors=run.log_errors,
        outcome=run.outcome or None,
        last_error=None
        if error is None
        else AgentErrorView(
            at=rfc3339(error.at) or AFTER_ALL_TIMES,
            error=error.kind or "unknown",
            label=error.label,
            recoverable=error.recoverable,
        ),
        usage=usage,
        clock_offset=None if run.clock_offset is None else round(run.clock_offset, 3),
    )


def _rounded(run: AgentRun, share: float) -> float | None:
    seconds = run.delays.percentile(share)
    return None if seconds is None else round(seconds, 4)
