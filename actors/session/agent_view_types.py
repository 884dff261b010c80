"""The classes of agents as others see them: the part ``agent`` of a participant."""

from __future__ import annotations

from collections.abc import Mapping

from actors.session.agent_reports import AgentActivity
from actors.session.agent_run import AgentEnd, AgentProblem
from actors.session.entry_types import Time
from actors.session.view_base import Count, Seconds, View


class DelayView(View, frozen=True, kw_only=True):
    """Seconds from the end of the user's speech to the begin of the agent's."""

    p50: Seconds | None
    """Half of the answers began within it; null without any."""
    p95: Seconds | None
    """19 of 20 answers began within it."""


class DelayCountsView(View, frozen=True, kw_only=True):
    """Delays of one kind, so that those of several sessions can be put together."""

    p50: Seconds | None
    """Half of them are within it."""
    p95: Seconds | None
    """19 of 20 are within it."""
    counts: Mapping[str, Count]
    """Their number by their seconds, rounded: to 0.02 below 2, to 0.1 below 10, else to 1.  Of very
    many a part of them."""


class AgentTotalsView(View, frozen=True, kw_only=True):
    """All runs of the agents with one name in a session."""

    name: str
    """Name of the agent."""
    runs: Count
    """Runs that began."""
    missing: Count
    """Dispatches of which no agent ever came."""
    turns: Count
    """Turns of the agent and its user."""
    user_turns: Count
    """Turns of its user."""
    interruptions: Count
    """Turns of the agent that were interrupted."""
    tool_calls: Count
    """Calls of tools."""
    tool_errors: Count
    """Calls of tools that failed."""
    errors: Count
    """Errors that it reported."""
    delays: Mapping[str, DelayCountsView]
    """Delays by kind: `answer` is from the end of the user's speech to the begin of the agent's;
    `transcription_delay`, `end_of_turn_delay`, `first_token` and `first_byte` are parts of it."""
    usage: Mapping[str, Mapping[str, float]]
    """Totals of its models: by kind (`llm`, `tts`, `stt`), then by unit."""


class AgentErrorView(View, frozen=True, kw_only=True):
    """An error that an agent reported, without its text."""

    at: Time
    """When it happened."""
    error: str
    """Its type, as `llm_error`."""
    label: str
    """The part that failed."""
    recoverable: bool | None
    """True if the agent goes on; null where it does not say."""


class AgentRunView(View, frozen=True, kw_only=True):
    """One job of an agent in this session."""

    job_id: str | None
    """LiveKit's job; null where the identity does not have it."""
    version: str | None
    """Version of the agent's framework; null where nobody asked the agent and it uploaded none."""
    dispatched_at: Time | None
    """When the agent was dispatched; null where no dispatch is known."""
    started_at: Time
    """When it joined."""
    late: bool
    """True if it came after it was missing."""
    first_word_at: Time | None
    """When it first spoke."""
    ended_at: Time | None
    """When it left; null while it is there."""
    end: AgentEnd | None
    """How the run ended; null while it goes on."""
    close_reason: str | None
    """Why the agent closed its session, by its own report."""
    state: AgentActivity | None
    """Its state now."""
    state_seconds: Mapping[str, Seconds]
    """Seconds by what it did."""
    problem: AgentProblem | None
    """Its problem now."""
    turns: Count
    """Turns of the agent and its user."""
    user_turns: Count
    """Turns of its user."""
    delay: DelayView
    """How fast it answered."""
    interruptions: Count
    """Turns of the agent that were interrupted."""
    tool_calls: Count
    """Calls of tools."""
    tool_errors: Count
    """Calls of tools that failed."""
    errors: Count
    """Errors that it reported."""
    retries: Count
    """Requests to models that were tried again, as far as it uploads."""
    log_errors: Count
    """Errors in its log, as far as it uploads."""
    outcome: str | None
    """Its own judgement, as `success` or `fail`; null where it uploads none."""
    last_error: AgentErrorView | None
    """The newest of them."""
    usage: Mapping[str, Mapping[str, Mapping[str, float]]]
    """Totals of its models: by kind (`llm`, `tts`, `stt`), then by provider and model."""
    clock_offset: float | None
    """Seconds by which the agent's clock is behind this worker's, and the way of a message."""


class AgentView(View, frozen=True, kw_only=True):
    """An agent, and what it did."""

    name: str
    """The name under which it was dispatched, else its own, else its display name."""
    on_behalf_of: str | None
    """Identity of the agent for which this avatar or worker publishes; null for the agent."""
    runs: tuple[AgentRunView, ...]
    """Its jobs in this session, oldest first; of very many the newest."""
