"""The agents of a session: their runs and their dispatches.

A session without any agent has None in place of a `RoomAgents`, and a store has nothing of it.

A run is one job of an agent in this room instance.  It has counts, a bounded sample of delays and
what goes on now.  The turns themselves are timeline entries.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from math import ceil, isfinite
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

from actors.session.agent_reports import AgentActivity, ModelUsage, UserActivity
from actors.session.changes import change
from actors.session.participant import Participant

AGENT_STATE: Final = "lk.agent.state"
"""The attribute in which an agent writes what it does."""
ON_BEHALF: Final = "lk.publish_on_behalf"
"""The attribute of an avatar or a worker that publishes for an agent: that agent's identity."""
JOB_PREFIX: Final = "agent-"
"""LiveKit's identity of an agent is this and its job."""

MAX_RUNS: Final = 100
"""Runs of a session that have a record of their own: the newest."""
MAX_DISPATCHES: Final = 100
MAX_ITEMS: Final = 1_024
"""Ids of turns and calls of one run that are known again: the newest."""
MAX_SAMPLE: Final = 256
"""Delays of one run that the percentiles are made of."""
MAX_COMPONENT_SAMPLE: Final = 64
"""The same of each component."""
COMPONENTS: Final = ("first_token", "first_byte", "transcription_delay", "end_of_turn_delay")
"""Parts of a delay, as a turn has them."""
MAX_OPEN_CALLS: Final = 32
MAX_MODELS: Final = 32
LONGEST: Final = 86_400.0
"""Seconds.  A longer delay is none."""
CLOCK_TOLERANCE: Final = 0.5
"""Seconds by which an agent's clock may differ from ours before its times are corrected."""

AgentProblem: TypeAlias = Literal["missing", "late", "dead", "stopped", "thinking", "silent"]
"""The problems of an agent (`actors.session.agent_problems`)."""

AgentEnd: TypeAlias = Literal["left", "removed", "room_closed", "crashed", "unknown"]
"""How a run ended.

* ``left``: the agent left by itself; its job is over.
* ``removed``: somebody removed it.
* ``room_closed``: the room ended.
* ``crashed``: the server lost it, or it died while it spoke.
* ``unknown``: it went while nobody watched.
"""

_DIGEST: Final = 8
"""Bytes of an id that are stored."""


@frozen
class DelaySample:
    """Delays in seconds.  Of more than `most` every second one is left out, again and again:
    those that stay are spread evenly over the run."""

    count: int = 0
    values: tuple[float, ...] = ()
    every: int = 1
    """Each so-many-th delay is in `values`."""

    def add(self, seconds: float, most: int = MAX_SAMPLE) -> DelaySample:
        values, every = self.values, self.every
        if self.count % every == 0:
            values = (*values, seconds)
        if len(values) > most:
            values, every = values[::2], every * 2
        return DelaySample(self.count + 1, values, every)

    def percentile(self, share: float) -> float | None:
        """By nearest rank; None without any delay."""
        if not self.values:
            return None
        ranked = sorted(self.values)
        return ranked[max(0, ceil(share * len(ranked)) - 1)]


@frozen
class OpenCall:
    """A call of a tool that goes on."""

    id: str
    name: str
    began_at: float | None


@frozen
class AgentError:
    """The newest error of an agent."""

    at: float
    """Unix seconds."""
    kind: str
    label: str
    recoverable: bool | None


