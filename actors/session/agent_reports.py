"""The reports of an agent, without any text: numbers, states and bounded labels.

An agent of livekit-agents sends its whole session to everybody in the room, on the byte-stream
topic ``lk.agent.session``.  The bridge makes these events of it.  Texts of speech, arguments
and results of tools go another way (`actors.journal.conversation_texts`) and are in none of them.

``at`` is the moment at which the bridge received a message, by our clock.  ``sent_at`` and the
times within are by the clock of the agent's machine.  Some messages are sent late with an earlier
time, so delays are differences of the agent's own times, never of arrivals.

Only participants of kind AGENT are believed.  The bridge checks the kind, and the fold checks it
again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from attrs import field, frozen

AgentActivity: TypeAlias = Literal["initializing", "idle", "listening", "thinking", "speaking"]
AGENT_ACTIVITIES: Final[tuple[AgentActivity, ...]] = (
    "initializing",
    "idle",
    "listening",
    "thinking",
    "speaking",
)
"""The states of an agent: the values of the attribute ``lk.agent.state``."""

UserActivity: TypeAlias = Literal["speaking", "listening", "away"]
"""The states of an agent's user, as the agent sees them."""

TurnRole: TypeAlias = Literal["agent", "user"]
CallResult: TypeAlias = Literal["ok", "error", "cancelled"]
UsageKind: TypeAlias = Literal["llm", "tts", "stt", "interruption", "eot"]

MAX_LABEL: Final = 128
"""Characters of an id, the name of a tool or a model, the label of an error."""


@frozen
class AgentTurn:
    """One item of the conversation: what the agent or its user said, without the text.

    Times are Unix seconds by the agent's clock, delays are seconds.  None where the agent has no
    number.
    """

    id: str
    """The item's id, the same in the agent's report (``item_…``)."""
    role: TurnRole
    began_at: float | None = None
    """When the speech began."""
    ended_at: float | None = None
    delay: float | None = None
    """End to end: from the end of the user's speech to the begin of the agent's."""
    first_token: float | None = None
    """Seconds until the first token of the language model."""
    first_byte: float | None = None
    """Seconds until the first byte of the voice."""
    transcription_delay: float | None = None
    end_of_turn_delay: float | None = None
    interrupted: bool = False


@frozen
class AgentCall:
    """One call of a tool, without arguments and result."""

    id: str
    """The item's id, the same in the agent's report."""
    call_id: str
    """The model's id of the call.  Two calls that follow each other may have the same."""
    name: str
    began_at: float | None = None
    """Unix seconds by the agent's clock."""
    ended_at: float | None = None
    result: CallResult | None = None
    """None while it runs."""


@frozen
class ModelUsage:
    """Running totals of one model."""

    kind: UsageKind
    provider: str
    model: str
    amounts: Mapping[str, float] = field(factory=dict[str, float])
    """By LiveKit's name, as ``input_tokens`` or ``audio_duration``; no zeros."""

    @property
    def key(self) -> str:
        return f"{self.kind} {self.provider}/{self.model}"


@frozen
class AgentActivityReported:
    """The agent does something else now."""

    at: float
    identity: str
    sent_at: float
    activity: AgentActivity


@frozen
class AgentUserReported:
    """The agent's user does something else now, as the agent sees it."""

    at: float
    identity: str
    sent_at: float
    activity: UserActivity


@frozen
class AgentTurnReported:
    """A turn is over: an agent's turn is sent after it was spoken."""

    at: float
    identity: str
    sent_at: float
    turn: AgentTurn


@frozen
class AgentCallReported:
    """A call of a tool began or ended."""

    at: float
    identity: str
    sent_at: float
    call: AgentCall


@frozen
class AgentErrorReported:
    """Something of the agent failed: a model, a voice."""

    at: float
    identity: str
    sent_at: float
    kind: str
    """As ``llm_error``, ``tts_error``; empty if the agent gives none."""
    label: str
    """The failed part, as ``openai.LLM``."""
    recoverable: bool | None = None


@frozen
class AgentUsageReported:
    """Running totals of the agent's models; the newest replaces those before."""

    at: float
    identity: str
    sent_at: float
    models: tuple[ModelUsage, ...]


@frozen
class AgentVersionReported:
    """The agent answered somebody's question for its version.  We never ask."""

    at: float
    identity: str
    version: str


@frozen
class AgentDispatchListed:
    """LiveKit's list has this dispatch of a named agent for the room."""

    at: float
    dispatch_id: str
    agent_name: str
    created_at: float
    """Unix seconds by the server's clock."""
    job_ids: tuple[str, ...] = ()
    """Jobs that LiveKit made of it.  Empty: no worker has taken it."""


@frozen
class AgentReport:
    """The upload of an agent about one job (`AgentTurn` and `AgentCall` have the same ids as in
    the room).  It fills what the room did not bring, and may come after the session's end."""

    at: float
    job_id: str
    agent_name: str = ""
    version: str = ""
    started_at: float | None = None
    """Unix seconds by the agent's clock."""
    ended_at: float | None = None
    close_reason: str | None = None
    """LiveKit's CloseReason in lower case, without its prefix."""
    turns: tuple[AgentTurn, ...] = ()
    calls: tuple[AgentCall, ...] = ()
    models: tuple[ModelUsage, ...] = ()
    errors: int = 0
    """Errors of the whole job, by the agent's own count."""
    retries: int = 0
    """Requests to models that were tried again, more than were reported before."""
    log_errors: int = 0
    """Lines of its log of level error, more than were reported before."""
    outcome: str = ""
    """The agent's own judgement, ``success`` or ``fail``; empty if it gives none."""
    participant_sid: str = ""
    """Of the agent in the room, where the upload says it or its turns do.  Only by it a run is
    found whose identity does not name its job."""


AgentMessage: TypeAlias = (
    AgentActivityReported
    | AgentUserReported
    | AgentTurnReported
    | AgentCallReported
    | AgentErrorReported
    | AgentUsageReported
    | AgentVersionReported
)
"""The messages in the room, in our words."""