@frozen(slots=False)
class AgentRun:
    """One job of an agent in this room instance.  Times are Unix seconds by our clock, if nothing
    else is said."""

    number: int
    """Order of the first sighting of the run."""
    identity: str
    job_id: str
    """Empty where the identity does not have it."""
    name: str
    started_at: float
    """When the agent joined."""
    version: str = ""
    ended_at: float | None = None
    end: AgentEnd | None = None
    close_reason: str | None = None
    """As the agent's own report says."""
    dispatched_at: float | None = None
    late: bool = False
    """It came after it was missing."""
    first_word_at: float | None = None

    activity: AgentActivity | None = None
    activity_since: float = 0.0
    seconds: Mapping[str, float] = field(factory=dict[str, float])
    """By activity, of those that are over."""
    spoke_until: float | None = None
    """When it last stopped speaking; None before."""
    reports: bool = False
    """Messages of it came.  Then its attribute says nothing new."""
    clock_offset: float | None = None
    """Seconds to add to the agent's times for ours: the least delay of a message."""

    user: UserActivity | None = None
    user_stopped_at: float | None = None
    """When the user's speech ended that was not answered yet; by the agent's clock."""
    computed_delay: float | None = None
    """Delay of the answer that goes on.  It is used where the turn reports no delay."""

    turns: int = 0
    """Of the agent and its user."""
    user_turns: int = 0
    interruptions: int = 0
    """Turns of the agent that were interrupted."""
    delays: DelaySample = DelaySample()
    components: Mapping[str, DelaySample] = field(factory=dict[str, DelaySample])
    """The parts of delays, by `COMPONENTS`."""
    tool_calls: int = 0
    tool_errors: int = 0
    tool_cancelled: int = 0
    open_calls: Mapping[str, OpenCall] = field(factory=dict[str, OpenCall])
    """By the model's id of the call."""
    items: bytes = b""
    """Digests of the ids of turns and calls that were counted, oldest first."""
    errors: int = 0
    retries: int = 0
    """Requests to models that were tried again; only uploads tell of them, and of the next two."""
    log_errors: int = 0
    outcome: str = ""
    last_error: AgentError | None = None
    usage: Mapping[str, ModelUsage] = field(factory=dict[str, ModelUsage])
    """The newest totals, by `ModelUsage.key`."""
    earlier_usage: Mapping[str, ModelUsage] = field(factory=dict[str, ModelUsage])
    """Of sessions of the same job that are over: their totals began at zero again."""

    problem: AgentProblem | None = None
    problem_since: float = 0.0
    soundless_since: float | None = None
    """Since when the agent speaks by its own word and nobody hears it."""
    error_since: float | None = None
    """Time of an error after which the agent has not spoken yet."""
    unanswered_since: float | None = None
    """Since when its user waits for an answer."""

    def has_item(self, item: str) -> bool:
        """True if this turn or call was counted."""
        digest, at = item_digest(item), -1
        while (at := self.items.find(digest, at + 1)) >= 0:
            if at % _DIGEST == 0:
                return True
        return False

    def with_item(self, item: str) -> AgentRun:
        return change(self, items=(self.items + item_digest(item))[-MAX_ITEMS * _DIGEST :])

    def to_our_clock(self, time: float, at: float) -> float:
        """A time of the agent's clock by ours; not after `at`."""
        offset = self.clock_offset
        if offset is not None and abs(offset) > CLOCK_TOLERANCE:
            time += offset
        return min(time, at)

    def activity_seconds(self, now: float) -> Mapping[str, float]:
        """Seconds by activity until `now`."""
        if self.activity is None or self.ended_at is not None:
            return self.seconds
        more = max(0.0, now - self.activity_since)
        return {**self.seconds, self.activity: self.seconds.get(self.activity, 0.0) + more}


@frozen(slots=False)
class AgentDispatch:
    """A dispatch of a named agent."""

    id: str
    agent_name: str
    created_at: float
    """Unix seconds."""
    job_ids: tuple[str, ...] = ()
    joined_at: float | None = None
    """When an agent of it joined."""
    missing_since: float | None = None


@frozen(slots=False)
class RoomAgents:
    """The agents of one room instance."""

    runs: Mapping[str, AgentRun] = field(factory=dict[str, AgentRun])
    """By `run_key`, in the order of their begin."""
    current: Mapping[str, str] = field(factory=dict[str, str])
    """The key of the newest run of each identity."""
    next_number: int = 0
    older_runs: int = 0
    """Runs beyond `MAX_RUNS`."""
    dispatches: Mapping[str, AgentDispatch] = field(factory=dict[str, AgentDispatch])
    """By id."""
    due: float | None = None
    """Unix seconds when time alone may make a problem of something."""

    def run_of(self, identity: str) -> AgentRun | None:
        """The newest run of an identity."""
        key = self.current.get(identity)
        return None if key is None else self.runs.get(key)


def add_amounts(one: ModelUsage | None, other: ModelUsage) -> ModelUsage:
    """Both added up."""
    if one is None:
        return other
    amounts = {
        name: one.amounts.get(name, 0.0) + other.amounts.get(name, 0.0)
        for name in {**one.amounts, **other.amounts}
    }
    return ModelUsage(other.kind, other.provider, other.model, amounts)


def total_usage(run: AgentRun) -> Mapping[str, ModelUsage]:
    """The usage of a run in all, by `ModelUsage.key`."""
    if not run.earlier_usage:
        return run.usage
    return {key: add_amounts(run.earlier_usage.get(key), one) for key, one in run.usage.items()}


def item_digest(item: str) -> bytes:
    return blake2b(item.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()


def job_of(identity: str) -> str:
    """The job of an agent with LiveKit's identity; empty for any other."""
    return identity.removeprefix(JOB_PREFIX) if identity.startswith(JOB_PREFIX + "AJ_") else ""


def is_agent(person: Participant) -> bool:
    """True if the newest join is an agent's."""
    return bool(person.joins) and (person.joins[-1].kind or person.kind) == "agent"


def on_behalf_of(person: Participant) -> str | None:
    """The agent for which an avatar or another worker publishes; None for everybody else."""
    if not is_agent(person):
        return None
    return (person.attributes or {}).get(ON_BEHALF) or None


def delay_or_none(seconds: float | None) -> float | None:
    """A delay that can be one."""
    if seconds is None or not isfinite(seconds) or not 0.0 <= seconds <= LONGEST:
        return None
    return seconds
